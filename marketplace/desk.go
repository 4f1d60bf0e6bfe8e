package marketplace

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/openkoo/connector/directory"
)

// remembered stands for the code of an answer that was given before, in the
// log and in the measures.
const remembered = "remembered"

// desk is what the base interface and the kit's V1 interfaces share: bounds,
// measures, the log, and that no panic leaves.
type desk struct {
	options Options
	name    string
	bodies  *bodies
	answers *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newDesk(name, setting string, options Options) (*desk, error) {
	if len(options.Keys) == 0 {
		return nil, fmt.Errorf("marketplace: %s: no access key; set %s", name, setting)
	}
	for i, key := range options.Keys {
		if key == "" {
			return nil, fmt.Errorf("marketplace: %s: access key %d is empty", name, i+1)
		}
	}
	options = options.withDefaults()
	d := &desk{options: options, name: name, bodies: &bodies{limit: options.MaxBody, room: options.Room}}
	d.answers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "orgsync_" + name + "_calls_total", Help: "Calls of the marketplace by what they ask for and result code.",
	}, []string{"kind", "code"})
	d.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "orgsync_" + name + "_call_seconds", Help: "How long a call of the marketplace took.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	}, []string{"kind"})
	if options.Registerer != nil {
		options.Registerer.MustRegister(d.answers, d.seconds)
	}
	return d, nil
}

// exchange is one call and what came of it.
type exchange struct {
	kind    string // bounded: one of the activities or interfaces, or "unknown"
	key     string // the key that signed the call, empty while not verified
	code    string
	message string
	err     error
	attrs   []slog.Attr
}

// handle serves calls. Of a V1 call every answer is signed, errors too
// (spec/marketplace.md §1.4).
func (d *desk) handle(v1 bool, serve func(*gin.Context, *exchange) []byte) gin.HandlerFunc {
	return func(c *gin.Context) {
		began := time.Now()
		x := &exchange{kind: "unknown"}
		body := d.guarded(c, x, serve)
		if v1 {
			key := x.key
			if key == "" {
				key = d.options.Keys[0]
			}
			c.Header("Body-Sign", BodySign(key, body))
		}
		write(c, http.StatusOK, body)
		took := time.Since(began)
		d.answers.WithLabelValues(x.kind, x.code).Inc()
		d.seconds.WithLabelValues(x.kind).Observe(took.Seconds())
		d.log(c.Request.Context(), x, took)
	}
}

func (d *desk) guarded(c *gin.Context, x *exchange, serve func(*gin.Context, *exchange) []byte) (body []byte) {
	defer func() {
		if p := recover(); p != nil {
			d.options.Logger.Error("panic while serving a call", "desk", d.name, "kind", x.kind, "panic", p, "stack", string(debug.Stack()))
			body = x.refuse(fmt.Errorf("panic: %v", p))
		}
	}()
	return serve(c, x)
}

func (d *desk) log(ctx context.Context, x *exchange, took time.Duration) {
	attrs := append([]slog.Attr{
		slog.String("kind", x.kind), slog.String("code", x.code), slog.Float64("ms", float64(took.Microseconds())/1000),
	}, x.attrs...)
	level := slog.LevelInfo
	switch x.code {
	case codeSuccess, codeProcessing, remembered:
	case codeInternal:
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", x.err))
	default:
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("message", x.message))
	}
	d.options.Logger.LogAttrs(ctx, level, d.name+" call", attrs...)
}

// note takes down what an error means to the marketplace.
func (x *exchange) note(err error) {
	x.err = err
	x.code, x.message = verdict(err)
}

// refuse is the answer to a call that failed.
func (x *exchange) refuse(err error) []byte {
	x.note(err)
	return answerBody(x.code, x.message)
}

// read reads a call's body. release gives back the room it takes up, also
// after an error.
func (d *desk) read(c *gin.Context) (body []byte, members []member, release func(), err error) {
	limited := http.MaxBytesReader(c.Writer, c.Request.Body, d.options.MaxBody)
	body, release, err = d.bodies.read(limited, c.Request.ContentLength)
	if err != nil {
		return nil, nil, release, err
	}
	if members, err = scanBody(textOf(body)); err != nil {
		return nil, nil, release, malformed(err)
	}
	return body, members, release, nil
}

// checkAge refuses a time too far from now; no window, no bound.
func checkAge(name string, sent, now time.Time, window time.Duration) error {
	switch age := now.Sub(sent); {
	case window <= 0:
		return nil
	case age > window:
		return directory.Invalid(name, "expired: %s old, %s allowed", age.Round(time.Second), window)
	case age < -window:
		return directory.Invalid(name, "in the future by %s, %s allowed", (-age).Round(time.Second), window)
	}
	return nil
}
