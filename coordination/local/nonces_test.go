package local_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/coordinationtest"
	"github.com/openkoo/connector/coordination/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that stands until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2022, 4, 13, 9, 35, 39, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestNonces(t *testing.T) {
	t.Parallel()
	coordinationtest.RunNonces(t, func(*testing.T) coordinationtest.NonceMemory {
		const limit = 100
		clock := newClock()
		return coordinationtest.NonceMemory{
			Replicas: []coordination.Nonces{local.NewNonces(limit, clock.now)},
			TTL:      2 * time.Minute, Advance: clock.advance, Limit: limit,
		}
	})
}

// Any order of requests with any lifetimes is answered as a plain list of
// what is remembered until when would.
func TestNoncesAgreeWithAList(t *testing.T) {
	t.Parallel()
	type kept struct {
		signature, text string
		until           time.Time
	}
	rapid.Check(t, func(t *rapid.T) {
		const limit = 4
		clock := newClock()
		nonces := local.NewNonces(limit, clock.now)
		list := map[string]kept{}
		for i := range rapid.IntRange(1, 60).Draw(t, "requests") {
			clock.advance(time.Duration(rapid.IntRange(0, 3).Draw(t, "pass")) * time.Second)
			for nonce, k := range list {
				if !clock.now().Before(k.until) {
					delete(list, nonce)
				}
			}
			nonce := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "nonce")
			signature := rapid.SampledFrom([]string{"s", "s", "s", "other"}).Draw(t, "signature")
			ttl := time.Duration(rapid.IntRange(1, 9).Draw(t, "ttl")) * time.Second
			keep := rapid.Bool().Draw(t, "keep")
			text := fmt.Sprint(i)
			answer, err := nonces.Once(t.Context(), nonce, signature, ttl, func() (coordination.Answer, bool) {
				return coordination.Answer{Body: []byte(text)}, keep
			})
			had, known := list[nonce]
			switch {
			case known && had.signature != signature:
				require.ErrorIs(t, err, coordination.ErrNonceReused)
			case known:
				require.NoError(t, err)
				require.Equal(t, had.text, string(answer.Body))
			case len(list) == limit:
				require.ErrorIs(t, err, coordination.ErrNonceMemoryFull)
			default:
				require.NoError(t, err)
				require.Equal(t, text, string(answer.Body))
				if keep {
					list[nonce] = kept{signature, text, clock.now().Add(ttl)}
				}
			}
		}
	})
}

func TestNoncesTakeDefaults(t *testing.T) {
	t.Parallel()
	nonces := local.NewNonces(0, nil)
	for i := range 1000 {
		_, err := nonces.Once(t.Context(), fmt.Sprint(i), "sign", time.Minute, func() (coordination.Answer, bool) {
			return coordination.Answer{}, true
		})
		require.NoError(t, err)
	}
}
