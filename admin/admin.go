// Package admin is the API beside the door: whether the directory is synced,
// the journal, the directory itself, its change feed, deliveries and targets.
//
// Every call carries the admin token. Errors are problem documents (RFC 9457).
package admin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/storage"
)

// maxLimit bounds a page.
const maxLimit = 1000

// Decider ends holds.
type Decider interface {
	Approve(ctx context.Context, pushID, by string) (*directory.Plan, error)
	Reject(ctx context.Context, pushID, by, reason string) (*directory.Plan, error)
}

// Replayer makes slots due again.
type Replayer interface {
	Replay(ctx context.Context, filter storage.DeliveryFilter) (int, error)
}

// Deliverer tells how targets are doing, and stops and starts them.
type Deliverer interface {
	Targets() []fanout.Status
	Pause(name string) error
	Resume(name string) error
}

// Options are what the API serves from.
type Options struct {
	Token     string
	Reader    storage.Reader
	Replayer  Replayer
	Health    storage.Health
	Decider   Decider
	Deliverer Deliverer
	// Instances and Completer serve the instances; nil leaves their routes out.
	Instances Instances
	Completer Completer
	// Matches says whether a target wants a scope.
	Matches  func(target string, scope directory.Scope) bool
	Gatherer prometheus.Gatherer
	Now      func() time.Time
	Logger   *slog.Logger
}

// API serves the routes.
type API struct{ Options }

// New makes the API. It needs a token: there is no default password.
func New(options Options) (*API, error) {
	if options.Token == "" {
		return nil, errors.New("admin: no token")
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &API{options}, nil
}

// Register adds the routes.
func (a *API) Register(router gin.IRouter) {
	router.GET("/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	router.GET("/readyz", a.ready)
	router.GET("/metrics", a.authenticate, gin.WrapH(promhttp.HandlerFor(a.Gatherer, promhttp.HandlerOpts{})))

	api := router.Group("/api/v1", a.authenticate, a.problems)
	api.GET("/sync-status", a.syncStatus)
	api.GET("/pushes", a.pushes)
	api.GET("/pushes/:id", a.push)
	api.POST("/pushes/:id/approve", a.approve)
	api.POST("/pushes/:id/reject", a.reject)
	api.GET("/tenants", a.tenants)
	api.GET("/departments", a.departments)
	api.GET("/departments/tree", a.tree)
	api.GET("/users", a.users)
	api.GET("/applications", a.applications)
	api.GET("/changes", a.changes)
	api.GET("/deliveries", a.deliveries)
	api.POST("/deliveries/replay", a.replay)
	api.GET("/targets", a.targets)
	api.POST("/targets/:name/pause", a.pause)
	api.POST("/targets/:name/resume", a.resume)
	if a.Instances != nil {
		a.registerInstances(api)
	}
}

// problem is an error as RFC 9457 writes it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// badRequest is a request at fault: 400.
type badRequest struct{ reason string }

func (e *badRequest) Error() string { return e.reason }

func writeProblem(c *gin.Context, status int, detail string) {
	c.Abort()
	c.Header("Content-Type", "application/problem+json")
	c.JSON(status, problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail})
}

// problems turns what a handler noted as its error into a problem document.
func (a *API) problems(c *gin.Context) {
	c.Next()
	if len(c.Errors) == 0 {
		return
	}
	err := c.Errors.Last().Err
	bad, isBad := errors.AsType[*badRequest](err)
	switch {
	case isBad:
		writeProblem(c, http.StatusBadRequest, bad.reason)
	case errors.Is(err, storage.ErrBadCursor):
		writeProblem(c, http.StatusBadRequest, storage.ErrBadCursor.Error())
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, fanout.ErrUnknownTarget):
		writeProblem(c, http.StatusNotFound, err.Error())
	case errors.Is(err, storage.ErrConflict):
		writeProblem(c, http.StatusConflict, err.Error())
	default:
		a.Logger.Error("request failed", "path", c.FullPath(), "error", err)
		writeProblem(c, http.StatusInternalServerError, "see the log")
	}
}

func (a *API) authenticate(c *gin.Context) {
	given, isBearer := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
	if !isBearer || subtle.ConstantTimeCompare([]byte(given), []byte(a.Token)) != 1 {
		c.Header("WWW-Authenticate", "Bearer")
		writeProblem(c, http.StatusUnauthorized, "want the header Authorization: Bearer <admin token>")
	}
}

func (a *API) ready(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), 5*time.Second)
	defer cancel()
	if err := a.Health.Ping(ctx); err != nil {
		a.Logger.Error("not ready", "error", err)
		writeProblem(c, http.StatusServiceUnavailable, "the store does not answer")
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": "ready"})
}

// list is a page of anything.
type list[T any] struct {
	Items  []T    `json:"items"`
	Cursor string `json:"cursor,omitempty"`
}

func respond[T any](c *gin.Context, items []T, cursor string, err error) {
	if err != nil {
		_ = c.Error(err)
		return
	}
	if items == nil {
		items = []T{}
	}
	c.JSON(http.StatusOK, list[T]{Items: items, Cursor: cursor})
}

func page(c *gin.Context) (storage.Page, error) {
	p := storage.Page{Limit: 100, Cursor: c.Query("cursor")}
	if text := c.Query("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLimit {
			return p, &badRequest{fmt.Sprintf("limit: %q: want 1 to %d", text, maxLimit)}
		}
		p.Limit = n
	}
	return p, nil
}

func dataset(c *gin.Context, fallback directory.Dataset) (directory.Dataset, error) {
	d := directory.Dataset(c.DefaultQuery("dataset", string(fallback)))
	if d != "" && !d.Valid() {
		return d, &badRequest{fmt.Sprintf("dataset: %q: want prod or test", d)}
	}
	return d, nil
}

// optional is a query parameter whose absence differs from its emptiness.
func optional(c *gin.Context, name string) *string {
	if text, ok := c.GetQuery(name); ok {
		return &text
	}
	return nil
}

// entityQuery reads the filter and the page of an entity list.
func entityQuery(c *gin.Context, keyName, parentName string) (storage.EntityFilter, storage.Page, error) {
	d, err := dataset(c, directory.Prod)
	if err != nil {
		return storage.EntityFilter{}, storage.Page{}, err
	}
	f := storage.EntityFilter{
		Dataset: d, InstanceID: optional(c, "instanceId"), TenantID: c.Query("tenantId"),
		Deleted: c.Query("deleted") == "true",
	}
	if keyName != "" {
		f.Key = c.Query(keyName)
	}
	if parentName != "" {
		f.Parent = optional(c, parentName)
	}
	p, err := page(c)
	return f, p, err
}
