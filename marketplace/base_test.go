package marketplace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	usersync "github.com/openkoo/connector/userSync"
)

const (
	baseKey = "base-access-key-0001"
	oldKey  = "base-access-key-0000"
)

// production is a production address over a real store: the base interface of
// both generations and the kit's V1.
type production struct {
	*testing.T
	server  *httptest.Server
	address string // what the marketplace was told
	store   *embedded.Store
	log     *bytes.Buffer
	nonces  int
	clock   atomic.Int64 // UNIX milliseconds
}

func (p *production) now() time.Time { return time.UnixMilli(p.clock.Load()).UTC() }

// logged ends the server and returns all that it has logged.
func (p *production) logged() string {
	p.server.Close()
	return p.log.String()
}

func newProduction(t *testing.T) *production {
	t.Helper()
	p := &production{T: t, log: &bytes.Buffer{}}
	p.clock.Store(time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC).UnixMilli())
	now := p.now
	logger := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store, err := embedded.Open(context.Background(), t.TempDir(), embedded.Options{Now: now, Logger: logger})
	require.NoError(t, err)
	p.store = store
	box, err := secrets.NewBox(make([]byte, secrets.KeySize))
	require.NoError(t, err)
	static, err := instance.NewStatic(instance.Templates{FrontEndURL: "https://app.example.com/{instanceId}?a=1&b=2", License: "LIC-{eventId}"})
	require.NoError(t, err)
	service := instance.New(store, static, box, instance.Options{Now: now, Logger: logger})
	planners := intake.Planners(orgsync.New(directory.DefaultGuard), authsync.New(usersync.Planner{}, secrets.Keyring{Box: box}))
	receiver := intake.New(store, planners, marketplace.Decode, intake.Options{Now: now, Logger: logger})

	options := marketplace.Options{Keys: []string{baseKey, oldKey}, BasePath: basePath, MaxBody: 2 << 20, Now: now, Logger: logger}
	base, err := marketplace.NewBase(options, 0, service, local.NewNonces(0, now))
	require.NoError(t, err)
	kit, err := marketplace.NewKitV1(options, 0, receiver)
	require.NoError(t, err)
	router := gin.New()
	base.RegisterV2(router)
	base.RegisterV1(router)
	kit.Register(router)
	p.server = httptest.NewServer(router)
	p.address = p.server.URL + basePath
	t.Cleanup(func() {
		p.server.Close()
		_ = store.Close()
	})
	return p
}

// baseReply is what came back.
type baseReply struct {
	Code        string  `json:"resultCode"`
	Message     string  `json:"resultMsg"`
	InstanceID  string  `json:"instanceId"`
	EncryptType string  `json:"encryptType"`
	App         appInfo `json:"appInfo"`
	License     string  `json:"license"`
	Info        []struct {
		InstanceID string  `json:"instanceId"`
		App        appInfo `json:"appInfo"`
	} `json:"info"`
	raw      string
	bodySign string
}

type appInfo struct{ FrontEndURL, UserName, Password string }

func (p *production) send(request *http.Request) baseReply {
	p.Helper()
	response, err := p.server.Client().Do(request)
	require.NoError(p, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(p, err)
	require.Equal(p, http.StatusOK, response.StatusCode, string(text))
	a := baseReply{raw: string(text), bodySign: response.Header.Get("Body-Sign")}
	require.NoError(p, json.Unmarshal(text, &a), string(text))
	require.LessOrEqual(p, len([]rune(a.Message)), 255)
	return a
}

// v2 is a signed V2 call; change may spoil it before it is sent.
func (p *production) v2(body string, change func(url.Values)) baseReply {
	p.Helper()
	p.nonces++
	nonce, timestamp := fmt.Sprint("nonce-", p.nonces), strconv.FormatInt(p.now().UnixMilli(), 10)
	signature, err := marketplace.SignBase(baseKey, nonce, timestamp, []byte(body))
	if err != nil {
		signature = "00" // a body that cannot be signed is to be refused for itself
	}
	query := url.Values{"signature": {signature}, "timestamp": {timestamp}, "nonce": {nonce}}
	if change != nil {
		change(query)
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, p.address+"?"+query.Encode(), strings.NewReader(body))
	require.NoError(p, err)
	return p.send(request)
}

// v1 is a signed V1 call. Its answer's signature is checked, whatever it says.
func (p *production) v1(key string, params map[string]string, change func(url.Values)) baseReply {
	p.Helper()
	if _, given := params["timeStamp"]; !given {
		params["timeStamp"] = p.now().UTC().Format("20060102150405") + "000"
	}
	query := url.Values{"authToken": {marketplace.SignV1Params(key, params)}}
	for name, text := range params {
		query.Set(name, text)
	}
	if change != nil {
		change(query)
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.address+"?"+query.Encode(), nil)
	require.NoError(p, err)
	a := p.send(request)
	require.Contains(p, []string{marketplace.BodySign(baseKey, []byte(a.raw)), marketplace.BodySign(oldKey, []byte(a.raw))}, a.bodySign, a.raw)
	return a
}

// kitV1 is a signed V1 call of the kit.
func (p *production) kitV1(kind directory.PushKind, body string, change func(http.Header)) baseReply {
	p.Helper()
	var members struct{ TimeStamp any }
	_ = json.Unmarshal([]byte(body), &members)
	token, err := marketplace.SignV1(baseKey, fmt.Sprint(members.TimeStamp), []byte(body))
	if err != nil {
		token = "x"
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, p.server.URL+basePath+"/produceAPI/"+string(kind), strings.NewReader(body))
	require.NoError(p, err)
	request.Header.Set("authToken", token)
	if change != nil {
		change(request.Header)
	}
	a := p.send(request)
	require.Equal(p, marketplace.BodySign(baseKey, []byte(a.raw)), a.bodySign, a.raw)
	return a
}

func (p *production) instances() []directory.Instance {
	p.Helper()
	all, _, err := p.store.Instances(context.Background(), storage.InstanceFilter{}, storage.Page{})
	require.NoError(p, err)
	return all
}

func (p *production) instance(id string) directory.Instance {
	p.Helper()
	i, err := p.store.Instance(context.Background(), directory.Prod, id)
	require.NoError(p, err)
	return i
}

func (p *production) ok(a baseReply) baseReply {
	p.Helper()
	require.Equal(p, "000000", a.Code, a.raw)
	return a
}

const buyV2 = `{"activity":"newInstance","businessId":"b-1","orderId":"o-1","orderLineId":"o-1-1"}`

func TestBaseV2LifeOfAnInstance(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	require.Equal(t, "b-1", p.ok(p.v2(buyV2, nil)).InstanceID)
	require.Equal(t, "b-1", p.ok(p.v2(strings.Replace(buyV2, "b-1", "b-2", 1), nil)).InstanceID, "same order, same instance")
	query := p.ok(p.v2(`{"activity":"queryInstance","instanceId":"b-1"}`, nil))
	require.Equal(t, "https://app.example.com/b-1?a=1&b=2", query.Info[0].App.FrontEndURL)
	require.Contains(t, query.raw, "?a=1&b=2", "& stays as it is")
	require.Empty(t, query.bodySign, "V2 answers are not signed")

	p.ok(p.v2(`{"activity":"refreshInstance","scene":"RENEWAL","orderId":"o-2","orderLineId":"o-2-1","instanceId":"b-1","expireTime":"20300101000000"}`, nil))
	require.Equal(t, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), p.instance("b-1").ExpireTime)
	p.ok(p.v2(`{"activity":"updateInstanceStatus","instanceId":"b-1","status":"FREEZE"}`, nil))
	require.True(t, p.instance("b-1").Frozen)
	p.ok(p.v2(`{"activity":"updateInstanceStatus","instanceId":"b-1","status":"UNFREEZE"}`, nil))
	require.False(t, p.instance("b-1").Frozen)
	p.ok(p.v2(`{"activity":"upgradeInstance","instanceId":"b-1","orderId":"o-3","orderLineId":"o-3-1"}`, nil))
	require.Equal(t, "LIC-ev", p.ok(p.v2(`{"activity":"getLicenseAsync","instanceId":"b-1","eventId":"ev","effectiveTime":"2023-10-27 10:30:15 z"}`, nil)).License)
	for range 2 {
		p.ok(p.v2(`{"activity":"releaseInstance","instanceId":"b-1"}`, nil))
	}
	require.Equal(t, "000003", p.v2(`{"activity":"queryInstance","instanceId":"b-1"}`, nil).Code)
}

func TestBaseV2TakesWhatIsTolerated(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	p.ok(p.v2(`{ "testFlag" : 1 , "orderLineId":"l", "activity":"newInstance", "orderId":"o", "businessId":"b-1", "unknown":[1,{"a":null}], "x":null }`, nil))
	require.Equal(t, directory.Test, p.instances()[0].Dataset)
	require.Equal(t, "000003", p.v2(`{"activity":"queryInstance","instanceId":"b-1"}`, nil).Code, "debugging data is apart")
	p.ok(p.v2(`{"activity":"queryInstance","instanceId":"b-1","testFlag":"1"}`, nil))
	seconds := func(q url.Values) {
		stamp := strconv.FormatInt(p.now().Unix(), 10)
		sign, _ := marketplace.SignBase(oldKey, "n-s", stamp, []byte(buyV2))
		q.Set("timestamp", stamp)
		q.Set("nonce", "n-s")
		q.Set("signature", strings.ToUpper(sign))
	}
	p.ok(p.v2(buyV2, seconds))
}

// The production address may be registered with a slash at its end, which the
// marketplace then sends.
func TestBaseAtAnAddressWithASlashAtItsEnd(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	p.address += "/"
	require.Equal(t, "b-1", p.ok(p.v2(buyV2, nil)).InstanceID)
	p.ok(p.v1(baseKey, map[string]string{"activity": "queryInstance", "instanceId": "b-1"}, nil))
}

func TestBaseV2RemembersNonces(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	replay := func(body string) func(url.Values) {
		return func(q url.Values) {
			stamp := strconv.FormatInt(p.now().UnixMilli(), 10)
			sign, _ := marketplace.SignBase(baseKey, "once", stamp, []byte(body))
			q.Set("nonce", "once")
			q.Set("signature", sign)
		}
	}
	freeze := `{"activity":"updateInstanceStatus","instanceId":"b-1","status":"FREEZE"}`
	p.ok(p.v2(buyV2, nil))
	first := p.ok(p.v2(freeze, replay(freeze)))
	p.ok(p.v2(strings.Replace(freeze, "FREEZE", "UNFREEZE", 1), nil))
	require.Equal(t, first.raw, p.v2(freeze, replay(freeze)).raw)
	require.False(t, p.instance("b-1").Frozen, "the replay had no second effect")
	require.Equal(t, "000001", p.v2(buyV2, replay(buyV2)).Code, "the nonce with another signature")
}

func TestFiftyRepeatsAtOnceMakeOneInstance(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	const repeats = 50
	ids := make(chan string, repeats)
	var wg sync.WaitGroup
	for n := range repeats {
		body := strings.Replace(buyV2, "b-1", fmt.Sprint("b-", n), 1)
		nonce, stamp := fmt.Sprint("r-", n), strconv.FormatInt(p.now().UnixMilli(), 10)
		sign, err := marketplace.SignBase(baseKey, nonce, stamp, []byte(body))
		require.NoError(t, err)
		query := url.Values{"signature": {sign}, "timestamp": {stamp}, "nonce": {nonce}}
		wg.Go(func() {
			response, err := p.server.Client().Post(p.server.URL+basePath+"?"+query.Encode(), "application/json", strings.NewReader(body))
			if err != nil {
				ids <- err.Error()
				return
			}
			defer func() { _ = response.Body.Close() }()
			text, err := io.ReadAll(response.Body)
			ids <- fmt.Sprint(string(text), err)
		})
	}
	wg.Wait()
	close(ids)
	first := <-ids
	require.Contains(t, first, "000000")
	for other := range ids {
		require.Equal(t, first, other)
	}
	require.Len(t, p.instances(), 1)
}

// with replaces members of a JSON object; nil removes one.
func with(t *testing.T, body string, members map[string]any) string {
	t.Helper()
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &object))
	for name, value := range members {
		if object[name] = value; value == nil {
			delete(object, name)
		}
	}
	text, err := json.Marshal(object)
	require.NoError(t, err)
	return string(text)
}

type members = map[string]any

func TestBaseV2BadInput(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	p.ok(p.v2(buyV2, nil))
	p.ok(p.v2(strings.NewReplacer("b-1", "b-2", "o-1", "o-2").Replace(buyV2), nil))
	p.ok(p.v2(`{"activity":"upgradeInstance","instanceId":"b-2","orderId":"up","orderLineId":"1"}`, nil))
	const refresh = `{"activity":"refreshInstance","scene":"RENEWAL","orderId":"o-9","orderLineId":"1","instanceId":"b-1","expireTime":"20300101000000"}`
	const license = `{"activity":"getLicenseAsync","instanceId":"b-1","eventId":"ev","effectiveTime":"20230101000000"}`
	long := strings.Repeat("长", 65)
	ids := func(n int) string { return strings.TrimSuffix(strings.Repeat("b-1,", n), ",") }
	for name, test := range map[string]struct{ body, code, says string }{
		"no JSON":                 {"activity=newInstance", "000002", "body"},
		"half a JSON":             {`{"activity":`, "000002", "body"},
		"a list":                  {`[]`, "000002", "body"},
		"nothing":                 {``, "000002", "body"},
		"invalid UTF-8":           {"{\"activity\":\"\xff\"}", "000002", "body"},
		"nested too deep":         {`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "000002", "body"},
		"too large":               {`{"a":"` + strings.Repeat("x", 1<<20) + `"}`, "000002", "body: larger"},
		"no activity":             {`{}`, "000002", "activity: missing"},
		"activity null":           {`{"activity":null}`, "000002", "activity: missing"},
		"unknown activity":        {`{"activity":"dropInstance"}`, "000002", "activity"},
		"activity of V1":          {`{"activity":"expireInstance","instanceId":"b-1"}`, "000002", "activity"},
		"activity is a number":    {`{"activity":1}`, "000002", "activity"},
		"unknown testFlag":        {with(t, buyV2, members{"testFlag": 2}), "000002", "testFlag"},
		"testFlag is a boolean":   {with(t, buyV2, members{"testFlag": true}), "000002", "testFlag"},
		"no orderId":              {with(t, buyV2, members{"orderId": nil}), "000002", "orderId: missing"},
		"empty orderId":           {with(t, buyV2, members{"orderId": ""}), "000002", "orderId: empty"},
		"long orderId":            {with(t, buyV2, members{"orderId": long}), "000002", "orderId: longer"},
		"orderId is a number":     {with(t, buyV2, members{"orderId": 7}), "000002", "orderId"},
		"no orderLineId":          {with(t, buyV2, members{"orderLineId": nil}), "000002", "orderLineId"},
		"no businessId":           {with(t, buyV2, members{"businessId": nil}), "000002", "businessId"},
		"a comma in businessId":   {with(t, buyV2, members{"businessId": "a,b", "orderId": "x"}), "000002", "businessId"},
		"NUL in businessId":       {with(t, buyV2, members{"businessId": "a\x00b"}), "000002", "businessId"},
		"businessId of another":   {with(t, buyV2, members{"orderId": "new"}), "000002", "businessId"},
		"expireTime no date":      {with(t, buyV2, members{"expireTime": "20301301000000"}), "000002", "expireTime"},
		"query without id":        {`{"activity":"queryInstance"}`, "000002", "instanceId"},
		"query of nothing":        {`{"activity":"queryInstance","instanceId":""}`, "000002", "instanceId"},
		"query with an empty id":  {`{"activity":"queryInstance","instanceId":"b-1,,b-2"}`, "000002", "instanceId"},
		"query with a long id":    {`{"activity":"queryInstance","instanceId":"b-1,` + long + `"}`, "000002", "instanceId"},
		"query of 101":            {`{"activity":"queryInstance","instanceId":"` + ids(101) + `"}`, "000002", "instanceId: 101"},
		"query of a list":         {`{"activity":"queryInstance","instanceId":["b-1"]}`, "000002", "instanceId"},
		"query of the unknown":    {`{"activity":"queryInstance","instanceId":"somebody,nobody"}`, "000003", "nobody"},
		"refresh the unknown":     {with(t, refresh, members{"instanceId": "nobody"}), "000003", "instanceId"},
		"refresh without scene":   {with(t, refresh, members{"scene": nil}), "000002", "scene"},
		"refresh, unknown scene":  {with(t, refresh, members{"scene": "FOREVER"}), "000002", "scene"},
		"refresh without end":     {with(t, refresh, members{"expireTime": nil}), "000002", "expireTime"},
		"refresh until tomorrow":  {with(t, refresh, members{"expireTime": "tomorrow"}), "000002", "expireTime"},
		"refresh without order":   {with(t, refresh, members{"orderId": nil}), "000002", "orderId"},
		"refresh without line":    {with(t, refresh, members{"orderLineId": nil}), "000002", "orderLineId"},
		"refresh without id":      {with(t, refresh, members{"instanceId": nil}), "000002", "instanceId"},
		"status of the unknown":   {`{"activity":"updateInstanceStatus","instanceId":"nobody","status":"FREEZE"}`, "000003", "instanceId"},
		"no status":               {`{"activity":"updateInstanceStatus","instanceId":"b-1"}`, "000002", "status"},
		"unknown status":          {`{"activity":"updateInstanceStatus","instanceId":"b-1","status":"NORMAL"}`, "000002", "status"},
		"release the unknown":     {`{"activity":"releaseInstance","instanceId":"nobody"}`, "000003", "instanceId"},
		"release without id":      {`{"activity":"releaseInstance"}`, "000002", "instanceId"},
		"upgrade the unknown":     {`{"activity":"upgradeInstance","instanceId":"nobody","orderId":"u","orderLineId":"1"}`, "000003", "instanceId"},
		"upgrade without order":   {`{"activity":"upgradeInstance","instanceId":"b-1"}`, "000002", "orderId"},
		"upgrade by another's":    {`{"activity":"upgradeInstance","instanceId":"b-1","orderId":"up","orderLineId":"1"}`, "000002", "orderId"},
		"license for the unknown": {with(t, license, members{"instanceId": "nobody"}), "000003", "instanceId"},
		"license without event":   {with(t, license, members{"eventId": nil}), "000002", "eventId"},
		"license without begin":   {with(t, license, members{"effectiveTime": nil}), "000002", "effectiveTime"},
		"license, long print":     {with(t, license, members{"deviceFingerprint": strings.Repeat("x", 1025)}), "000002", "deviceFingerprint"},
	} {
		before := p.instances()
		a := p.v2(test.body, nil)
		require.Equal(t, test.code, a.Code, "%s: %s", name, a.raw)
		require.Contains(t, a.Message, test.says, name)
		require.Equal(t, before, p.instances(), "%s: nothing is written", name)
	}
	p.ok(p.v2(`{"activity":"queryInstance","instanceId":"`+ids(100)+`"}`, nil))
	some := p.v2(`{"activity":"queryInstance","instanceId":"b-1,nobody,`+strings.Repeat("x", 64)+`"}`, nil)
	p.ok(some)
	require.Contains(t, some.raw, `"b-1"`, "unknown ones are left out")
	require.NotContains(t, some.raw, "nobody")
	log := p.logged()
	require.NotContains(t, log, baseKey)
	require.NotContains(t, log, "panic")
}

func TestBaseV2Unauthenticated(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	set := func(name, value string) func(url.Values) { return func(q url.Values) { q.Set(name, value) } }
	stamp := func(d time.Duration) string { return strconv.FormatInt(p.now().Add(d).UnixMilli(), 10) }
	for name, test := range map[string]struct {
		change func(url.Values)
		code   string
		says   string
	}{
		"no signature":      {set("signature", ""), "000001", "signature: missing"},
		"wrong signature":   {set("signature", strings.Repeat("0", 64)), "000001", "signature"},
		"another nonce":     {set("nonce", "other"), "000001", "signature"},
		"another timestamp": {set("timestamp", stamp(time.Second)), "000001", "signature"},
		"no timestamp":      {set("timestamp", ""), "000002", "timestamp: missing"},
		"no number":         {set("timestamp", "17785e8e99000"), "000002", "timestamp"},
		"11 digits":         {set("timestamp", "17785000000"), "000002", "timestamp"},
		"expired":           {set("timestamp", stamp(-61*time.Second)), "000002", "expired"},
		"in the future":     {set("timestamp", stamp(5*time.Minute+time.Second)), "000002", "future"},
		"no nonce":          {set("nonce", ""), "000002", "nonce: missing"},
		"long nonce":        {set("nonce", strings.Repeat("n", 129)), "000002", "nonce: longer"},
		"a key of the kit's": {func(q url.Values) {
			s, _ := marketplace.SignBase("kit", q.Get("nonce"), q.Get("timestamp"), []byte(buyV2))
			q.Set("signature", s)
		}, "000001", "signature"},
		"signed as the kit": {func(q url.Values) {
			s, _ := marketplace.SignKit(baseKey, q.Get("nonce"), q.Get("timestamp"), []byte(buyV2))
			q.Set("signature", s)
		}, "000001", "signature"},
	} {
		a := p.v2(buyV2, test.change)
		require.Equal(t, test.code, a.Code, "%s: %s", name, a.raw)
		require.Contains(t, a.Message, test.says, name)
	}
	require.Empty(t, p.instances())
}

// The store that does not answer is our fault, not the caller's.
func TestBaseWithoutStore(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	require.NoError(t, p.store.Close())
	require.Equal(t, "000005", p.v2(buyV2, nil).Code)
	require.Equal(t, "000005", p.v1(baseKey, map[string]string{"activity": "queryInstance", "instanceId": "b"}, nil).Code)
}
