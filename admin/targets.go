package admin

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/storage"
)

// targetView is a target with its counts over all tenants.
type targetView struct {
	fanout.Status
	Deliveries TargetStatus `json:"deliveries"`
}

func (a *API) targets(c *gin.Context) {
	var views []targetView
	for _, t := range a.Deliverer.Targets() {
		counts, err := a.Reader.Counts(c.Request.Context(), t.Name, nil)
		if err != nil {
			fail(c, err)
			return
		}
		views = append(views, targetView{t, a.targetStatus(t, counts)})
	}
	respond(c, a, views, "", nil)
}

func (a *API) pause(c *gin.Context) {
	a.steer(c, "paused", func(name string, d decision) error {
		return a.Deliverer.Pause(c.Request.Context(), name, d.By, d.Reason)
	})
}

func (a *API) resume(c *gin.Context) {
	a.steer(c, "resumed", func(name string, _ decision) error {
		return a.Deliverer.Resume(c.Request.Context(), name)
	})
}

// steer stops or starts a target. The body says who and why, or nothing.
func (a *API) steer(c *gin.Context, verb string, do func(name string, d decision) error) {
	name := inPath(c, "name")
	d, err := readDecision(c)
	if err == nil {
		err = do(name, d)
	}
	if err != nil {
		fail(c, err)
		return
	}
	a.Logger.Info("audit: target "+verb, "target", name, "by", d.By, "reason", d.Reason, "remote", c.ClientIP())
	c.JSON(http.StatusOK, gin.H{"target": name, "result": verb})
}

func (a *API) approveDeletions(c *gin.Context) { a.decideDeletions(c, "approved", true) }
func (a *API) rejectDeletions(c *gin.Context)  { a.decideDeletions(c, "rejected", false) }

// decideDeletions decides the deletions and deactivations that a target's limit
// holds, all of them or those of one tenant.
func (a *API) decideDeletions(c *gin.Context, verb string, approve bool) {
	d, err := readDecision(c)
	if err != nil {
		fail(c, err)
		return
	}
	filter := storage.DeliveryFilter{Target: inPath(c, "name"), InstanceID: optional(c, "instanceId"), TenantID: c.Query("tenantId")}
	if _, named := c.GetQuery("tenantId"); named && filter.TenantID == "" { // of a script whose variable is not set
		fail(c, &badRequestError{"tenantId: empty; leave it out to decide for all tenants"})
		return
	}
	if filter.Dataset, err = oneOf(c, "dataset", "", directory.Prod, directory.Test); err != nil {
		fail(c, err)
		return
	}
	n, err := a.Deliverer.Decide(c.Request.Context(), filter, storage.HeldDecision{Approved: approve, By: d.By, Reason: d.Reason})
	if err != nil {
		fail(c, err)
		return
	}
	a.Logger.Info("audit: held deletions "+verb, "target", filter.Target, "tenant", filter.TenantID, "removals", n,
		"by", d.By, "reason", d.Reason, "remote", c.ClientIP())
	c.JSON(http.StatusOK, gin.H{"target": filter.Target, "result": verb, "removals": n})
}
