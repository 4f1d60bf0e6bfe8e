package client_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "ak-0-7f3c9e"

var now = time.Date(2022, 4, 13, 9, 35, 39, 534e6, directory.China)

// answering is a production address that answers every call alike and keeps
// what it got.
func answering(t *testing.T, status int, body string) (base string, got func() (*http.Request, string)) {
	t.Helper()
	requests := make(chan *http.Request, 1)
	bodies := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		bodies <- string(text)
		requests <- r
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() (*http.Request, string) { return <-requests, <-bodies }
}

func newClient(t *testing.T, base string) *client.Client {
	t.Helper()
	c, err := client.New(base, key, client.Options{HTTP: noKeepAlive(), Now: func() time.Time { return now }})
	require.NoError(t, err)
	return c
}

// noKeepAlive leaves no connection behind.
func noKeepAlive() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func TestPushSignsWhatItSends(t *testing.T) {
	t.Parallel()
	base, got := answering(t, http.StatusOK, `{"resultCode":"000000","resultMsg":"success."}`)
	c := newClient(t, base+"/saasproduce/")
	const body = `{ "tenantId" : "t1", "flag" : 0 }`
	answer, err := c.Push(t.Context(), directory.TenantSync, []byte(body))
	require.NoError(t, err)
	require.True(t, answer.OK())
	require.Equal(t, client.Answer{Code: "000000", Message: "success."}, answer)

	request, sent := got()
	require.JSONEq(t, body, sent)
	require.Equal(t, http.MethodPost, request.Method)
	require.Equal(t, "/saasproduce/produceAPI/v2/tenantSync", request.URL.Path)
	require.Equal(t, "1649813739534", request.Header.Get("x-timestamp"))
	nonce := request.Header.Get("x-nonce")
	require.Len(t, nonce, 32)
	sign, err := marketplace.SignKit(key, nonce, "1649813739534", []byte(body))
	require.NoError(t, err)
	require.Equal(t, sign, request.Header.Get("x-sign"))

	_, err = c.Push(t.Context(), directory.TenantSync, []byte(body))
	require.NoError(t, err)
	request, _ = got()
	require.NotEqual(t, nonce, request.Header.Get("x-nonce"), "no nonce is used twice")
}

func TestPushReportsARefusal(t *testing.T) {
	t.Parallel()
	base, _ := answering(t, http.StatusOK, `{"resultCode":"000002","resultMsg":"orgName: missing"}`)
	answer, err := newClient(t, base).Push(t.Context(), directory.SingleOrgSync, []byte(`{}`))
	require.NoError(t, err)
	require.False(t, answer.OK())
	require.Equal(t, "orgName: missing", answer.Message)
}

func TestPushSaysWhatWentWrong(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		status int
		body   string
		says   string
	}{
		"a web page":              {http.StatusOK, "<html>hello</html>", "is %s a production address?"},
		"a proxy's error":         {http.StatusBadGateway, "bad gateway", "HTTP 502"},
		"a redirect":              {http.StatusFound, "", "HTTP 302"},
		"JSON without a code":     {http.StatusOK, `{"ok":true}`, "no resultCode"},
		"an answer without bound": {http.StatusOK, strings.Repeat(" ", 2<<20) + `{"resultCode":"000000"}`, "no resultCode"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, _ := answering(t, c.status, c.body)
			_, err := newClient(t, base).Push(t.Context(), directory.AllOrgSync, []byte(`{}`))
			require.ErrorContains(t, err, "allOrgSync: ")
			require.ErrorContains(t, err, strings.ReplaceAll(c.says, "%s", base))
			require.NotContains(t, err.Error(), key)
		})
	}
	t.Run("a body that is no JSON is not sent", func(t *testing.T) {
		t.Parallel()
		_, err := newClient(t, "http://127.0.0.1:1").Push(t.Context(), directory.AllOrgSync, []byte(`{"a":`))
		require.ErrorContains(t, err, "sign allOrgSync: body: malformed JSON")
	})
	t.Run("nobody is there", func(t *testing.T) {
		t.Parallel()
		_, err := newClient(t, "http://127.0.0.1:1").Push(t.Context(), directory.AllOrgSync, []byte(`{}`))
		require.ErrorContains(t, err, "allOrgSync: ")
	})
	t.Run("the caller gives up", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newClient(t, "http://127.0.0.1:1").Push(ctx, directory.AllOrgSync, []byte(`{}`))
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestNewRefusesWhatIsNoAddress(t *testing.T) {
	t.Parallel()
	for base, says := range map[string]string{
		"":                          "want http:// or https://",
		"isv.example.com":           "want http:// or https://",
		"ftp://isv.example.com":     "want http:// or https://",
		"http://":                   "want http:// or https://",
		"http://a b":                "production address",
		"https://x/saas?a=b":        "no query",
		"https://x/saas#here":       "no query",
		"https://user:hunter2@x/fo": "no user",
	} {
		_, err := client.New(base, key, client.Options{})
		require.ErrorContains(t, err, says, base)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := client.New("http://x", "", client.Options{})
	require.ErrorContains(t, err, "access key: empty")
	_, err = client.New("https://isv.example.com/saasproduce", key, client.Options{})
	require.NoError(t, err)
}

// drawn are the parts of a push that the marketplace may send.
func drawText(t *rapid.T, name string, least, most int) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune("abcXYZ019-_./\\\"'<>& \n部门开发\u2028😀")), least, most, -1).Draw(t, name)
}

func drawPush(t *rapid.T) directory.Push {
	push := directory.Push{
		Scope: directory.Scope{
			Dataset:    rapid.SampledFrom([]directory.Dataset{directory.Prod, directory.Test}).Draw(t, "dataset"),
			InstanceID: drawText(t, "instanceId", 0, 64), TenantID: drawText(t, "tenantId", 1, 64),
		},
		Flag:       rapid.SampledFrom([]directory.Flag{directory.FlagAdd, directory.FlagModify}).Draw(t, "flag"),
		SourceTime: directory.SourceTime(rapid.Int64Range(0, 4102444800000).Draw(t, "time")),
	}
	switch rapid.SampledFrom(directory.PushKinds()).Draw(t, "kind") {
	case directory.TenantSync:
		push.Payload = &directory.TenantPush{
			OrderID: drawText(t, "orderId", 0, 64), Code: drawText(t, "tenantCode", 1, 64),
			Name: drawText(t, "name", 1, 255), DomainName: drawText(t, "domainName", 1, 255),
		}
	case directory.ApplicationSync:
		push.Payload = &directory.ApplicationPush{
			AppID: drawText(t, "appId", 1, 64), ClientID: drawText(t, "clientId", 1, 64), ClientSecret: drawText(t, "clientSecret", 1, 684),
		}
	case directory.SingleOrgSync:
		push.Payload = &directory.DepartmentPush{DepartmentItem: drawDepartment(t)}
	case directory.AllOrgSync:
		push.Flag = directory.FlagModify
		full := &directory.FullPush{Departments: []directory.DepartmentItem{}}
		for range rapid.IntRange(0, 5).Draw(t, "departments") {
			full.Departments = append(full.Departments, drawDepartment(t))
		}
		push.Payload = full
	default:
		auth := &directory.AuthPush{AppID: drawText(t, "appId", 1, 64)}
		for range rapid.IntRange(0, 3).Draw(t, "users") {
			auth.Users = append(auth.Users, drawUser(t))
		}
		push.Payload = auth
	}
	return push
}

func drawDepartment(t *rapid.T) directory.DepartmentItem {
	return directory.DepartmentItem{
		Code: "c" + drawText(t, "orgCode", 0, 63), Name: drawText(t, "orgName", 1, 128),
		ParentCode: rapid.SampledFrom([]string{"", "p"}).Draw(t, "top") + drawText(t, "parentCode", 0, 63),
	}
}

func drawUser(t *rapid.T) directory.UserItem {
	return directory.UserItem{
		UserName: drawText(t, "userName", 1, 64), Name: drawText(t, "name", 1, 64), OrgCode: drawText(t, "orgCode", 1, 64),
		Role: rapid.SampledFrom([]string{"user", "admin"}).Draw(t, "role"), Enabled: rapid.Bool().Draw(t, "enable"),
		Position: drawText(t, "position", 0, 64), EmployeeCode: drawText(t, "employeeCode", 0, 64),
		EmployeeType: rapid.IntRange(0, 4).Draw(t, "employeeType"), Mobile: drawText(t, "mobile", 0, 32), Email: drawText(t, "email", 0, 128),
		WorkPlace: drawText(t, "workPlace", 0, 255), EntryDate: rapid.SampledFrom([]string{"", "2022-11-9", "2022-1-31"}).Draw(t, "entryDate"),
	}
}

// What the client writes, the door reads.
func TestBodyDecodesToWhatItWasMadeOf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		push := drawPush(t)
		body, err := client.Body(push.Scope, push.Flag, push.SourceTime, push.Payload)
		require.NoError(t, err)
		got, err := marketplace.Decode(push.Kind(), body)
		if department, ok := push.Payload.(*directory.DepartmentPush); ok && department.Code == department.ParentCode {
			require.ErrorContains(t, err, "its own parent")
			return
		}
		require.NoError(t, err)
		got.Raw = nil
		require.Equal(t, &push, got)
	})
}

func TestBodyOfADeleteNeedsNoMoreThanItsKey(t *testing.T) {
	t.Parallel()
	scope := directory.Scope{Dataset: directory.Prod, TenantID: "t1"}
	for _, payload := range []directory.Payload{
		&directory.TenantPush{}, &directory.ApplicationPush{AppID: "a"},
		&directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: "1"}},
		&directory.AuthPush{AppID: "a", Users: []directory.UserItem{{UserName: "u"}}},
	} {
		body, err := client.Body(scope, directory.FlagDelete, directory.SourceTimeOf(now), payload)
		require.NoError(t, err)
		got, err := marketplace.Decode(payload.PushKind(), body)
		require.NoError(t, err)
		require.Equal(t, directory.FlagDelete, got.Flag)
		require.Equal(t, payload, got.Payload)
	}
}

// foreign is a payload of no interface.
type foreign struct{}

func (foreign) PushKind() directory.PushKind { return "foreign" }

func TestBodyRefusesAForeignPayload(t *testing.T) {
	t.Parallel()
	_, err := client.Body(directory.Scope{}, 0, 0, foreign{})
	require.ErrorContains(t, err, "no body for")
}

func TestBodyWritesNamesUnescaped(t *testing.T) {
	t.Parallel()
	body, err := client.Body(directory.Scope{Dataset: directory.Test, TenantID: "t1"}, directory.FlagAdd, directory.SourceTimeOf(now),
		&directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: "1", Name: "<R&D> 研发"}})
	require.NoError(t, err)
	require.Contains(t, string(body), "<R&D> 研发")
	var members map[string]any
	require.NoError(t, json.Unmarshal(body, &members))
	require.EqualValues(t, 1, members["testFlag"])
	require.Equal(t, "20220413093539534", members["timeStamp"])
}
