package marketplace_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/storage"
)

func buyV1() map[string]string {
	return map[string]string{
		"activity": "newInstance", "businessId": "b-1", "orderId": "o-1", "customerId": "c-1", "customerName": "云启科技",
		"productId": "p-1", "skuCode": "basic", "trialFlag": "0", "amount": "10", "expireTime": "20270101000000", "encryptType": "2",
		"mobilePhone": marketplace.EncryptSensitive(baseKey, "13812345678", marketplace.AES128),
		"email":       marketplace.EncryptSensitive(baseKey, "a+b@example.com", marketplace.AES128),
	}
}

func TestBaseV1LifeOfAnInstance(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	bought := p.ok(p.v1(baseKey, buyV1(), nil))
	require.Equal(t, "b-1", bought.InstanceID)
	require.Equal(t, "2", bought.EncryptType)
	require.Equal(t, "https://app.example.com/b-1?a=1&b=2", bought.App.FrontEndURL)
	repeat := buyV1()
	repeat["businessId"] = "b-2"
	require.Equal(t, "b-1", p.ok(p.v1(baseKey, repeat, nil)).InstanceID)
	require.Equal(t, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), p.instance("b-1").ExpireTime)
	require.Equal(t, "10", p.instance("b-1").Details["amount"])
	require.NotContains(t, p.instance("b-1").Details, "mobilePhone")

	p.ok(p.v1(baseKey, map[string]string{"activity": "refreshInstance", "instanceId": "b-1", "orderId": "r", "periodType": "year", "periodNumber": "2"}, nil))
	require.Equal(t, 2029, p.instance("b-1").ExpireTime.Year())
	p.ok(p.v1(baseKey, map[string]string{"activity": "refreshInstance", "instanceId": "b-1", "orderId": "r", "periodType": "year", "periodNumber": "2"}, nil))
	require.Equal(t, 2029, p.instance("b-1").ExpireTime.Year(), "once for each order")
	p.ok(p.v1(baseKey, map[string]string{"activity": "instanceStatus", "instanceId": "b-1", "instanceStatus": "FREEZE"}, nil))
	require.True(t, p.instance("b-1").Frozen)
	p.ok(p.v1(baseKey, map[string]string{"activity": "instanceStatus", "instanceId": "b-1", "instanceStatus": "NORMAL"}, nil))
	p.ok(p.v1(baseKey, map[string]string{"activity": "upgrade", "instanceId": "b-1", "orderId": "u", "skuCode": "pro", "saasExtendParams": "W10="}, nil))
	p.ok(p.v1(baseKey, map[string]string{"activity": "expireInstance", "instanceId": "b-1"}, nil))
	expired := p.instance("b-1")
	require.Equal(t, directory.InstanceExpired, expired.State(p.now()))
	query := p.ok(p.v1(baseKey, map[string]string{"activity": "queryInstance", "instanceId": "b-1"}, nil))
	require.Len(t, query.Info, 1)
	for range 2 {
		p.ok(p.v1(baseKey, map[string]string{"activity": "releaseInstance", "instanceId": "b-1"}, nil))
	}
	require.Equal(t, "000003", p.v1(baseKey, map[string]string{"activity": "queryInstance", "instanceId": "b-1"}, nil).Code)
	log := p.logged()
	require.NotContains(t, log, "13812345678")
	require.NotContains(t, log, "a+b@example.com")
}

func TestBaseV1Licenses(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	order := buyV1()
	order["activity"], order["eventId"] = "getLicense", "ev-1"
	both := p.ok(p.v1(baseKey, order, nil))
	require.Equal(t, "b-1", both.InstanceID)
	require.Equal(t, "LIC-ev-1", both.License)
	require.Equal(t, "LIC-ev-2", p.ok(p.v1(baseKey, map[string]string{"activity": "getLicense", "instanceId": "b-1", "eventId": "ev-2"}, nil)).License)
	p.ok(p.v1(baseKey, map[string]string{"activity": "refreshLicense", "instanceId": "b-1", "expireTime": "20310101000000000"}, nil))
	require.Equal(t, 2031, p.instance("b-1").ExpireTime.Year())
	p.ok(p.v1(baseKey, map[string]string{"activity": "expireLicense", "instanceId": "b-1"}, nil))
	p.ok(p.v1(baseKey, map[string]string{"activity": "releaseLicense", "instanceId": "b-1"}, nil))
	require.True(t, p.instance("b-1").Released)
}

// An answer is signed and encrypted with the key that the call was signed with.
func TestBaseV1AnswersWithTheCallersKey(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	params := buyV1()
	delete(params, "mobilePhone")
	params["email"] = marketplace.EncryptSensitive(oldKey, "a@example.com", marketplace.AES128)
	a := p.ok(p.v1(oldKey, params, nil))
	require.Equal(t, marketplace.BodySign(oldKey, []byte(a.raw)), a.bodySign)
	_, err := p.store.ChangeInstance(context.Background(), directory.Prod, "b-1", "", func(i *directory.Instance, _ bool) (bool, error) {
		i.App.UserName = "admin@例子"
		return true, nil
	})
	require.NoError(t, err)
	for how, name := range map[marketplace.EncryptType]string{marketplace.AES256: "1", marketplace.AES128: "2"} {
		query := p.ok(p.v1(oldKey, map[string]string{"activity": "queryInstance", "instanceId": "b-1", "encryptType": name}, nil))
		require.Equal(t, name, query.EncryptType)
		opened, err := marketplace.DecryptSensitive(oldKey, query.Info[0].App.UserName, how)
		require.NoError(t, err)
		require.Equal(t, "admin@例子", opened)
	}
}

func TestBaseV1BadInput(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	p.ok(p.v1(baseKey, buyV1(), nil))
	call := func(pairs ...string) map[string]string {
		params := make(map[string]string)
		for i := 0; i < len(pairs); i += 2 {
			params[pairs[i]] = pairs[i+1]
		}
		return params
	}
	buy := func(name, value string) map[string]string {
		params := buyV1()
		params["orderId"], params["businessId"], params[name] = "o-2", "b-2", value
		return params
	}
	for name, test := range map[string]struct {
		params     map[string]string
		code, says string
	}{
		"no activity":              {call(), "000002", "activity"},
		"unknown activity":         {call("activity", "drop"), "000002", "activity"},
		"activity of V2":           {call("activity", "upgradeInstance", "instanceId", "b-1"), "000002", "activity"},
		"no customerId":            {buy("customerId", ""), "000002", "customerId"},
		"no orderId":               {buy("orderId", ""), "000002", "orderId"},
		"no businessId":            {buy("businessId", ""), "000002", "businessId"},
		"businessId of another":    {buy("businessId", "b-1"), "000002", "businessId"},
		"mobilePhone in clear":     {buy("mobilePhone", "13800000000"), "000002", "mobilePhone"},
		"mobilePhone garbled":      {buy("mobilePhone", "A1b2C3d4E5f6G7h8AAAAAAAAAAAAAAAAAAAAAA=="), "000002", "mobilePhone"},
		"email of another key":     {buy("email", marketplace.EncryptSensitive("other-key", strings.Repeat("x", 100), marketplace.AES128)), "000002", "email"},
		"email of the other type":  {buy("email", marketplace.EncryptSensitive(baseKey, strings.Repeat("x", 100), marketplace.AES256)), "000002", "email"},
		"unknown encryptType":      {buy("encryptType", "3"), "000002", "encryptType"},
		"encryptType no number":    {buy("encryptType", "AE"), "000002", "encryptType"},
		"unknown testFlag":         {buy("testFlag", "7"), "000002", "testFlag"},
		"expireTime no date":       {buy("expireTime", "2027"), "000002", "expireTime"},
		"invalid UTF-8":            {buy("customerName", "\xff\xfe"), "000002", "UTF-8"},
		"refresh the unknown":      {call("activity", "refreshInstance", "instanceId", "x", "expireTime", "20270101000000"), "000003", "instanceId"},
		"refresh until when":       {call("activity", "refreshInstance", "instanceId", "b-1"), "000002", "expireTime"},
		"refresh, odd period":      {call("activity", "refreshInstance", "instanceId", "b-1", "orderId", "r", "periodType", "aeon", "periodNumber", "1"), "000002", "periodType"},
		"refresh, no number":       {call("activity", "refreshInstance", "instanceId", "b-1", "orderId", "r", "periodType", "year"), "000002", "periodNumber"},
		"refresh, zero periods":    {call("activity", "refreshInstance", "instanceId", "b-1", "orderId", "r", "periodType", "year", "periodNumber", "0"), "000002", "periodNumber"},
		"refresh, too many":        {call("activity", "refreshInstance", "instanceId", "b-1", "orderId", "r", "periodType", "year", "periodNumber", "100000"), "000002", "periodNumber"},
		"a period without order":   {call("activity", "refreshInstance", "instanceId", "b-1", "periodType", "year", "periodNumber", "1"), "000002", "orderId"},
		"expire the unknown":       {call("activity", "expireInstance", "instanceId", "x"), "000003", "instanceId"},
		"release the unknown":      {call("activity", "releaseInstance", "instanceId", "x"), "000003", "instanceId"},
		"upgrade without order":    {call("activity", "upgrade", "instanceId", "b-1"), "000002", "orderId"},
		"status unknown":           {call("activity", "instanceStatus", "instanceId", "b-1", "instanceStatus", "UNFREEZE"), "000002", "instanceStatus"},
		"query of the unknown":     {call("activity", "queryInstance", "instanceId", "x"), "000003", "x"},
		"query of 101":             {call("activity", "queryInstance", "instanceId", strings.Repeat("a,", 100)+"a"), "000002", "instanceId"},
		"license of nothing":       {call("activity", "getLicense"), "000002", "orderId"},
		"license of the unknown":   {call("activity", "getLicense", "instanceId", "x", "eventId", "e"), "000003", "instanceId"},
		"license without an event": {call("activity", "getLicense", "instanceId", "b-1"), "000002", "orderId"},
	} {
		before := p.instances()
		a := p.v1(baseKey, test.params, nil)
		require.Equal(t, test.code, a.Code, "%s: %s", name, a.raw)
		require.Contains(t, a.Message, test.says, name)
		require.Equal(t, before, p.instances(), "%s: nothing is written", name)
	}
}

func TestBaseV1Unauthenticated(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	for name, test := range map[string]struct {
		change func(url.Values)
		code   string
		says   string
	}{
		"no token":          {func(q url.Values) { q.Del("authToken") }, "000001", "authToken: missing"},
		"wrong token":       {func(q url.Values) { q.Set("authToken", "AAAA") }, "000001", "authToken"},
		"a parameter more":  {func(q url.Values) { q.Set("amount", "99") }, "000001", "authToken"},
		"a parameter less":  {func(q url.Values) { q.Del("amount") }, "000001", "authToken"},
		"no timeStamp":      {func(q url.Values) { q.Del("timeStamp") }, "000002", "timeStamp: missing"},
		"another timeStamp": {func(q url.Values) { q.Set("timeStamp", "20260101000000000") }, "000001", "authToken"},
		"too many parameters": {func(q url.Values) {
			for i := range 101 {
				q.Set("p"+strings.Repeat("x", i), "")
			}
		}, "000002", "URL"},
		"a URL that is too long": {func(q url.Values) { q.Set("p", strings.Repeat("x", 40<<10)) }, "000002", "URL"},
	} {
		a := p.v1(baseKey, buyV1(), test.change)
		require.Equal(t, test.code, a.Code, "%s: %s", name, a.raw)
		require.Contains(t, a.Message, test.says, name)
	}
	a := p.v1(baseKey, map[string]string{"activity": "queryInstance", "instanceId": "x", "timeStamp": "2026"}, nil)
	require.Equal(t, "000002", a.Code)
	require.Contains(t, a.Message, "timeStamp")
	require.Empty(t, p.instances())
}

// V1 has no nonce: a replayed call is older than what came since, and changes
// nothing.
func TestBaseV1ReplayChangesNothing(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	p.ok(p.v1(baseKey, buyV1(), nil))
	freeze := map[string]string{"activity": "instanceStatus", "instanceId": "b-1", "instanceStatus": "FREEZE"}
	p.ok(p.v1(baseKey, freeze, nil)) // keeps its timeStamp
	p.clock.Add(1000)
	p.ok(p.v1(baseKey, map[string]string{"activity": "instanceStatus", "instanceId": "b-1", "instanceStatus": "NORMAL"}, nil))
	p.ok(p.v1(baseKey, freeze, nil))
	require.False(t, p.instance("b-1").Frozen)
	// A caller whose clock is ahead does not make all later calls stale.
	ahead := map[string]string{"activity": "instanceStatus", "instanceId": "b-1", "instanceStatus": "FREEZE", "timeStamp": "20990101000000000"}
	p.ok(p.v1(baseKey, ahead, nil))
	require.True(t, p.instance("b-1").Frozen)
	p.clock.Add(1000)
	p.ok(p.v2(`{"activity":"updateInstanceStatus","instanceId":"b-1","status":"UNFREEZE"}`, nil))
	require.False(t, p.instance("b-1").Frozen)
}

func TestV1WindowWhereOneIsSet(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	options := marketplace.Options{Keys: []string{baseKey}, BasePath: basePath, Now: p.now}
	base, err := marketplace.NewBase(options, time.Minute, nil, local.NewNonces(0, p.now))
	require.NoError(t, err)
	router := gin.New()
	base.RegisterV1(router)
	params := map[string]string{"activity": "queryInstance", "instanceId": "x", "timeStamp": "20260506070000000"}
	query := url.Values{"authToken": {marketplace.SignV1Params(baseKey, params)}}
	for name, text := range params {
		query.Set(name, text)
	}
	recorder := httptest.NewRecorder()
	router.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, basePath+"?"+query.Encode(), nil))
	require.Contains(t, recorder.Body.String(), "timeStamp: expired")
}

const (
	orgV1    = `{"instanceId":"i","tenantId":"t","orgCode":"10","orgName":"开发部","parentCode":"","flag":1,"testFlag":0,"timeStamp":"20260506150000000"}`
	allOrgV1 = `{"instanceId":"i","tenantId":"t","orgInfo":"[{orgCode:\"10\", name:\"产品部\", parentCode:\"\"},{\"orgCode\":\"11\",\"name\":\"测试部\",\"parentCode\":\"10\"}]","testFlag":"0","timeStamp":"20260506150000001"}`
	tenantV1 = `{"instanceId":"i","tenantId":"t","orderId":"o","tenantCode":"acme","name":"云启","domainName":"d","flag":1,"testFlag":0,"timeStamp":"20260506150000002"}`
	authV1   = `{"instanceId":"i","tenantId":"t","appId":"a","currentSyncTime":"20260506150000003","flag":1,"testFlag":0,"timeStamp":"20260506150000003",` +
		`"userList":"[{\"userName\":\"ann\",\"name\":\"安\",\"orgCode\":\"10\",\"role\":\"user\",\"enable\":\"true\",\"extension\":{\"employeeType\":\"2\",\"workPlace\":\"南京\",\"entryDate\":\"2022-11-9\"}}]"}`
)

func TestKitV1TakesItsShapes(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	scope := directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: "t"}
	p.ok(p.kitV1(directory.SingleOrgSync, orgV1, nil))
	p.ok(p.kitV1(directory.AllOrgSync, allOrgV1, nil))
	p.ok(p.kitV1(directory.TenantSync, tenantV1, nil))
	p.ok(p.kitV1(directory.AuthSync, authV1, nil))
	state, err := p.store.State(context.Background(), scope)
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, []int{state.Departments, state.Users})
	users, _, err := p.store.Users(context.Background(), storage.EntityFilter{Dataset: directory.Prod}, storage.Page{})
	require.NoError(t, err)
	require.Equal(t, 2, users[0].Entity.EmployeeType)
	require.Equal(t, "南京", users[0].Entity.WorkPlace)
	departments, _, err := p.store.Departments(context.Background(), storage.EntityFilter{Dataset: directory.Prod, Key: "10"}, storage.Page{})
	require.NoError(t, err)
	require.Equal(t, "产品部", departments[0].Entity.Name)
}

func TestKitV1BadInput(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	set := func(value string) func(http.Header) { return func(h http.Header) { h.Set("authToken", value) } }
	for name, test := range map[string]struct {
		kind       directory.PushKind
		body       string
		change     func(http.Header)
		code, says string
	}{
		"no JSON":               {directory.SingleOrgSync, "orgCode=10", nil, "000002", "body"},
		"no token":              {directory.SingleOrgSync, orgV1, set(""), "000001", "authToken: missing"},
		"wrong token":           {directory.SingleOrgSync, orgV1, set("AAAA"), "000001", "authToken"},
		"no timeStamp":          {directory.SingleOrgSync, `{"instanceId":"i"}`, nil, "000002", "timeStamp"},
		"timeStamp no date":     {directory.SingleOrgSync, strings.Replace(orgV1, "20260506150000000", "2026", 1), nil, "000002", "timeStamp"},
		"modify a tenant":       {directory.TenantSync, strings.Replace(tenantV1, `"flag":1`, `"flag":2`, 1), nil, "000002", "flag"},
		"modify an application": {directory.ApplicationSync, `{"instanceId":"i","tenantId":"t","appId":"a","clientId":"c","clientSecret":"s","flag":2,"testFlag":0,"timeStamp":"20260506150000002"}`, nil, "000002", "flag"},
		"no orgName":            {directory.SingleOrgSync, strings.Replace(orgV1, "orgName", "orgNam", 1), nil, "000002", "orgName"},
		"a list that is none":   {directory.AllOrgSync, strings.Replace(allOrgV1, `"[{`, `"{{`, 1), nil, "000002", "orgInfo"},
		"too large":             {directory.AllOrgSync, `{"a":"` + strings.Repeat("x", 2<<20) + `"}`, nil, "000002", "body"},
	} {
		a := p.kitV1(test.kind, test.body, test.change)
		require.Equal(t, test.code, a.Code, "%s: %s", name, a.raw)
		require.Contains(t, a.Message, test.says, name)
	}
	records, _, err := p.store.Pushes(context.Background(), storage.PushFilter{}, storage.Page{})
	require.NoError(t, err)
	require.Empty(t, records, "nothing is journaled")
	require.NoError(t, p.store.Close())
	require.Equal(t, "000005", p.kitV1(directory.SingleOrgSync, orgV1, nil).Code)
}

// A time far ahead would make stale, until then, whatever the marketplace says.
func TestKitV1RefusesATimeStampFarAhead(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	ahead := func(by time.Duration) baseReply {
		far := directory.SourceTimeOf(p.now().Add(by)).Wire()
		return p.kitV1(directory.SingleOrgSync, strings.Replace(orgV1, "20260506150000000", far, 1), nil)
	}
	got := ahead(25 * time.Hour)
	require.Equal(t, "000002", got.Code)
	require.Contains(t, got.Message, "timeStamp: in the future by 25h0m0s")
	require.Equal(t, "000000", ahead(23*time.Hour).Code, "a clock in another zone")
}

// panicking is a receiver and a lifecycle that break.
type panicking struct{}

func (panicking) Receive(context.Context, *directory.Push) (directory.Result, error) { panic("boom") }
func (panicking) Serve(context.Context, *directory.InstanceCall) (directory.InstanceAnswer, error) {
	panic("boom")
}

func TestPanicIsAnsweredAndSigned(t *testing.T) {
	t.Parallel()
	options := marketplace.Options{Keys: []string{baseKey}, BasePath: basePath}
	kit, err := marketplace.NewKitV1(options, 0, panicking{})
	require.NoError(t, err)
	router := gin.New()
	kit.Register(router)
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, basePath+"/produceAPI/singleOrgSync", strings.NewReader(orgV1))
	token, err := marketplace.SignV1(baseKey, "20260506150000000", []byte(orgV1))
	require.NoError(t, err)
	request.Header.Set("authToken", token)
	recorder := httptest.NewRecorder()
	router.ServeHTTP(recorder, request)
	var a baseReply
	require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &a))
	require.Equal(t, "000005", a.Code)
	require.NotContains(t, recorder.Body.String(), "boom")
	require.Equal(t, marketplace.BodySign(baseKey, recorder.Body.Bytes()), recorder.Header().Get("Body-Sign"))
}

func TestNoKeysNoInterface(t *testing.T) {
	t.Parallel()
	_, err := marketplace.NewBase(marketplace.Options{}, 0, panicking{}, local.NewNonces(0, nil))
	require.ErrorContains(t, err, "ORGSYNC_BASE_ACCESS_KEYS")
	_, err = marketplace.NewKitV1(marketplace.Options{Keys: []string{""}}, 0, panicking{})
	require.ErrorContains(t, err, "empty")
}
