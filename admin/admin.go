// Package admin is the API beside the door: whether the directory is synced,
// the journal, the directory itself, its change feed, deliveries and targets.
//
// Every call carries the admin token. Errors are problem documents (RFC 9457).
package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/restore"
	"github.com/openkoo/connector/storage"
)

// The bounds of one call. They keep a careless or hostile reader from taking
// the store away from the pushes.
const (
	maxLimit       = 1000 // entries of a page
	defaultLimit   = 100
	callTimeout    = 30 * time.Second
	readyTimeout   = 5 * time.Second
	defaultMaxTree = 200_000 // departments in one tree
)

// Decider ends holds.
type Decider interface {
	Approve(ctx context.Context, pushID, by, reason string) (*directory.Plan, error)
	Reject(ctx context.Context, pushID, by, reason string) (*directory.Plan, error)
}

// Restorer goes back to an earlier push.
type Restorer interface {
	Restore(ctx context.Context, request restore.Request) (restore.Outcome, error)
}

// Replayer makes slots due again.
type Replayer interface {
	Replay(ctx context.Context, filter storage.DeliveryFilter) (int, error)
}

// Deliverer tells how targets are doing, and stops and starts them.
type Deliverer interface {
	Targets() []fanout.Status
	Pause(ctx context.Context, name, by, reason string) error
	Resume(ctx context.Context, name string) error
	// Decide ends the hold of deletions at a target (fanout.Fanout).
	Decide(ctx context.Context, filter storage.DeliveryFilter, decision storage.HeldDecision) (removals int, err error)
}

// Resyncer compares a target with the store.
type Resyncer interface {
	Resync(ctx context.Context, name string, options fanout.ResyncOptions) (storage.Resync, error)
}

// Reports reads what resyncs have found.
type Reports interface {
	Resyncs(ctx context.Context, targetName string, page storage.Page) ([]storage.Resync, string, error)
	Resync(ctx context.Context, id string) (storage.Resync, error)
}

// Options are what the API serves from.
type Options struct {
	Token     string
	Reader    storage.Reader
	Replayer  Replayer
	Health    storage.Health
	Decider   Decider
	Restorer  Restorer
	Deliverer Deliverer
	Resyncer  Resyncer
	Reports   Reports
	// Instances and Completer serve the instances; nil leaves their routes out.
	Instances Instances
	Completer Completer
	// Revealer opens client secrets for those who may ask.
	Revealer Revealer
	// Matches says whether a target wants a scope.
	Matches  func(target string, scope directory.Scope) bool
	Gatherer prometheus.Gatherer
	// Registerer takes the API's own metrics; nil for none.
	Registerer prometheus.Registerer
	// Coordination says how the replicas' shared state stands; nil where there
	// is none that could be away.
	Coordination func() coordination.Health
	// MaxTree bounds the departments of one tree, default 200,000: a tree is
	// built in memory.
	MaxTree int
	Now     func() time.Time // default time.Now
	Logger  *slog.Logger     // default slog.Default
}

// API serves the routes.
type API struct {
	Options
	token     [sha256.Size]byte
	readiness readiness
	reported  reported
	strangers strangers
}

// New makes the API. It needs a token: there is no default password.
func New(options Options) (*API, error) {
	if options.Token == "" {
		return nil, errors.New("admin: no token")
	}
	if options.MaxTree <= 0 {
		options.MaxTree = defaultMaxTree
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	a := &API{Options: options, token: sha256.Sum256([]byte(options.Token)), strangers: newStrangers()}
	if options.Registerer != nil {
		options.Registerer.MustRegister(a.strangers.refused)
	}
	return a, nil
}

// Register adds the routes, each with the query parameters it takes. It has the
// router leave names in paths as they were sent: the marketplace's may have a
// slash in them, which is no step in the path.
func (a *API) Register(router *gin.Engine) {
	router.UseRawPath, router.UnescapePathValues = true, false
	for _, method := range []string{http.MethodGet, http.MethodHead} { // some probes ask for the status alone
		router.Handle(method, "/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
		router.Handle(method, "/readyz", a.ready)
	}
	slots := prometheus.NewRegistry()
	slots.MustRegister(&slotMetrics{api: a})
	router.GET("/metrics", a.authenticate, gin.WrapH(promhttp.HandlerFor(prometheus.Gatherers{a.Gatherer, slots}, promhttp.HandlerOpts{})))

	scope := []string{"dataset", "instanceId", "tenantId"}
	list := slices.Concat(scope, []string{"limit", "cursor"})
	api := router.Group("/api/v1", a.authenticate, a.bounded, a.problems)
	api.GET("", takes(nil), calls(router))
	api.GET("/sync-status", takes(list), a.syncStatus)
	api.GET("/pushes", takes(list, "kind", "result"), a.pushes)
	api.GET("/pushes/:id", takes([]string{"limit", "cursor"}), a.push)
	api.POST("/pushes/:id/approve", takes(nil), a.approve)
	api.POST("/pushes/:id/reject", takes(nil), a.reject)
	api.POST("/pushes/:id/restore", takes(nil, "dryRun"), a.restore)
	api.GET("/tenants", takes(list, "deleted"), a.tenants)
	api.GET("/departments", takes(list, "deleted", "orgCode", "parentCode"), a.departments)
	api.GET("/departments/tree", takes(scope), a.tree)
	api.GET("/users", takes(list, "deleted", "userName", "orgCode", "personal"), a.users)
	api.GET("/applications", takes(list, "deleted", "appId"), a.applications)
	api.GET("/applications/:appId/secret", takes(scope, "by"), a.clientSecret)
	api.GET("/changes", takes([]string{"after", "limit", "personal"}), a.changes)
	api.GET("/deliveries", takes(list, "target", "state", "kind", "key"), a.deliveries)
	api.POST("/deliveries/replay", takes(scope, "target", "state", "kind", "key"), a.replay)
	api.GET("/targets", takes(nil), a.targets)
	api.POST("/targets/:name/pause", takes(nil), a.pause)
	api.POST("/targets/:name/resume", takes(nil), a.resume)
	api.POST("/targets/:name/deletions/approve", takes(scope), a.approveDeletions)
	api.POST("/targets/:name/deletions/reject", takes(scope), a.rejectDeletions)
	api.POST("/targets/:name/resync", takes([]string{"dryRun", "acceptMissing"}), a.resync)
	api.GET("/targets/:name/resyncs", takes([]string{"limit", "cursor"}), a.resyncs)
	api.GET("/targets/:name/resyncs/:id", takes([]string{"format"}), a.resyncReport)
	if a.Instances != nil {
		a.registerInstances(api)
	}
}

// calls lists the calls of the API, as they are registered.
func calls(router *gin.Engine) gin.HandlerFunc {
	parameter := regexp.MustCompile(`:(\w+)`)
	return func(c *gin.Context) {
		found := []string{}
		for _, route := range router.Routes() {
			if Owns(route.Path) {
				found = append(found, route.Method+" "+parameter.ReplaceAllString(route.Path, "{$1}"))
			}
		}
		slices.SortFunc(found, func(a, b string) int { // a resource's calls stand together
			_, pathA, _ := strings.Cut(a, " ")
			_, pathB, _ := strings.Cut(b, " ")
			return cmp.Or(strings.Compare(pathA, pathB), strings.Compare(a, b))
		})
		c.JSON(http.StatusOK, gin.H{"calls": found})
	}
}

func (a *API) authenticate(c *gin.Context) {
	c.Header("Cache-Control", "no-store") // personal data belongs in no cache
	scheme, given, _ := strings.Cut(c.GetHeader("Authorization"), " ")
	sum := sha256.Sum256([]byte(given)) // equal lengths: the time tells nothing of the token's
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(sum[:], a.token[:]) != 1 {
		a.refuseStranger(c)
		c.Header("WWW-Authenticate", "Bearer")
		writeProblem(c, http.StatusUnauthorized, "want the header Authorization: Bearer <admin token>; the token is in the file admin-token of the data directory, unless ORGSYNC_ADMIN_TOKEN sets it")
	}
}

// bounded ends what takes too long.
func (a *API) bounded(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), callTimeout)
	defer cancel()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
}
