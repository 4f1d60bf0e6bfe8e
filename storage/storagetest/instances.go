package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

func newInstance(id string) directory.Instance {
	return directory.Instance{
		Dataset: directory.Prod, ID: id, OrderID: "order of " + id, Details: map[string]string{"skuCode": "<&>中"},
		SealedContact: []byte{0, 1, 0xff}, ExpireTime: epoch.Add(time.Hour), CreatedAt: epoch, Version: 1,
		Pending: []directory.InstanceEvent{{ID: "e1", Type: directory.EventCreated, At: epoch, Members: map[string]string{"a": "b"}}},
	}
}

func (b *bundle) create(i directory.Instance, orders ...string) directory.Instance {
	b.Helper()
	stored, created, err := b.store.CreateInstance(b.ctx, i, orders)
	require.NoError(b, err)
	require.True(b, created)
	return stored
}

var instanceTests = map[string]func(*bundle){
	"what was written is read back, and again after reopening": func(b *bundle) {
		want := newInstance("i-1")
		want.App = &directory.AppInfo{FrontEndURL: "https://a", SealedPassword: []byte{9}}
		want.Licenses = map[string]directory.License{"ev": {EffectiveTime: "now", SealedText: []byte{7}}}
		want.StatusTime, want.DueAt = 5, epoch.Add(time.Minute)
		stored := b.create(want, "o-1")
		want.ChangedAt = epoch
		require.Equal(b, want, stored)
		for range 2 {
			got, err := b.store.Instance(b.ctx, directory.Prod, "i-1")
			require.NoError(b, err)
			require.Equal(b, want, got)
			b.reopen()
		}
	},

	"what is not there is not found": func(b *bundle) {
		_, err := b.store.Instance(b.ctx, directory.Prod, "nobody")
		require.ErrorIs(b, err, storage.ErrNotFound)
		_, err = b.store.ChangeInstance(b.ctx, directory.Prod, "nobody", "o", unexpected(b))
		require.ErrorIs(b, err, storage.ErrNotFound)
		b.create(newInstance("i-1"), "o") // the order is still free
		_, err = b.store.Instance(b.ctx, directory.Test, "i-1")
		require.ErrorIs(b, err, storage.ErrNotFound, "data sets are apart")
	},

	"an order makes one instance": func(b *bundle) {
		b.create(newInstance("i-1"), "line", "product")
		for _, orders := range [][]string{{"line", "product"}, {"line"}, {"other", "product"}, {"product", "line"}} {
			stored, created, err := b.store.CreateInstance(b.ctx, newInstance("i-2"), orders)
			require.NoError(b, err)
			require.False(b, created)
			require.Equal(b, "i-1", stored.ID)
		}
		stored, created, err := b.store.CreateInstance(b.ctx, newInstance("i-3"), []string{"other"})
		require.NoError(b, err)
		require.False(b, created, "an order that came with a bound one is bound with it")
		require.Equal(b, "i-1", stored.ID)
	},

	"an id is one instance's": func(b *bundle) {
		b.create(newInstance("i-1"), "o-1")
		_, _, err := b.store.CreateInstance(b.ctx, newInstance("i-1"), []string{"o-2"})
		require.ErrorIs(b, err, storage.ErrConflict)
		b.create(newInstance("i-2"), "o-2") // the order was not bound by the refused one
		debugging := newInstance("i-1")
		debugging.Dataset = directory.Test
		b.create(debugging, "o-1")
	},

	"a change is kept with its order, which is told as a repeat ever after": func(b *bundle) {
		b.create(newInstance("i-1"), "o-1")
		b.clock.advance(time.Second)
		for round := range 3 {
			stored, err := b.store.ChangeInstance(b.ctx, directory.Prod, "i-1", "upgrade-1", func(i *directory.Instance, repeat bool) (bool, error) {
				require.Equal(b, round > 0, repeat)
				i.Frozen = true
				return !repeat, nil
			})
			require.NoError(b, err)
			require.EqualValues(b, 2, stored.Version)
			b.reopen()
		}
		got, err := b.store.Instance(b.ctx, directory.Prod, "i-1")
		require.NoError(b, err)
		require.True(b, got.Frozen)
		require.Equal(b, epoch.Add(time.Second), got.ChangedAt)
	},

	"an order of another instance is a conflict and changes nothing": func(b *bundle) {
		b.create(newInstance("i-1"), "o-1")
		b.create(newInstance("i-2"), "o-2")
		_, err := b.store.ChangeInstance(b.ctx, directory.Prod, "i-2", "o-1", unexpected(b))
		require.ErrorIs(b, err, storage.ErrConflict)
	},

	"a change that fails or does nothing leaves no trace": func(b *bundle) {
		b.create(newInstance("i-1"), "o-1")
		refused := errors.New("no")
		_, err := b.store.ChangeInstance(b.ctx, directory.Prod, "i-1", "o-2", func(i *directory.Instance, _ bool) (bool, error) {
			i.Frozen = true
			return true, refused
		})
		require.Equal(b, refused, err)
		_, err = b.store.ChangeInstance(b.ctx, directory.Prod, "i-1", "", func(i *directory.Instance, _ bool) (bool, error) {
			i.Released = true
			return false, nil
		})
		require.NoError(b, err)
		got, err := b.store.Instance(b.ctx, directory.Prod, "i-1")
		require.NoError(b, err)
		require.False(b, got.Frozen || got.Released)
		require.EqualValues(b, 1, got.Version)
		b.create(newInstance("i-2"), "o-2") // not bound by the change that failed
	},

	"changes at once each see the one before": func(b *bundle) {
		b.create(newInstance("i-1"), "o-1")
		const changes = 30
		var wg sync.WaitGroup
		errs := make(chan error, changes)
		for range changes {
			wg.Go(func() {
				_, err := b.store.ChangeInstance(b.ctx, directory.Prod, "i-1", "", func(i *directory.Instance, _ bool) (bool, error) {
					i.Attempts++
					return true, nil
				})
				errs <- err
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			require.NoError(b, err)
		}
		got, err := b.store.Instance(b.ctx, directory.Prod, "i-1")
		require.NoError(b, err)
		require.Equal(b, changes, got.Attempts)
	},

	"creations at once of one order make one instance": func(b *bundle) {
		const calls = 50
		var wg sync.WaitGroup
		ids := make(chan string, calls+1)
		for n := range calls {
			wg.Go(func() {
				stored, created, err := b.store.CreateInstance(b.ctx, newInstance(fmt.Sprint("i-", n)), []string{"line", "product"})
				if err == nil && created {
					ids <- "created"
				}
				ids <- fmt.Sprint(stored.ID, err)
			})
		}
		wg.Wait()
		close(ids)
		seen := make(map[string]int)
		for id := range ids {
			seen[id]++
		}
		require.Len(b, seen, 2, "one id, created once")
		require.Equal(b, 1, seen["created"])
	},

	"lists go by data set and id, a page at a time": func(b *bundle) {
		var want []string
		for _, id := range hostile {
			b.create(newInstance(id), "order "+id)
			debugging := newInstance(id)
			debugging.Dataset = directory.Test
			b.create(debugging, "order "+id)
			want = append(want, "prod "+id, "test "+id)
		}
		slices.Sort(want)
		for _, limit := range []int{1, 7, 1000} {
			var got []string
			for page := (storage.Page{Limit: limit}); ; {
				part, cursor, err := b.store.Instances(b.ctx, storage.InstanceFilter{}, page)
				require.NoError(b, err)
				require.LessOrEqual(b, len(part), limit)
				for _, i := range part {
					got = append(got, string(i.Dataset)+" "+i.ID)
				}
				if page.Cursor = cursor; cursor == "" {
					break
				}
			}
			require.Equal(b, want, got)
		}
		part, _, err := b.store.Instances(b.ctx, storage.InstanceFilter{Dataset: directory.Test}, storage.Page{Limit: 1000})
		require.NoError(b, err)
		require.Len(b, part, len(hostile))
		_, _, err = b.store.Instances(b.ctx, storage.InstanceFilter{}, storage.Page{Cursor: "forged"})
		require.ErrorIs(b, err, storage.ErrBadCursor)
	},

	"what the targets are to be told is due as well": func(b *bundle) {
		i := newInstance("i-1")
		i.DueAt = epoch.Add(time.Hour)
		b.create(i, "o")
		_, err := b.store.ChangeInstance(b.ctx, directory.Prod, "i-1", "", func(i *directory.Instance, _ bool) (bool, error) {
			i.SpreadAt = epoch
			return true, nil
		})
		require.NoError(b, err)
		due, next, err := b.store.DueInstances(b.ctx, epoch, 10)
		require.NoError(b, err)
		require.Len(b, due, 1)
		require.Equal(b, epoch, due[0].SpreadAt)
		require.True(b, next.IsZero())
		_, err = b.store.ChangeInstance(b.ctx, directory.Prod, "i-1", "", func(i *directory.Instance, _ bool) (bool, error) {
			return i.Spread(i.Standings), nil
		})
		require.NoError(b, err)
		due, next, err = b.store.DueInstances(b.ctx, epoch, 10)
		require.NoError(b, err)
		require.Empty(b, due)
		require.Equal(b, epoch.Add(time.Hour), next)
	},

	"what is due is found, the longest due first": func(b *bundle) {
		for id, due := range map[string]time.Duration{"later": time.Hour, "now": 0, "long due": -time.Hour, "soon": time.Minute} {
			i := newInstance(id)
			i.DueAt = epoch.Add(due)
			b.create(i, id)
		}
		b.create(newInstance("never"), "never")
		due, next, err := b.store.DueInstances(b.ctx, epoch, 10)
		require.NoError(b, err)
		require.Len(b, due, 2)
		require.Equal(b, []string{"long due", "now"}, []string{due[0].ID, due[1].ID})
		require.Equal(b, epoch.Add(time.Minute), next)
		due, _, err = b.store.DueInstances(b.ctx, epoch.Add(2*time.Hour), 3)
		require.NoError(b, err)
		require.Len(b, due, 3, "the limit holds")
		_, err = b.store.ChangeInstance(b.ctx, directory.Prod, "long due", "", func(i *directory.Instance, _ bool) (bool, error) {
			i.DueAt = time.Time{}
			return true, nil
		})
		require.NoError(b, err)
		due, next, err = b.store.DueInstances(b.ctx, epoch.Add(2*time.Hour), 10)
		require.NoError(b, err)
		require.Len(b, due, 3)
		require.True(b, next.IsZero())
	},
}

// unexpected is a change that must not be asked for.
func unexpected(b *bundle) func(*directory.Instance, bool) (bool, error) {
	return func(*directory.Instance, bool) (bool, error) {
		require.Fail(b, "change was called")
		return false, nil
	}
}

// orderLaw: whatever calls come in whatever order, an order never changes the
// instance it is bound to, and never makes a second.
func orderLaw(t *testing.T, factory Factory) {
	n := 0
	b := newBundle(t, factory)
	rapid.Check(t, func(t *rapid.T) {
		n++
		prefix := fmt.Sprintf("%d/", n) // one store for all runs, each in its own keys
		bound := make(map[string]string)
		created := make(map[string]bool)
		for range rapid.IntRange(1, 12).Draw(t, "calls") {
			id := prefix + rapid.SampledFrom([]string{"i1", "i2", "i3"}).Draw(t, "id")
			orders := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"o1", "o2", "o3"}), 1, 2, rapid.ID).Draw(t, "orders")
			for k := range orders {
				orders[k] = prefix + orders[k]
			}
			stored, made, err := b.store.CreateInstance(b.ctx, newInstance(id), orders)
			owner := ""
			for _, order := range orders {
				if owner == "" {
					owner = bound[order]
				}
			}
			switch {
			case owner != "":
				require.NoError(t, err)
				require.False(t, made)
				require.Equal(t, owner, stored.ID)
			case created[id]:
				require.ErrorIs(t, err, storage.ErrConflict)
				continue
			default:
				require.NoError(t, err)
				require.True(t, made)
				owner, created[id] = id, true
			}
			for _, order := range orders {
				if bound[order] == "" {
					bound[order] = owner
				}
			}
		}
	})
}
