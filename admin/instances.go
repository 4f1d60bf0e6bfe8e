package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/storage"
)

// maxCompletion bounds the body of a completion, in bytes.
const maxCompletion = 256 << 10

// Instances is what the API shows of instances.
type Instances interface {
	Instance(ctx context.Context, dataset directory.Dataset, id string) (directory.Instance, error)
	Instances(ctx context.Context, filter storage.InstanceFilter, page storage.Page) ([]directory.Instance, string, error)
}

// Completer ends what the seller's server had answered with "goes on", and has
// it told again at once what it could not be told.
type Completer interface {
	Complete(ctx context.Context, dataset directory.Dataset, id string, completion instance.Completion) (directory.Instance, error)
	Retry(ctx context.Context, dataset directory.Dataset, id string) (directory.Instance, error)
}

func (a *API) registerInstances(api gin.IRouter) {
	api.GET("/instances", takes([]string{"dataset", "limit", "cursor"}), a.listInstances)
	api.GET("/instances/:id", takes([]string{"dataset"}), a.instance)
	api.POST("/instances/:id/complete", takes([]string{"dataset"}), a.completeInstance)
	api.POST("/instances/:id/retry", takes([]string{"dataset"}), a.retryInstance)
}

// instanceView is an instance without what is sealed.
type instanceView struct {
	Dataset     directory.Dataset       `json:"dataset"`
	ID          string                  `json:"instanceId"`
	State       directory.InstanceState `json:"state"`
	OrderID     string                  `json:"orderId"`
	OrderLineID string                  `json:"orderLineId,omitempty"`
	ProductID   string                  `json:"productId,omitempty"`
	ExpireTime  time.Time               `json:"expireTime,omitzero"`
	NoResource  bool                    `json:"noResource,omitempty"`
	FrontEndURL string                  `json:"frontEndUrl,omitempty"`
	AdminURL    string                  `json:"adminUrl,omitempty"`
	Details     map[string]string       `json:"details,omitempty"`
	Licenses    []licenseView           `json:"licenses,omitempty"`
	// Pending are the events the seller's server has yet to be told.
	Pending   []directory.InstanceEvent `json:"pending"`
	Attempts  int                       `json:"attempts,omitempty"`
	DueAt     time.Time                 `json:"dueAt,omitzero"`
	LastError string                    `json:"lastError,omitempty"`
	CreatedAt time.Time                 `json:"createdAt"`
	ChangedAt time.Time                 `json:"changedAt"`
}

type licenseView struct {
	EventID       string `json:"eventId"`
	EffectiveTime string `json:"effectiveTime,omitempty"`
	ExpireTime    string `json:"expireTime,omitempty"`
	Issued        bool   `json:"issued"`
}

func viewInstance(i *directory.Instance, now time.Time) instanceView {
	view := instanceView{
		Dataset: i.Dataset, ID: i.ID, State: i.State(now), OrderID: i.OrderID, OrderLineID: i.OrderLineID, ProductID: i.ProductID,
		ExpireTime: i.ExpireTime, NoResource: i.NoResource, Details: i.Details, Pending: i.Pending, Attempts: i.Attempts,
		DueAt: i.DueAt, LastError: i.LastError, CreatedAt: i.CreatedAt, ChangedAt: i.ChangedAt,
	}
	if view.Pending == nil {
		view.Pending = []directory.InstanceEvent{}
	}
	if i.App != nil {
		view.FrontEndURL, view.AdminURL = i.App.FrontEndURL, i.App.AdminURL
	}
	for _, id := range i.LicenseEvents() {
		license := i.Licenses[id]
		view.Licenses = append(view.Licenses, licenseView{id, license.EffectiveTime, license.ExpireTime, len(license.SealedText) > 0})
	}
	return view
}

func (a *API) listInstances(c *gin.Context) {
	d, err := oneOf(c, "dataset", "", directory.Prod, directory.Test)
	if err != nil {
		fail(c, err)
		return
	}
	p, err := page(c)
	if err != nil {
		fail(c, err)
		return
	}
	found, cursor, err := a.Instances.Instances(c.Request.Context(), storage.InstanceFilter{Dataset: d}, p)
	views := make([]instanceView, 0, len(found))
	for i := range found {
		views = append(views, viewInstance(&found[i], a.Now()))
	}
	respond(c, a, views, cursor, err)
}

func (a *API) instance(c *gin.Context) {
	d, err := oneOf(c, "dataset", directory.Prod, directory.Test)
	if err != nil {
		fail(c, err)
		return
	}
	found, err := a.Instances.Instance(c.Request.Context(), d, inPath(c, "id"))
	a.showInstance(c, found, err)
}

// completeInstance is how the seller's server ends what it had answered with 202.
func (a *API) completeInstance(c *gin.Context) {
	d, err := oneOf(c, "dataset", directory.Prod, directory.Test)
	if err != nil {
		fail(c, err)
		return
	}
	var completion instance.Completion
	// A member that is misspelt must not pass for nothing at all, which is an answer too.
	reader := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, maxCompletion))
	reader.DisallowUnknownFields()
	if err := reader.Decode(&completion); err != nil && !errors.Is(err, io.EOF) {
		fail(c, &badRequestError{`body: want {"appInfo": {"frontEndUrl": …, "adminUrl", "userName", "password", "memo"}}, {"eventId": …, "license": …} or nothing`})
		return
	}
	done, err := a.Completer.Complete(c.Request.Context(), d, inPath(c, "id"), completion)
	if invalid, ok := errors.AsType[*directory.InvalidError](err); ok {
		err = &badRequestError{invalid.Error()}
	}
	if err == nil {
		a.Logger.Info("audit: instance completed", "instance", done.ID, "dataset", string(done.Dataset), "remote", c.ClientIP())
	}
	a.showInstance(c, done, err)
}

// retryInstance has the seller's server told now what it could not be told.
func (a *API) retryInstance(c *gin.Context) {
	d, err := oneOf(c, "dataset", directory.Prod, directory.Test)
	if err != nil {
		fail(c, err)
		return
	}
	i, err := a.Completer.Retry(c.Request.Context(), d, inPath(c, "id"))
	if err == nil {
		a.Logger.Info("audit: instance told again", "instance", i.ID, "dataset", string(i.Dataset), "remote", c.ClientIP())
	}
	a.showInstance(c, i, err)
}

func (a *API) showInstance(c *gin.Context, i directory.Instance, err error) {
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, viewInstance(&i, a.Now()))
}

// instanceState is where a scope's instance stands, empty if none is known, and
// whether the targets have yet to be told.
func (a *API) instanceState(ctx context.Context, scope directory.Scope) (state directory.InstanceState, spreading bool, err error) {
	if a.Instances == nil || scope.InstanceID == "" {
		return "", false, nil
	}
	i, err := a.Instances.Instance(ctx, scope.Dataset, scope.InstanceID)
	if errors.Is(err, storage.ErrNotFound) {
		return "", false, nil
	}
	return i.State(a.Now()), !i.SpreadAt.IsZero(), err
}
