package admin

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// takes refuses query parameters that a route does not know, or that are given
// twice: a filter that is misspelt would otherwise answer too much.
func takes(names []string, more ...string) gin.HandlerFunc {
	known := append(slices.Clone(names), more...)
	return func(c *gin.Context) {
		given, err := url.ParseQuery(c.Request.URL.RawQuery)
		if err != nil {
			fail(c, &badRequestError{"query: " + err.Error()})
			return
		}
		for _, name := range slices.Sorted(maps.Keys(given)) {
			switch {
			case !slices.Contains(known, name):
				fail(c, &badRequestError{fmt.Sprintf("%s: no such parameter; %s", name, knownParameters(known))})
				return
			case len(given[name]) > 1:
				fail(c, &badRequestError{name + ": given twice"})
				return
			}
		}
	}
}

func knownParameters(names []string) string {
	if len(names) == 0 {
		return "this call takes none"
	}
	return "this call takes " + strings.Join(names, ", ")
}

// list is a page of anything.
type list[T any] struct {
	Items  []T    `json:"items"`
	Cursor string `json:"cursor,omitempty"`
	// Unreadable counts the entries that are left out, as what is stored of them
	// cannot be read.
	Unreadable int `json:"unreadable,omitempty"`
}

func respond[T any](c *gin.Context, a *API, items []T, cursor string, err error) {
	unreadable, err := a.leftOut(err)
	if err != nil {
		fail(c, err)
		return
	}
	if items == nil {
		items = []T{}
	}
	c.JSON(http.StatusOK, list[T]{Items: items, Cursor: cursor, Unreadable: unreadable})
}

// maxReported bounds the unreadable rows that are remembered as logged.
const maxReported = 1000

// reported remembers which unreadable rows are in the log.
type reported struct {
	mu   sync.Mutex
	rows map[string]bool
}

// first reports whether a row is not in the log yet. Once there are too many,
// none is.
func (t *reported) first(row string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows[row] || len(t.rows) >= maxReported {
		return false
	}
	if t.rows == nil {
		t.rows = make(map[string]bool)
	}
	t.rows[row] = true
	return true
}

// leftOut counts what is left out of a page as it cannot be read, and logs each
// such row once. Any other error is returned.
func (a *API) leftOut(err error) (int, error) {
	page, err := storage.Whole(err)
	if page == nil {
		return 0, err
	}
	for _, row := range page.Rows {
		if a.reported.first(row) {
			a.Logger.Error("what is stored of it cannot be read; push it again", "row", row, "error", page.Unwrap())
		}
	}
	return len(page.Rows), nil
}

func page(c *gin.Context) (storage.Page, error) {
	p := storage.Page{Limit: defaultLimit, Cursor: c.Query("cursor")}
	if text := c.Query("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLimit {
			return p, &badRequestError{fmt.Sprintf("limit: %q: want 1 to %d", text, maxLimit)}
		}
		p.Limit = n
	}
	return p, nil
}

// oneOf reads a parameter of few values; the first is the default.
func oneOf[T ~string](c *gin.Context, name string, values ...T) (T, error) {
	text, ok := c.GetQuery(name)
	if !ok {
		return values[0], nil
	}
	if !slices.Contains(values, T(text)) {
		words := make([]string, 0, len(values))
		for _, v := range values {
			if v != "" {
				words = append(words, string(v))
			}
		}
		return values[0], &badRequestError{fmt.Sprintf("%s: %q: want %s", name, text, strings.Join(words, ", "))}
	}
	return T(text), nil
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
	d, err := oneOf(c, "dataset", directory.Prod, directory.Test)
	if err != nil {
		return storage.EntityFilter{}, storage.Page{}, err
	}
	deleted, err := oneOf(c, "deleted", "false", "true")
	if err != nil {
		return storage.EntityFilter{}, storage.Page{}, err
	}
	f := storage.EntityFilter{
		Dataset: d, InstanceID: optional(c, "instanceId"), TenantID: c.Query("tenantId"), Deleted: deleted == "true",
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

// oneScope finds the one scope that a request is about. Where instanceId is
// left out and the tenant has one instance only, that one is meant.
// storage.ErrNotFound means that nothing was ever pushed for it.
func (a *API) oneScope(c *gin.Context) (directory.State, error) {
	d, err := oneOf(c, "dataset", directory.Prod, directory.Test)
	if err != nil {
		return directory.State{}, err
	}
	scope := directory.Scope{Dataset: d, TenantID: c.Query("tenantId")}
	if scope.TenantID == "" {
		return directory.State{}, &badRequestError{"tenantId: missing"}
	}
	if instance, ok := c.GetQuery("instanceId"); ok {
		scope.InstanceID = instance
		state, err := a.Reader.State(c.Request.Context(), scope)
		if err != nil {
			state.Scope = scope
		}
		return state, err
	}
	states, more, err := a.Reader.States(c.Request.Context(), storage.EntityFilter{Dataset: d, TenantID: scope.TenantID}, storage.Page{Limit: namedInstances})
	_, err = a.leftOut(err)
	switch {
	case err != nil:
		return directory.State{}, err
	case len(states) == 0:
		return directory.State{Scope: scope}, fmt.Errorf("nothing was ever pushed for tenantId %q in dataset %s: %w", scope.TenantID, d, storage.ErrNotFound)
	case len(states) > 1:
		return directory.State{}, &badRequestError{"instanceId: the tenant has several; add one of " + instanceNames(states, more != "")}
	default:
		return states[0], nil
	}
}

// namedInstances bounds the instances that an error message lists.
const namedInstances = 10

func instanceNames(states []directory.State, more bool) string {
	names := make([]string, 0, len(states)+1)
	for _, s := range states {
		names = append(names, fmt.Sprintf("%q", s.Scope.InstanceID))
	}
	if more {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// inPath is a name in the path, as it was before it was escaped.
func inPath(c *gin.Context, name string) string {
	value := c.Param(name)
	if c.Request.URL.RawPath == "" {
		return value // it needed no escape, or the usual ones, which are undone
	}
	if unescaped, err := url.PathUnescape(value); err == nil {
		return unescaped
	}
	return value
}
