package admin

import (
	"context"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// The entities as lists show them: with the scope they belong to.
type tenantView struct {
	directory.Scope
	directory.Tenant
}

type departmentView struct {
	directory.Scope
	directory.Department
}

type userView struct {
	directory.Scope
	directory.User
}

type applicationView struct {
	directory.Scope
	directory.Application
}

// serveList answers a page of one kind of entity.
func serveList[T, V any](c *gin.Context, a *API, keyName, parentName string,
	read func(context.Context, storage.EntityFilter, storage.Page) ([]storage.Scoped[T], string, error), show func(directory.Scope, T) V,
) {
	f, p, err := entityQuery(c, keyName, parentName)
	if err != nil {
		fail(c, err)
		return
	}
	found, cursor, err := read(c.Request.Context(), f, p)
	views := make([]V, 0, len(found))
	for i := range found {
		views = append(views, show(found[i].Scope, found[i].Entity))
	}
	respond(c, a, views, cursor, err)
}

func (a *API) tenants(c *gin.Context) {
	serveList(c, a, "", "", a.Reader.Tenants, func(s directory.Scope, t directory.Tenant) tenantView { return tenantView{s, t} })
}

func (a *API) departments(c *gin.Context) {
	serveList(c, a, "orgCode", "parentCode", a.Reader.Departments, func(s directory.Scope, d directory.Department) departmentView { return departmentView{s, d} })
}

func (a *API) applications(c *gin.Context) {
	serveList(c, a, "appId", "", a.Reader.Applications, func(s directory.Scope, app directory.Application) applicationView { return applicationView{s, app} })
}

func (a *API) users(c *gin.Context) {
	show, err := a.personal(c)
	if err != nil {
		fail(c, err)
		return
	}
	serveList(c, a, "userName", "orgCode", a.Reader.Users, func(s directory.Scope, u directory.User) userView {
		show(&u)
		return userView{s, u}
	})
}

// personal masks mobile and email unless they are asked for, which is noted.
func (a *API) personal(c *gin.Context) (func(*directory.User), error) {
	wanted, err := oneOf(c, "personal", "masked", "full")
	if err != nil {
		return nil, err
	}
	if wanted == "full" {
		a.Logger.Info("audit: personal data read", "path", c.FullPath(), "tenantId", c.Query("tenantId"), "remote", c.ClientIP())
		return func(*directory.User) {}, nil
	}
	return func(u *directory.User) { u.Mobile, u.Email = mask(u.Mobile), mask(u.Email) }, nil
}

// mask keeps the last two characters of a number, the domain of an address.
func mask(text string) string {
	if at := strings.IndexByte(text, '@'); at >= 0 {
		return "***" + text[at:]
	}
	runes := []rune(text)
	if len(runes) <= 2 {
		return strings.Repeat("*", len(runes))
	}
	return "***" + string(runes[len(runes)-2:])
}

// change is an entry of the feed.
type change struct {
	Seq int64 `json:"seq"`
	directory.Scope
	Kind    directory.Kind `json:"kind"`
	Key     string         `json:"key"`
	Deleted bool           `json:"deleted,omitempty"`
	Entity  any            `json:"entity"`
}

// changes serves the feed: the newest state of each entity at the place of its
// newest change. A reader keeps "next" and asks for what comes after it.
func (a *API) changes(c *gin.Context) {
	p, err := page(c)
	if err != nil {
		fail(c, err)
		return
	}
	after, err := storage.ParsePlace(c.DefaultQuery("after", "0"))
	if err != nil {
		fail(c, &badRequestError{"after: want what the last answer gave as next, or 0"})
		return
	}
	show, err := a.personal(c)
	if err != nil {
		fail(c, err)
		return
	}
	found, next, err := a.Reader.Changes(c.Request.Context(), after, p.Limit)
	unreadable, err := a.leftOut(err)
	if err != nil {
		fail(c, err)
		return
	}
	items := make([]change, 0, len(found))
	for _, f := range found {
		item := change{Seq: f.Seq, Scope: f.Scope, Kind: f.Kind, Key: f.Key, Deleted: f.Deleted}
		switch {
		case f.Tenant != nil:
			item.Entity = f.Tenant
		case f.Department != nil:
			item.Entity = f.Department
		case f.User != nil:
			show(f.User)
			item.Entity = f.User
		case f.Application != nil:
			item.Entity = f.Application
		}
		items = append(items, item)
	}
	answer := gin.H{"items": items, "next": next.String(), "more": len(found)+unreadable == p.Limit}
	if unreadable > 0 {
		answer["unreadable"] = unreadable
	}
	c.JSON(http.StatusOK, answer)
}
