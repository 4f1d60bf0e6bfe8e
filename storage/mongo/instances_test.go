package mongo_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/mongo"
)

func bought(id string, due time.Time) directory.Instance {
	return directory.Instance{Dataset: directory.Prod, ID: id, Version: 1, DueAt: due}
}

// everything lists the ids of the instances that can be seen.
func everything(t require.TestingT, store storage.Instances, b *bundle) (ids []string) {
	found, _, err := store.Instances(b.Context(), storage.InstanceFilter{}, storage.Page{})
	require.NoError(t, err)
	for i := range found {
		ids = append(ids, found[i].ID)
	}
	return ids
}

// Calls come to all replicas at once, each with a businessId of its own. All
// share one order, and each has another one beside it.
func TestCreationsAtOnceOnAllReplicasMakeOneInstance(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	replicas := []*replica{b.replica("one", long), b.replica("two", long), b.replica("three", long)}
	const calls = 24
	type outcome struct {
		id      string
		created bool
	}
	outcomes := make(chan outcome, calls)
	var wg sync.WaitGroup
	for n := range calls {
		orders := [][]string{{"line", "product"}, {"product", "line"}, {"zone", "line"}}[n%3]
		wg.Go(func() {
			stored, created, err := replicas[n%len(replicas)].CreateInstance(b.Context(), bought(fmt.Sprint("i-", n), b.clock.now()), orders)
			if err == nil {
				outcomes <- outcome{stored.ID, created}
			}
		})
	}
	wg.Wait()
	close(outcomes)
	answered, created := make(map[string]int), 0
	for o := range outcomes {
		answered[o.id]++
		if o.created {
			created++
		}
	}
	require.Len(t, answered, 1, "all hear of the same")
	require.Equal(t, 1, created)
	ids := everything(t, replicas[0], b)
	require.Len(t, ids, 1)
	require.Equal(t, calls, answered[ids[0]])
	due, _, err := replicas[1].DueInstances(b.Context(), b.clock.now(), 10)
	require.NoError(t, err)
	require.Len(t, due, 1, "what came to nothing is told to nobody")
}

// Changes on all replicas at once each see the one before.
func TestChangesAtOnceOnAllReplicasLoseNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	replicas := []*replica{b.replica("one", long), b.replica("two", long), b.replica("three", long)}
	_, _, err := replicas[0].CreateInstance(b.Context(), bought("i-1", time.Time{}), []string{"o"})
	require.NoError(t, err)
	const changes, orders = 24, 4
	errs := make(chan error, changes)
	var wg sync.WaitGroup
	for n := range changes {
		wg.Go(func() {
			_, err := replicas[n%len(replicas)].ChangeInstance(b.Context(), directory.Prod, "i-1", fmt.Sprint("order ", n%orders), func(i *directory.Instance, repeat bool) (bool, error) {
				i.Attempts++
				return !repeat, nil
			})
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	got, err := replicas[2].Instance(b.Context(), directory.Prod, "i-1")
	require.NoError(t, err)
	require.Equal(t, orders, got.Attempts, "each order once")
	require.EqualValues(t, 1+orders, got.Version)
}

// Whatever fails on the way and on whichever replica the call is repeated: an
// order makes one instance, and is applied once.
func TestOrdersAreAppliedOnceWhateverFails(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	replicas := []*replica{b.replica("one", long), b.replica("two", long)}
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		f := &faulty{T: r, b: b, replicas: replicas}
		name := func(format string, args ...any) string {
			return fmt.Sprintf("%d/%s", runs, fmt.Sprintf(format, args...))
		}
		businesses := 0
		create := func(orders ...string) (stored directory.Instance) {
			for i := range orders {
				orders[i] = name("%s", orders[i])
			}
			require.NoError(r, f.attempt(func(store *mongo.Store) (err error) {
				businesses++ // differs in every call (spec/marketplace.md §4)
				stored, _, err = store.CreateInstance(b.Context(), bought(name("i-%d", businesses), time.Time{}), orders)
				return err
			}))
			return stored
		}
		first := create("line", "product")
		require.Equal(r, first.ID, create("product").ID)
		require.Equal(r, first.ID, create("other line", "product").ID)
		require.Equal(r, first.ID, create("other line").ID)
		another := create("another's line")
		require.NotEqual(r, first.ID, another.ID)

		for n := range rapid.IntRange(1, 3).Draw(r, "orders") {
			require.NoError(r, f.attempt(func(store *mongo.Store) error {
				_, err := store.ChangeInstance(b.Context(), directory.Prod, first.ID, name("upgrade %d", n), func(i *directory.Instance, repeat bool) (bool, error) {
					i.Attempts++
					return !repeat, nil
				})
				return err
			}))
			got, err := f.at.Instance(b.Context(), directory.Prod, first.ID)
			require.NoError(r, err)
			require.Equal(r, n+1, got.Attempts)
			_, err = f.at.ChangeInstance(b.Context(), directory.Prod, another.ID, name("upgrade %d", n), func(*directory.Instance, bool) (bool, error) {
				return true, nil
			})
			require.ErrorIs(r, err, storage.ErrConflict)
		}
		// Nothing else of this run can be seen, now or after what was left is finished.
		for _, err := range f.at.Dump(b.Context()) {
			require.NoError(r, err)
		}
		var mine []string
		for _, id := range everything(r, f.at, b) {
			if strings.HasPrefix(id, name("")) {
				mine = append(mine, id)
			}
		}
		want := []string{first.ID, another.ID}
		slices.Sort(want)
		require.Equal(r, want, mine)
	})
}

// A creation that nobody came back to is swept, and its order is free.
func TestAnAbandonedCreationIsSwept(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	one := b.replica("one", long)
	made := func(c command) bool { return c.name == "update" && c.on("instances") }
	one.proxy.once(1, fault{loseRequest: true}, made)
	_, _, err := one.CreateInstance(b.Context(), bought("abandoned", time.Time{}), []string{"line"})
	require.Error(t, err)
	one.proxy.set(nil)
	_, err = one.Instance(b.Context(), directory.Prod, "abandoned")
	require.ErrorIs(t, err, storage.ErrNotFound)
	require.Empty(t, everything(t, one, b))

	b.clock.advance(24 * time.Hour)
	_, err = one.Sweep(b.Context(), storage.SweepTimes{})
	require.NoError(t, err)
	stored, created, err := one.CreateInstance(b.Context(), bought("next", time.Time{}), []string{"line"})
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, "next", stored.ID)
}
