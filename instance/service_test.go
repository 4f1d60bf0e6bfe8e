package instance_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that only moves when told to.
type clock struct {
	mu sync.Mutex
	at time.Time
}

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

// bundle is a service over a real store.
type bundle struct {
	*testing.T
	ctx     context.Context
	dir     string
	box     *secrets.Box
	clock   *clock
	store   *embedded.Store
	service *instance.Service
	calls   int
}

func newBundle(t *testing.T, provisioner instance.Provisioner) *bundle {
	t.Helper()
	box, err := secrets.NewBox(make([]byte, secrets.KeySize))
	require.NoError(t, err)
	b := &bundle{T: t, ctx: context.Background(), dir: t.TempDir(), box: box, clock: &clock{at: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)}}
	b.open(provisioner)
	t.Cleanup(func() { _ = b.store.Close() })
	return b
}

func (b *bundle) open(provisioner instance.Provisioner) {
	b.Helper()
	logger := slog.New(slog.DiscardHandler)
	store, err := embedded.Open(b.ctx, b.dir, embedded.Options{Now: b.clock.now, Logger: logger})
	require.NoError(b, err)
	b.store = store
	b.service = instance.New(store, provisioner, b.box, instance.Options{
		Now: b.clock.now, Logger: logger, Jitter: func(time.Duration) time.Duration { return 0 },
	})
}

// restart opens the same data again, as after a crash.
func (b *bundle) restart(provisioner instance.Provisioner) {
	b.Helper()
	require.NoError(b, b.store.Close())
	b.open(provisioner)
}

func (b *bundle) call(activity directory.Activity) *directory.InstanceCall {
	b.calls++
	return &directory.InstanceCall{
		EventID: fmt.Sprint("event-", b.calls), Activity: activity, Dataset: directory.Prod, InstanceIDs: []string{"b-1"},
		SourceTime: directory.SourceTimeOf(b.clock.now()),
	}
}

func (b *bundle) buy(order, business string) *directory.InstanceCall {
	call := b.call(directory.NewInstance)
	call.OrderID, call.OrderLineID, call.BusinessID, call.InstanceIDs = order, order+"-1", business, nil
	return call
}

func (b *bundle) serve(call *directory.InstanceCall) directory.InstanceAnswer {
	b.Helper()
	answer, err := b.service.Serve(b.ctx, call)
	require.NoError(b, err)
	return answer
}

func (b *bundle) refused(call *directory.InstanceCall, member string) {
	b.Helper()
	_, err := b.service.Serve(b.ctx, call)
	invalid, ok := errors.AsType[*directory.InvalidError](err)
	require.True(b, ok, "%v", err)
	require.Equal(b, member, invalid.Member)
}

func (b *bundle) stored(id string) directory.Instance {
	b.Helper()
	i, err := b.store.Instance(b.ctx, directory.Prod, id)
	require.NoError(b, err)
	return i
}

func static(t *testing.T, templates instance.Templates) *instance.Static {
	t.Helper()
	s, err := instance.NewStatic(templates)
	require.NoError(t, err)
	return s
}

var templates = instance.Templates{
	FrontEndURL: "https://app.example.com/?i={instanceId}&o={orderId}", AdminURL: "https://app.example.com/admin/{instanceId}",
	Memo: "order {orderId}", License: "LIC-{instanceId}-{eventId}",
}

func TestStaticAnswersFromTemplates(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, templates))
	answer := b.serve(b.buy("o&1", "b-1"))
	require.Equal(t, "b-1", answer.InstanceID)
	require.False(t, answer.Processing || answer.NoResource)
	require.Equal(t, &directory.OpenAppInfo{
		FrontEndURL: "https://app.example.com/?i=b-1&o=o%261", AdminURL: "https://app.example.com/admin/b-1", Memo: "order o&1",
	}, answer.App)
	require.Empty(t, b.stored("b-1").Pending, "there is no server to be told")

	query := b.serve(b.call(directory.QueryInstance))
	require.Equal(t, []directory.InstanceInfo{{InstanceID: "b-1", App: answer.App}}, query.Info)
	ask := b.call(directory.GetLicense)
	ask.LicenseEvent = "ev"
	require.Equal(t, "LIC-b-1-ev", b.serve(ask).License)
}

func TestStaticRefusesTemplatesThatCannotBeFilled(t *testing.T) {
	t.Parallel()
	for want, bad := range map[string]instance.Templates{
		"{tenant} stands for nothing": {FrontEndURL: "https://a/{tenant}"},
		"instances.memo: {eventId}":   {Memo: "{eventId}"},
		"instances.frontEndUrl":       {FrontEndURL: "app.example.com"},
		"instances.adminUrl":          {AdminURL: "javascript:alert(1)"},
		"memo: longer than 1024":      {Memo: strings.Repeat("长", 1025)},
	} {
		_, err := instance.NewStatic(bad)
		require.ErrorContains(t, err, want)
	}
}

// Without a template the truth is that somebody has yet to provision it.
func TestStaticWithoutTemplatesWaitsForCompletion(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, instance.Templates{}))
	require.True(t, b.serve(b.buy("o", "b-1")).Processing)
	require.True(t, b.serve(b.call(directory.QueryInstance)).Processing)
	ask := b.call(directory.GetLicense)
	ask.LicenseEvent = "ev"
	require.True(t, b.serve(ask).Processing)

	_, err := b.service.Complete(b.ctx, directory.Prod, "b-1", instance.Completion{App: &instance.App{FrontEndURL: "https://a", UserName: "admin", Password: "p&ss"}})
	require.NoError(t, err)
	require.Equal(t, "p&ss", b.serve(b.call(directory.QueryInstance)).Info[0].App.Password)
	require.False(t, b.serve(b.buy("o", "b-2")).Processing)
	for range 2 {
		_, err = b.service.Complete(b.ctx, directory.Prod, "b-1", instance.Completion{EventID: "ev", License: "L1"})
		require.NoError(t, err, "a repeat")
	}
	require.Equal(t, "L1", b.serve(ask).License)
	_, err = b.service.Complete(b.ctx, directory.Prod, "b-1", instance.Completion{EventID: "ev", License: "L2"})
	require.NoError(t, err)
	require.Equal(t, "L1", b.serve(ask).License, "the same event gets the same License")
}

func TestCompleteRefusesWhatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, instance.Templates{}))
	b.serve(b.buy("o", "b-1"))
	for member, completion := range map[string]instance.Completion{
		"appInfo.frontEndUrl": {App: &instance.App{}},
		"appInfo.memo":        {App: &instance.App{FrontEndURL: "https://a", Memo: strings.Repeat("中", 1025)}},
		"eventId":             {EventID: "ev", License: "L"},
	} {
		_, err := b.service.Complete(b.ctx, directory.Prod, "b-1", completion)
		require.ErrorContains(t, err, member)
	}
	_, err := b.service.Complete(b.ctx, directory.Prod, "b-1", instance.Completion{License: "L"})
	require.ErrorContains(t, err, "come together")
	_, err = b.service.Complete(b.ctx, directory.Prod, "nobody", instance.Completion{})
	require.ErrorIs(t, err, storage.ErrNotFound)
	require.Equal(t, directory.InstanceProvisioning, func() directory.InstanceState { i := b.stored("b-1"); return i.State(b.clock.now()) }())
	b.serve(b.call(directory.ReleaseInstance))
	_, err = b.service.Complete(b.ctx, directory.Prod, "b-1", instance.Completion{})
	require.ErrorIs(t, err, storage.ErrConflict)
}

// No secret is at rest in clear.
func TestSecretsAreSealedAtRest(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, instance.Templates{}))
	call := b.buy("o", "b-1")
	call.Contact = map[string]string{"mobilePhone": "13812345678"}
	b.serve(call)
	ask := b.call(directory.GetLicense)
	ask.LicenseEvent = "ev"
	b.serve(ask)
	_, err := b.service.Complete(b.ctx, directory.Prod, "b-1", instance.Completion{
		App: &instance.App{FrontEndURL: "https://a", Password: "hunter2hunter2"}, EventID: "ev", License: "LICENSE-TEXT",
	})
	require.NoError(t, err)
	kept := fmt.Sprintf("%+v %s", b.stored("b-1"), b.stored("b-1").SealedContact)
	for _, secret := range []string{"13812345678", "hunter2", "LICENSE-TEXT"} {
		require.NotContains(t, kept, secret)
	}
	require.Equal(t, "hunter2hunter2", b.serve(b.call(directory.QueryInstance)).Info[0].App.Password)
}

func TestRepeatsOfAnOrderMakeOneInstance(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, templates))
	const repeats = 50
	answers := make(chan string, repeats)
	var wg sync.WaitGroup
	for n := range repeats {
		call := b.buy("o", fmt.Sprint("business-", n)) // the businessId differs in every call
		wg.Go(func() {
			answer, err := b.service.Serve(b.ctx, call)
			answers <- fmt.Sprint(answer.InstanceID, answer.Processing, answer.NoResource, err)
		})
	}
	wg.Wait()
	close(answers)
	first := <-answers
	require.Contains(t, first, "false <nil>")
	for other := range answers {
		require.Equal(t, first, other)
	}
	all, _, err := b.store.Instances(b.ctx, storage.InstanceFilter{}, storage.Page{})
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestOnDemandGoodsGoByOrderAndProduct(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, templates))
	first, second, other := b.buy("o", "b-1"), b.buy("o", "b-2"), b.buy("o", "b-3")
	first.ProductID, second.ProductID, second.OrderLineID = "p", "p", "another line"
	other.OrderLineID = "a third line"
	b.serve(first)
	require.Equal(t, "b-1", b.serve(second).InstanceID)
	require.Equal(t, "b-3", b.serve(other).InstanceID, "no product, another line: another instance")
}

func TestClashesAreRefusedAndWriteNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, templates))
	b.serve(b.buy("o-1", "b-1"))
	b.serve(b.buy("o-2", "b-2"))
	b.refused(b.buy("o-3", "b-1"), "businessId")
	require.Equal(t, "b-3", b.serve(b.buy("o-3", "b-3")).InstanceID, "the refused order was not bound")

	upgrade := b.call(directory.UpgradeInstance)
	upgrade.OrderID, upgrade.OrderLineID = "u", "1"
	b.serve(upgrade)
	upgrade.InstanceIDs = []string{"b-2"}
	before := b.stored("b-2")
	b.refused(upgrade, "orderId")
	require.Equal(t, before, b.stored("b-2"))
}

func TestUnknownInstances(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, templates))
	for _, activity := range []directory.Activity{
		directory.RefreshInstance, directory.UpdateInstanceStatus, directory.ReleaseInstance, directory.UpgradeInstance,
		directory.GetLicense, directory.ExpireInstance,
	} {
		_, err := b.service.Serve(b.ctx, b.call(activity))
		require.ErrorIs(t, err, directory.ErrUnknownInstance, activity)
	}
	b.serve(b.buy("o", "b-1"))
	query := b.call(directory.QueryInstance)
	query.InstanceIDs = []string{"b-1", "nobody"}
	answer := b.serve(query)
	require.Equal(t, []string{"nobody"}, answer.Unknown)
	require.Len(t, answer.Info, 1, "what is known is told all the same")
	b.serve(b.call(directory.ReleaseInstance))
	require.Equal(t, []string{"b-1"}, b.serve(b.call(directory.QueryInstance)).Unknown)
	require.Equal(t, "b-1", b.serve(b.buy("o", "b-9")).InstanceID, "a late repeat of the order neither fails nor revives it")
	require.True(t, b.stored("b-1").Released)
}

// V1's getLicense may ask for instance and License at once.
func TestInstanceAndLicenseAtOnce(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, instance.Templates{License: "LIC-{orderId}"}))
	call := b.buy("o", "b-1")
	call.LicenseEvent = "o"
	for range 2 {
		answer := b.serve(call)
		require.Equal(t, "LIC-o", answer.License)
		require.False(t, answer.Processing)
		require.Nil(t, answer.App, "License goods need no address")
	}
}

// receiver counts what passes the gate.
type receiver struct{ passed int }

func (r *receiver) Receive(context.Context, *directory.Push) (directory.Result, error) {
	r.passed++
	return directory.ResultApplied, nil
}

func TestGateRefusesUnknownInstancesButNeverDeletes(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, templates))
	b.serve(b.buy("o", "b-1"))
	b.serve(b.buy("o-2", "gone"))
	release := b.call(directory.ReleaseInstance)
	release.InstanceIDs = []string{"gone"}
	b.serve(release)
	for _, test := range []struct {
		id     string
		flag   directory.Flag
		passes bool
	}{
		{"b-1", directory.FlagAdd, true}, {"b-1", directory.FlagModify, true}, {"b-1", directory.FlagDelete, true},
		{"nobody", directory.FlagAdd, false}, {"nobody", directory.FlagModify, false},
		{"nobody", directory.FlagDelete, true}, {"nobody", directory.FlagCancel, true},
		{"gone", directory.FlagAdd, false}, {"gone", directory.FlagDelete, true},
		{"", directory.FlagAdd, true}, {"", directory.FlagModify, true},
	} {
		next := &receiver{}
		push := &directory.Push{Scope: directory.Scope{Dataset: directory.Prod, InstanceID: test.id, TenantID: "t"}, Flag: test.flag}
		_, err := instance.Gate{Next: next, Instances: b.service}.Receive(b.ctx, push)
		if test.passes {
			require.NoError(t, err, "%+v", test)
			require.Equal(t, 1, next.passed)
			continue
		}
		require.ErrorIs(t, err, directory.ErrUnknownInstance, "%+v", test)
		require.Zero(t, next.passed)
	}
	require.NoError(t, b.store.Close())
	_, err := instance.Gate{Next: &receiver{}, Instances: b.service}.Receive(b.ctx, &directory.Push{Scope: directory.Scope{Dataset: directory.Prod, InstanceID: "b-1"}, Flag: directory.FlagAdd})
	require.Error(t, err, "a store that does not answer is no unknown instance")
	require.NotErrorIs(t, err, directory.ErrUnknownInstance)
}

// Any interleaving of purchases, repeats and changes: one instance for each
// order, never another.
func TestOneInstanceForEachOrder(t *testing.T) {
	t.Parallel()
	b := newBundle(t, static(t, templates))
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		owner := make(map[string]string)
		for range rapid.IntRange(1, 10).Draw(t, "calls") {
			order := fmt.Sprintf("%d-%s", run, rapid.SampledFrom([]string{"o1", "o2", "o3"}).Draw(t, "order"))
			b.calls++
			if id := owner[order]; id != "" && rapid.Bool().Draw(t, "changes") {
				call := b.call(rapid.SampledFrom([]directory.Activity{directory.ReleaseInstance, directory.UpdateInstanceStatus}).Draw(t, "activity"))
				call.InstanceIDs = []string{id}
				call.Freeze = rapid.Bool().Draw(t, "freeze")
				_, err := b.service.Serve(b.ctx, call)
				require.True(t, err == nil || errors.Is(err, directory.ErrUnknownInstance))
				continue
			}
			answer, err := b.service.Serve(b.ctx, b.buy(order, fmt.Sprint("business-", b.calls)))
			require.NoError(t, err)
			if owner[order] == "" {
				owner[order] = answer.InstanceID
			}
			require.Equal(t, owner[order], answer.InstanceID)
		}
	})
}

// The order of a released instance makes no other, and nothing more comes of it.
func TestARepeatAfterTheReleaseIsNotGoingOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		templates  instance.Templates
		noResource bool
	}{
		"provisioned":       {templates, false},
		"never provisioned": {instance.Templates{}, true},
	} {
		b := newBundle(t, static(t, c.templates))
		first := b.serve(b.buy("o", "b-1"))
		b.serve(b.call(directory.ReleaseInstance))
		again := b.serve(b.buy("o", "b-2"))
		require.Equal(t, "b-1", again.InstanceID, name)
		require.False(t, again.Processing, name)
		require.Equal(t, c.noResource, again.NoResource, name)
		require.Equal(t, first.App, again.App, name)
		require.True(t, b.stored("b-1").Released, name)
	}
}
