package simulate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

// leastKey is how long a key is, in bytes, before an answer that holds it is
// no coincidence.
const leastKey = 8

// scene is where a case plays: an enterprise and orders that no other case
// has. Its first finding stays; after it nothing is sent any more.
type scene struct {
	*Runner
	ctx        context.Context
	generation client.Generation
	scope      directory.Scope // of the kit's calls
	finding    *Finding
	leftOut    string   // why the case cannot be played
	bought     []string // instances to release in the end
	bound      bool     // there is an enterprise to delete in the end
	tidying    bool     // what is wrong is nobody's business any more
}

func (r *Runner) scene(ctx context.Context, c *Case) *scene {
	s := &scene{Runner: r, ctx: ctx, generation: c.generation}
	s.scope = directory.Scope{Dataset: directory.Test, TenantID: r.id("t")}
	if r.options.Production {
		s.scope.Dataset = directory.Prod
	}
	return s
}

// attempt is a call under preparation.
type attempt struct {
	step   string
	want   []string // the resultCodes that are right, the best first
	kind   Kind     // of the finding when a success is a refusal or a refusal a success
	key    string   // that signs
	stamp  client.Stamp
	edit   func(client.Members) client.Members
	text   func(body string) string // changes the body before it is signed
	spoil  func(*http.Request)      // changes the request after it is signed
	at     directory.SourceTime     // the timeStamp of a push
	verify func(a *answer) *Finding // what else is wanted of the answer
	keys   []string                 // that may sign answers
	v1     bool
}

// change is one way in which an attempt differs from a call that is right.
type change func(*attempt)

func wants(kind Kind, codes ...string) change {
	return func(a *attempt) { a.kind, a.want = kind, codes }
}

func signedWith(key string) change { return func(a *attempt) { a.key = key } }

func stamped(stamp client.Stamp) change { return func(a *attempt) { a.stamp = stamp } }

func dated(at directory.SourceTime) change { return func(a *attempt) { a.at = at } }

func edited(edit func(client.Members) client.Members) change {
	return func(a *attempt) { a.edit = edit }
}

func set(name string, value any) change {
	return edited(func(m client.Members) client.Members { return m.With(name, value) })
}

func without(names ...string) change {
	return edited(func(m client.Members) client.Members {
		for _, name := range names {
			m = m.Without(name)
		}
		return m
	})
}

func written(text func(string) string) change { return func(a *attempt) { a.text = text } }

func spoiled(spoil func(*http.Request)) change { return func(a *attempt) { a.spoil = spoil } }

func verified(verify func(*answer) *Finding) change { return func(a *attempt) { a.verify = verify } }

// sending is a call that is ready.
type sending struct {
	*attempt
	request *http.Request
	body    []byte
}

func (s *scene) attempt(step string, key string, keys []string, changes []change) *attempt {
	a := &attempt{step: step, want: []string{codeSuccess}, kind: WrongCode, key: key, keys: keys, at: s.tick(), v1: s.generation == client.V1}
	a.stamp = client.NewStamp(s.options.Now())
	for _, change := range changes {
		change(a)
	}
	return a
}

// body writes the members as the attempt wants them.
func (a *attempt) body(m client.Members) ([]byte, error) {
	if a.edit != nil {
		m = a.edit(m)
	}
	body, err := m.JSON()
	if err == nil && a.text != nil {
		body = []byte(a.text(string(body)))
	}
	return body, err
}

// push is a call of the kit.
func (s *scene) push(step string, flag directory.Flag, payload directory.Payload, changes ...change) {
	if s.over() {
		return
	}
	a := s.attempt(step, s.kit.Key, s.options.KitKeys, changes)
	members, err := client.KitMembers(s.generation, s.scope, flag, a.at, payload)
	var body []byte
	if err == nil {
		body, err = a.body(members)
	}
	if err != nil {
		s.cannot(step, err)
		return
	}
	signer := client.Signer{Address: s.kit.Address, Key: a.key}
	var request *http.Request
	if a.v1 {
		request, err = signer.KitV1(s.ctx, payload.PushKind(), body, a.at.Wire())
	} else {
		request, err = signer.KitV2(s.ctx, payload.PushKind(), body, a.stamp)
	}
	if err != nil {
		s.cannot(step, err)
		return
	}
	s.send(&sending{a, request, body})
}

// call is a call of the base interface.
func (s *scene) call(step, activity string, members client.Members, changes ...change) *answer {
	if s.over() {
		return &answer{}
	}
	ready, err := s.prepare(step, activity, members, changes...)
	if err != nil {
		return s.cannot(step, err)
	}
	return s.send(ready)
}

func (s *scene) prepare(step, activity string, members client.Members, changes ...change) (*sending, error) {
	a := s.attempt(step, s.base.Key, s.options.BaseKeys, changes)
	signer := client.Signer{Address: s.base.Address, Key: a.key}
	all := append(client.Members{{Name: "activity", Value: activity}}, members...)
	if s.scope.Dataset == directory.Test {
		all = append(all, client.Member{Name: "testFlag", Value: "1"})
	}
	if !a.v1 {
		body, err := a.body(all)
		if err != nil {
			return nil, err
		}
		request, err := signer.BaseV2(s.ctx, body, a.stamp)
		return &sending{a, request, body}, err
	}
	all = append(all, client.Member{Name: "timeStamp", Value: a.at.WireUTC()})
	if a.edit != nil {
		all = a.edit(all)
	}
	params := make(map[string]string, len(all))
	for _, m := range all {
		params[m.Name] = fmt.Sprint(m.Value)
	}
	request, err := signer.BaseV1(s.ctx, params)
	return &sending{a, request, nil}, err
}

// send sends a call and keeps what is wrong with its answer.
func (s *scene) send(ready *sending) *answer {
	a, f := s.deliver(ready)
	s.settle(ready, a, f)
	return a
}

// deliver may be used by many goroutines at once.
func (s *scene) deliver(ready *sending) (*answer, *Finding) {
	if ready.spoil != nil {
		ready.spoil(ready.request)
	}
	a, f := s.exchange(s.ctx, ready.request)
	if f == nil {
		f = s.judge(ready, a)
	}
	if a == nil {
		a = &answer{}
	}
	return a, f
}

// judge says what is wrong with an answer; the first thing wrong counts.
func (s *scene) judge(ready *sending, a *answer) *Finding {
	for _, key := range ready.keys {
		if len(key) >= leastKey && bytes.Contains(a.body, []byte(key)) {
			return finding(LeaksKey, "an answer without the access key", "one that holds it")
		}
	}
	if f := a.read(); f != nil {
		return f
	}
	// With another access key no signature can be right: the code says it better.
	strangers := a.code == codeDenied && success(ready.want[0])
	if ready.v1 && !strangers {
		if f := a.checkBodySign(ready.keys); f != nil {
			return f
		}
	}
	if !slices.Contains(ready.want, a.code) {
		return wrongCode(ready.kind, ready.want, a)
	}
	if a.took > s.options.Slow {
		return finding(SlowAnswer, fmt.Sprintf("an answer within %s", s.options.Slow), a.took.String())
	}
	if ready.verify != nil {
		return ready.verify(a)
	}
	return nil
}

// settle keeps a finding, and what belongs to it.
func (s *scene) settle(ready *sending, a *answer, f *Finding) {
	if !s.tidying {
		s.note(f)
	}
	if f == nil || s.finding != nil || s.ctx.Err() != nil {
		return
	}
	keys := slices.Concat(s.options.KitKeys, s.options.BaseKeys)
	f.Step = ready.step
	f.Got, f.Expected = shown([]byte(f.Got), keys), shown([]byte(f.Expected), keys)
	f.Request = strings.TrimSpace(requestLine(ready.request) + " " + shown(ready.body, keys))
	f.Answer = shown(a.body, keys)
	s.finding = f
}

// requestLine is the first line of a request without its signature.
func requestLine(r *http.Request) string {
	query := r.URL.Query()
	for _, name := range []string{"authToken", "signature", "nonce", "timestamp"} {
		query.Del(name)
	}
	u := *r.URL
	u.RawQuery = query.Encode()
	return r.Method + " " + u.String()
}

// fail is a finding that needs more than one answer to see.
func (s *scene) fail(step string, kind Kind, expected, got string) {
	if s.over() {
		return
	}
	s.finding = finding(kind, expected, got)
	s.finding.Step = step
}

// cannot is a call that could not even be made.
func (s *scene) cannot(step string, err error) *answer {
	if s.finding == nil {
		s.leftOut = fmt.Sprintf("%s: the call could not be made: %v", step, err)
	}
	return &answer{}
}

// over reports whether the rest of the scene is not played.
func (s *scene) over() bool {
	return s.finding != nil || s.leftOut != "" || s.stopped != "" || s.ctx.Err() != nil
}

// leaveOut ends a case that cannot be played.
func (s *scene) leaveOut(reason string) {
	if !s.over() {
		s.leftOut = reason
	}
}

// timeToTidy is how long what was made is taken away after a run was told to end.
const timeToTidy = 10 * time.Second

// tidy takes away what the case has made, also when the run is told to end. What
// comes of it is not judged; but where it is not answered it is not tried again,
// for each try takes its time.
func (s *scene) tidy() {
	if s.stopped != "" || s.untidy {
		return
	}
	after := *s
	after.tidying = true
	if s.ctx.Err() != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), timeToTidy)
		defer cancel()
		after.ctx = ctx
	}
	clean := func(call func()) {
		if after.finding, after.leftOut = nil, ""; !s.untidy {
			call()
			s.untidy = after.finding.unanswered()
		}
	}
	for _, id := range s.bought {
		clean(func() { after.call("tidying up", "releaseInstance", query(id)) })
	}
	if s.bound {
		clean(func() { after.push("tidying up", directory.FlagDelete, &directory.TenantPush{}) })
	}
}

// withBody replaces the body of a request.
func withBody(body string) func(*http.Request) {
	return func(r *http.Request) {
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
		r.Body, _ = r.GetBody()
		r.ContentLength = int64(len(body))
	}
}
