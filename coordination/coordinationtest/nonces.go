package coordinationtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination"
)

// NonceMemory is one memory of nonces, empty at first.
type NonceMemory struct {
	// Replicas share the memory, as connectors that run side by side do. One
	// is enough for a memory within a process.
	Replicas []coordination.Nonces
	// TTL is how long the suite has answers remembered: short where the clock
	// is a real one.
	TTL time.Duration
	// Advance moves the memory's clock; a real one is waited for.
	Advance func(time.Duration)
	// Limit is how many answers it takes, 0 if it sets no limit of its own.
	Limit int
}

// RunNonces holds an implementation of coordination.Nonces to its laws. open
// makes a new memory for each.
func RunNonces(t *testing.T, open func(t *testing.T) NonceMemory) {
	laws := map[string]func(t *testing.T, m *nonceLaw){
		"the first answer is remembered":                    firstAnswerIsRemembered,
		"another signature is refused":                      otherSignatureIsRefused,
		"nonces are apart":                                  noncesAreApart,
		"concurrent repeats serve once":                     concurrentRepeatsServeOnce,
		"an answer comes back byte for byte":                bytesComeBackAsTheyWere,
		"a failure is not remembered":                       failureIsNotRemembered,
		"who waited for a failure is the first again":       waiterTakesOverFailure,
		"an answer is forgotten after its time":             answerExpires,
		"each answer lives for its own time":                eachAnswerHasItsTime,
		"a full memory refuses, and forgets nothing for it": fullMemoryRefuses,
		"waiting ends with the context":                     waitingEndsWithContext,
		"a panic goes on, and leaves nobody waiting":        panicLeavesNobodyWaiting,
	}
	for name, law := range laws {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory := open(t)
			require.NotEmpty(t, memory.Replicas)
			require.Positive(t, memory.TTL)
			law(t, &nonceLaw{NonceMemory: memory})
		})
	}
}

// nonceLaw is a memory with a count of what was served.
type nonceLaw struct {
	NonceMemory
	calls, served atomic.Int32
}

func answerOf(text string) coordination.Answer {
	return coordination.Answer{Code: "000000", Body: []byte(text)}
}

// once calls the replicas in turn.
func (m *nonceLaw) once(ctx context.Context, nonce, signature string, ttl time.Duration, serve func() (coordination.Answer, bool)) (coordination.Answer, error) {
	replica := m.Replicas[int(m.calls.Add(1))%len(m.Replicas)]
	return replica.Once(ctx, nonce, signature, ttl, func() (coordination.Answer, bool) {
		m.served.Add(1)
		return serve()
	})
}

// get is once for an answer that is kept.
func (m *nonceLaw) get(t *testing.T, nonce, signature, text string) (coordination.Answer, error) {
	t.Helper()
	return m.once(t.Context(), nonce, signature, m.TTL, func() (coordination.Answer, bool) { return answerOf(text), true })
}

// want wants an answer, and how many were served so far.
func (m *nonceLaw) want(t *testing.T, nonce, signature, text, answer string, served int) {
	t.Helper()
	got, err := m.get(t, nonce, signature, text)
	require.NoError(t, err)
	require.Equal(t, answerOf(answer), got)
	require.EqualValues(t, served, m.served.Load(), "served")
}

// underWay serves a nonce until release is called with what to return.
func (m *nonceLaw) underWay(t *testing.T, nonce, signature string) (release func(keep bool), done <-chan error) {
	t.Helper()
	began, finish, ended := make(chan struct{}), make(chan bool, 1), make(chan error, 1)
	go func() {
		_, err := m.once(context.WithoutCancel(t.Context()), nonce, signature, m.TTL, func() (coordination.Answer, bool) {
			close(began)
			return answerOf("first"), <-finish
		})
		ended <- err
	}()
	<-began
	var once sync.Once
	release = func(keep bool) { once.Do(func() { finish <- keep }) }
	t.Cleanup(func() { release(false) })
	return release, ended
}

func firstAnswerIsRemembered(t *testing.T, m *nonceLaw) {
	m.want(t, "n", "sign", "first", "first", 1)
	m.want(t, "n", "sign", "second", "first", 1)
	m.want(t, "n", "sign", "third", "first", 1)
}

func otherSignatureIsRefused(t *testing.T, m *nonceLaw) {
	release, done := m.underWay(t, "n", "sign")
	_, err := m.get(t, "n", "other", "second")
	require.ErrorIs(t, err, coordination.ErrNonceReused, "while the first is under way")
	release(true)
	require.NoError(t, <-done)
	_, err = m.get(t, "n", "other", "second")
	require.ErrorIs(t, err, coordination.ErrNonceReused, "after it")
	m.want(t, "n", "sign", "third", "first", 1)
}

func noncesAreApart(t *testing.T, m *nonceLaw) {
	m.want(t, "a", "sign", "of a", "of a", 1)
	m.want(t, "A", "sign", "of A", "of A", 2)
	m.want(t, "a/b", "sign", "of a/b", "of a/b", 3)
	m.want(t, "a", "sign", "", "of a", 3)
	m.want(t, "A", "sign", "", "of A", 3)
}

func concurrentRepeatsServeOnce(t *testing.T, m *nonceLaw) {
	const repeats = 32
	release, done := m.underWay(t, "n", "sign")
	answers, errs := make(chan coordination.Answer, repeats), make(chan error, repeats)
	for range repeats {
		go func() {
			answer, err := m.get(t, "n", "sign", "repeat")
			answers <- answer
			errs <- err
		}()
	}
	release(true)
	require.NoError(t, <-done)
	for range repeats {
		require.Equal(t, answerOf("first"), <-answers)
		require.NoError(t, <-errs)
	}
	require.EqualValues(t, 1, m.served.Load())
}

func bytesComeBackAsTheyWere(t *testing.T, m *nonceLaw) {
	for nonce, body := range map[string]string{
		"empty": "", "chinese": `{"resultCode": "000000", "resultMsg": "成功"}`, "binary": "\x00\xff\r\n", "{braces} and a space": "x",
	} {
		want := coordination.Answer{Code: "000002", Body: []byte(body)}
		for range 2 {
			got, err := m.once(t.Context(), nonce, "sign", m.TTL, func() (coordination.Answer, bool) { return want, true })
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	require.EqualValues(t, 4, m.served.Load())
}

func failureIsNotRemembered(t *testing.T, m *nonceLaw) {
	answer, err := m.once(t.Context(), "n", "sign", m.TTL, func() (coordination.Answer, bool) { return answerOf("failed"), false })
	require.NoError(t, err)
	require.Equal(t, answerOf("failed"), answer, "its own caller hears of it")
	m.want(t, "n", "other", "second", "second", 2)
	_, err = m.get(t, "n", "sign", "third")
	require.ErrorIs(t, err, coordination.ErrNonceReused, "the second was the first to be kept")
}

func waiterTakesOverFailure(t *testing.T, m *nonceLaw) {
	release, done := m.underWay(t, "n", "sign")
	const waiters = 8
	answers, errs := make(chan coordination.Answer, waiters), make(chan error, waiters)
	for range waiters {
		go func() {
			answer, err := m.get(t, "n", "sign", "again")
			answers <- answer
			errs <- err
		}()
	}
	release(false)
	require.NoError(t, <-done)
	for range waiters {
		require.Equal(t, answerOf("again"), <-answers)
		require.NoError(t, <-errs)
	}
	require.EqualValues(t, 2, m.served.Load(), "the failure, and one of those who waited")
}

func answerExpires(t *testing.T, m *nonceLaw) {
	m.want(t, "n", "sign", "first", "first", 1)
	m.Advance(m.TTL / 2)
	m.want(t, "n", "sign", "second", "first", 1)
	m.Advance(m.TTL)
	m.want(t, "n", "other", "third", "third", 2)
	m.want(t, "n", "other", "fourth", "third", 2)
}

func eachAnswerHasItsTime(t *testing.T, m *nonceLaw) {
	keepFor := func(nonce string, ttl time.Duration) {
		_, err := m.once(t.Context(), nonce, "sign", ttl, func() (coordination.Answer, bool) { return answerOf("first"), true })
		require.NoError(t, err)
	}
	keepFor("long", 4*m.TTL)
	keepFor("short", m.TTL)
	m.Advance(2 * m.TTL)
	m.want(t, "short", "sign", "second", "second", 3)
	m.want(t, "long", "sign", "second", "first", 3)
}

func fullMemoryRefuses(t *testing.T, m *nonceLaw) {
	if m.Limit == 0 {
		t.Skip("the memory sets no limit of its own")
	}
	for i := range m.Limit - 1 {
		m.want(t, fmt.Sprint(i), "sign", "kept", "kept", i+1)
	}
	release, done := m.underWay(t, "under way", "sign")
	_, err := m.get(t, "one more", "sign", "no room")
	require.ErrorIs(t, err, coordination.ErrNonceMemoryFull, "one under way takes its place too")
	m.want(t, "0", "sign", "again", "kept", m.Limit)
	release(false)
	require.NoError(t, <-done)
	m.want(t, "one more", "sign", "room", "room", m.Limit+1)
	m.Advance(2 * m.TTL)
	m.want(t, "another", "sign", "room", "room", m.Limit+2)
}

func waitingEndsWithContext(t *testing.T, m *nonceLaw) {
	release, done := m.underWay(t, "n", "sign")
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	go func() {
		_, err := m.once(ctx, "n", "sign", m.TTL, func() (coordination.Answer, bool) { return answerOf("second"), true })
		waited <- err
	}()
	cancel()
	require.ErrorIs(t, <-waited, context.Canceled)
	release(true)
	require.NoError(t, <-done, "the first does not care")
	m.want(t, "n", "sign", "third", "first", 1)
}

func panicLeavesNobodyWaiting(t *testing.T, m *nonceLaw) {
	began, blow, blown := make(chan struct{}), make(chan struct{}), make(chan any, 1)
	go func() {
		defer func() { blown <- recover() }()
		_, _ = m.once(t.Context(), "n", "sign", m.TTL, func() (coordination.Answer, bool) {
			close(began)
			<-blow
			panic("serve blew up")
		})
	}()
	<-began
	waited := make(chan error, 1)
	go func() {
		answer, err := m.get(t, "n", "sign", "second")
		if err == nil && string(answer.Body) != "second" {
			err = fmt.Errorf("answered %s", answer.Body)
		}
		waited <- err
	}()
	close(blow)
	require.Equal(t, "serve blew up", <-blown)
	require.NoError(t, <-waited)
	m.want(t, "n", "sign", "third", "second", 2)
}
