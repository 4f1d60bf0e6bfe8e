package marketplace

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/directory"
)

const (
	// maxBaseBody bounds the body of a base call, in bytes. The longest is a
	// query for 100 instances.
	maxBaseBody = 1 << 20
	// maxParams and maxQuery bound the URL of a V1 call.
	maxParams = 100
	maxQuery  = 32 << 10
)

// Lifecycle carries verified calls of the base interface out. What a call did
// is on disk when it returns.
type Lifecycle interface {
	Serve(ctx context.Context, call *directory.InstanceCall) (directory.InstanceAnswer, error)
}

// Base answers the base interface of both generations (spec/marketplace.md §4, §5).
type Base struct {
	*desk
	lifecycle Lifecycle
	nonces    coordination.Nonces
	window    time.Duration
}

// NewBase makes the base interface. v1Window bounds how far the timeStamp of a
// V1 call may be from now, 0 for no bound: the protocol names none for V1, whose
// calls have no second effect.
func NewBase(options Options, v1Window time.Duration, lifecycle Lifecycle, nonces coordination.Nonces) (*Base, error) {
	options.MaxBody = maxBaseBody
	d, err := newDesk("base", "ORGSYNC_BASE_ACCESS_KEYS", options)
	if err != nil {
		return nil, err
	}
	return &Base{desk: d, lifecycle: lifecycle, nonces: nonces, window: v1Window}, nil
}

// paths are those of the production address, which may be registered with a
// slash at its end: the marketplace adds nothing behind it here.
func (b *Base) paths() []string {
	if b.options.BasePath == "" {
		return []string{"/"}
	}
	return []string{b.options.BasePath, b.options.BasePath + "/"}
}

// RegisterV2 adds POST on the production address itself.
func (b *Base) RegisterV2(router gin.IRouter) {
	for _, path := range b.paths() {
		router.POST(path, b.handle(false, b.serveV2))
	}
}

// RegisterV1 adds GET on the production address itself.
func (b *Base) RegisterV1(router gin.IRouter) {
	for _, path := range b.paths() {
		router.GET(path, b.handle(true, b.serveV1))
	}
}

func (b *Base) serveV2(c *gin.Context, x *exchange) []byte {
	body, members, release, err := b.read(c)
	defer release()
	if err != nil {
		return x.refuse(err)
	}
	query, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return x.refuse(directory.Invalid("URL", "parameters cannot be read"))
	}
	nonce, signature, timestamp := query.Get("nonce"), query.Get("signature"), query.Get("timestamp")
	sent, err := b.checkParams(nonce, signature, timestamp)
	if err != nil {
		return x.refuse(err)
	}
	key, ok := verifyBase(b.options.Keys, signature, nonce, timestamp, body, members)
	if !ok {
		return x.refuse(&unauthenticated{"signature: does not match; check the access key, and that key, nonce, timestamp and the digest of the sorted body are signed in this order"})
	}
	x.key = key
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), b.options.AnswerWithin)
	defer cancel()
	answer, err := b.nonces.Once(ctx, nonceName(key, nonce), strings.ToLower(signature), b.options.remembers(), func() (coordination.Answer, bool) {
		call, err := decodeCall(&form{members: members}, sent)
		answer := b.carryOut(ctx, x, call, 0, err)
		return coordination.Answer{Code: x.code, Body: answer}, x.code != codeInternal
	})
	switch {
	case errors.Is(err, coordination.ErrNonceReused):
		return x.refuse(&unauthenticated{"nonce: used before with another signature"})
	case err != nil:
		return x.refuse(err)
	}
	if x.code == "" {
		x.code = remembered
	}
	return answer.Body
}

// nonceName keeps the base interface's nonces apart from the kit's, and those
// of one key from another's.
func nonceName(key, nonce string) string {
	sum := sha256.Sum256([]byte(key))
	return "base/" + base64.RawStdEncoding.EncodeToString(sum[:9]) + "/" + nonce
}

// checkParams refuses what needs no key to refuse (spec/marketplace.md §1.3,
// §2) and returns when the call was made.
func (b *Base) checkParams(nonce, signature, timestamp string) (sent time.Time, err error) {
	digits := strings.Trim(timestamp, "0123456789") == ""
	switch {
	case timestamp == "":
		return sent, directory.Invalid("timestamp", "missing")
	case !digits || (len(timestamp) != 13 && len(timestamp) != 10):
		return sent, directory.Invalid("timestamp", "want UNIX milliseconds, 13 digits, or seconds, 10 digits")
	case nonce == "":
		return sent, directory.Invalid("nonce", "missing")
	case len(nonce) > maxNonce:
		return sent, directory.Invalid("nonce", "longer than %d", maxNonce)
	}
	n, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return sent, directory.Invalid("timestamp", "want a number")
	}
	if sent = time.UnixMilli(n); len(timestamp) == 10 {
		sent = time.Unix(n, 0)
	}
	if len(timestamp) == 10 && plausible(nonce, timestamp) {
		return sent, directory.Invalid("timestamp", "want UNIX milliseconds, 13 digits: with this nonce, seconds can be read in two ways")
	}
	if err := b.options.checkStamp("timestamp", sent); err != nil {
		return sent, err
	}
	if signature == "" {
		return sent, &unauthenticated{"signature: missing"}
	}
	return sent, nil
}

// firstPlausible is the earliest time at which a call can have been made.
var firstPlausible = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// plausible reports whether the end of the nonce and a stamp of seconds together
// are a stamp of milliseconds: both are signed without a sign in between, so it
// may be a captured call of long ago (spec/marketplace.md §1.3).
func plausible(nonce, timestamp string) bool {
	if len(nonce) < 3 {
		return false
	}
	millis, err := strconv.ParseUint(nonce[len(nonce)-3:]+timestamp, 10, 63)
	if err != nil {
		return false
	}
	at := time.UnixMilli(int64(millis)) //nolint:gosec // 63 bits
	return at.After(firstPlausible) && at.Before(firstPlausible.AddDate(100, 0, 0))
}

func (b *Base) serveV1(c *gin.Context, x *exchange) []byte {
	if c.Request.URL.RawQuery == "" { // a browser, most likely
		return x.refuse(directory.Invalid("timeStamp", "missing; this address takes the marketplace's calls, which are signed"))
	}
	params, token, err := ParseV1Query(c.Request.URL.RawQuery)
	if err != nil {
		return x.refuse(err)
	}
	f := paramForm(params)
	timeStamp := f.text("timeStamp", 17, mayBeAbsent)
	if x.key, err = verifyToken(b.options.Keys, token, timeStamp, params); err != nil {
		return x.refuse(err)
	}
	sent, err := directory.ParseSourceTime(timeStamp, time.UTC)
	if err != nil {
		return x.refuse(directory.Invalid("timeStamp", "%s", err))
	}
	if err := ambiguous(params); err != nil {
		return x.refuse(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), b.options.AnswerWithin)
	defer cancel()
	call, how, err := decodeCallV1(f, x.key, sent.Time())
	if err == nil && call.Dataset != directory.Test { // debugging calls are stored, and replayed for as long as the product is on sale
		err = checkAge("timeStamp", sent.Time(), b.options.Now(), b.window)
	}
	return b.carryOut(ctx, x, call, how, err)
}

// ParseV1Query reads the parameters of a V1 call, authToken apart. Of one that
// comes twice the first counts, as in the guide's reference server.
func ParseV1Query(query string) (params []Param, token string, err error) {
	if len(query) > maxQuery {
		return nil, "", directory.Invalid("URL", "longer than %d bytes", maxQuery)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, "", directory.Invalid("URL", "parameters cannot be read")
	}
	if len(values) > maxParams {
		return nil, "", directory.Invalid("URL", "more than %d parameters", maxParams)
	}
	for name, all := range values {
		switch {
		case !utf8.ValidString(name) || !utf8.ValidString(all[0]):
			return nil, "", directory.Invalid("URL", "not valid UTF-8")
		case name == "authToken":
			token = all[0]
		default:
			params = append(params, Param{name, all[0]})
		}
	}
	return params, token, nil
}

// carryOut serves a decoded call and writes its answer. how says how V1
// encrypts sensitive members; 0 is V2, which does not.
func (b *Base) carryOut(ctx context.Context, x *exchange, call *directory.InstanceCall, how EncryptType, err error) []byte {
	if err != nil {
		return x.refuse(err)
	}
	x.kind = string(call.Activity)
	x.attrs = append(x.attrs, slog.String("dataset", string(call.Dataset)), slog.String("order", call.OrderID))
	if call.Activity != directory.QueryInstance {
		x.attrs = append(x.attrs, slog.String("instance", call.InstanceID()))
	}
	id, err := uuid.NewV7()
	if err != nil {
		return x.refuse(fmt.Errorf("make event id: %w", err))
	}
	call.EventID = id.String()
	// A clock that is ahead must not make all later calls stale.
	call.SourceTime = min(call.SourceTime, directory.SourceTimeOf(b.options.Now()))
	answer, err := b.lifecycle.Serve(ctx, call)
	if err != nil {
		return x.refuse(err)
	}
	x.conclude(&answer, call.Dataset == directory.Test)
	return x.render(&answer, call, how)
}

// conclude finds the code of an answer. Unknown ones of many instances are left
// out of it; it is wrong if none is known.
func (x *exchange) conclude(answer *directory.InstanceAnswer, debugging bool) {
	x.note(nil)
	switch {
	case len(answer.Unknown) > 0 && len(answer.Info) == 0:
		x.note(directory.ErrUnknownInstance)
		if text := x.message + ": " + strings.Join(answer.Unknown, ","); utf8.RuneCountInString(text) <= maxMessage {
			x.message = text
		}
	case answer.NoResource:
		x.code, x.message = codeNoResource, "no instance resource available"
	case answer.Processing && !debugging: // the marketplace takes nothing else for a success there
		x.code, x.message = codeProcessing, "processing; ask again"
	}
}

// baseAnswer is an answer of the base interface (spec/marketplace.md §4, §5).
type baseAnswer struct {
	Code        string         `json:"resultCode"`
	Message     string         `json:"resultMsg"`
	InstanceID  string         `json:"instanceId,omitempty"`
	EncryptType string         `json:"encryptType,omitempty"`
	App         *appInfo       `json:"appInfo,omitempty"`
	License     string         `json:"license,omitempty"`
	Info        []instanceInfo `json:"info,omitempty"`
}

type instanceInfo struct {
	InstanceID string   `json:"instanceId"`
	App        *appInfo `json:"appInfo,omitempty"`
}

type appInfo struct {
	FrontEndURL string `json:"frontEndUrl"`
	AdminURL    string `json:"adminUrl,omitempty"`
	UserName    string `json:"userName,omitempty"`
	Password    string `json:"password,omitempty"`
	Memo        string `json:"memo,omitempty"`
}

func (x *exchange) render(answer *directory.InstanceAnswer, call *directory.InstanceCall, how EncryptType) []byte {
	shown := baseAnswer{Code: x.code, Message: x.message, License: answer.License}
	if call.Activity == directory.NewInstance {
		shown.InstanceID = answer.InstanceID
		if how != 0 { // V2 tells it by queryInstance alone
			shown.App = x.appInfo(answer.App, how)
		}
	}
	for _, info := range answer.Info {
		shown.Info = append(shown.Info, instanceInfo{info.InstanceID, x.appInfo(info.App, how)})
	}
	if how != 0 && (shown.App != nil || shown.Info != nil) {
		shown.EncryptType = strconv.Itoa(int(how))
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(shown); err != nil {
		return x.refuse(fmt.Errorf("encode answer: %w", err))
	}
	return asciiJSON(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}

func (x *exchange) appInfo(app *directory.OpenAppInfo, how EncryptType) *appInfo {
	if app == nil {
		return nil
	}
	shown := appInfo(*app)
	if how != 0 {
		for _, sensitive := range []*string{&shown.UserName, &shown.Password} {
			if *sensitive != "" {
				*sensitive = EncryptSensitive(x.key, *sensitive, how)
			}
		}
	}
	return &shown
}
