package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/list"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/directory"
)

func TestATargetGetsTheTenantsAndTheDataSetItAsksFor(t *testing.T) {
	t.Parallel()
	prod := func(tenant string) directory.Scope {
		return directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: tenant}
	}
	debug := directory.Scope{Dataset: directory.Test, InstanceID: "i", TenantID: "a"}
	for _, c := range []struct {
		target config.Target
		want   map[directory.Scope]bool
	}{
		{config.Target{}, map[directory.Scope]bool{prod("a"): true, prod("b"): true, debug: false}},
		{config.Target{Tenants: []string{"*"}}, map[directory.Scope]bool{prod("a"): true, prod("b"): true, debug: false}},
		{config.Target{Tenants: []string{"a"}}, map[directory.Scope]bool{prod("a"): true, prod("b"): false, prod(""): false, debug: false}},
		{config.Target{Tenants: []string{"b", "*"}}, map[directory.Scope]bool{prod("a"): true, debug: false}},
		{config.Target{TestData: true}, map[directory.Scope]bool{prod("a"): false, debug: true}},
		{config.Target{TestData: true, Tenants: []string{"b"}}, map[directory.Scope]bool{debug: false}},
	} {
		match := matchOf(&c.target)
		for scope, want := range c.want {
			require.Equal(t, want, match(scope), "%+v, %s", c.target.Tenants, scope)
		}
	}
}

// request makes one plain request and returns status, content type and body.
func (s *server) request(t *testing.T, method, path string, header http.Header, body string) (status int, contentType, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header = header
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header.Get("Content-Type"), string(answer)
}

func (s *server) token(t *testing.T) http.Header {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, config.AdminTokenFile))
	require.NoError(t, err)
	return http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(text))}}
}

func TestWhatIsNotFoundIsAnsweredInTheWordsOfItsPlace(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, c := range []struct {
		method, path, contentType, want string
		status                          int
	}{
		{"GET", "/api/v1/nothing", "application/problem+json", "no such call; GET /api/v1 lists them", http.StatusNotFound},
		{"GET", "/api", "application/problem+json", "no such call", http.StatusNotFound},
		{"PUT", "/api/v1/users", "application/problem+json", "no such call", http.StatusMethodNotAllowed},
		{"POST", "/", "application/json", `"resultCode": "000002"`, http.StatusMethodNotAllowed},
		{"GET", "/apis", "application/json", `"resultCode": "000002"`, http.StatusNotFound},
		{"GET", "/saasproduce/produceAPI/v2/allOrgSync", "application/json", `"resultCode": "000002"`, http.StatusMethodNotAllowed},
	} {
		status, contentType, text := s.request(t, c.method, c.path, s.token(t), "")
		require.Equal(t, c.status, status, c.path)
		require.Equal(t, c.contentType, contentType, c.path)
		require.Contains(t, text, c.want, c.path)
	}
}

// Whoever opens an address in a browser is told what is there.
func TestABrowserFindsItsWay(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for path, want := range map[string]string{
		"/":             "/saasproduce   the marketplace calls here",
		"/saasproduce":  "this address takes the marketplace's calls",
		"/saasproduce/": "this address takes the marketplace's calls",
		"/api/v1":       "Authorization: Bearer <admin token>",
	} {
		_, _, text := s.request(t, "GET", path, nil, "")
		require.Contains(t, text, want, path)
	}
	status, _, text := s.request(t, "GET", "/api/v1", s.token(t), "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, `"GET /api/v1/sync-status"`)
	require.Contains(t, text, `"POST /api/v1/instances/{id}/complete"`)
}

// A production address at the root leaves no room for a front page.
func TestAnEmptyBasePathServesTheMarketplaceAtTheRoot(t *testing.T) {
	t.Parallel()
	s := serve(t, "--config", write(t, "orgsync.yaml", "basePath: \"\"\n"))
	_, _, text := s.request(t, "GET", "/", nil, "")
	require.Contains(t, text, "this address takes the marketplace's calls")
}

// Nobody can write another's address into the audit log.
func TestTheAuditNamesTheCallerAndNotWhatItClaims(t *testing.T) {
	t.Parallel()
	s := serve(t)
	header := s.token(t)
	header.Set("X-Forwarded-For", "203.0.113.7")
	header.Set("X-Real-Ip", "203.0.113.7")
	status, _, _ := s.request(t, "GET", "/api/v1/users?personal=full", header, "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, s.out.String(), "audit: personal data read")
	require.Contains(t, s.out.String(), "remote=127.0.0.1")
	require.NotContains(t, s.out.String(), "203.0.113.7")
}

func TestARestartKeepsKeysAndData(t *testing.T) {
	t.Parallel()
	s := serve(t)
	before := s.token(t)
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(3)).err)
	s.stop()
	require.NoError(t, s.err)

	again := serve(t, "--data-dir", s.dir)
	again.dir = s.dir
	require.NotContains(t, again.out.String(), "Made these secrets")
	require.Equal(t, before, again.token(t))
	require.Len(t, listed[any](t, again, "/departments"), 3)
}

func TestDebuggingDataExpires(t *testing.T) {
	t.Parallel()
	s := serve(t, "--config", write(t, "orgsync.yaml", "retention: {testData: 1ms, interval: 20ms}\n"))
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(2)).err)
	require.NoError(t, s.pushFile(t, "full", "--test", "d.csv", departments(3)).err)
	s.out.await(t, "(swept).*testData=3", nil)
	_, _, text := s.request(t, "GET", "/api/v1/departments?dataset=test", s.token(t), "")
	require.JSONEq(t, `{"items":[]}`, text)
	require.Len(t, listed[any](t, s, "/departments"), 2, "production data stays")
}

func TestALargerBodyThanAllowedIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, "--config", write(t, "orgsync.yaml", "maxBody: 2000\nlog: {format: json}\n"))
	r := s.pushFile(t, "full", "", "d.csv", departments(100))
	require.ErrorContains(t, r.err, "1 of 1 calls were refused")
	require.Contains(t, r.out, "000002 body: larger than 2000 bytes")
	require.Contains(t, s.out.String(), `"code":"000002"`, "the log is JSON where that is asked for")
}

func TestTheLevelOfTheLogIsObeyed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := newLogger(&out, config.Log{Level: "warn", Format: "json"})
	logger.Info("quiet")
	logger.Warn("loud")
	var line struct{ Msg, Level string }
	require.NoError(t, json.Unmarshal(out.Bytes(), &line), "one line: %s", out.String())
	require.Equal(t, "loud", line.Msg)
}

// The demo's enterprise is what its texts say, the same every time.
func TestTheSampleCompany(t *testing.T) {
	t.Parallel()
	departments, users := sampleCompany()
	require.Len(t, departments, 298)
	require.Len(t, users, 240)
	require.NoError(t, (&directory.FullPush{Departments: slices.Clone(departments)}).Check())
	require.NoError(t, directory.CheckUsers(users))
	codes := make(map[string]bool)
	siblings := make(map[string]bool)
	for _, d := range departments {
		codes[d.Code] = true
		require.False(t, siblings[d.ParentCode+"/"+d.Name], "names are unique among siblings (spec/marketplace.md §3.4): %s", d.Name)
		siblings[d.ParentCode+"/"+d.Name] = true
	}
	waiting := 0
	for _, d := range departments {
		if d.ParentCode != "" && !codes[d.ParentCode] {
			waiting++
		}
	}
	require.Equal(t, 1, waiting, "one parent is not in the list, as in the marketplace's example")
	for _, u := range users {
		require.True(t, codes[u.OrgCode], u.UserName)
	}
	again, _ := sampleCompany()
	require.Equal(t, departments, again)
}

func TestTheTreeIsShownInPart(t *testing.T) {
	t.Parallel()
	many := &treeNode{OrgCode: "0", OrgName: "总部"}
	for i := range 12 {
		many.Children = append(many.Children, &treeNode{OrgCode: fmt.Sprint(i + 1), OrgName: "部", Children: []*treeNode{{}, {}}})
	}
	l := list.NewWriter()
	appendNodes(l, []*treeNode{many}, 2)
	lines := strings.Split(l.Render(), "\n")
	require.Len(t, lines, 11, "the root, nine of twelve, and how many more")
	require.Contains(t, lines[1], "部 1 (+2)")
	require.Contains(t, lines[10], "… and 3 more")
}

func TestAServerIsStoppedWithRequestsUnderWay(t *testing.T) {
	t.Parallel()
	s := serve(t)
	body, writer := io.Pipe()
	reading := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(reading) }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/saasproduce/produceAPI/v2/allOrgSync", body)
	require.NoError(t, err)
	request.Header.Set("Expect", "100-continue") // the server asks for the body when it begins to read it
	answered := make(chan error, 1)
	go func() {
		patient := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
		response, err := patient.Do(request)
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	<-reading
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	s.awaitRefused(t)
	require.NoError(t, writer.Close())
	require.NoError(t, <-answered, "what was under way is answered")
	<-stopped
}

// awaitRefused waits until the server takes no new connection.
func (s *server) awaitRefused(t *testing.T) {
	t.Helper()
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for range 10_000 {
		response, err := fresh.Get(s.base + "/healthz")
		if err != nil {
			return
		}
		_ = response.Body.Close()
	}
	require.Fail(t, "the server goes on taking connections")
}
