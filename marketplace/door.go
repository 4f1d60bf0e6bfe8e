package marketplace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/directory"
)

const (
	defaultWindow  = 60 * time.Second
	defaultAhead   = 5 * time.Minute
	defaultAnswer  = 15 * time.Second
	defaultMaxBody = 64 << 20
	maxNonce       = 128
)

// Receiver takes verified pushes. When it returns without an error the push is
// on disk.
type Receiver interface {
	Receive(ctx context.Context, push *directory.Push) (directory.Result, error)
}

// Options shape a Door. Zero members take their defaults; Keys has none.
type Options struct {
	Keys     []string      // the kit's access keys, any of which signs
	BasePath string        // path of the production address, e.g. /saasproduce
	Window   time.Duration // how old x-timestamp may be, default 60 s
	Ahead    time.Duration // how far x-timestamp may be ahead, default 5 min
	// AnswerWithin is how long a call may take, default 15 s: the marketplace
	// waits for 20 (spec/marketplace.md §0).
	AnswerWithin time.Duration
	MaxBody      int64 // of one body, bytes, default 64 MiB
	Room         *Room // that the bodies of all interfaces share, default 4 × MaxBody for this one
	Now          func() time.Time
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

// Door answers the kit's interfaces.
type Door struct {
	options  Options
	receiver Receiver
	bodies   *bodies
	nonces   coordination.Nonces
	keyIDs   map[string]string
	answers  *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	skew     prometheus.Gauge
}

// NewDoor makes a door. It needs at least one key: without, nobody could be
// told apart.
func NewDoor(options Options, receiver Receiver, nonces coordination.Nonces) (*Door, error) {
	if len(options.Keys) == 0 {
		return nil, errors.New("marketplace: no access key; set ORGSYNC_KIT_ACCESS_KEYS")
	}
	options = options.withDefaults()
	d := &Door{
		options: options, receiver: receiver, nonces: nonces, keyIDs: make(map[string]string),
		bodies: &bodies{limit: options.MaxBody, room: options.Room},
	}
	for i, key := range options.Keys {
		if key == "" {
			return nil, fmt.Errorf("marketplace: access key %d is empty", i+1)
		}
		sum := sha256.Sum256([]byte(key))
		d.keyIDs[key] = base64.RawStdEncoding.EncodeToString(sum[:9])
	}
	d.answers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "orgsync_pushes_total", Help: "Calls of the marketplace by interface and result code.",
	}, []string{"kind", "code"})
	d.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "orgsync_push_seconds", Help: "How long a call of the marketplace took.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	}, []string{"kind"})
	d.skew = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "orgsync_marketplace_clock_skew_seconds", Help: "How far the clock of the last signed call was ahead of ours when it came.",
	})
	if options.Registerer != nil {
		options.Registerer.MustRegister(d.answers, d.seconds, d.skew)
	}
	return d, nil
}

func (o Options) withDefaults() Options {
	if o.Window <= 0 {
		o.Window = defaultWindow
	}
	if o.Ahead <= 0 {
		o.Ahead = defaultAhead
	}
	if o.AnswerWithin <= 0 {
		o.AnswerWithin = defaultAnswer
	}
	if o.MaxBody <= 0 {
		o.MaxBody = defaultMaxBody
	}
	if o.Room == nil {
		o.Room = NewRoom(4 * o.MaxBody)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// remembers is for how long a stamp could pass again.
func (o Options) remembers() time.Duration { return o.Window + o.Ahead }

// checkStamp refuses a stamp that is out of the window now.
func (o Options) checkStamp(name string, at time.Time) error {
	switch age := o.Now().Sub(at); {
	case age > o.Window:
		return directory.Invalid(name, "expired: %s old, %s allowed; check both clocks", age.Round(time.Second), o.Window)
	case age < -o.Ahead:
		return directory.Invalid(name, "in the future by %s, %s allowed; check both clocks", (-age).Round(time.Second), o.Ahead)
	default:
		return nil
	}
}

// Register adds the kit's five V2 routes below the base path, and answers in
// the shape that the marketplace reads whatever no route of the router takes.
func (d *Door) Register(router *gin.Engine) {
	router.HandleMethodNotAllowed = true
	router.RedirectTrailingSlash = false // the marketplace follows no redirect
	router.RemoveExtraSlash = true       // the production address may be registered with a slash at its end
	router.NoRoute(d.NotFound)
	router.NoMethod(d.NotFound)
	for _, kind := range directory.PushKinds() {
		router.POST(d.options.BasePath+"/produceAPI/v2/"+string(kind), d.handle(kind))
	}
}

// NotFound answers a path or a method that is none of ours.
func (d *Door) NotFound(c *gin.Context) {
	// Gin has set the status to 404 or 405.
	write(c, c.Writer.Status(), answerBody(codeInvalid,
		"no such interface; the production address takes POST "+d.options.BasePath+"/produceAPI/v2/{tenantSync,applicationSync,authSync,singleOrgSync,allOrgSync}, and for instances POST "+d.options.BasePath))
}

// outcome is what came of a call, for the log.
type outcome struct {
	code    string
	message string
	push    *directory.Push
	result  directory.Result
	err     error
}

func (d *Door) handle(kind directory.PushKind) gin.HandlerFunc {
	return func(c *gin.Context) {
		began := time.Now()
		out := &outcome{}
		answer := d.guarded(c, kind, out)
		write(c, http.StatusOK, answer.Body)
		took := time.Since(began)
		d.answers.WithLabelValues(string(kind), out.code).Inc()
		d.seconds.WithLabelValues(string(kind)).Observe(took.Seconds())
		d.log(c, kind, out, took)
	}
}

func (d *Door) log(c *gin.Context, kind directory.PushKind, out *outcome, took time.Duration) {
	attrs := []slog.Attr{
		slog.String("kind", string(kind)), slog.String("code", out.code),
		slog.Float64("ms", float64(took.Microseconds())/1000),
	}
	if out.push != nil {
		attrs = append(attrs, slog.String("push", out.push.ID), slog.String("scope", out.push.Scope.String()), slog.String("flag", out.push.Flag.String()))
	}
	level := slog.LevelInfo
	switch {
	case out.code == codeSuccess:
		attrs = append(attrs, slog.String("result", string(out.result)))
	case out.code == codeInternal:
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", out.err))
	default:
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("message", out.message))
	}
	d.options.Logger.LogAttrs(c.Request.Context(), level, "push", attrs...)
}

// guarded serves a call and turns a panic into 000005.
func (d *Door) guarded(c *gin.Context, kind directory.PushKind, out *outcome) (answer coordination.Answer) {
	defer func() {
		if p := recover(); p != nil {
			d.options.Logger.Error("panic while serving a push", "kind", string(kind), "panic", p, "stack", string(debug.Stack()))
			answer = out.answer(fmt.Errorf("panic: %v", p))
		}
	}()
	return d.serve(c, kind, out)
}

// admitted is a call whose signature holds.
type admitted struct {
	stamp
	keyID   string
	body    []byte
	members []member
}

func (d *Door) serve(c *gin.Context, kind directory.PushKind, out *outcome) coordination.Answer {
	call, release, err := d.admit(c)
	defer release()
	if err != nil {
		return out.answer(err)
	}
	// The push goes on when the caller hangs up: it has been taken in.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), d.options.AnswerWithin)
	defer cancel()
	answer, err := d.nonces.Once(ctx, call.keyID+"/"+call.nonce, strings.ToLower(call.signature), d.options.remembers(), func() (coordination.Answer, bool) {
		answer := d.receive(ctx, kind, call, out)
		return answer, out.code != codeInternal
	})
	switch {
	case errors.Is(err, coordination.ErrNonceReused):
		return out.answer(&unauthenticated{"x-nonce: used before with another signature"})
	case err != nil:
		return out.answer(err)
	}
	if out.code == "" {
		out.code, out.message, out.result = answer.Code, "remembered", "remembered"
	}
	return answer
}

// admit reads a call and checks its signature. release gives back the room its
// body takes up, also after an error.
func (d *Door) admit(c *gin.Context) (call *admitted, release func(), err error) {
	limited := http.MaxBytesReader(c.Writer, c.Request.Body, d.options.MaxBody)
	sent, err := readStamp(c.Request.Header)
	if err == nil {
		err = d.checkTime(sent)
	}
	if err != nil {
		// Whoever is refused for the headers alone costs no memory, but is
		// heard out: one cut off while sending would not read the answer.
		_, _ = io.Copy(io.Discard, limited)
		return nil, func() {}, err
	}
	body, release, err := d.bodies.read(limited, c.Request.ContentLength)
	if err == nil {
		// Once more, for a body that took its time: a nonce is remembered
		// from its answer on, not from its headers.
		err = d.checkTime(sent)
	}
	if err != nil {
		return nil, release, err
	}
	members, err := scanBody(textOf(body))
	if err != nil {
		return nil, release, malformed(err)
	}
	key, ok := verifyKit(d.options.Keys, sent, body, members)
	if !ok {
		return nil, release, &unauthenticated{"x-sign: does not match; check the access key, and that key, nonce, timestamp and the sorted body are signed in this order"}
	}
	d.skew.Set(sent.at.Sub(d.options.Now()).Seconds())
	return &admitted{stamp: sent, keyID: d.keyIDs[key], body: body, members: members}, release, nil
}

func (d *Door) receive(ctx context.Context, kind directory.PushKind, call *admitted, out *outcome) coordination.Answer {
	push, err := decodeMembers(kind, call.members, call.body)
	if err := cmp.Or(err, foreign(kind, call.members)); err != nil {
		return out.answer(err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return out.answer(fmt.Errorf("make push id: %w", err))
	}
	push.ID, push.ReceivedAt = id.String(), d.options.Now()
	d.dateBack(push)
	out.push = push
	out.result, err = d.receiver.Receive(ctx, push)
	return out.answer(err)
}

// farAhead is how far a push may be from the future. Less than that is a clock
// that is ahead, or counts in another time zone: it still orders its pushes.
const farAhead = 24 * time.Hour

// dateBack gives a push from the far future the time at which it came: as it
// is, it would make all that follows stale, for years. A push cannot be replayed
// to gain by it: its nonce is signed.
func (d *Door) dateBack(push *directory.Push) {
	ahead := push.SourceTime.Time().Sub(push.ReceivedAt)
	if ahead <= farAhead {
		return
	}
	d.options.Logger.Warn("timeStamp is in the future; the push counts as of now", "push", push.ID, "kind", string(push.Kind()),
		"scope", push.Scope.String(), "ahead", ahead.Round(time.Second).String())
	push.SourceTime = directory.SourceTimeOf(push.ReceivedAt)
}

// stamp is what a call's headers hold (spec/marketplace.md §1.2).
type stamp struct {
	nonce, signature, timestamp string
	at                          time.Time // what timestamp says
}

// readStamp refuses headers that no key could make good.
func readStamp(header http.Header) (stamp, error) {
	s := stamp{nonce: header.Get("x-nonce"), signature: header.Get("x-sign"), timestamp: header.Get("x-timestamp")}
	switch {
	case s.timestamp == "":
		return s, directory.Invalid("x-timestamp", "missing")
	case len(s.timestamp) != 13 || strings.Trim(s.timestamp, "0123456789") != "":
		return s, directory.Invalid("x-timestamp", "want UNIX milliseconds, 13 digits")
	case s.nonce == "":
		return s, directory.Invalid("x-nonce", "missing")
	case utf8.RuneCountInString(s.nonce) > maxNonce:
		return s, directory.Invalid("x-nonce", "longer than %d", maxNonce)
	case s.signature == "":
		return s, &unauthenticated{"x-sign: missing"}
	}
	millis, err := strconv.ParseInt(s.timestamp, 10, 64)
	s.at = time.UnixMilli(millis)
	return s, err
}

// checkTime refuses a stamp that is out of the window now.
func (d *Door) checkTime(s stamp) error { return d.options.checkStamp("x-timestamp", s.at) }

// answer turns what came of a call into the marketplace's words.
func (o *outcome) answer(err error) coordination.Answer {
	o.err = err
	if o.code, o.message = verdict(err); o.code == codeInternal && o.push != nil {
		o.message += " (push " + o.push.ID + ")"
	}
	return coordination.Answer{Code: o.code, Body: answerBody(o.code, o.message)}
}

func write(c *gin.Context, status int, body []byte) {
	c.Data(status, "application/json", body) // a charset is unproven (spec/marketplace.md §0)
}
