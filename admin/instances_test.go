package admin_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

// noTargets is a fan-out without targets.
type noTargets struct{}

func (noTargets) Targets() []fanout.Status { return nil }
func (noTargets) Pause(context.Context, string, string, string) error {
	return fanout.ErrUnknownTarget
}
func (noTargets) Resume(context.Context, string) error { return fanout.ErrUnknownTarget }
func (noTargets) Decide(context.Context, storage.DeliveryFilter, storage.HeldDecision) (int, error) {
	return 0, fanout.ErrUnknownTarget
}

// shop is the API over a real store, and the lifecycle that fills it.
type shop struct {
	*testing.T
	server  *httptest.Server
	store   *embedded.Store
	service *instance.Service
	log     *strings.Builder
}

func newShop(t *testing.T) *shop {
	t.Helper()
	return newShopWith(t, noTargets{})
}

func newShopWith(t *testing.T, deliverer admin.Deliverer) *shop {
	t.Helper()
	s := &shop{T: t, log: &strings.Builder{}}
	store, err := embedded.Open(context.Background(), t.TempDir(), embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	box, err := secrets.NewBox(make([]byte, secrets.KeySize))
	require.NoError(t, err)
	waits, err := instance.NewStatic(instance.Templates{})
	require.NoError(t, err)
	s.store, s.service = store, instance.New(store, waits, box, instance.Options{Logger: slog.New(slog.DiscardHandler)})
	api, err := admin.New(admin.Options{
		Token: "admin-token", Reader: store, Health: store, Deliverer: deliverer, Instances: store, Completer: s.service,
		Gatherer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	require.NoError(t, err)
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	api.Register(router)
	s.server = httptest.NewServer(router)
	t.Cleanup(func() {
		s.server.Close()
		_ = store.Close()
	})
	return s
}

func (s *shop) buy(dataset directory.Dataset, id string) {
	s.Helper()
	_, err := s.service.Serve(context.Background(), &directory.InstanceCall{
		EventID: "e-" + id, Activity: directory.NewInstance, Dataset: dataset, BusinessID: id, OrderID: "order-" + id,
		Contact: map[string]string{"mobilePhone": "13812345678"}, LicenseEvent: "ev",
	})
	require.NoError(s, err)
}

func (s *shop) change(id string, activity directory.Activity) {
	s.Helper()
	_, err := s.service.Serve(context.Background(), &directory.InstanceCall{
		EventID: "c", Activity: activity, Dataset: directory.Prod, InstanceIDs: []string{id}, Freeze: true, SourceTime: directory.SourceTimeOf(time.Now()),
	})
	require.NoError(s, err)
}

func (s *shop) call(method, path, body string, into any) int {
	s.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, s.server.URL+"/api/v1"+path, strings.NewReader(body))
	require.NoError(s, err)
	request.Header.Set("Authorization", "Bearer admin-token")
	response, err := s.server.Client().Do(request)
	require.NoError(s, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(s, err)
	require.NoError(s, json.Unmarshal(text, into), string(text))
	return response.StatusCode
}

type instanceView struct {
	InstanceID, State, FrontEndURL string
	Licenses                       []struct {
		EventID string
		Issued  bool
	}
}

func TestInstancesAreListedWithoutSecrets(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.buy(directory.Prod, "b-1")
	s.buy(directory.Prod, "b-2")
	s.buy(directory.Test, "b-1")
	var list struct {
		Items  []instanceView
		Cursor string
	}
	require.Equal(t, http.StatusOK, s.call(http.MethodGet, "/instances?limit=2", "", &list))
	require.Len(t, list.Items, 2)
	require.Equal(t, http.StatusOK, s.call(http.MethodGet, "/instances?limit=2&cursor="+list.Cursor, "", &list))
	require.Len(t, list.Items, 1)
	require.Equal(t, http.StatusOK, s.call(http.MethodGet, "/instances?dataset=test", "", &list))
	require.Len(t, list.Items, 1)

	var raw map[string]any
	require.Equal(t, http.StatusOK, s.call(http.MethodGet, "/instances/b-2", "", &raw))
	require.Equal(t, "provisioning", raw["state"])
	for name := range raw {
		require.NotContains(t, strings.ToLower(name), "sealed")
	}
}

func TestInstanceRoutesRefuse(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.buy(directory.Prod, "b-1")
	s.buy(directory.Prod, "gone")
	s.change("gone", directory.ReleaseInstance)
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"unknown":              {http.MethodGet, "/instances/nobody", "", http.StatusNotFound, "nobody"},
		"unknown data set":     {http.MethodGet, "/instances?dataset=x", "", http.StatusBadRequest, "dataset"},
		"a limit too large":    {http.MethodGet, "/instances?limit=1001", "", http.StatusBadRequest, "limit"},
		"a forged cursor":      {http.MethodGet, "/instances?cursor=x", "", http.StatusBadRequest, "cursor"},
		"complete the unknown": {http.MethodPost, "/instances/nobody/complete", "", http.StatusNotFound, "nobody"},
		"complete the gone":    {http.MethodPost, "/instances/gone/complete", "", http.StatusConflict, "released"},
		"no JSON":              {http.MethodPost, "/instances/b-1/complete", "{", http.StatusBadRequest, "body"},
		"too large":            {http.MethodPost, "/instances/b-1/complete", `{"license":"` + strings.Repeat("x", 300<<10) + `"}`, http.StatusBadRequest, "body"},
		"no address":           {http.MethodPost, "/instances/b-1/complete", `{"appInfo":{}}`, http.StatusBadRequest, "appInfo.frontEndUrl"},
		"a License unasked":    {http.MethodPost, "/instances/b-1/complete", `{"eventId":"x","license":"L"}`, http.StatusBadRequest, "eventId"},
		"a member misspelt":    {http.MethodPost, "/instances/b-1/complete", `{"appinfos":{"frontEndUrl":"https://a"}}`, http.StatusBadRequest, "body"},
		"an address outside":   {http.MethodPost, "/instances/b-1/complete", `{"frontEndUrl":"https://a"}`, http.StatusBadRequest, "body"},
		"retry the unknown":    {http.MethodPost, "/instances/nobody/retry", "", http.StatusNotFound, "nobody"},
		"of the other set":     {http.MethodPost, "/instances/b-1/complete?dataset=test", "", http.StatusNotFound, "b-1"},
	} {
		var problem struct{ Detail string }
		require.Equal(t, test.status, s.call(test.method, test.path, test.body, &problem), name)
		require.Contains(t, problem.Detail, test.says, name)
	}
	i, err := s.store.Instance(context.Background(), directory.Prod, "b-1")
	require.NoError(t, err)
	require.False(t, i.Provisioned, "nothing was completed")

	response, err := s.server.Client().Post(s.server.URL+"/api/v1/instances/b-1/complete", "application/json", nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
}

func TestCompleteEndsProvisioning(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.buy(directory.Prod, "b-1")
	var view instanceView
	require.Equal(t, http.StatusOK, s.call(http.MethodPost, "/instances/b-1/complete", `{"appInfo":{"frontEndUrl":"https://a","password":"hunter2hunter2"}}`, &view))
	require.Equal(t, "active", view.State)
	require.Equal(t, "https://a", view.FrontEndURL)
	require.False(t, view.Licenses[0].Issued)
	for range 2 {
		require.Equal(t, http.StatusOK, s.call(http.MethodPost, "/instances/b-1/complete", `{"eventId":"ev","license":"LICENSE-TEXT"}`, &view))
		require.True(t, view.Licenses[0].Issued)
	}
	s.server.Close()
	require.Contains(t, s.log.String(), "audit: instance completed")
	require.NotContains(t, s.log.String(), "hunter2")
	require.NotContains(t, s.log.String(), "LICENSE-TEXT")
}

func TestSyncStatusTellsTheInstancesState(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	push := func(id string) {
		record := storage.Record{ID: "push-" + id, Scope: directory.Scope{Dataset: directory.Prod, InstanceID: id, TenantID: "t"}, Kind: directory.SingleOrgSync, ReceivedAt: time.Now()}
		_, err := s.store.ApplyAtOnce(context.Background(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
			return &directory.Plan{Result: directory.ResultApplied, Departments: []directory.Department{{Code: "d"}}, Delta: directory.Delta{Departments: 1}}, nil
		})
		require.NoError(t, err)
	}
	state := func(id string) string {
		var status struct{ Instance string }
		require.Equal(t, http.StatusOK, s.call(http.MethodGet, "/sync-status?tenantId=t&instanceId="+id, "", &status))
		return status.Instance
	}
	push("b-1")
	require.Empty(t, state("b-1"), "nobody has bought it here")
	s.buy(directory.Prod, "b-1")
	require.Equal(t, "provisioning", state("b-1"))
	_, err := s.service.Complete(context.Background(), directory.Prod, "b-1", instance.Completion{})
	require.NoError(t, err)
	require.Equal(t, "active", state("b-1"))
	s.change("b-1", directory.UpdateInstanceStatus)
	require.Equal(t, "frozen", state("b-1"))
	s.change("b-1", directory.ReleaseInstance)
	require.Equal(t, "released", state("b-1"))
	push("")
	require.Empty(t, state(""))
}

// oneTarget is a fan-out that has one target, and nothing to deliver.
type oneTarget struct{ noTargets }

func (oneTarget) Targets() []fanout.Status {
	return []fanout.Status{{Name: "t", State: fanout.Up}}
}

// A freeze that the targets have yet to be told does not look synced.
func TestSyncStatusWaitsForTheTargetsToBeToldOfAFreeze(t *testing.T) {
	t.Parallel()
	s := newShopWith(t, oneTarget{})
	s.buy(directory.Prod, "b-1")
	record := storage.Record{ID: "push", Scope: directory.Scope{Dataset: directory.Prod, InstanceID: "b-1", TenantID: "t"}, Kind: directory.SingleOrgSync, ReceivedAt: time.Now()}
	_, err := s.store.ApplyAtOnce(t.Context(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
		return &directory.Plan{Result: directory.ResultApplied}, nil
	})
	require.NoError(t, err)
	state := func() string {
		var status struct{ State string }
		require.Equal(t, http.StatusOK, s.call(http.MethodGet, "/sync-status?tenantId=t&instanceId=b-1", "", &status))
		return status.State
	}
	require.Equal(t, "synced", state())
	s.change("b-1", directory.UpdateInstanceStatus)
	require.Equal(t, "syncing", state())
	_, err = s.service.DeliverDue(t.Context())
	require.NoError(t, err)
	require.Equal(t, "synced", state())
}
