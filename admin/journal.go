package admin

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

func (a *API) pushes(c *gin.Context) {
	d, err := dataset(c, "")
	if err != nil {
		_ = c.Error(err)
		return
	}
	p, err := page(c)
	if err != nil {
		_ = c.Error(err)
		return
	}
	records, cursor, err := a.Reader.Pushes(c.Request.Context(), storage.PushFilter{
		Dataset: d, InstanceID: optional(c, "instanceId"), TenantID: c.Query("tenantId"),
		Kind: directory.PushKind(c.Query("kind")), Result: directory.Result(c.Query("result")),
	}, p)
	respond(c, records, cursor, err)
}

func (a *API) push(c *gin.Context) {
	record, decisions, err := a.Reader.Push(c.Request.Context(), c.Param("id"))
	if err != nil {
		_ = c.Error(err)
		return
	}
	if decisions == nil {
		decisions = []directory.Decision{}
	}
	c.JSON(http.StatusOK, struct {
		storage.Record
		Decisions []directory.Decision `json:"decisions"`
	}{record, decisions})
}

// decision is the body of approve and reject; both members are optional.
type decision struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
}

func readDecision(c *gin.Context) (d decision, err error) {
	if c.Request.ContentLength != 0 {
		if err := c.ShouldBindJSON(&d); err != nil {
			return d, &badRequest{"body: want {\"by\": …, \"reason\": …} or nothing"}
		}
	}
	if d.By == "" {
		d.By = "admin token from " + c.ClientIP()
	}
	return d, nil
}

func (a *API) approve(c *gin.Context) {
	d, err := readDecision(c)
	if err == nil {
		var plan *directory.Plan
		if plan, err = a.Decider.Approve(c.Request.Context(), c.Param("id"), d.By); err == nil {
			c.JSON(http.StatusOK, gin.H{"push": c.Param("id"), "result": plan.Result, "counts": plan.Counts})
			return
		}
	}
	_ = c.Error(err)
}

func (a *API) reject(c *gin.Context) {
	d, err := readDecision(c)
	if err == nil {
		var plan *directory.Plan
		if plan, err = a.Decider.Reject(c.Request.Context(), c.Param("id"), d.By, d.Reason); err == nil {
			c.JSON(http.StatusOK, gin.H{"push": c.Param("id"), "result": plan.Result})
			return
		}
	}
	_ = c.Error(err)
}

func deliveryQuery(c *gin.Context) (storage.DeliveryFilter, error) {
	d, err := dataset(c, "")
	if err != nil {
		return storage.DeliveryFilter{}, err
	}
	f := storage.DeliveryFilter{
		Target: c.Query("target"), Dataset: d, InstanceID: optional(c, "instanceId"),
		TenantID: c.Query("tenantId"), Key: c.Query("key"),
	}
	if text := c.Query("state"); text != "" {
		if f.State, err = storage.ParseSlotState(text); err != nil {
			return f, &badRequest{err.Error()}
		}
	}
	return f, nil
}

func (a *API) deliveries(c *gin.Context) {
	f, err := deliveryQuery(c)
	if err != nil {
		_ = c.Error(err)
		return
	}
	p, err := page(c)
	if err != nil {
		_ = c.Error(err)
		return
	}
	slots, cursor, err := a.Reader.Deliveries(c.Request.Context(), f, p)
	respond(c, slots, cursor, err)
}

func (a *API) replay(c *gin.Context) {
	f, err := deliveryQuery(c)
	if err != nil {
		_ = c.Error(err)
		return
	}
	n, err := a.Replayer.Replay(c.Request.Context(), f)
	if err != nil {
		_ = c.Error(err)
		return
	}
	a.Logger.Info("audit: deliveries replayed", "count", n, "target", f.Target, "remote", c.ClientIP())
	c.JSON(http.StatusOK, gin.H{"replayed": n})
}
