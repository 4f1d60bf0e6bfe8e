package e2e

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

// answersWithin bounds every answer while the store is away: the store's 5 s
// (issue 3) and what a busy machine adds.
const answersWithin = 8 * time.Second

// Whether the store swallows everything or cannot be reached at all: each push
// is answered 000005 in time, whatever its kind and however many wait;
// readiness says so, liveness does not. When it is back, the same pushes are
// taken and everything converges, and no goroutine has stayed behind.
func TestAStoreThatIsAwayIsToldInTime(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	uri, name := database(t)
	store, near := newCable(t, uri)
	c := newClusterOn(t, near, name, "", "r1")
	r := c.replicas[0]
	buyers := []*buyer{c.buyer(0), c.buyer(1)}
	require.NoError(t, all(ctx, buyers, func(ctx context.Context, b *buyer) error { return b.bind(ctx) }))
	c.agree(r, buyers)
	before := r.goroutines()

	for _, fault := range []struct {
		name string
		set  func()
	}{{"blocked", store.block}, {"severed", store.sever}} {
		fault.set()
		var calls []call
		group, ctx := errgroup.WithContext(ctx)
		for _, b := range buyers {
			for _, edit := range []editor{b.editDepartments, b.editUsers, sendAll, rename} {
				one, err := b.change(edit)
				require.NoError(t, err)
				calls = append(calls, one)
				group.Go(func() error { return b.refusedInTime(ctx, one) })
			}
		}
		require.NoError(t, group.Wait(), fault.name)
		code, _ := r.readiness()
		require.Equal(t, http.StatusServiceUnavailable, code, fault.name)
		require.Equal(t, http.StatusOK, r.status("/healthz"), fault.name)

		store.heal()
		r.says("ready")
		for i, one := range calls {
			require.NoError(t, buyers[i*len(buyers)/len(calls)].send(c.t.Context(), one), fault.name)
		}
		c.agree(r, buyers)
		// Its own outcomes are what it could not write down.
		c.sentOnce("r1")
	}
	require.Eventually(t, func() bool { return r.goroutines() <= before+goroutineSlack }, 2*time.Minute, 200*time.Millisecond, "from %d goroutines to more and more", before)
}

// goroutineSlack is what the connections to the store and to the test come and
// go with.
const goroutineSlack = 20

// The connections to the store break again and again while pushes go on: each
// push is answered 000000 in the end, and what a repeat finds half done it
// completes.
func TestAStoreThatComesAndGoesLosesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	uri, name := database(t)
	store, near := newCable(t, uri)
	c := newClusterOn(t, near, name, "", "r1")
	buyers := []*buyer{c.buyer(0), c.buyer(1)}
	require.NoError(t, all(ctx, buyers, func(ctx context.Context, b *buyer) error { return b.bind(ctx) }))

	edits := c.editing(ctx, buyers, 1, 6)
	for range 6 {
		edits.more("r1")
		store.sever()
		store.heal()
	}
	require.NoError(t, edits.wait())
	c.agree(c.replicas[0], buyers)
	c.sentOnce("r1")
}

// sendAll is a full push of what is there.
func sendAll(e *enterprise) (directory.Flag, directory.Payload) {
	return directory.FlagModify, e.full()
}

// rename gives the root a name.
func rename(e *enterprise) (directory.Flag, directory.Payload) {
	root := e.departments["d00"]
	root.Name += "改"
	e.departments["d00"] = root
	return directory.FlagModify, &directory.DepartmentPush{DepartmentItem: root}
}

// refusedInTime sends a call that is to be answered 000005, soon.
func (b *buyer) refusedInTime(ctx context.Context, c call) error {
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	sender, err := client.New(b.cluster.turn().base+"/saasproduce", b.key, client.Options{})
	if err != nil {
		return err
	}
	answer, err := sender.Push(ctx, c.kind, c.body)
	if err == nil && answer.Code != "000005" {
		err = &unexpected{c.kind, answer}
	}
	return err
}

// unexpected is an answer that is not the one wanted.
type unexpected struct {
	kind   directory.PushKind
	answer client.Answer
}

func (e *unexpected) Error() string {
	return string(e.kind) + ": answered " + e.answer.Code + " " + e.answer.Message + ", want 000005"
}

// status is the status code of a path.
func (c *connector) status(path string) int {
	c.t.Helper()
	response, err := http.DefaultClient.Do(c.request(path))
	require.NoError(c.t, err)
	require.NoError(c.t, response.Body.Close())
	return response.StatusCode
}

// goroutines is how many the program says it has.
func (c *connector) goroutines() int {
	c.t.Helper()
	response, err := http.DefaultClient.Do(c.request("/metrics"))
	require.NoError(c.t, err)
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			n, err := strconv.Atoi(text)
			require.NoError(c.t, err)
			return n
		}
	}
	require.Fail(c.t, "no go_goroutines in /metrics")
	return 0
}
