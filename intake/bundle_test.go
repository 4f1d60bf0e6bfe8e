package intake_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	usersync "github.com/openkoo/connector/userSync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// bundle is the intake before a real store.
type bundle struct {
	*testing.T
	dir      string
	options  embedded.Options
	store    *embedded.Store
	planners map[directory.PushKind]intake.Planner
	service  *intake.Service
	registry *prometheus.Registry
	log      lines
}

// lines is a log that many may write to.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{T: t, dir: t.TempDir()}
	b.planners = intake.Planners(orgsync.New(directory.DefaultGuard), authsync.New(usersync.Planner{}, secrets.Keyring{}))
	b.open()
	t.Cleanup(func() { _ = b.store.Close() })
	return b
}

func (b *bundle) open() {
	b.Helper()
	store, err := embedded.Open(b.Context(), b.dir, b.options)
	require.NoError(b, err)
	b.store = store
	b.serve(store)
}

// serve starts a service anew, with metrics and log of its own.
func (b *bundle) serve(store storage.Intake) {
	b.registry = prometheus.NewRegistry()
	b.log = lines{}
	b.service = intake.New(store, b.planners, marketplace.Decode, intake.Options{
		Now: func() time.Time { return epoch }, Logger: slog.New(slog.NewTextHandler(&b.log, nil)), Registerer: b.registry,
	})
}

// reopen is a restart.
func (b *bundle) reopen() {
	b.Helper()
	require.NoError(b, b.store.Close())
	b.open()
}

// arrived is a push as the door hands it on: with a body and an ID of its own.
func arrived(t require.TestingT, scope directory.Scope, flag directory.Flag, at directory.SourceTime, payload directory.Payload) *directory.Push {
	push, err := decoded(scope, flag, at, payload)
	require.NoError(t, err)
	return push
}

// decoded is arrived for what the door may refuse.
func decoded(scope directory.Scope, flag directory.Flag, at directory.SourceTime, payload directory.Payload) (*directory.Push, error) {
	body, err := client.Body(scope, flag, at, payload)
	if err != nil {
		return nil, err
	}
	push, err := marketplace.Decode(payload.PushKind(), body)
	if err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	push.ID, push.ReceivedAt = id.String(), epoch
	return push, err
}

func full(t require.TestingT, at directory.SourceTime, codes ...string) *directory.Push {
	return arrived(t, directorytest.Scope, directory.FlagModify, at, list(codes...))
}

func list(codes ...string) *directory.FullPush {
	payload := &directory.FullPush{}
	for _, code := range codes {
		payload.Departments = append(payload.Departments, directory.DepartmentItem{Code: code, Name: "name of " + code})
	}
	return payload
}

func department(t require.TestingT, scope directory.Scope, at directory.SourceTime, code, parent string) *directory.Push {
	return arrived(t, scope, directory.FlagModify, at, &directory.DepartmentPush{
		DepartmentItem: directory.DepartmentItem{Code: code, Name: "name of " + code, ParentCode: parent},
	})
}

// receive takes a push in that must be accepted.
func (b *bundle) receive(push *directory.Push) directory.Result {
	b.Helper()
	result, err := b.service.Receive(b.Context(), push)
	require.NoError(b, err)
	return result
}

// accept journals a push as Receive does, and stops there: a crash.
func (b *bundle) accept(push *directory.Push) {
	b.Helper()
	require.NoError(b, b.store.Accept(b.Context(), storage.RecordOf(push), push.Raw))
}

// codes lists the living departments of a scope.
func (b *bundle) codes(scope directory.Scope) []string {
	b.Helper()
	codes := []string{}
	for code, d := range read(b, b.store, scope).Departments {
		if !d.Deleted {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	return codes
}

// unfinished lists the pushes journaled and not applied.
func (b *bundle) unfinished() []string {
	b.Helper()
	ids := []string{}
	for push, err := range b.store.Unfinished(b.Context()) {
		require.NoError(b, err)
		ids = append(ids, push.Record.ID)
	}
	return ids
}

func (b *bundle) counted(kind directory.PushKind, result string) float64 {
	b.Helper()
	families, err := b.registry.Gather()
	require.NoError(b, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := make(map[string]string)
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			if family.GetName() == "orgsync_plans_total" && labels["kind"] == string(kind) && labels["result"] == result {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

var errLookedOnly = fmt.Errorf("looked only")

// read looks at a scope through the view that planners see.
func read(t require.TestingT, store storage.Intake, scope directory.Scope) (snapshot directorytest.Snapshot) {
	record := storage.Record{ID: uuid.NewString(), Scope: scope, Kind: directory.SingleOrgSync}
	_, err := store.ApplyAtOnce(context.Background(), record, nil, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
		snapshot = directorytest.Small.Read(ctx, t, view)
		return nil, errLookedOnly
	})
	require.ErrorIs(t, err, errLookedOnly)
	return snapshot
}
