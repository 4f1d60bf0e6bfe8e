package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// hostile are keys that break careless joining, quoting or sorting.
var hostile = []string{"'; DROP TABLE x; --", "%_*?", "a\"b", "a.b", "a/b", "a\\b", "a\x1fb", "$where", "{\"$gt\":\"\"}", "中文部门", "\u00e9", "e\u0301", "\U0001f600", " lead", "trail ", "A", "a"}

var intakeTests = map[string]func(*bundle){
	"a preview sees the scope as it is and writes nothing": func(b *bundle) {
		_, err := b.store.Preview(b.ctx, acme, planned(departments("a")))
		require.ErrorIs(b, err, storage.ErrNotFound, "never seen")
		b.apply(acme, departments("a", "b"))
		var seen []string
		plan, err := b.store.Preview(b.ctx, acme, func(ctx context.Context, v storage.View) (*directory.Plan, error) {
			for d, err := range v.Departments(ctx) {
				require.NoError(b, err)
				seen = append(seen, d.Code)
			}
			return departments("c"), nil
		})
		require.NoError(b, err)
		require.Equal(b, []string{"a", "b"}, seen)
		require.Len(b, plan.Departments, 1)
		_, err = b.store.Preview(b.ctx, acme, func(context.Context, storage.View) (*directory.Plan, error) { return nil, errLookedOnly })
		require.ErrorIs(b, err, errLookedOnly)
		require.Equal(b, []string{"a", "b"}, b.codes(acme))
		records, _, err := b.store.Pushes(b.ctx, storage.PushFilter{}, storage.Page{Limit: 10})
		require.NoError(b, err)
		require.Len(b, records, 1, "it is not journaled")
		b.apply(acme, departments("d"))
	},

	"a body is read back as it came": func(b *bundle) {
		record := b.record(acme, directory.SingleOrgSync)
		long := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
		_, err := b.store.ApplyAtOnce(b.ctx, record, long, planned(departments("a")))
		require.NoError(b, err)
		accepted := b.record(acme, directory.AllOrgSync)
		require.NoError(b, b.store.Accept(b.ctx, accepted, []byte("{}")))
		b.reopen()
		body, err := b.store.Body(b.ctx, record.ID)
		require.NoError(b, err)
		require.True(b, bytes.Equal(long, body))
		body, err = b.store.Body(b.ctx, accepted.ID)
		require.NoError(b, err)
		require.Equal(b, "{}", string(body))
		_, err = b.store.Body(b.ctx, "nobody")
		require.ErrorIs(b, err, storage.ErrNotFound)
	},

	"everything written is read back, and again after reopening": func(b *bundle) {
		u := user("ann", "d1", 1)
		plan := &directory.Plan{
			Result:      directory.ResultApplied,
			Counts:      directory.Counts{directory.ActionCreate: 4},
			Decisions:   []directory.Decision{{Kind: directory.KindDepartment, Key: "d1", Action: directory.ActionCreate, Reason: "new"}},
			Tenant:      &directory.Tenant{OrderID: "o", Code: "c", Name: "n", DomainName: "d", Meta: directory.Meta{Version: 1, SourceTime: 1}},
			Departments: []directory.Department{department("d1", "", 1), {Code: "d2", Name: "x", ParentCode: "gone", ParentMissing: true, Meta: directory.Meta{Version: 1}}},
			Users:       []directory.User{u},
			Applications: []directory.Application{{
				AppID: "app", ClientID: "cid", SealedSecret: []byte{1, 2}, SecretFingerprint: []byte{3}, SecretScheme: "s", Meta: directory.Meta{Version: 1},
			}},
			Delta:    directory.Delta{Departments: 2, ParentMissing: 1, Users: 1, Applications: 1},
			FullTime: 5,
		}
		record := b.apply(acme, plan)
		b.readFeed()
		for range 2 {
			b.view(acme, func(v storage.View) {
				tenant, ok, err := v.Tenant(b.ctx)
				require.NoError(b, err)
				require.True(b, ok)
				require.Equal(b, "d", tenant.DomainName)
				d, ok, err := v.Department(b.ctx, "d2")
				require.NoError(b, err)
				require.True(b, ok)
				require.True(b, d.ParentMissing)
				require.Positive(b, d.Seq)
				require.True(b, d.ChangedAt.Equal(epoch))
				users, err := v.Users(b.ctx, []string{"ann", "nobody"})
				require.NoError(b, err)
				require.Len(b, users, 1)
				got := users["ann"]
				require.Positive(b, got.Seq)
				got.Meta = u.Meta
				require.Equal(b, u, got)
				app, ok, err := v.Application(b.ctx, "app")
				require.NoError(b, err)
				require.True(b, ok)
				require.Equal(b, []byte{1, 2}, app.SealedSecret)
				require.Equal(b, []byte{3}, app.SecretFingerprint)
				in, err := v.UsersIn(b.ctx, []string{"d1", "d2"})
				require.NoError(b, err)
				require.Equal(b, 1, in["d1"])
				require.Zero(b, in["d2"])
			})
			state, err := b.store.State(b.ctx, acme)
			require.NoError(b, err)
			require.Equal(b, []int{2, 1, 1, 1}, []int{state.Departments, state.ParentMissing, state.Users, state.Applications})
			require.EqualValues(b, 5, state.FullTime)
			require.Equal(b, record.ID, state.LastIncremental.ID)
			require.Nil(b, state.LastFull)
			got, decisions, err := b.store.Push(b.ctx, record.ID)
			require.NoError(b, err)
			require.Equal(b, storage.PhaseApplied, got.Phase)
			require.Equal(b, plan.Counts, got.Counts)
			require.Equal(b, plan.Decisions, decisions)
			require.Equal(b, plan.Decisions, pages(b, func(p storage.Page) ([]directory.Decision, string, error) {
				page, decisions, next, err := b.store.PushPage(b.ctx, record.ID, p)
				require.Equal(b, got, page)
				return decisions, next, err
			}))
			require.NoError(b, b.store.Ping(b.ctx))
			b.reopen()
		}
	},

	"hostile keys stay apart": func(b *bundle) {
		b.apply(acme, departments(hostile...))
		require.ElementsMatch(b, hostile, b.codes(acme))
		for i, key := range hostile {
			b.apply(directory.Scope{Dataset: directory.Prod, InstanceID: key, TenantID: hostile[len(hostile)-1-i]}, departments(key))
		}
		for i, key := range hostile {
			require.Equal(b, []string{key}, b.codes(directory.Scope{Dataset: directory.Prod, InstanceID: key, TenantID: hostile[len(hostile)-1-i]}))
		}
		found, err := b.store.Lookup(b.ctx, "t", acme, storage.SlotDepartment, hostile)
		require.NoError(b, err)
		require.Empty(b, found)
		b.relay("t", storage.RelayOptions{})
		found, err = b.store.Lookup(b.ctx, "t", acme, storage.SlotDepartment, hostile)
		require.NoError(b, err)
		require.Len(b, found, len(hostile))
	},

	"a failing plan writes nothing and its error is returned as it is": func(b *bundle) {
		refused := directory.Invalid("orgCode", "no")
		record := b.record(acme, directory.SingleOrgSync)
		_, err := b.store.ApplyAtOnce(b.ctx, record, nil, func(context.Context, storage.View) (*directory.Plan, error) { return nil, refused })
		require.Equal(b, refused, err)
		_, _, err = b.store.Push(b.ctx, record.ID)
		require.ErrorIs(b, err, storage.ErrNotFound)

		full := b.record(acme, directory.AllOrgSync)
		require.NoError(b, b.store.Accept(b.ctx, full, []byte("x")))
		_, err = b.store.ApplyAccepted(b.ctx, full.ID, func(context.Context, storage.View) (*directory.Plan, error) { return nil, refused })
		require.Equal(b, refused, err)
		_, _, err = b.store.Push(b.ctx, full.ID)
		require.ErrorIs(b, err, storage.ErrNotFound)
		_, err = b.store.State(b.ctx, acme)
		require.ErrorIs(b, err, storage.ErrNotFound)
	},

	"a push that cannot be planned now is planned another time": func(b *bundle) {
		record := b.record(acme, directory.AllOrgSync)
		require.NoError(b, b.store.Accept(b.ctx, record, []byte("body")))
		_, err := b.store.ApplyAccepted(b.ctx, record.ID, func(context.Context, storage.View) (*directory.Plan, error) {
			return nil, fmt.Errorf("read: %w", storage.ErrLater)
		})
		require.ErrorIs(b, err, storage.ErrLater)
		b.reopen()
		_, err = b.store.ApplyAccepted(b.ctx, record.ID, planned(departments("a")))
		require.NoError(b, err)
		require.Equal(b, []string{"a"}, b.codes(acme))
	},

	"a panicking plan fails its own push only": func(b *bundle) {
		_, err := b.store.ApplyAtOnce(b.ctx, b.record(acme, directory.SingleOrgSync), nil, func(context.Context, storage.View) (*directory.Plan, error) { panic("boom") })
		require.ErrorContains(b, err, "boom")
		full := b.record(acme, directory.AllOrgSync)
		require.NoError(b, b.store.Accept(b.ctx, full, nil))
		_, err = b.store.ApplyAccepted(b.ctx, full.ID, func(context.Context, storage.View) (*directory.Plan, error) { panic("boom") })
		require.ErrorContains(b, err, "boom")
		b.apply(acme, departments("a"))
		require.Equal(b, []string{"a"}, b.codes(acme))
	},

	"the digest of a full push stays until a department changes": func(b *bundle) {
		digest := func() []byte {
			state, err := b.store.State(b.ctx, acme)
			require.NoError(b, err)
			return state.FullDigest
		}
		plan := departments("a")
		plan.FullTime, plan.FullDigest = 7, []byte{1, 2}
		b.applyFull(acme, plan)
		require.Equal(b, []byte{1, 2}, digest())
		b.reopen()
		b.apply(acme, &directory.Plan{Users: []directory.User{user("ann", "a", 1)}})
		require.Equal(b, []byte{1, 2}, digest())
		b.apply(acme, departments("b"))
		require.Empty(b, digest())
		b.applyFull(acme, &directory.Plan{FullTime: 8, FullDigest: []byte{3}})
		require.Equal(b, []byte{3}, digest())
		b.applyFull(acme, &directory.Plan{FullTime: 9})
		require.Empty(b, digest())
	},

	"an id is taken once": func(b *bundle) {
		record := b.apply(acme, departments("a"))
		_, err := b.store.ApplyAtOnce(b.ctx, record, nil, planned(departments("b")))
		require.ErrorIs(b, err, storage.ErrAlreadyExists)
		require.ErrorIs(b, b.store.Accept(b.ctx, record, nil), storage.ErrAlreadyExists)
		require.Equal(b, []string{"a"}, b.codes(acme))
		_, err = b.store.ApplyAccepted(b.ctx, record.ID, planned(departments("b")))
		require.ErrorIs(b, err, storage.ErrConflict)
		_, err = b.store.ApplyAccepted(b.ctx, "nobody", planned(departments("b")))
		require.ErrorIs(b, err, storage.ErrNotFound)
	},

	"pushes of one scope each see the one before": func(b *bundle) {
		const pushes = 40
		var wg sync.WaitGroup
		errs := make(chan error, pushes)
		for i := range pushes {
			record := b.record(acme, directory.SingleOrgSync)
			wg.Go(func() {
				_, err := b.store.ApplyAtOnce(b.ctx, record, nil, func(ctx context.Context, v storage.View) (*directory.Plan, error) {
					state, err := v.State(ctx)
					if err != nil {
						return nil, err
					}
					plan := departments(fmt.Sprintf("d%03d", state.Departments))
					plan.Result = directory.ResultApplied
					return plan, nil
				})
				if err != nil {
					errs <- fmt.Errorf("push %d: %w", i, err)
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			require.NoError(b, err)
		}
		require.Len(b, b.codes(acme), pushes)
		changes, _, err := b.store.Changes(b.ctx, storage.Place{}, 1000)
		require.NoError(b, err)
		for i, change := range changes {
			require.Equal(b, fmt.Sprintf("d%03d", i), change.Key, "the feed is in the order of commit")
		}
	},

	"a slow full push makes its own scope wait and no other": func(b *bundle) {
		full := b.record(acme, directory.AllOrgSync)
		require.NoError(b, b.store.Accept(b.ctx, full, nil))
		began, finish := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		var fullErr, sameErr error
		sameSaw := -1
		wg.Go(func() {
			_, fullErr = b.store.ApplyAccepted(b.ctx, full.ID, func(context.Context, storage.View) (*directory.Plan, error) {
				close(began)
				<-finish
				return departments("a", "b"), nil
			})
		})
		<-began
		same := b.record(acme, directory.SingleOrgSync)
		wg.Go(func() {
			_, sameErr = b.store.ApplyAtOnce(b.ctx, same, nil, func(ctx context.Context, v storage.View) (*directory.Plan, error) {
				state, err := v.State(ctx)
				sameSaw = state.Departments
				return &directory.Plan{Result: directory.ResultUnchanged}, err
			})
		})
		b.apply(other, departments("x"))
		require.Equal(b, []string{"x"}, b.codes(other))
		close(finish)
		wg.Wait()
		require.NoError(b, errors.Join(fullErr, sameErr))
		require.Equal(b, 2, sameSaw)
	},

	"what was accepted and not applied is found again": func(b *bundle) {
		first, second := b.record(acme, directory.AllOrgSync), b.record(other, directory.AllOrgSync)
		require.NoError(b, b.store.Accept(b.ctx, first, []byte("first body")))
		require.NoError(b, b.store.Accept(b.ctx, second, []byte("second body")))
		b.apply(acme, departments("a"))
		b.reopen()
		var bodies []string
		for push, err := range b.store.Unfinished(b.ctx) {
			require.NoError(b, err)
			require.Equal(b, storage.PhaseReceived, push.Record.Phase)
			bodies = append(bodies, push.Record.ID+" "+string(push.Raw))
			_, err := b.store.ApplyAccepted(b.ctx, push.Record.ID, planned(&directory.Plan{Result: directory.ResultApplied}))
			require.NoError(b, err)
		}
		require.Equal(b, []string{first.ID + " first body", second.ID + " second body"}, bodies)
		for range b.store.Unfinished(b.ctx) {
			require.Fail(b, "all are finished")
		}
	},

	"a touch moves the source time and nothing else": func(b *bundle) {
		plan := departments("a")
		plan.Users = []directory.User{user("ann", "a", 1)}
		b.apply(acme, plan)
		before, err := b.store.State(b.ctx, acme)
		require.NoError(b, err)
		touched := user("ann", "a", 1)
		touched.Grants["app"] = directory.Grant{SourceTime: 78}
		b.apply(acme, &directory.Plan{Result: directory.ResultUnchanged, Touched: []directory.Touch{
			{Kind: directory.KindDepartment, Key: "a", SourceTime: 77},
			{Kind: directory.KindUser, Key: "ann", SourceTime: 1, User: &touched},
		}})
		after, err := b.store.State(b.ctx, acme)
		require.NoError(b, err)
		require.Equal(b, before.Seq, after.Seq)
		b.view(acme, func(v storage.View) {
			d, _, err := v.Department(b.ctx, "a")
			require.NoError(b, err)
			require.EqualValues(b, 77, d.SourceTime)
			require.EqualValues(b, 1, d.Version)
			users, err := v.Users(b.ctx, []string{"ann"})
			require.NoError(b, err)
			require.EqualValues(b, 78, users["ann"].Grants["app"].SourceTime)
			require.EqualValues(b, 1, users["ann"].SourceTime)
		})
	},

	"a push whose caller has gone before it began is dropped": func(b *bundle) {
		ctx, cancel := context.WithCancel(b.ctx)
		cancel()
		_, err := b.store.ApplyAtOnce(ctx, b.record(acme, directory.SingleOrgSync), nil, planned(departments("a")))
		require.ErrorIs(b, err, context.Canceled)
		require.Empty(b, b.codes(acme))
	},

	"around a department": func(b *bundle) {
		waiting, dead := department("c1", "r", 1), department("c3", "r", 1)
		waiting.ParentMissing, dead.Deleted = true, true
		plan := &directory.Plan{Departments: []directory.Department{department("r", "", 1), department("c2", "r", 1), waiting, dead}}
		b.apply(acme, plan)
		b.apply(other, departments("x"))
		around := func(v storage.View, code, parent string) directory.Surroundings {
			found, err := v.Around(b.ctx, code, parent)
			require.NoError(b, err)
			return found
		}
		b.view(acme, func(v storage.View) {
			root := around(v, "r", "")
			require.True(b, root.Known)
			require.Equal(b, "r", root.Self.Code)
			require.False(b, root.ParentLives, "the root is no department")
			require.Len(b, root.Children, 2, "children that wait count, dead ones do not")
			require.Equal(b, []string{"c1", "c2"}, []string{root.Children[0].Code, root.Children[1].Code})
			require.True(b, root.Children[0].ParentMissing)

			leaf := around(v, "c2", "r")
			require.True(b, leaf.Known)
			require.True(b, leaf.ParentLives)
			require.Empty(b, leaf.Children)

			tomb := around(v, "c3", "c3")
			require.True(b, tomb.Known)
			require.True(b, tomb.Self.Deleted)
			require.False(b, tomb.ParentLives, "a tombstone is no parent")

			require.Equal(b, directory.Surroundings{}, around(v, "x", "nobody"), "another scope's is not known")
		})
		b.view(debug, func(v storage.View) {
			require.Equal(b, directory.Surroundings{}, around(v, "r", "r"), "nor is anything in a scope never seen")
		})
	},

	"users are counted by department": func(b *bundle) {
		plan := &directory.Plan{}
		var codes []string
		for i := range 600 {
			code := fmt.Sprintf("d%03d", i)
			codes = append(codes, code)
			for n := range i % 3 {
				plan.Users = append(plan.Users, user(fmt.Sprintf("%s-%d", code, n), code, 1))
			}
		}
		gone := user("gone", "d000", 1)
		gone.Deleted = true
		plan.Users = append(plan.Users, gone)
		b.apply(acme, plan)
		b.apply(other, &directory.Plan{Users: []directory.User{user("ann", "d000", 1)}})
		b.view(acme, func(v storage.View) {
			in, err := v.UsersIn(b.ctx, append(codes, "nobody"))
			require.NoError(b, err)
			for i, code := range codes {
				require.Equal(b, i%3, in[code], code)
			}
			require.Zero(b, in["nobody"])
			in, err = v.UsersIn(b.ctx, nil)
			require.NoError(b, err)
			require.Empty(b, in)
		})
	},

	"early ends": func(b *bundle) {
		b.apply(acme, departments("r", "c1", "c2"))
		b.view(acme, func(v storage.View) {
			for d := range v.Departments(b.ctx) {
				again, ok, err := v.Department(b.ctx, d.Code)
				require.NoError(b, err)
				require.True(b, ok)
				require.Equal(b, d, again)
				break
			}
		})
		require.Equal(b, []string{"c1", "c2", "r"}, b.codes(acme))
	},

	"listeners hear of a change": func(b *bundle) {
		heard := b.store.Changed()
		b.apply(acme, departments("a"))
		select {
		case <-heard:
		case <-b.ctx.Done():
			require.Fail(b, "not told")
		}
	},

	"a closed store says so": func(b *bundle) {
		require.NoError(b, b.store.Close())
		require.ErrorIs(b, b.store.Accept(b.ctx, b.record(acme, directory.AllOrgSync), nil), storage.ErrClosed)
	},
}
