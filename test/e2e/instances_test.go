package e2e

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/target/scim/scimserver"
)

const hookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// seller is the seller's own server. It takes every event and finishes later.
func seller(t *testing.T) (address string, events <-chan string) {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(hookSecret)
	require.NoError(t, err)
	told := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || verifier.Verify(body, r.Header) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var message struct{ Type string }
		_ = json.Unmarshal(body, &message)
		told <- message.Type
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	return server.URL, told
}

// base2 sends a signed V2 call of the base interface.
func (c *connector) base2(nonce, body string) (code, answer string) {
	c.t.Helper()
	stamp := strconv.FormatInt(time.Now().UnixMilli(), 10)
	signature, err := marketplace.SignBase(c.secret("kit-access-key"), nonce, stamp, []byte(body))
	require.NoError(c.t, err)
	query := url.Values{"signature": {signature}, "timestamp": {stamp}, "nonce": {nonce}}
	return c.answer(http.MethodPost, "/saasproduce?"+query.Encode(), body, nil)
}

func (c *connector) answer(method, path, body string, header http.Header) (code, text string) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, c.base+path, strings.NewReader(body))
	require.NoError(c.t, err)
	maps.Copy(request.Header, header)
	response, err := http.DefaultClient.Do(request)
	require.NoError(c.t, err)
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	var answer struct {
		Code string `json:"resultCode"`
	}
	require.NoError(c.t, json.Unmarshal(all, &answer), string(all))
	return answer.Code, string(all)
}

// An instance is bought, outlives a crash, is completed by the seller, used by
// the kit in V1, and released: through the built program alone, on either store.
func TestInstanceThroughTheProgram(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		instanceLife(t, "")
	})
	t.Run("MongoDB", func(t *testing.T) {
		t.Parallel()
		uri, name := database(t)
		instanceLife(t, backends(uri, name, ""))
	})
}

func instanceLife(t *testing.T, store string) {
	address, events := seller(t)
	scim, err := scimserver.New(scimserver.Options{Token: "scim-token"})
	require.NoError(t, err)
	listening := httptest.NewServer(scim)
	t.Cleanup(listening.Close)
	c := start(t, store+"targets:\n  - {name: corp, type: scim, url: "+listening.URL+", auth: {type: bearer, token: scim-token}}\ninstances:\n  requireKnown: true\n  provisioner: webhook\n  webhookUrl: "+address+"\n  webhookSecret: "+hookSecret+"\n")
	const buy = `{"activity":"newInstance","businessId":"b-1","orderId":"o-1","orderLineId":"o-1-1"}`
	code, text := c.base2("n1", buy)
	require.Equal(t, "000004", code, text)
	require.Contains(t, text, `"instanceId":"b-1"`)
	require.Equal(t, "instance.created", <-events)

	c.stop(syscall.SIGKILL)
	c.run()
	code, text = c.base2("n2", strings.Replace(buy, "b-1", "b-2", 1))
	require.Equal(t, "000004", code)
	require.Contains(t, text, `"instanceId":"b-1"`, "the order is known after the crash")
	complete := http.Header{"Authorization": {"Bearer " + c.secret("admin-token")}, "Content-Type": {"application/json"}}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.base+"/api/v1/instances/b-1/complete", strings.NewReader(`{"appInfo":{"frontEndUrl":"https://app.example.com"}}`))
	require.NoError(t, err)
	request.Header = complete
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	code, text = c.base2("n3", `{"activity":"queryInstance","instanceId":"b-1"}`)
	require.Equal(t, "000000", code)
	require.Contains(t, text, "https://app.example.com")

	at := directory.SourceTimeOf(time.Now()).Wire()
	for instanceID, want := range map[string]string{"b-1": "000000", "nobody": "000003"} {
		body := `{"instanceId":"` + instanceID + `","tenantId":"t","orgCode":"10","orgName":"开发部","parentCode":"","flag":1,"testFlag":0,"timeStamp":"` + at + `"}`
		token, err := marketplace.SignV1(c.secret("kit-access-key"), at, []byte(body))
		require.NoError(t, err)
		code, text = c.answer(http.MethodPost, "/saasproduce/produceAPI/singleOrgSync", body, http.Header{"Authtoken": {token}})
		require.Equal(t, want, code, text)
	}
	c.grant("b-1", "ann")
	require.Eventually(t, signsIn(scim, "ann", true), time.Minute, 20*time.Millisecond)
	code, _ = c.base2("n4", `{"activity":"updateInstanceStatus","instanceId":"b-1","status":"FREEZE"}`)
	require.Equal(t, "000000", code)
	require.Equal(t, "instance.frozen", <-events)
	require.Eventually(t, signsIn(scim, "ann", false), time.Minute, 20*time.Millisecond)
	var status struct{ Instance string }
	c.get("/sync-status?tenantId=t&instanceId=b-1", &status)
	require.Equal(t, "frozen", status.Instance)
	code, _ = c.base2("n5", `{"activity":"updateInstanceStatus","instanceId":"b-1","status":"UNFREEZE"}`)
	require.Equal(t, "000000", code)
	require.Equal(t, "instance.resumed", <-events)
	require.Eventually(t, signsIn(scim, "ann", true), time.Minute, 20*time.Millisecond)
	code, _ = c.base2("n6", `{"activity":"releaseInstance","instanceId":"b-1"}`)
	require.Equal(t, "000000", code)
	require.Equal(t, "instance.released", <-events)
	require.Eventually(t, signsIn(scim, "ann", false), time.Minute, 20*time.Millisecond)
}

// grant grants an account of the instance's tenant, in V1.
func (c *connector) grant(instanceID, userName string) {
	c.t.Helper()
	at := directory.SourceTimeOf(time.Now()).Wire()
	list := `[{\"userName\":\"` + userName + `\",\"name\":\"A\",\"orgCode\":\"10\",\"role\":\"user\",\"enable\":\"true\"}]`
	body := `{"instanceId":"` + instanceID + `","tenantId":"t","appId":"app","userList":"` + list + `","currentSyncTime":"` + at + `","flag":1,"testFlag":0,"timeStamp":"` + at + `"}`
	token, err := marketplace.SignV1(c.secret("kit-access-key"), at, []byte(body))
	require.NoError(c.t, err)
	code, text := c.answer(http.MethodPost, "/saasproduce/produceAPI/authSync", body, http.Header{"Authtoken": {token}})
	require.Equal(c.t, "000000", code, text)
}

// signsIn asks whether an account is at the target, and may, or may not, sign in.
func signsIn(scim *scimserver.Server, userName string, may bool) func() bool {
	return func() bool {
		for id, user := range scim.Snapshot().Users {
			if strings.HasSuffix(id, userName) {
				return user.Active == may
			}
		}
		return false
	}
}
