package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/mongo"
	usersync "github.com/openkoo/connector/userSync"
)

// faulty takes pushes in on two replicas, each attempt with a fault somewhere,
// until they are accepted or refused.
type faulty struct {
	*rapid.T
	b        *bundle
	replicas []*replica
	at       *replica
}

// attempt runs do on a replica until it succeeds or refuses. After a failure the
// next attempt is made where the draw says, and without a fault.
func (f *faulty) attempt(do func(*mongo.Store) error) error {
	kinds := []fault{{}, {loseRequest: true}, {loseAnswer: true}, {code: 14031, message: "no space left"}}
	f.move()
	f.at.proxy.once(rapid.IntRange(1, 8).Draw(f.T, "command"), rapid.SampledFrom(kinds).Draw(f.T, "fault"), anyOfOurs)
	for try := 1; ; try++ {
		err := do(f.at.Store)
		f.at.proxy.set(nil)
		if err == nil || errors.As(err, new(*directory.InvalidError)) || errors.Is(err, storage.ErrConflict) {
			return err
		}
		require.Less(f, try, 4, "no fault any more, and yet: %v", err)
		if rapid.Bool().Draw(f.T, "elsewhere") {
			f.move()
		}
	}
}

// move goes on at any replica. Meanwhile a turn that another could not close
// runs out: who came sooner would wait for it, on a clock that stands still.
func (f *faulty) move() {
	f.b.clock.advance(turnTime)
	f.at = rapid.SampledFrom(f.replicas).Draw(f.T, "replica")
}

// take takes a push in as the intake does. Each attempt is a push of its own, as
// the marketplace repeats it.
func (f *faulty) take(push *directory.Push, plan storage.PlanFunc) (hold string, err error) {
	err = f.attempt(func(store *mongo.Store) error {
		record := storage.RecordOf(push)
		record.ID = mongo.NewID()
		withID := func(ctx context.Context, view storage.View) (*directory.Plan, error) {
			planned, err := plan(ctx, view)
			if err == nil && planned.Hold != nil {
				planned.Hold.PushID = record.ID
			}
			return planned, err
		}
		var planned *directory.Plan
		var err error
		if push.Kind() == directory.AllOrgSync {
			if err = store.Accept(context.Background(), record, []byte("body")); err == nil {
				planned, err = store.ApplyAccepted(context.Background(), record.ID, withID)
			}
		} else {
			planned, err = store.ApplyAtOnce(context.Background(), record, []byte("body"), withID)
		}
		if err == nil && planned.Hold != nil {
			hold = record.ID
		}
		return err
	})
	return hold, err
}

// approve carries out what the scope holds, if it still does: an attempt that
// failed may have done so.
func (f *faulty) approve(pushID string) {
	err := f.attempt(func(store *mongo.Store) error {
		_, err := store.Decide(context.Background(), pushID, "by ann", func(ctx context.Context, view storage.View, hold directory.Hold) (*directory.Plan, error) {
			return directory.ApproveHold(ctx, hold, view)
		})
		return err
	})
	if err != nil {
		require.ErrorIs(f, err, storage.ErrConflict)
	}
}

// Whatever fails on the way, on whichever replica: once each push was taken in,
// the store holds what the pushes mean, its counters are right, and the feed has
// every entity at its last version.
func TestPushesMeanTheSameWhateverFails(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	replicas := []*replica{b.replica("one", long), b.replica("two", long)}
	auths := authsync.New(usersync.Planner{}, nil)
	scopes := 0
	rapid.Check(t, func(r *rapid.T) {
		scopes++
		scope := tenant("law%d", scopes)
		f := &faulty{T: r, b: b, replicas: replicas}
		enterprise := rapid.SampledFrom([]directorytest.Enterprise{directorytest.Small, directorytest.Knotted}).Draw(r, "enterprise")
		var accepted []*directory.Push
		for _, push := range enterprise.Pushes(r, rapid.IntRange(2, 6).Draw(r, "pushes")) {
			push.Scope = scope
			hold, err := f.take(push, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
				if push.Kind() == directory.AuthSync {
					return auths.Plan(ctx, view, push)
				}
				return planner.Plan(ctx, view, push)
			})
			if err != nil {
				continue
			}
			accepted = append(accepted, push)
			if hold != "" {
				f.approve(hold)
			}
		}
		b.clock.advance(turnTime)
		truth := directorytest.Truth(accepted)
		var seen directorytest.Snapshot
		_, err := replicas[0].ApplyAtOnce(b.Context(), recordFor(scope, directory.SingleOrgSync, 1), nil, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
			seen = enterprise.Read(ctx, r, view)
			return nil, errLooked
		})
		require.ErrorIs(r, err, errLooked)
		require.Equal(r, truth, seen.Meaning(truth))
		seen.Check(r)
		for _, change := range feedOf(r, replicas[1].Store) {
			if change.Scope == scope && change.Department != nil {
				require.Equal(r, seen.Departments[change.Key].Version, change.Department.Version, fmt.Sprint(change))
			}
		}
	})
}

var errLooked = errors.New("looked only")
