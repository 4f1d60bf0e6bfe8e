package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

const (
	bulkSchema = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
	// maxBulk bounds the operations of one bulk request, whatever the server
	// takes: one that is lost makes as many objects uncertain.
	maxBulk = 100
	// maxBulkBytes bounds its body.
	maxBulkBytes = 1 << 20
	// bulkSenders bounds the bulk requests under way at once. What comes in
	// meanwhile is gathered for the next.
	bulkSenders = 4
	// bulkRoom bounds all requests under way at once, for the fan-out has many
	// more calls under way than it would without Bulk.
	bulkRoom = 8
	// bulkOverhead is what a bulk request has around its operations, and around
	// each of them, in bytes, at most.
	bulkOverhead, operationOverhead = 128, 128
)

// bulkLimits bound one bulk request.
type bulkLimits struct{ operations, bytes int }

// gatherer sends changes that are asked for at the same time in one bulk
// request (RFC 7644 §3.7). Nothing waits for company: while there is a sender
// free, a change goes at once and alone, as it would without Bulk; what comes
// while all are busy goes together. Who asks waits for his own answer, so
// whatever must come after another still does.
type gatherer struct {
	t     *transport
	ended context.Context
	end   context.CancelFunc
	busy  sync.WaitGroup
	room  chan struct{}

	mu     sync.Mutex
	limits bulkLimits // zero: no bulk requests
	// atOnce is how many operations may go together now. It halves with every
	// bulk request that fails as a whole, and doubles with every success: one
	// change that a server chokes on ends up alone, and keeps nobody.
	atOnce  int
	pinned  bool // the server takes no bulk requests: one at a time
	waiting []*asked
	senders int
}

// asked is one change, and its answer once done is closed.
type asked struct {
	call
	ctx    context.Context
	data   json.RawMessage
	done   chan struct{}
	answer *httpclient.Answer
	err    error
}

func newGatherer(t *transport) *gatherer {
	g := &gatherer{t: t, room: make(chan struct{}, bulkRoom)}
	g.ended, g.end = context.WithCancel(context.Background())
	return g
}

// close ends all requests.
func (g *gatherer) close() {
	g.end()
	g.busy.Wait()
}

// bound sets what the server takes in one bulk request; zero for none.
func (g *gatherer) bound(limits bulkLimits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits, g.atOnce, g.pinned = limits, limits.operations, false
}

// enter takes a place among the requests under way, where their number is not
// the caller's to bound.
func (g *gatherer) enter(ctx context.Context, op string) (leave func(), err error) {
	g.mu.Lock()
	gathers := g.limits.operations > 0
	g.mu.Unlock()
	if !gathers {
		return func() {}, nil
	}
	select {
	case g.room <- struct{}{}:
		return func() { <-g.room }, nil
	case <-ctx.Done():
		return nil, &target.Error{Class: target.Transient, Op: op, Err: ctx.Err()}
	}
}

// learn notes how a request went.
func (g *gatherer) learn(well bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.pinned:
	case well:
		g.atOnce = min(2*g.atOnce, g.limits.operations)
	default:
		g.atOnce = max(g.atOnce/2, 1)
	}
}

// pin sends every change by itself until the server has been asked anew.
func (g *gatherer) pin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.atOnce, g.pinned = 1, true
}

// send sends a change, perhaps among others.
func (g *gatherer) send(ctx context.Context, c call) (*httpclient.Answer, error) {
	one := &asked{call: c, ctx: ctx, done: make(chan struct{})}
	if !g.takes(one) {
		return g.t.send(ctx, c)
	}
	select {
	case <-one.done:
		return one.answer, one.err
	case <-ctx.Done():
		return nil, &target.Error{Class: target.Transient, Op: c.op, UnknownOutcome: true, Err: ctx.Err()}
	}
}

// takes puts a change among those to be sent, if there is bulk and it fits.
func (g *gatherer) takes(one *asked) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limits.operations == 0 || g.ended.Err() != nil || one.method == http.MethodPut {
		return false
	}
	if one.body != nil {
		data, err := json.Marshal(one.body)
		if err != nil || len(data)+bulkOverhead+operationOverhead > g.limits.bytes {
			return false
		}
		one.data = data
	}
	g.waiting = append(g.waiting, one)
	if g.senders < bulkSenders {
		g.senders++
		g.busy.Go(g.sendAll)
	}
	return true
}

// sendAll sends what waits until nothing does.
func (g *gatherer) sendAll() {
	for batch := g.take(); len(batch) > 0; batch = g.take() {
		g.carryOut(batch)
		for _, one := range batch {
			close(one.done)
		}
	}
}

// take takes as much as fits from what waits, less what nobody waits for any
// more; without anything left the sender ends.
func (g *gatherer) take() []*asked {
	g.mu.Lock()
	defer g.mu.Unlock()
	var batch []*asked
	size, taken := bulkOverhead, 0
	for _, one := range g.waiting {
		more := len(one.data) + len(one.path) + operationOverhead
		if len(batch) > 0 && (len(batch) >= max(g.atOnce, 1) || size+more > g.limits.bytes) {
			break
		}
		taken++
		if one.ctx.Err() == nil {
			size += more
			batch = append(batch, one)
		}
	}
	if g.waiting = g.waiting[taken:]; len(batch) == 0 {
		g.senders--
	}
	return batch
}

// carryOut sends changes and notes their answers: one as it is, many together.
func (g *gatherer) carryOut(batch []*asked) {
	ctx, cancel := g.together(batch)
	defer cancel()
	if len(batch) == 1 {
		batch[0].answer, batch[0].err = g.t.send(ctx, batch[0].call)
		if batch[0].err == nil {
			g.learn(true)
		}
		return
	}
	answer, err := g.t.send(ctx, call{op: "send a bulk request", method: http.MethodPost, path: "/Bulk", body: bulkRequestOf(batch)})
	if err != nil {
		g.failed(batch, err)
		return
	}
	g.share(batch, answer)
	g.learn(true)
}

// together ends when the last of those who ask has gone, or all does.
func (g *gatherer) together(batch []*asked) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(g.ended)
	var mu sync.Mutex
	left := len(batch)
	stops := make([]func() bool, len(batch))
	for i, one := range batch {
		stops[i] = context.AfterFunc(one.ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if left--; left == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// failed judges a bulk request that was not answered as one. One that is too
// large is halved; one that the server will not have at all did nothing, so
// each change is sent by itself, and no more are gathered until the server has
// been asked anew. Anything else is the failure of each, for all may have been
// carried out.
func (g *gatherer) failed(batch []*asked, err error) {
	switch status := statusOf(err); status {
	case http.StatusRequestEntityTooLarge:
		g.learn(false)
		half := len(batch) / 2
		g.carryOut(batch[:half])
		g.carryOut(batch[half:])
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		g.pin()
		for i := range batch {
			g.carryOut(batch[i : i+1])
		}
	default:
		if target.ClassOf(err) == target.Transient {
			g.learn(false)
		}
		for _, one := range batch {
			one.err = err
		}
	}
}

type bulkOperation struct {
	Method string          `json:"method"`
	BulkID string          `json:"bulkId"`
	Path   string          `json:"path"`
	Data   json.RawMessage `json:"data,omitempty"`
}

type bulkRequest struct {
	Schemas    []string        `json:"schemas"`
	Operations []bulkOperation `json:"Operations"`
}

// bulkRequestOf gives every operation a bulkId, by which its answer is known.
// There is no failOnErrors: one failure is not to keep the others.
func bulkRequestOf(batch []*asked) bulkRequest {
	request := bulkRequest{Schemas: []string{bulkSchema}, Operations: make([]bulkOperation, len(batch))}
	for i, one := range batch {
		request.Operations[i] = bulkOperation{Method: one.method, BulkID: bulkID(i), Path: one.path, Data: one.data}
	}
	return request
}

func bulkID(i int) string { return "op" + strconv.Itoa(i) }

// bulkResult is the answer to one operation. Its status is a string by the
// RFC, a number at some servers, an object in early drafts.
type bulkResult struct {
	Method, BulkID, Location string
	Status                   json.RawMessage
	Response                 json.RawMessage
}

func (b *bulkResult) status() int {
	text := b.Status
	var early struct{ Code json.RawMessage }
	if json.Unmarshal(text, &early) == nil && early.Code != nil {
		text = early.Code
	}
	return statusIn(text)
}

// share hands every change its part of the answer.
func (g *gatherer) share(batch []*asked, answer *httpclient.Answer) {
	var results struct{ Operations []bulkResult }
	if err := answer.Into(&results); err != nil {
		for _, one := range batch {
			one.err = err
		}
		return
	}
	byID := make(map[string]*bulkResult, len(results.Operations))
	for i := range results.Operations {
		result := &results.Operations[i]
		if result.BulkID == "" && len(results.Operations) == len(batch) {
			result.BulkID = bulkID(i) // only a POST must be told by its id
		}
		byID[result.BulkID] = result
	}
	for i, one := range batch {
		one.answer, one.err = g.t.part(one.call, byID[bulkID(i)])
	}
}

// part is one operation's answer, as if it had come alone.
func (t *transport) part(c call, result *bulkResult) (*httpclient.Answer, error) {
	if result == nil || result.status() == 0 || !strings.EqualFold(result.Method, c.method) && result.Method != "" {
		return nil, &target.Error{Class: target.Transient, Op: c.op, UnknownOutcome: true, Detail: "the bulk answer says nothing of it"}
	}
	body := []byte(result.Response)
	if bytes.Equal(body, []byte("null")) {
		body = nil
	}
	status := result.status()
	if status > 299 {
		return nil, t.client.Failure(t.request(c), status, body)
	}
	if c.method == http.MethodPost {
		body = withID(body, result.Location, c.path)
	}
	answer := &httpclient.Answer{Op: c.op, Status: status, Header: http.Header{}, Body: body}
	if err := t.disguised(t.request(c), answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// withID is what was created; its location names the id where the answer does
// not repeat the object.
func withID(body []byte, location, collection string) []byte {
	var created resource
	if json.Unmarshal(body, &created) == nil && created.ID != "" {
		return body
	}
	if at := strings.LastIndex(location, collection+"/"); at >= 0 {
		segment, _, _ := strings.Cut(location[at+len(collection)+1:], "?")
		if id, err := url.PathUnescape(segment); err == nil {
			created.ID = textID(id)
		}
	}
	text, err := json.Marshal(created)
	if err != nil {
		return body
	}
	return text
}

// bulk tells how much a bulk request may have, by the server's word and ours.
func (c *Connector) bulk() bulkLimits {
	p := c.service.provider.Load()
	if p == nil || !p.Bulk.Supported || c.config.Protocol.Bulk == UseOff {
		return bulkLimits{}
	}
	limits := bulkLimits{operations: min(p.Bulk.MaxOperations, maxBulk), bytes: maxBulkBytes}
	if p.Bulk.MaxPayloadSize > 0 {
		limits.bytes = min(limits.bytes, p.Bulk.MaxPayloadSize)
	}
	if limits.operations < 2 {
		return bulkLimits{}
	}
	return limits
}
