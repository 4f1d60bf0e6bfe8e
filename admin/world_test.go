package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/restore"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
	usersync "github.com/openkoo/connector/userSync"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

const (
	token       = "the-admin-token"
	scimToken   = "the-scim-token"
	clientWords = "the-client-secret"
)

var (
	acme  = directory.Scope{Dataset: directory.Prod, InstanceID: "i-1", TenantID: "acme"}
	debug = directory.Scope{Dataset: directory.Test, InstanceID: "i-1", TenantID: "acme"}
)

// pair is one RSA pair for all tests: making one takes a second.
var pair = sync.OnceValues(func() (*secrets.Decrypter, error) {
	text, err := secrets.NewPrivateKey()
	if err != nil {
		return nil, err
	}
	return secrets.ParsePrivateKey(text)
})

// world is the API over the real store, intake, fan-out and a SCIM server, in
// one process. Nothing is delivered until deliver is called.
type world struct {
	*testing.T
	store   *observed
	intake  *intake.Service
	fanout  *fanout.Fanout
	router  *gin.Engine
	scim    *scimserver.Server
	refuse  atomic.Int32  // the status the SCIM server answers changes with, 0: none
	refused chan struct{} // one for each request refused, as far as there is room
	log     *safeBuffer
	public  []byte
	clock   time.Time
	answers strings.Builder // all bodies that the API gave
}

// observed is the store, telling when outcomes were written down.
type observed struct {
	*embedded.Store
	settled chan struct{}
}

func (o *observed) Settle(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	err := o.Store.Settle(ctx, lease, slots)
	o.tell()
	return err
}

func (o *observed) SaveResync(ctx context.Context, resync storage.Resync, keep int) error {
	err := o.Store.SaveResync(ctx, resync, keep)
	o.tell()
	return err
}

func (o *observed) tell() {
	select {
	case o.settled <- struct{}{}:
	default:
	}
}

type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newWorld(t *testing.T, edit ...func(*admin.Options)) *world {
	t.Helper()
	w := &world{T: t, log: &safeBuffer{}, refused: make(chan struct{}, 2), clock: time.Now().UTC().Truncate(time.Second)}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{Logger: logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w.store = &observed{Store: store, settled: make(chan struct{}, 1)}

	decrypter, err := pair()
	require.NoError(t, err)
	_, w.public, err = decrypter.PublicKey()
	require.NoError(t, err)
	box, err := secrets.NewBox(make([]byte, secrets.KeySize))
	require.NoError(t, err)
	keyring := secrets.Keyring{Box: box, Decrypter: decrypter}
	planners := intake.Planners(orgsync.New(directory.Guard{MaxDeletes: 1, MaxPercent: 10}), authsync.New(usersync.Planner{}, keyring))
	registry := prometheus.NewRegistry()
	w.intake = intake.New(w.store, planners, marketplace.Decode, intake.Options{Now: w.now, Logger: logger, Registerer: registry})
	w.startSCIM(logger, registry)

	options := admin.Options{
		Token: token, Reader: w.store, Replayer: w.store, Health: w.store, Decider: w.intake, Deliverer: w.fanout, Resyncer: w.fanout, Reports: w.store,
		Matches:  func(_ string, scope directory.Scope) bool { return scope.Dataset == directory.Prod },
		Revealer: keyring, Gatherer: registry, Logger: logger, Now: w.now,
	}
	options.Restorer = restore.New(w.store, w.store, w.intake, restore.Codec{Decode: marketplace.Decode, Encode: client.Body}, restore.Options{Now: w.now, Logger: logger})
	for _, e := range edit {
		e(&options)
	}
	api, err := admin.New(options)
	require.NoError(t, err)
	w.router = gin.New()
	w.router.HandleMethodNotAllowed = true
	w.router.NoRoute(admin.NotFound)
	w.router.NoMethod(admin.NotFound)
	api.Register(w.router)
	return w
}

func (w *world) now() time.Time { return w.clock }

// startSCIM makes a SCIM server and a fan-out with it as the target "corp".
func (w *world) startSCIM(logger *slog.Logger, registry prometheus.Registerer) {
	var err error
	w.scim, err = scimserver.New(scimserver.Options{Token: scimToken})
	require.NoError(w, err)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		status := int(w.refuse.Load())
		if status == 0 || (r.Method == http.MethodGet && status < 500) {
			w.scim.ServeHTTP(rw, r)
			return
		}
		rw.WriteHeader(status)
		select {
		case w.refused <- struct{}{}:
		default:
		}
	}))
	w.Cleanup(server.Close)
	connector, err := scim.New(scim.Config{URL: server.URL, BearerToken: scimToken, ShortRetries: -1})
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, connector.Close()) })
	w.fanout, err = fanout.New(w.store, []fanout.Target{{
		Name: "corp", Type: "scim", Connector: connector,
		Match:    func(scope directory.Scope) bool { return scope.Dataset == directory.Prod },
		Backoff:  fanout.Backoff{Base: time.Millisecond},
		Removals: &fanout.RemovalLimit{PerHour: 2, Percent: 5},
	}}, fanout.Options{Logger: logger, Registerer: registry})
	require.NoError(w, err)
}

// deliver runs the fan-out until the test ends.
func (w *world) deliver() {
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.fanout.Run(ctx) }()
	w.Cleanup(func() {
		cancel()
		require.NoError(w, <-ended)
	})
}

// await waits until the status of acme is as wanted: it is asked again each
// time the fan-out has written outcomes down.
func (w *world) await(done func(admin.SyncStatus) bool) admin.SyncStatus {
	w.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		status := read[admin.SyncStatus](w, "/api/v1/sync-status?instanceId=i-1&tenantId=acme")
		if done(status) {
			return status
		}
		select {
		case <-w.store.settled:
		case <-deadline:
			require.Fail(w, "the status did not come", "last: %+v", status)
		}
	}
}

// push takes a push in as the door does, each a second later than the last.
func (w *world) push(scope directory.Scope, flag directory.Flag, payload directory.Payload) (id string, result directory.Result) {
	w.Helper()
	w.clock = w.clock.Add(time.Second)
	body, err := client.Body(scope, flag, directory.SourceTimeOf(w.clock), payload)
	require.NoError(w, err)
	push, err := marketplace.Decode(payload.PushKind(), body)
	require.NoError(w, err)
	unique, err := uuid.NewV7()
	require.NoError(w, err)
	push.ID, push.ReceivedAt = unique.String(), w.clock
	result, err = w.intake.Receive(w.Context(), push)
	require.NoError(w, err)
	return push.ID, result
}

func department(code, name, parent string) directory.DepartmentItem {
	return directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}
}

// chart makes n departments below one root: d000 … .
func chart(n int) *directory.FullPush {
	full := &directory.FullPush{}
	for i := range n {
		parent := ""
		if i > 0 {
			parent = "d000"
		}
		full.Departments = append(full.Departments, department(fmt.Sprintf("d%03d", i), fmt.Sprintf("部门%d", i), parent))
	}
	return full
}

func user(name, org string) directory.UserItem {
	return directory.UserItem{UserName: name, Name: "张三", OrgCode: org, Role: "user", Enabled: true, Mobile: "13812345678", Email: name + "@example.com"}
}

// bind pushes a small enterprise: tenant, application, departments, users.
func (w *world) bind(scope directory.Scope, departments int) (full string) {
	w.Helper()
	w.push(scope, directory.FlagAdd, &directory.TenantPush{OrderID: "o", Code: scope.TenantID, Name: "企业", DomainName: "acme.example.com"})
	sealed, err := secrets.EncryptFor(w.public, []byte(clientWords))
	require.NoError(w, err)
	w.push(scope, directory.FlagAdd, &directory.ApplicationPush{AppID: "app-1", ClientID: "c-1", ClientSecret: sealed})
	full, _ = w.push(scope, directory.FlagModify, chart(departments))
	w.push(scope, directory.FlagAdd, &directory.AuthPush{AppID: "app-1", Users: []directory.UserItem{user("zhang", "d001"), user("li", "d002")}})
	return full
}

// call makes one authenticated call.
func (w *world) call(method, path, body string) *httptest.ResponseRecorder {
	return w.callWith("Bearer "+token, method, path, body)
}

// quietCall may be made from many goroutines.
func (w *world) quietCall(method, path string) *httptest.ResponseRecorder {
	request := httptest.NewRequestWithContext(w.Context(), method, path, nil)
	request.Header.Set("Authorization", "Bearer "+token)
	recorder := httptest.NewRecorder()
	w.router.ServeHTTP(recorder, request)
	return recorder
}

func (w *world) callWith(authorization, method, path, body string) *httptest.ResponseRecorder {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	request := httptest.NewRequestWithContext(w.Context(), method, path, reader)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	recorder := httptest.NewRecorder()
	w.router.ServeHTTP(recorder, request)
	w.answers.WriteString(recorder.Body.String())
	return recorder
}

// read gets a path and decodes its answer.
func read[T any](w *world, path string) (into T) {
	w.Helper()
	recorder := w.call(http.MethodGet, path, "")
	require.Equal(w, http.StatusOK, recorder.Code, "%s: %s", path, recorder.Body)
	require.Equal(w, "application/json; charset=utf-8", recorder.Header().Get("Content-Type"), path)
	require.NoError(w, json.Unmarshal(recorder.Body.Bytes(), &into), "%s: %s", path, recorder.Body)
	return into
}

// problem checks that an answer is a problem document and returns its detail.
func (w *world) problem(recorder *httptest.ResponseRecorder, status int) string {
	w.Helper()
	require.Equal(w, status, recorder.Code, recorder.Body.String())
	require.Equal(w, []string{"application/problem+json"}, recorder.Header().Values("Content-Type"))
	var document struct {
		Type, Title, Detail string
		Status              int
	}
	reader := json.NewDecoder(recorder.Body)
	reader.DisallowUnknownFields()
	require.NoError(w, reader.Decode(&document))
	require.Equal(w, "about:blank", document.Type)
	require.Equal(w, http.StatusText(status), document.Title)
	require.Equal(w, status, document.Status)
	require.NotEmpty(w, document.Detail)
	return document.Detail
}

// items is a page.
type items[T any] struct {
	Items  []T
	Cursor string
}

// all reads a list to its end in pages of n, each full but the last.
func all[T any](w *world, path string, query url.Values, n int) (found []T) {
	w.Helper()
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", fmt.Sprint(n))
	for {
		page := read[items[T]](w, path+"?"+query.Encode())
		found = append(found, page.Items...)
		if page.Cursor == "" {
			require.LessOrEqual(w, len(page.Items), n)
			return found
		}
		require.Len(w, page.Items, n, "a page with another behind it is full")
		query.Set("cursor", page.Cursor)
	}
}
