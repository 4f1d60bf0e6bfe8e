package scim

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/openkoo/connector/target"
)

const (
	// pageSize is how many objects a search asks for at once. One is what it
	// wants; more show that the server ignores the filter.
	pageSize = 100
	// maxPages bounds a search on a server that ignores the filter.
	maxPages = 50
)

// resource is what we read of any object.
type resource struct {
	ID         string `json:"id"`
	ExternalID string `json:"externalId"`
	UserName   string `json:"userName"`
}

type listResponse struct {
	TotalResults int        `json:"totalResults"`
	Resources    []resource `json:"Resources"`
}

// collection is the part of the protocol that Users and Groups share.
type collection struct {
	c    *Connector
	path string // "/Users"
	noun string // "user"
	// exclude names attributes that searches do without: a group's members may
	// be very many.
	exclude string
}

func (c *Connector) users() collection  { return collection{c, "/Users", "user", ""} }
func (c *Connector) groups() collection { return collection{c, "/Groups", "group", "members"} }

func (k collection) one(id string) string { return k.path + "/" + url.PathEscape(id) }

// put creates or updates an object and returns its id. name is the user name,
// unique at the target; empty for what has none.
func (k collection) put(ctx context.Context, object target.Object, all attributes, name string) (string, error) {
	id := object.RemoteID
	if id != "" {
		err := k.update(ctx, id, all)
		if err == nil || target.ClassOf(err) != target.Gone {
			return id, err
		}
	}
	// An attempt whose answer was lost may have created it, also in place of
	// one that is gone.
	if object.Uncertain {
		found, err := k.find(ctx, object.ExternalID)
		if err != nil {
			return "", err
		}
		if found != "" {
			return found, k.update(ctx, found, all)
		}
	}
	return k.create(ctx, object, all, name)
}

func (k collection) update(ctx context.Context, id string, all attributes) error {
	return k.c.http.do(ctx, call{op: "patch " + k.noun, method: http.MethodPatch, path: k.one(id), body: all.patch()})
}

func (k collection) create(ctx context.Context, object target.Object, all attributes, name string) (string, error) {
	op := "create " + k.noun
	var created resource
	err := k.c.http.do(ctx, call{op: op, method: http.MethodPost, path: k.path, body: all.resource(k), into: &created})
	switch {
	case err != nil && target.ClassOf(err) == target.Conflict:
		return k.adopt(ctx, object, all, name, err)
	case err != nil && target.ClassOf(err) == target.Gone:
		return "", &target.Error{Class: target.Permanent, Op: op, Status: statusOf(err), Detail: "the server has no " + k.path}
	case err != nil:
		return "", err
	case created.ID == "":
		return "", &target.Error{Class: target.Permanent, Op: op, UnknownOutcome: true, Detail: "the answer has no id"}
	}
	return created.ID, nil
}

// adopt takes over the object that stands in the way of a creation, if it is
// ours: by externalId, or by user name with no other owner's externalId.
func (k collection) adopt(ctx context.Context, object target.Object, all attributes, name string, conflict error) (string, error) {
	id, err := k.find(ctx, object.ExternalID)
	if err != nil {
		return "", err
	}
	if id == "" && name != "" {
		if id, err = k.findNamed(ctx, name, object.ExternalID); err != nil {
			return "", err
		}
	}
	if id == "" {
		return "", conflict
	}
	return id, k.update(ctx, id, all)
}

// find looks an object up by our name for it; "" if there is none.
func (k collection) find(ctx context.Context, externalID string) (string, error) {
	return k.search(ctx, "externalId eq "+quote(externalID), func(r resource) bool { return r.ExternalID == externalID })
}

func (k collection) findNamed(ctx context.Context, userName, externalID string) (string, error) {
	return k.search(ctx, "userName eq "+quote(userName), func(r resource) bool {
		return strings.EqualFold(r.UserName, userName) && (r.ExternalID == "" || r.ExternalID == externalID)
	})
}

// search finds the one object that matches; "" if there is none. Two are a
// conflict. A server that answers with others too ignores the filter: its
// pages are gone through, within bounds.
func (k collection) search(ctx context.Context, filter string, matches func(resource) bool) (string, error) {
	op, id, seen := "find "+k.noun, "", 0
	for range maxPages {
		list, err := k.page(ctx, op, filter, seen+1)
		if err != nil {
			return "", err
		}
		strangers := false
		for _, r := range list.Resources {
			switch {
			case !matches(r):
				strangers = true
			case id != "" && id != r.ID:
				return "", &target.Error{Class: target.Conflict, Op: op, Detail: "two objects match " + filter + "; remove one"}
			default:
				id = r.ID
			}
		}
		seen += len(list.Resources)
		if !strangers || len(list.Resources) == 0 || seen >= list.TotalResults {
			return id, nil
		}
	}
	if id != "" {
		return id, nil
	}
	return "", &target.Error{
		Class: target.Permanent, Op: op,
		Detail: "the server ignores filters and has too many objects to look through: " + filter,
	}
}

func (k collection) page(ctx context.Context, op, filter string, startIndex int) (listResponse, error) {
	var list listResponse
	query := url.Values{"filter": {filter}, "count": {strconv.Itoa(pageSize)}}
	if startIndex > 1 {
		query.Set("startIndex", strconv.Itoa(startIndex))
	}
	if k.exclude != "" {
		query.Set("excludedAttributes", k.exclude)
	}
	err := k.c.http.do(ctx, call{op: op, method: http.MethodGet, path: k.path + "?" + query.Encode(), into: &list})
	if err != nil && target.ClassOf(err) == target.Gone {
		return list, nil // some servers say so when nothing matches
	}
	return list, err
}

// remove deletes an object; one that is gone is success.
func (k collection) remove(ctx context.Context, object target.Object) error {
	ids := []string{object.RemoteID}
	if object.RemoteID == "" {
		ids = nil
	}
	if object.RemoteID == "" || object.Uncertain {
		found, err := k.find(ctx, object.ExternalID)
		if err != nil {
			return err
		}
		if found != "" && found != object.RemoteID {
			ids = append(ids, found)
		}
	}
	for _, id := range ids {
		err := k.c.http.do(ctx, call{op: "delete " + k.noun, method: http.MethodDelete, path: k.one(id)})
		if err != nil && target.ClassOf(err) != target.Gone {
			return err
		}
	}
	return nil
}

// exists reports whether the target has an object of that id.
func (k collection) exists(ctx context.Context, id string) (bool, error) {
	path := k.one(id)
	if k.exclude != "" {
		path += "?excludedAttributes=" + k.exclude
	}
	err := k.c.http.do(ctx, call{op: "read " + k.noun, method: http.MethodGet, path: path})
	if err != nil && target.ClassOf(err) == target.Gone {
		return false, nil
	}
	return err == nil, err
}

// quote writes a filter's string (RFC 7644 §3.4.2.2: as in JSON).
func quote(text string) string {
	return `"` + filterEscapes.Replace(text) + `"`
}

var filterEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
