package marketplace_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	usersync "github.com/openkoo/connector/userSync"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

// What a house is set up with.
const (
	accessKey    = "ak-new-6a0f51d2c9"
	oldAccessKey = "ak-old-1b7e88f03d"
	basePath     = "/saasproduce"
	maxBody      = 256 << 10
	maxNonces    = 2000
)

var houseBegins = time.Date(2022, 4, 13, 9, 35, 39, 534e6, directory.China)

// house is the connector behind its door: router, intake, store and keyring
// are the real ones, only the clock stands still and the log is kept.
type house struct {
	router   *gin.Engine
	store    *embedded.Store
	registry *prometheus.Registry
	clock    *clock
	log      *logged
	box      *secrets.Box
	public   []byte // PEM, what the marketplace encrypts client secrets with
}

// newHouse builds a house; receiver may wrap what takes the pushes.
func newHouse(t *testing.T, receiver func(marketplace.Receiver) marketplace.Receiver) *house {
	t.Helper()
	h := &house{clock: &clock{at: houseBegins}, log: &logged{}, registry: prometheus.NewRegistry()}
	logger := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keyring := vectorKeyring(t)
	h.box = keyring.Box
	_, public, err := keyring.Decrypter.PublicKey()
	require.NoError(t, err)
	h.public = public

	h.store, err = embedded.Open(t.Context(), t.TempDir(), embedded.Options{Now: h.clock.now, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.store.Close()) })
	planners := intake.Planners(
		orgsync.New(directory.Guard{MaxDeletes: 10, MaxPercent: 20}),
		authsync.New(usersync.Planner{}, keyring))
	var taker marketplace.Receiver = intake.New(h.store, planners, marketplace.Decode, intake.Options{Now: h.clock.now, Logger: logger})
	if receiver != nil {
		taker = receiver(taker)
	}
	door, err := marketplace.NewDoor(marketplace.Options{
		Keys: []string{accessKey, oldAccessKey}, BasePath: basePath, MaxBody: maxBody,
		Now: h.clock.now, Logger: logger, Registerer: h.registry,
	}, taker, local.NewNonces(maxNonces, h.clock.now))
	require.NoError(t, err)
	h.router = gin.New()
	door.Register(h.router)
	return h
}

// vectorKeyring holds the private key of the protocol's vectors.
func vectorKeyring(t *testing.T) secrets.Keyring {
	t.Helper()
	text, err := os.ReadFile("testdata/signatures.json")
	require.NoError(t, err)
	var vectors struct {
		RSA struct{ PrivateKeyPKCS8 string }
	}
	require.NoError(t, json.Unmarshal(text, &vectors))
	der, err := base64.StdEncoding.DecodeString(vectors.RSA.PrivateKeyPKCS8)
	require.NoError(t, err)
	decrypter, err := secrets.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	require.NoError(t, err)
	box, err := secrets.NewBox(bytes.Repeat([]byte{7}, secrets.KeySize))
	require.NoError(t, err)
	return secrets.Keyring{Box: box, Decrypter: decrypter}
}

// clock is a clock that stands until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// logged keeps what was logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take returns what was logged since the last take.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text.String()
	l.text.Reset()
	return text
}

// call is a request as it goes over the wire.
type call struct {
	method, path                     string
	nonce, timestamp, key, signature string
	body                             []byte
}

// newCall makes a call that is not signed yet.
func (h *house) newCall(kind directory.PushKind, body []byte) *call {
	return &call{
		method: http.MethodPost, path: basePath + "/produceAPI/v2/" + string(kind),
		nonce: rest(body), timestamp: strconv.FormatInt(h.clock.now().UnixMilli(), 10), key: accessKey, body: body,
	}
}

// rest makes nonces that differ as bodies do, so that a failure names a nonce
// that comes again when the test is run again.
func rest(body []byte) string {
	sum := sha256.Sum256(body)
	return strings.ToUpper(hex.EncodeToString(sum[:10]))
}

// sign signs the call over its canonical payload, or over its bytes where
// they have none.
func (c *call) sign(t *testing.T) *call {
	t.Helper()
	signature, err := marketplace.SignKit(c.key, c.nonce, c.timestamp, c.body)
	if err != nil {
		signature = signRaw(c.key, c.nonce, c.timestamp, c.body)
	}
	c.signature = signature
	return c
}

func signRaw(key, nonce, timestamp string, payload []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(key + nonce + timestamp))
	mac.Write(payload)
	return hex.EncodeToString(mac.Sum(nil))
}

func (c *call) request(ctx context.Context, host string) *http.Request {
	request, err := http.NewRequestWithContext(ctx, c.method, host+c.path, bytes.NewReader(c.body))
	if err != nil {
		panic(err) // a constant of the test
	}
	for name, value := range map[string]string{"x-nonce": c.nonce, "x-timestamp": c.timestamp, "x-sign": c.signature} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	return request
}

// answer is what the door says.
type answer struct {
	status     int
	body       string
	ResultCode string
	ResultMsg  string
}

func readAnswer(t *testing.T, status int, body []byte) answer {
	t.Helper()
	a := answer{status: status, body: string(body)}
	require.NoError(t, json.Unmarshal(body, &a), "%s", body)
	require.LessOrEqual(t, utf8.RuneCountInString(a.ResultMsg), 255, a.ResultMsg)
	return a
}

// do sends a call through the router.
func (h *house) do(t *testing.T, c *call) answer {
	t.Helper()
	recorder := httptest.NewRecorder()
	h.router.ServeHTTP(recorder, c.request(t.Context(), ""))
	require.Equal(t, "application/json", recorder.Header().Get("Content-Type"))
	return readAnswer(t, recorder.Code, recorder.Body.Bytes())
}

// stored is everything that a push can leave behind.
type stored struct {
	Changes []storage.Change
	Pushes  []storage.Record
	States  []directory.State
}

func (h *house) stored(t *testing.T) stored {
	t.Helper()
	var s stored
	var err error
	s.Changes, _, err = h.store.Changes(t.Context(), storage.Place{}, 1000)
	require.NoError(t, err)
	s.Pushes, _, err = h.store.Pushes(t.Context(), storage.PushFilter{}, storage.Page{Limit: 1000})
	require.NoError(t, err)
	for _, dataset := range []directory.Dataset{directory.Prod, directory.Test} {
		states, _, err := h.store.States(t.Context(), storage.EntityFilter{Dataset: dataset}, storage.Page{Limit: 1000})
		require.NoError(t, err)
		s.States = append(s.States, states...)
	}
	return s
}

// encrypted is a client secret as the marketplace sends it.
func (h *house) encrypted(t *testing.T, plain string) string {
	t.Helper()
	ciphertext, err := secrets.EncryptFor(h.public, []byte(plain))
	require.NoError(t, err)
	return ciphertext
}

// Object is a JSON object of a test.
type object map[string]any

// with is a copy with a member set.
func (o object) with(name string, value any) object {
	o = maps.Clone(o)
	o[name] = value
	return o
}

// without is a copy without a member.
func (o object) without(name string) object {
	o = maps.Clone(o)
	delete(o, name)
	return o
}

func (o object) json() []byte {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // a constant of the test
	}
	return text
}

// validBodies are a complete and valid body of each interface.
func (h *house) validBodies(t *testing.T) map[directory.PushKind]object {
	t.Helper()
	common := object{"instanceId": "inst-1", "tenantId": "tenant-1", "testFlag": 0, "timeStamp": "20220413093539534"}
	with := func(more object) object {
		maps.Copy(more, common)
		return more
	}
	return map[directory.PushKind]object{
		directory.TenantSync: with(object{
			"orderId": "CS2211181819B4LVS", "tenantCode": "openkoo", "name": "开源科技有限公司", "domainName": "openkoo.example.com", "flag": 1,
		}),
		directory.ApplicationSync: with(object{
			"appId": "app-1", "clientId": "client-1", "clientSecret": h.encrypted(t, plainClientSecret), "flag": 1,
		}),
		directory.AuthSync: with(object{
			"appId": "app-1", "currentSyncTime": "20220413093539534", "flag": 1, "userList": []any{validUser},
		}),
		directory.SingleOrgSync: with(object{"orgCode": "10000", "orgName": "开发部", "parentCode": "", "flag": 1}),
		directory.AllOrgSync: with(object{"orgInfoList": []any{
			object{"orgCode": "10000", "orgName": "开发部", "parentCode": ""},
			object{"orgCode": "10001", "orgName": "测试部", "parentCode": "10000"},
		}}),
	}
}

const plainClientSecret = "s3cret-客户端-2230164f"

var validUser = object{
	"userName": "zhangsan01", "name": "张三丰", "orgCode": "10000", "role": "admin", "enable": "true",
	"position": "系统管理员", "employeeCode": "E-007", "employeeType": 4, "mobile": "13800138000", "email": "zhangsan@openkoo.example.com",
	"workPlace": "南京", "entryDate": "2022-11-9",
}

// personal is what of validUser must never be logged.
var personal = []string{"张三丰", "13800138000", "zhangsan@openkoo.example.com", "E-007"}
