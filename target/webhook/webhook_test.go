package webhook_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	newSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("the new secret of at least 24 bytes"))
	oldSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("the old secret of at least 24 bytes"))
)

// receiver is an application's endpoint: it takes only what verifies.
type receiver struct {
	url string

	mu     sync.Mutex
	secret string
	answer func(w http.ResponseWriter, r *http.Request)
	ids    []string
	times  []string
	bodies [][]byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{secret: newSecret}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL + "/hooks/path-secret?token=query-secret"
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	verifier, err := standardwebhooks.NewWebhook(r.secret)
	if err == nil {
		err = verifier.Verify(body, request.Header)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	r.ids = append(r.ids, request.Header.Get("webhook-id"))
	r.times = append(r.times, request.Header.Get("webhook-timestamp"))
	r.bodies = append(r.bodies, body)
	if r.answer != nil {
		r.answer(w, request)
	}
}

func (r *receiver) answerWith(answer func(http.ResponseWriter, *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) last(t require.TestingT) webhook.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	require.NotEmpty(t, r.bodies)
	var m webhook.Message
	require.NoError(t, json.Unmarshal(r.bodies[len(r.bodies)-1], &m))
	return m
}

func (r *receiver) lastID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[len(r.ids)-1]
}

func connect(t *testing.T, r *receiver, change ...func(*webhook.Config)) *webhook.Connector {
	t.Helper()
	config := webhook.Config{URL: r.url, Secrets: []string{newSecret}, AllowPrivate: true}
	for _, c := range change {
		c(&config)
	}
	c, err := webhook.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

var scope = directory.Scope{Dataset: directory.Prod, InstanceID: "inst-1", TenantID: "t1"}

func object(key string, version, mark int64) target.Object {
	return target.Object{ExternalID: scope.ExternalID(key), Origin: target.Origin{
		Scope: scope, Key: key, Version: version, Mark: mark, ChangedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}}
}

func TestAMessageHoldsTheWholeEntity(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := connect(t, r)

	id, err := c.PutDepartment(t.Context(), target.Department{Object: object("d1", 3, 7), Code: "d1", Name: "产品部 <&>", ParentCode: "d0", ParentRemoteID: "x"})
	require.NoError(t, err)
	require.Equal(t, scope.ExternalID("d1"), id, "the remote id is the external id")
	want := webhook.Message{Type: webhook.DepartmentUpserted, Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Data: webhook.Data{
		ExternalID: "prod/inst-1/t1/d1", Version: 3, Revision: 7, Key: "d1",
		Scope:      webhook.Scope{Dataset: "prod", InstanceID: "inst-1", TenantID: "t1"},
		Department: &webhook.Department{OrgCode: "d1", Name: "产品部 <&>", ParentCode: "d0"},
	}}
	require.Equal(t, want, r.last(t))

	_, err = c.PutUser(t.Context(), target.User{
		Object: object("zhang", 4, 1), UserName: "zhang@acme", AccountName: "zhang", DisplayName: "张三", Active: true, Role: "admin", Title: "工程师",
		EmployeeNumber: "007", EmployeeType: "1", DepartmentCode: "d1", DepartmentName: "产品部", Organization: "Acme", Mobile: "138", Email: "z@x", WorkPlace: "深圳", EntryDate: "2020-01-2",
	})
	require.NoError(t, err)
	require.Equal(t, &webhook.User{
		UserName: "zhang", SignInName: "zhang@acme", Name: "张三", Active: true, Role: "admin", OrgCode: "d1", OrgName: "产品部", Organization: "Acme",
		Position: "工程师", EmployeeCode: "007", EmployeeType: "1", Mobile: "138", Email: "z@x", WorkPlace: "深圳", EntryDate: "2020-01-2",
	}, r.last(t).Data.User)

	require.NoError(t, c.DeleteUser(t.Context(), object("zhang", 5, 2)))
	require.Equal(t, webhook.UserDeleted, r.last(t).Type)
	require.Nil(t, r.last(t).Data.User)
	require.Equal(t, "zhang", r.last(t).Data.Key)
	require.NoError(t, c.DeleteDepartment(t.Context(), object("d1", 4, 8)))
	require.Equal(t, webhook.DepartmentDeleted, r.last(t).Type)
	require.Nil(t, r.last(t).Data.Department)
}

func TestTheIDStaysAndTheTimestampMovesOverAttempts(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	now := time.Now()
	c := connect(t, r, func(c *webhook.Config) { c.Now = func() time.Time { return now } })
	d := target.Department{Object: object("d1", 1, 0), Code: "d1", Name: "产品部"}

	r.answerWith(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	_, err := c.PutDepartment(t.Context(), d)
	require.Equal(t, target.Transient, target.ClassOf(err))
	r.answerWith(nil)
	now = now.Add(time.Minute)
	d.RemoteID, d.Uncertain = d.ExternalID, true // what the fan-out knows must not show
	_, err = connect(t, r, func(c *webhook.Config) { c.Now = func() time.Time { return now } }).PutDepartment(t.Context(), d)
	require.NoError(t, err)

	require.Len(t, r.ids, 2, "one attempt is one request")
	require.Equal(t, r.ids[0], r.ids[1])
	require.Equal(t, r.bodies[0], r.bodies[1])
	require.Equal(t, strconv.FormatInt(now.Unix(), 10), r.times[1])
	require.NotEqual(t, r.times[0], r.times[1])
}

// A receiver drops an id it has seen: two messages must never share one.
func TestDifferentMessagesHaveDifferentIDs(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := connect(t, r)
	seen := map[string]bool{}
	note := func(err error) {
		require.NoError(t, err)
		require.False(t, seen[r.lastID()], "an id is used twice")
		seen[r.lastID()] = true
		require.NotContains(t, r.lastID(), ".", "a dot would blur the signed text")
	}
	put := func(d target.Department) error { _, err := c.PutDepartment(t.Context(), d); return err }
	note(put(target.Department{Object: object("a", 1, 0), Code: "a", Name: "n"}))
	note(put(target.Department{Object: object("a", 2, 1), Code: "a", Name: "n"}))
	note(put(target.Department{Object: object("a", 2, 2), Code: "a", Name: "m"}))
	note(put(target.Department{Object: object("a", 2, 3), Code: "a", Name: "n"})) // and back again
	note(put(target.Department{Object: object("b", 1, 0), Code: "b", Name: "n"}))
	note(c.DeleteDepartment(t.Context(), object("a", 1, 0)))
	note(c.DeleteUser(t.Context(), object("a", 1, 0)))
	other := object("a", 1, 0)
	other.ExternalID, other.Origin.Scope.Dataset = "test/inst-1/t1/a", directory.Test
	note(c.DeleteUser(t.Context(), other))
}

func TestWhileASecretRotatesBothVerify(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := connect(t, r, func(c *webhook.Config) { c.Secrets = []string{newSecret, oldSecret} })
	for _, secret := range []string{newSecret, oldSecret} {
		r.mu.Lock()
		r.secret = secret
		r.mu.Unlock()
		require.NoError(t, c.DeleteUser(t.Context(), object("a", 1, 0)))
	}
	r.mu.Lock()
	r.secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("somebody else's secret, long enough"))
	r.mu.Unlock()
	require.Equal(t, target.Down, target.ClassOf(c.DeleteUser(t.Context(), object("a", 1, 0))))
}

// Whatever an entity holds, the library verifies it and reads it back.
func TestAnyEntityVerifies(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := connect(t, r)
	rapid.Check(t, func(rt *rapid.T) {
		d := target.Department{Object: object("k", rapid.Int64().Draw(rt, "version"), rapid.Int64().Draw(rt, "mark")), Code: "k", Name: rapid.String().Draw(rt, "name")}
		_, err := c.PutDepartment(t.Context(), d)
		require.NoError(rt, err)
		m := r.last(rt)
		require.Equal(rt, d.Name, m.Data.Department.Name)
		require.Equal(rt, d.Origin.Version, m.Data.Version)
	})
}

func TestWhatAnAnswerMeans(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]target.Class{
		200: "", 201: "", 202: "", 204: "",
		301: target.Down, 302: target.Down, 308: target.Down,
		400: target.Permanent, 413: target.Permanent, 422: target.Permanent,
		401: target.Down, 403: target.Down, 404: target.Down, 405: target.Down,
		409: target.Transient, 408: target.Transient, 410: target.Disabled, 429: target.RateLimited,
		500: target.Transient, 502: target.Transient, 503: target.RateLimited,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			r.answerWith(func(w http.ResponseWriter, request *http.Request) {
				w.Header().Set("Retry-After", "9")
				w.Header().Set("Location", r.url)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, "you called "+request.URL.String()+" garbage \x00<html>")
			})
			_, err := connect(t, r).PutUser(t.Context(), target.User{Object: object("a", 1, 0)})
			require.Len(t, r.ids, 1)
			if want == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, want, target.ClassOf(err))
			var failure *target.Error
			require.ErrorAs(t, err, &failure)
			if want == target.RateLimited {
				require.Equal(t, 9*time.Second, failure.RetryAfter)
			}
			require.NotContains(t, err.Error(), "path-secret")
			require.NotContains(t, err.Error(), "query-secret")
		})
	}
}

func TestPingTellsWhetherTheReceiverLetsUsIn(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := connect(t, r)
	capabilities, err := c.Describe(t.Context())
	require.NoError(t, err)
	require.True(t, capabilities.NativeParent)
	require.False(t, capabilities.Memberships)
	require.Equal(t, webhook.Ping, r.last(t).Type)
	for status, want := range map[int]target.Class{400: target.Down, 500: target.Down, 404: target.Down, 410: target.Disabled, 429: target.RateLimited} {
		r.answerWith(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, err := c.Describe(t.Context())
		require.Equal(t, want, target.ClassOf(err), status)
	}
}

func TestAnAnswerThatNeverEndsIsStillTheAnswerItBeganWith(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answerWith(func(w http.ResponseWriter, request *http.Request) {
		for request.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	require.NoError(t, connect(t, r).DeleteUser(t.Context(), object("a", 1, 0)))
}

func TestACutConnectionIsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answerWith(func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	})
	err := connect(t, r).DeleteUser(t.Context(), object("a", 1, 0))
	var failure *target.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, target.Transient, failure.Class)
	require.True(t, failure.UnknownOutcome)
	require.NotContains(t, err.Error(), "secret")
}

func TestPrivateAddressesNeedPermission(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := connect(t, r, func(c *webhook.Config) {
		c.AllowPrivate = false
		c.URL = strings.Replace(r.url, "http://127.0.0.1", "https://localhost", 1)
	})
	_, err := c.Describe(t.Context())
	require.Equal(t, target.Down, target.ClassOf(err))
	require.ErrorContains(t, err, "allowPrivate")
	require.Empty(t, r.ids)
}

func TestValidateNamesEveryFaultAndNoSecret(t *testing.T) {
	t.Parallel()
	long := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))
	for name, test := range map[string]struct {
		config webhook.Config
		want   []string
	}{
		"nothing":         {webhook.Config{}, []string{"url: want https", "secrets: none"}},
		"plain http":      {webhook.Config{URL: "http://x/secret", Secrets: []string{newSecret}}, []string{"url: http://"}},
		"unreadable":      {webhook.Config{URL: "https://x/secret\x00", Secrets: []string{newSecret}}, []string{"url: cannot be read"}},
		"credentials":     {webhook.Config{URL: "https://u:secret@x", Secrets: []string{newSecret}}, []string{"url: no credentials"}},
		"no prefix":       {webhook.Config{URL: "https://x", Secrets: []string{"c2VjcmV0"}}, []string{"secrets[0]: want whsec_"}},
		"no Base64":       {webhook.Config{URL: "https://x", Secrets: []string{newSecret, "whsec_secret!"}}, []string{"secrets[1]: want whsec_"}},
		"short":           {webhook.Config{URL: "https://x", Secrets: []string{"whsec_c2VjcmV0"}}, []string{"secrets[0]: 6 bytes"}},
		"long":            {webhook.Config{URL: "https://x", Secrets: []string{long}}, []string{"secrets[0]: 65 bytes"}},
		"three":           {webhook.Config{URL: "https://x", Secrets: []string{newSecret, oldSecret, oldSecret}}, []string{"secrets: 3"}},
		"negative time":   {webhook.Config{URL: "https://x", Secrets: []string{newSecret}, Timeout: -1}, []string{"timeout"}},
		"caFile not read": {webhook.Config{URL: "https://x", Secrets: []string{newSecret}, CAFile: "/nowhere.pem"}, []string{"caFile"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := webhook.New(test.config)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "secret!")
			require.NotContains(t, err.Error(), "/secret")
			require.NotContains(t, err.Error(), "c2VjcmV0")
		})
	}
}
