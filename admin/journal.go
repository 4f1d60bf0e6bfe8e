package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/restore"
	"github.com/openkoo/connector/storage"
)

func (a *API) pushes(c *gin.Context) {
	f, p, err := pushQuery(c)
	if err != nil {
		fail(c, err)
		return
	}
	records, cursor, err := a.Reader.Pushes(c.Request.Context(), f, p)
	respond(c, a, records, cursor, err)
}

func pushQuery(c *gin.Context) (f storage.PushFilter, p storage.Page, err error) {
	f = storage.PushFilter{InstanceID: optional(c, "instanceId"), TenantID: c.Query("tenantId")}
	if f.Dataset, err = oneOf(c, "dataset", "", directory.Prod, directory.Test); err != nil {
		return f, p, err
	}
	if f.Kind, err = oneOf(c, "kind", append([]directory.PushKind{""}, directory.PushKinds()...)...); err != nil {
		return f, p, err
	}
	f.Result, err = oneOf(c, "result", "", directory.ResultApplied, directory.ResultUnchanged, directory.ResultStale,
		directory.ResultHeld, directory.ResultApproved, directory.ResultRejected, directory.ResultReplaced)
	if err != nil {
		return f, p, err
	}
	p, err = page(c)
	return f, p, err
}

func (a *API) push(c *gin.Context) {
	p, err := page(c)
	if err != nil {
		fail(c, err)
		return
	}
	record, decisions, cursor, err := a.Reader.PushPage(c.Request.Context(), inPath(c, "id"), p)
	if err != nil {
		fail(c, err)
		return
	}
	if decisions == nil {
		decisions = []directory.Decision{}
	}
	c.JSON(http.StatusOK, struct {
		storage.Record
		Decisions []directory.Decision `json:"decisions"`
		Cursor    string               `json:"cursor,omitempty"`
	}{record, decisions, cursor})
}

// decision is the body of approve, reject and restore; both members are optional.
type decision struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
}

// The bounds of a decision's body.
const (
	maxDecision = 4 << 10 // bytes
	maxWords    = 255     // characters of a member
)

func readDecision(c *gin.Context) (d decision, err error) {
	reader := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, maxDecision))
	reader.DisallowUnknownFields()
	if err := reader.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return d, &badRequestError{`body: want {"by": "who", "reason": "why"}, or nothing`}
	}
	for name, text := range map[string]string{"by": d.By, "reason": d.Reason} {
		if utf8.RuneCountInString(text) > maxWords {
			return d, &badRequestError{fmt.Sprintf("%s: longer than %d", name, maxWords)}
		}
	}
	if d.By == "" {
		d.By = "admin token from " + c.ClientIP()
	}
	return d, nil
}

func (a *API) approve(c *gin.Context) { a.decide(c, a.Decider.Approve) }
func (a *API) reject(c *gin.Context)  { a.decide(c, a.Decider.Reject) }

func (a *API) decide(c *gin.Context, end func(ctx context.Context, pushID, by, reason string) (*directory.Plan, error)) {
	d, err := readDecision(c)
	if err != nil {
		fail(c, err)
		return
	}
	id := inPath(c, "id")
	plan, err := end(c.Request.Context(), id, d.By, d.Reason)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"push": id, "result": plan.Result, "counts": plan.Counts})
}

func (a *API) restore(c *gin.Context) {
	dryRun, err := oneOf(c, "dryRun", "", "true", "false")
	if err != nil {
		fail(c, err)
		return
	}
	d, err := readDecision(c)
	if err != nil {
		fail(c, err)
		return
	}
	outcome, err := a.Restorer.Restore(c.Request.Context(), restore.Request{PushID: inPath(c, "id"), By: d.By, Reason: d.Reason, DryRun: dryRun == "true"})
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, outcome)
}

// deliveryQuery reads the filter of slots; states are those that make sense.
func (a *API) deliveryQuery(c *gin.Context, states ...storage.SlotState) (f storage.DeliveryFilter, err error) {
	f = storage.DeliveryFilter{
		Target: c.Query("target"), InstanceID: optional(c, "instanceId"), TenantID: c.Query("tenantId"), Key: c.Query("key"),
	}
	if f.Dataset, err = oneOf(c, "dataset", "", directory.Prod, directory.Test); err != nil {
		return f, err
	}
	if f.State, err = named(c, "state", states...); err != nil {
		return f, err
	}
	f.Kind, err = named(c, "kind", storage.SlotDepartment, storage.SlotUser, storage.SlotPlacement, storage.SlotMembership)
	if err != nil || f.Target == "" {
		return f, err
	}
	var names []string
	for _, t := range a.Deliverer.Targets() {
		if t.Name == f.Target {
			return f, nil
		}
		names = append(names, t.Name)
	}
	return f, fmt.Errorf("%w: %q; configured: %s", fanout.ErrUnknownTarget, f.Target, strings.Join(names, ", "))
}

// named reads a parameter that names one of several numbered things; zero when
// it is absent.
func named[T interface {
	comparable
	String() string
}](c *gin.Context, name string, values ...T) (found T, err error) {
	words := []string{""}
	for _, v := range values {
		words = append(words, v.String())
	}
	word, err := oneOf(c, name, words...)
	if err != nil || word == "" {
		return found, err
	}
	return values[slices.Index(words, word)-1], nil
}

func (a *API) deliveries(c *gin.Context) {
	f, err := a.deliveryQuery(c, storage.SlotStates()...)
	if err != nil {
		fail(c, err)
		return
	}
	p, err := page(c)
	if err != nil {
		fail(c, err)
		return
	}
	slots, cursor, err := a.Reader.Deliveries(c.Request.Context(), f, p)
	respond(c, a, slots, cursor, err)
}

func (a *API) replay(c *gin.Context) {
	f, err := a.deliveryQuery(c, storage.SlotDead, storage.SlotRetrying, storage.SlotKept, storage.SlotPending)
	if err != nil {
		fail(c, err)
		return
	}
	n, err := a.Replayer.Replay(c.Request.Context(), f)
	if err != nil {
		fail(c, err)
		return
	}
	a.Logger.Info("audit: deliveries replayed", "count", n, "target", f.Target, "remote", c.ClientIP())
	c.JSON(http.StatusOK, gin.H{"replayed": n})
}
