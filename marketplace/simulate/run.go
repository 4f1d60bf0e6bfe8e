package simulate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

// Options say whom to play against, and how. Address and the keys have no
// default.
type Options struct {
	Address  string
	KitKeys  []string // the newest first: it signs, all may have signed answers
	BaseKeys []string // default KitKeys

	// PublicKey is the seller's, PEM. Without it no clientSecret can be made,
	// and the cases that need one are left out.
	PublicKey []byte
	// InstanceID is that of the kit's calls. Default: one that newInstance
	// makes, where the base interface is played too, or else one made up.
	InstanceID string
	// Production sends testFlag 0: the calls are taken for real.
	Production bool

	Life Life // how large the life of the enterprise is

	Timeout  time.Duration // for one answer, default 30 s
	Slow     time.Duration // answers that take longer are a finding, default 5 s
	Patience time.Duration // for an instance that is "processing", default 30 s
	Poll     time.Duration // between two looks at it, default 1 s

	HTTP     *http.Client     // default: a client of its own that follows no redirect
	Now      func() time.Time // default time.Now
	Progress func(steps int)  // told of every case, and of every day of a life
}

// Life is the size of an enterprise and of the time that is played.
type Life struct {
	Days        int    // default 5
	Departments int    // on the first day, default 60
	Users       int    // on the first day, default 200
	Seed        uint64 // of chance; the same seed plays the same life
}

// Bounds of a Life.
const (
	MaxDays        = 1000
	MaxDepartments = 100_000
	MaxUsers       = 100_000
)

func (l Life) check() error {
	var errs []error
	for _, bound := range []struct {
		name       string
		value, max int
	}{{"days", l.Days, MaxDays}, {"departments", l.Departments, MaxDepartments}, {"users", l.Users, MaxUsers}} {
		if bound.value < 1 || bound.value > bound.max {
			errs = append(errs, fmt.Errorf("%s: %d; want 1 to %d", bound.name, bound.value, bound.max))
		}
	}
	return errors.Join(errs...)
}

// Runner plays cases against a production address.
type Runner struct {
	options   Options
	cases     []Case
	kit       client.Signer
	base      client.Signer
	prefix    string // of all ids of this run
	calls     atomic.Int64
	fresh     atomic.Int64
	clock     directory.SourceTime         // of the last push
	instances map[client.Generation]string // of the kit's calls
	lives     map[client.Generation]*life

	answered   bool   // by whoever, once
	unanswered int    // calls in a row
	stopped    string // why the rest is not played
	untidy     bool   // what cases have made stays where it is
}

// ErrUnreachable is a production address that has not answered once.
var ErrUnreachable = errors.New("the production address does not answer")

// interrupted is why a case is not played to its end after the run was told to.
const interrupted = "interrupted"

// patienceWithNone is how many calls in a row may go without an answer.
const patienceWithNone = 3

// New makes a runner of cases.
func New(cases []Case, options Options) (*Runner, error) {
	address, err := client.CheckAddress(options.Address)
	if err != nil {
		return nil, err
	}
	if len(options.BaseKeys) == 0 {
		options.BaseKeys = options.KitKeys
	}
	if len(options.KitKeys) == 0 || slices.Contains(slices.Concat(options.KitKeys, options.BaseKeys), "") {
		return nil, errors.New("access key: missing")
	}
	options.setDefaults()
	if err := options.Life.check(); err != nil {
		return nil, err
	}
	return &Runner{
		options: options, cases: cases,
		kit:       client.Signer{Address: address, Key: options.KitKeys[0]},
		base:      client.Signer{Address: address, Key: options.BaseKeys[0]},
		prefix:    "sim-" + strconv.FormatInt(options.Now().UnixMilli(), 36) + uuid.NewString()[:4],
		instances: make(map[client.Generation]string),
		lives:     make(map[client.Generation]*life),
	}, nil
}

func (o *Options) setDefaults() {
	o.Life.Days = cmp.Or(o.Life.Days, 5)
	o.Life.Departments = cmp.Or(o.Life.Departments, 60)
	o.Life.Users = cmp.Or(o.Life.Users, 200)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.Slow = cmp.Or(o.Slow, 5*time.Second)
	o.Patience = cmp.Or(o.Patience, 30*time.Second)
	o.Poll = cmp.Or(o.Poll, time.Second)
	if o.HTTP == nil {
		o.HTTP = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()} //nolint:forcetypeassert // net/http documents it
	}
	direct := *o.HTTP
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	o.HTTP = &direct
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(int) {}
	}
}

// Steps is how many steps Progress is told of in a whole run.
func (r *Runner) Steps() int {
	steps := len(r.cases)
	for i := range r.cases {
		if r.cases[i].daily {
			steps += r.options.Life.Days
		}
	}
	return steps
}

// Run plays the cases one after the other. It fails if the address has not
// answered at all, with ErrUnreachable; and with ctx's error if it was told to
// end, together with the report so far.
func (r *Runner) Run(ctx context.Context) (*Report, error) {
	defer r.options.HTTP.CloseIdleConnections()
	began := r.options.Now()
	report := &Report{
		Address: r.kit.Address, Production: r.options.Production, Started: began, Seed: r.options.Life.Seed,
		Results: make([]Result, 0, len(r.cases)),
	}
	for i := range r.cases {
		result := r.play(ctx, &r.cases[i])
		report.add(&result)
		r.options.Progress(1)
		if !r.answered && result.Finding != nil && result.Finding.Kind == NoAnswer {
			return nil, fmt.Errorf("%w: %s: %s", ErrUnreachable, r.kit.Address, result.Finding.Got)
		}
		if ctx.Err() != nil {
			r.stopped = interrupted
		}
	}
	r.tidy(ctx)
	report.Calls = r.calls.Load()
	report.Took = Seconds(r.options.Now().Sub(began))
	return report, ctx.Err()
}

func (r *Runner) play(ctx context.Context, c *Case) Result {
	result := Result{ID: c.ID, Title: c.Title, Section: c.Section, Outcome: Passed}
	if r.stopped != "" {
		result.Outcome, result.Reason = Skipped, r.stopped
		return result
	}
	began, before := time.Now(), r.calls.Load()
	s := r.scene(ctx, c)
	c.play(s)
	s.tidy()
	result.Took, result.Calls = Seconds(time.Since(began)), r.calls.Load()-before
	switch {
	case ctx.Err() != nil:
		result.Outcome, result.Reason = Skipped, interrupted
	case s.finding != nil:
		result.Outcome, result.Finding = Failed, s.finding
	case s.leftOut != "":
		result.Outcome, result.Reason = Skipped, s.leftOut
	}
	return result
}

// tidy takes away what was made for more than one case.
func (r *Runner) tidy(ctx context.Context) {
	if r.stopped == interrupted {
		r.stopped = "" // nothing more is played, but this
	}
	for generation, l := range r.lives {
		if !l.ended { // it was not to be, or came to nothing
			s := r.scene(ctx, &Case{generation: generation})
			s.scope, s.bought, s.bound = l.scope, l.bought, true
			s.tidy()
		}
	}
	for generation, id := range r.instances {
		if !r.plays("base-" + generation.String()) {
			continue // it was made up
		}
		s := r.scene(ctx, &Case{generation: generation})
		s.bought = []string{id}
		s.tidy()
	}
}

// note stops a run that has no sense any more.
func (r *Runner) note(f *Finding) {
	switch {
	case !f.unanswered():
		r.answered, r.unanswered = true, 0
		return
	case f.Kind == BadTLS && !r.answered:
		r.stopped = "not played: no TLS connection can be made"
	}
	if r.unanswered++; r.unanswered == patienceWithNone {
		r.stopped = fmt.Sprintf("not played: %d calls in a row had no answer", patienceWithNone)
	}
}

// plays reports whether cases of a family are played, e.g. base-v2.
func (r *Runner) plays(family string) bool {
	return slices.ContainsFunc(r.cases, func(c Case) bool { return strings.HasPrefix(c.ID, family+"-") })
}

// id makes an id that nobody else has.
func (r *Runner) id(what string) string {
	return r.prefix + "-" + what + strconv.FormatInt(r.fresh.Add(1), 10)
}

// tick is the timeStamp of the next push: later than the one before.
func (r *Runner) tick() directory.SourceTime {
	r.clock = max(r.clock+1, directory.SourceTimeOf(r.options.Now()))
	return r.clock
}
