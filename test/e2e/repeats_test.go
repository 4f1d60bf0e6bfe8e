package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/marketplace"
)

// repeats is how often each call is made at once.
const repeats = 50

// ready is a seller's server that does at once what it is told, and what it was
// told: the webhook-ids of each type of event.
type ready struct {
	mu   sync.Mutex
	told map[string]map[string]bool
}

func (s *ready) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var message struct {
		Type string `json:"type"`
	}
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	if s.told[message.Type] == nil {
		s.told[message.Type] = make(map[string]bool)
	}
	s.told[message.Type][r.Header.Get("Webhook-Id")] = true
	s.mu.Unlock()
	switch message.Type {
	case "instance.created":
		_, _ = io.WriteString(w, `{"appInfo": {"frontEndUrl": "https://app.example.com", "userName": "admin", "password": "pw"}}`)
	case "license.requested":
		_, _ = io.WriteString(w, `{"license": "LICENSE"}`)
	}
}

func (s *ready) count(event string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.told[event])
}

// v2Call makes the n-th of some calls alike, each with a nonce of its own.
func (c *connector) v2Call(step string, n int, body string) *http.Request {
	nonce, stamp := fmt.Sprintf("%s-%d", step, n), strconv.FormatInt(time.Now().UnixMilli(), 10)
	signature, err := marketplace.SignBase(c.secret("kit-access-key"), nonce, stamp, []byte(body))
	require.NoError(c.t, err)
	query := url.Values{"signature": {signature}, "timestamp": {stamp}, "nonce": {nonce}}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.base+"/saasproduce?"+query.Encode(), strings.NewReader(body))
	require.NoError(c.t, err)
	return request
}

// v1Call makes a call of V1, which has no nonce.
func (c *connector) v1Call(stamp string, params map[string]string) *http.Request {
	params["timeStamp"] = stamp
	query := url.Values{"authToken": {marketplace.SignV1Params(c.secret("kit-access-key"), params)}}
	for name, text := range params {
		query.Set(name, text)
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.base+"/saasproduce?"+query.Encode(), nil)
	require.NoError(c.t, err)
	return request
}

// atOnce sends all requests at once and returns the answers.
func atOnce(t *testing.T, requests []*http.Request) []baseAnswer {
	t.Helper()
	answers := make([]baseAnswer, len(requests))
	errs := make([]error, len(requests))
	var wg sync.WaitGroup
	for n, request := range requests {
		wg.Go(func() {
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				errs[n] = err
				return
			}
			defer func() { _ = response.Body.Close() }()
			errs[n] = json.NewDecoder(response.Body).Decode(&answers[n])
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	return answers
}

type baseAnswer struct {
	Code       string `json:"resultCode"`
	InstanceID string `json:"instanceId"`
	Info       []struct {
		InstanceID string `json:"instanceId"`
	} `json:"info"`
}

// step is a call that is made many times at once.
type step struct {
	name  string
	event string // that the seller's server hears of once, empty for none
	// goes says that some may be told that it goes on: those that came while the
	// first one's was under way.
	goes bool
	// make makes the n-th call, of V2 about an instance of that id.
	make func(c *connector, id string, n int) *http.Request
}

func v2(name, event string, body func(n int) string) step {
	return step{name: "V2 " + name, event: event, make: func(c *connector, id string, n int) *http.Request {
		return c.v2Call(name, n, strings.ReplaceAll(body(n), "ID", id))
	}}
}

func v1(at int, name, event string, params func(n int) map[string]string) step {
	stamp := time.Now().UTC().Add(time.Duration(at)*time.Second).Format("20060102150405") + "000"
	return step{name: "V1 " + name, event: event, make: func(c *connector, _ string, n int) *http.Request {
		all := params(n)
		all["activity"] = strings.Fields(name)[0]
		return c.v1Call(stamp, all)
	}}
}

func always(text string) func(int) string { return func(int) string { return text } }

func goingOn(s step) step {
	s.goes = true
	return s
}

// lifeInRepeats is every activity of both generations, in an order that makes
// sense.
func lifeInRepeats() []step {
	about := func(id string, more ...string) func(int) map[string]string {
		return func(int) map[string]string {
			params := map[string]string{"instanceId": id}
			for i := 0; i < len(more); i += 2 {
				params[more[i]] = more[i+1]
			}
			return params
		}
	}
	order := func(prefix string, more ...string) func(int) map[string]string {
		return func(n int) map[string]string {
			params := about("", more...)(n)
			delete(params, "instanceId")
			params["orderId"], params["customerId"], params["productId"], params["businessId"] = "order of "+prefix, "customer", "p", prefix
			return params
		}
	}
	return []step{
		goingOn(v2("newInstance", "instance.created", func(n int) string {
			return fmt.Sprintf(`{"activity":"newInstance","businessId":"v2-%d","orderId":"o","orderLineId":"l","productId":"p"}`, n)
		})),
		v2("queryInstance", "", always(`{"activity":"queryInstance","instanceId":"ID"}`)),
		v2("refreshInstance", "instance.renewed", always(`{"activity":"refreshInstance","scene":"RENEWAL","orderId":"r","orderLineId":"r","instanceId":"ID","expireTime":"20390101000000"}`)),
		v2("freeze", "instance.frozen", always(`{"activity":"updateInstanceStatus","instanceId":"ID","status":"FREEZE"}`)),
		v2("unfreeze", "instance.resumed", always(`{"activity":"updateInstanceStatus","instanceId":"ID","status":"UNFREEZE"}`)),
		v2("upgradeInstance", "instance.upgraded", always(`{"activity":"upgradeInstance","instanceId":"ID","orderId":"u","orderLineId":"u"}`)),
		goingOn(v2("getLicenseAsync", "license.requested", always(`{"activity":"getLicenseAsync","instanceId":"ID","eventId":"ev","effectiveTime":"2023-10-27 10:30:15 z"}`))),
		v2("releaseInstance", "instance.released", always(`{"activity":"releaseInstance","instanceId":"ID"}`)),

		goingOn(v1(0, "newInstance", "instance.created", order("v1"))),
		v1(1, "queryInstance", "", about("v1")),
		v1(2, "refreshInstance", "instance.renewed", about("v1", "orderId", "r1", "periodType", "year", "periodNumber", "1")),
		v1(3, "instanceStatus FREEZE", "instance.frozen", about("v1", "instanceStatus", "FREEZE")),
		v1(4, "instanceStatus NORMAL", "instance.resumed", about("v1", "instanceStatus", "NORMAL")),
		v1(5, "upgrade", "instance.upgraded", about("v1", "orderId", "u1", "skuCode", "s")),
		v1(6, "expireInstance", "instance.expired", about("v1")),
		v1(7, "releaseInstance", "instance.released", about("v1")),

		goingOn(v1(8, "getLicense", "license.requested", order("li", "eventId", "ev"))),
		v1(9, "refreshLicense", "instance.renewed", about("li", "expireTime", "20390101000000")),
		v1(10, "expireLicense", "instance.expired", about("li")),
		v1(11, "releaseLicense", "instance.released", about("li")),
	}
}

// Each call of the base interface is made fifty times at once, through the
// program alone: all get the same answer, and the seller's server hears of one.
func TestRepeatsAtOnceAreAsGoodAsOne(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		repeated(t, "")
	})
	t.Run("MongoDB", func(t *testing.T) {
		t.Parallel()
		uri, name := database(t)
		repeated(t, backends(uri, name, ""))
	})
}

func repeated(t *testing.T, store string) {
	shop := &ready{told: make(map[string]map[string]bool)}
	server := httptest.NewServer(shop)
	t.Cleanup(server.Close)
	c := start(t, store+"instances:\n  provisioner: webhook\n  webhookUrl: "+server.URL+"\n  webhookSecret: "+hookSecret+"\n")
	heard := make(map[string]int)
	id := ""
	for _, s := range lifeInRepeats() {
		requests := make([]*http.Request, repeats)
		for n := range requests {
			requests[n] = s.make(c, id, n)
		}
		answers := atOnce(t, requests)
		for _, a := range answers {
			require.Equal(t, answers[0].InstanceID, a.InstanceID, s.name)
			if s.goes && a.Code == "000004" {
				continue
			}
			require.Equal(t, "000000", a.Code, s.name)
			require.Equal(t, answers[0].Info, a.Info, s.name)
		}
		if id == "" {
			id = answers[0].InstanceID
		}
		if s.event != "" {
			heard[s.event]++
			require.Eventually(t, func() bool { return shop.count(s.event) >= heard[s.event] }, time.Minute, 10*time.Millisecond, s.name)
		}
	}
	heard["instance.created"]++ // getLicense made the third
	var listed struct {
		Items []struct{ InstanceID, State string }
	}
	c.get("/instances", &listed)
	require.Len(t, listed.Items, 3)
	for event, want := range heard {
		require.Equal(t, want, shop.count(event), event)
	}
}
