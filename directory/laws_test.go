package directory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/secrets"
	usersync "github.com/openkoo/connector/userSync"
)

// world is a scope in memory with the real planners before it.
type world struct {
	*directorytest.Memory
	orgs     *orgsync.Planner
	auths    *authsync.Planner
	accepted []*directory.Push
	// patient leaves held deletions to the test; otherwise they are approved
	// as soon as they are held, which is what a full push means.
	patient bool
}

func newWorld(guard directory.Guard, keys authsync.Secrets) *world {
	return &world{Memory: directorytest.NewMemory(), orgs: orgsync.New(guard), auths: authsync.New(usersync.Planner{}, keys)}
}

// unguarded holds only what would delete everything.
var unguarded = directory.Guard{MaxDeletes: 1 << 30, MaxPercent: 100}

// receive plans and applies a push.
func (w *world) receive(push *directory.Push) (*directory.Plan, error) {
	plan, err := w.plan(push)
	if err != nil {
		return nil, err
	}
	w.Apply(plan)
	w.accepted = append(w.accepted, push)
	if plan.Hold != nil && !w.patient {
		approved, err := directory.ApproveHold(context.Background(), *plan.Hold, w)
		if err != nil {
			return nil, err
		}
		approved.HoldSet = true
		w.Apply(approved)
	}
	return plan, nil
}

// plan plans a push as it would be decoded once more: preparing a list sorts it
// in place, and tests that run side by side share their pushes.
func (w *world) plan(push *directory.Push) (*directory.Plan, error) {
	ctx := context.Background()
	if list, ok := push.Payload.(*directory.FullPush); ok {
		decoded := *push
		decoded.Payload = &directory.FullPush{Departments: slices.Clone(list.Departments)}
		push = &decoded
	}
	switch push.Kind() {
	case directory.ApplicationSync, directory.AuthSync:
		if err := w.auths.Prepare(ctx, push); err != nil {
			return nil, err
		}
		return w.auths.Plan(ctx, w, push)
	default:
		if err := w.orgs.Prepare(ctx, push); err != nil {
			return nil, err
		}
		return w.orgs.Plan(ctx, w, push)
	}
}

// requireTruth compares the world with what was accepted.
func (w *world) requireTruth(t require.TestingT, pushes []*directory.Push) {
	truth := directorytest.Truth(pushes)
	snapshot := w.Snapshot()
	require.Equal(t, truth, snapshot.Meaning(truth))
	snapshot.Check(t)
}

// keyring is a real one, with two client secrets sent twice each.
func keyring(t *testing.T) (secrets.Keyring, directorytest.Enterprise) {
	t.Helper()
	private, err := secrets.NewPrivateKey()
	require.NoError(t, err)
	decrypter, err := secrets.ParsePrivateKey(private)
	require.NoError(t, err)
	box, err := secrets.NewBox(make([]byte, secrets.KeySize))
	require.NoError(t, err)
	_, public, err := decrypter.PublicKey()
	require.NoError(t, err)
	enterprise := directorytest.Small
	for i := range 4 {
		sent, err := secrets.EncryptFor(public, fmt.Appendf(nil, "secret %d", i%2))
		require.NoError(t, err)
		enterprise.Secrets = append(enterprise.Secrets, sent)
	}
	return secrets.Keyring{Box: box, Decrypter: decrypter}, enterprise
}

// Whatever arrives in whatever order, the state is what the accepted pushes
// mean, and a push is refused only if it would close a cycle.
func TestTheStateIsWhatTheAcceptedPushesMean(t *testing.T) {
	t.Parallel()
	keys, enterprise := keyring(t)
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(unguarded, keys)
		enterprise := rapid.SampledFrom([]directorytest.Enterprise{enterprise, directorytest.Knotted}).Draw(r, "enterprise")
		for _, push := range enterprise.Pushes(r, rapid.IntRange(10, 50).Draw(r, "pushes")) {
			refused := wouldClose(w.accepted, push)
			_, err := w.receive(push)
			if refused {
				var invalid *directory.InvalidError
				require.ErrorAs(r, err, &invalid, "%+v", push.Payload)
			} else {
				require.NoError(r, err)
			}
			w.requireTruth(r, w.accepted)
		}
	})
}

// wouldClose says whether a push newly puts a department where following the
// parents leads back to it.
func wouldClose(accepted []*directory.Push, push *directory.Push) bool {
	payload, ok := push.Payload.(*directory.DepartmentPush)
	if !ok || push.Flag == directory.FlagDelete {
		return false
	}
	if payload.ParentCode == payload.Code {
		return true
	}
	before := directorytest.Truth(accepted).Departments[payload.Code]
	meaning := directorytest.Truth(append(slices.Clone(accepted), push))
	stale := meaning.Departments[payload.Code].Since != push.SourceTime
	stays := before.Lives && before.Parent == payload.ParentCode
	return !stale && !stays && meaning.Ring(payload.Code) != nil
}

// The state does not depend on the order of arrival, nor on repeats: pushes
// that are accepted in any order end where they end in the order of time.
func TestAnyInterleavingEndsInTheSameState(t *testing.T) {
	t.Parallel()
	keys, enterprise := keyring(t)
	compared := 0
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(unguarded, keys)
		enterprise := rapid.SampledFrom([]directorytest.Enterprise{enterprise, directorytest.Knotted}).Draw(r, "enterprise")
		for _, push := range enterprise.Pushes(r, rapid.IntRange(10, 30).Draw(r, "pushes")) {
			if _, err := w.receive(push); err != nil {
				requireInvalid(r, err)
			}
		}
		again := slices.Concat(w.accepted, rapid.SliceOfN(rapid.SampledFrom(append(w.accepted, nil)), 0, 20).Draw(r, "repeats"))
		again = rapid.Permutation(slices.DeleteFunc(again, func(p *directory.Push) bool { return p == nil })).Draw(r, "arrival")
		other := newWorld(unguarded, keys)
		for _, push := range again {
			if _, err := other.receive(push); err != nil {
				// A cycle that was none in the first order: it is refused,
				// the sender is told so, and nothing is promised of it.
				requireInvalid(r, err)
				return
			}
			snapshot := other.Snapshot()
			snapshot.Check(r)
		}
		other.requireTruth(r, w.accepted)
		compared++
	})
	require.Greater(t, compared, 20, "most orders were refused")
	t.Log("compared", compared)
}

func requireInvalid(t require.TestingT, err error) {
	var invalid *directory.InvalidError
	require.ErrorAs(t, err, &invalid)
}

// Pushes of the past, the accepted as the refused, can be repeated at any time
// and change nothing, as long as they were accepted in the order of time.
func TestAPushTwiceEqualsOnce(t *testing.T) {
	t.Parallel()
	keys, enterprise := keyring(t)
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(unguarded, keys)
		pushes := enterprise.Pushes(r, rapid.IntRange(10, 40).Draw(r, "pushes"))
		for _, push := range pushes {
			if _, err := w.receive(push); err != nil {
				requireInvalid(r, err)
				_, again := w.receive(push)
				require.Equal(r, err, again, "refused again, in the same words")
				continue
			}
			before := w.Snapshot()
			plan, err := w.receive(push)
			require.NoError(r, err)
			require.True(r, plan.Empty(), "%+v", plan)
			require.Empty(r, plan.Touched)
			require.Contains(r, []directory.Result{directory.ResultUnchanged, directory.ResultStale}, plan.Result)
			require.Equal(r, before, w.Snapshot())
		}
	})
}

// The order of a full push's list never shows, not even in its decisions.
func TestTheOrderOfAListDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(directory.Guard{MaxDeletes: 1, MaxPercent: 20}, nil)
		for _, push := range directorytest.Small.Pushes(r, rapid.IntRange(0, 20).Draw(r, "pushes")) {
			if _, err := w.receive(push); err != nil {
				requireInvalid(r, err)
			}
		}
		full := directorytest.Small.PushOf(r, directory.AllOrgSync, directory.SourceTime(rapid.IntRange(990, 1030).Draw(r, "at")))
		list := slices.Clone(full.Payload.(*directory.FullPush).Departments)
		one, err := w.plan(full)
		require.NoError(r, err)
		full.Payload = &directory.FullPush{Departments: rapid.Permutation(list).Draw(r, "list")}
		two, err := w.plan(full)
		require.NoError(r, err)
		require.Equal(r, one, two)
	})
}

// A full push changes nothing that a later push has set.
func TestAFullPushLeavesWhatIsNewer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(unguarded, nil)
		for _, push := range directorytest.Small.Pushes(r, rapid.IntRange(10, 30).Draw(r, "pushes")) {
			before := w.Snapshot()
			_, err := w.receive(push)
			if err != nil {
				requireInvalid(r, err)
				continue
			}
			if push.Kind() != directory.AllOrgSync {
				continue
			}
			after := w.Snapshot()
			for code, was := range before.Departments {
				if was.SourceTime <= push.SourceTime {
					continue
				}
				is := after.Departments[code]
				was.ParentMissing, was.Version = is.ParentMissing, is.Version
				require.Equal(r, was, is)
			}
		}
	})
}

// A held push deletes nothing; the approval deletes what was held and nothing
// newer, and leaves the state that the push asked for.
func TestAHeldPushDeletesNothingUntilApproved(t *testing.T) {
	t.Parallel()
	held := 0
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(directory.Guard{MaxDeletes: 1, MaxPercent: 20}, nil)
		w.patient = true
		for _, push := range directorytest.Small.Pushes(r, rapid.IntRange(10, 30).Draw(r, "pushes")) {
			before := w.Snapshot()
			plan, err := w.receive(push)
			if err != nil {
				requireInvalid(r, err)
				continue
			}
			after := w.Snapshot()
			after.Check(r)
			if plan.Result == directory.ResultHeld {
				held++
				require.Zero(r, plan.Counts[directory.ActionDelete])
				require.Equal(r, living(before), living(before, after), "nothing is deleted")
			}
		}
		before := w.Snapshot()
		if before.State.Hold == nil {
			return
		}
		hold := *before.State.Hold
		plan, err := directory.ApproveHold(context.Background(), hold, w)
		require.NoError(r, err)
		w.Apply(plan)
		after := w.Snapshot()
		after.Check(r)
		var want []string
		for _, code := range living(before) {
			if !slices.Contains(hold.Codes, code) || before.Departments[code].SourceTime > hold.SourceTime {
				want = append(want, code)
			}
		}
		require.Equal(r, want, living(after))
		total := 0
		for _, n := range plan.Counts {
			total += n
		}
		require.Len(r, plan.Decisions, total)
	})
	require.Positive(t, held, "the guard was never reached")
}

// living lists the codes that live in all of the snapshots.
func living(snapshots ...directorytest.Snapshot) []string {
	var codes []string
	for code := range snapshots[0].Departments {
		if !slices.ContainsFunc(snapshots, func(s directorytest.Snapshot) bool {
			d, known := s.Departments[code]
			return !known || d.Deleted
		}) {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	return codes
}

// Rejecting leaves everything, and the same list asks again.
func TestARejectedHoldLeavesTheDepartments(t *testing.T) {
	t.Parallel()
	w := newWorld(directory.DefaultGuard, nil)
	w.patient = true
	_, err := w.receive(full(1, "a", "b"))
	require.NoError(t, err)
	empty := full(2)
	plan, err := w.receive(empty)
	require.NoError(t, err)
	require.Equal(t, directory.ResultHeld, plan.Result)
	rejected := directory.RejectHold()
	require.Equal(t, directory.ResultRejected, rejected.Result)
	require.True(t, rejected.Empty())
	rejected.HoldSet = true
	w.Apply(rejected)
	snapshot := w.Snapshot()
	require.Equal(t, []string{"a", "b"}, living(snapshot))
	require.Nil(t, snapshot.State.Hold)
	plan, err = w.receive(empty)
	require.NoError(t, err)
	require.Equal(t, directory.ResultHeld, plan.Result)
}

// A view that fails the plan, with the view's own error.
func TestAFailingViewFailsThePlan(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for name, push := range map[string]*directory.Push{
		"put":    department(9, "a", "c"),
		"delete": remove(9, "c"),
		"full":   full(9, "x"),
	} {
		for calls := 0; ; calls++ {
			w := newWorld(unguarded, nil)
			for _, before := range []*directory.Push{department(1, "c", ""), department(2, "b", "c"), department(3, "a", "c")} {
				_, err := w.receive(before)
				require.NoError(t, err)
			}
			failing := &failingView{Memory: w.Memory, after: calls, err: broken}
			_, err := w.orgs.Plan(t.Context(), failing, push)
			if failing.after >= 0 {
				require.NoError(t, err)
				require.GreaterOrEqual(t, calls, 2, name)
				break
			}
			require.ErrorIs(t, err, broken, "%s, call %d", name, calls)
		}
	}
}
