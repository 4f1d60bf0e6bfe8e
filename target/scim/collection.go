package scim

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/openkoo/connector/target"
)

// collection is the part of the protocol that Users and Groups share.
type collection struct {
	c        *Connector
	path     string // "/Users"
	noun     string // "user"
	schema   string
	naming   string // the attribute that names an object for people
	unique   bool   // no two objects have one name
	method   Method
	usingPut *atomic.Bool // PATCH is known not to work
	// exclude names attributes that searches do without: a group's members may
	// be very many.
	exclude string
}

func (c *Connector) users() collection {
	return collection{
		c: c, path: "/Users", noun: "user", schema: userSchema, naming: "userName", unique: true,
		method: c.config.Protocol.UserChanges, usingPut: &c.service.usersPut,
	}
}

func (c *Connector) groups() collection {
	return collection{
		c: c, path: "/Groups", noun: "group", schema: groupSchema, naming: "displayName",
		method: c.config.Protocol.GroupChanges, usingPut: &c.service.groupsPut, exclude: "members",
	}
}

// one is the path of an object. Dots alone would be taken for directories on
// the way.
func (k collection) one(id string) string {
	switch id {
	case ".":
		return k.path + "/%2E"
	case "..":
		return k.path + "/%2E%2E"
	default:
		return k.path + "/" + url.PathEscape(id)
	}
}

// put creates or updates an object and returns its id. name is what the object
// is called in its naming attribute.
func (k collection) put(ctx context.Context, object target.Object, all attributes, name string) (string, error) {
	id := object.RemoteID
	if id != "" {
		err := k.update(ctx, id, all)
		if err == nil || target.ClassOf(err) != target.Gone {
			return id, k.withHolder(ctx, name, err)
		}
	}
	// An attempt whose answer was lost may have created it, also in place of
	// one that is gone.
	if object.Uncertain {
		found, err := k.find(ctx, object.ExternalID, name)
		if err != nil {
			return "", err
		}
		if found != "" {
			return found, k.withHolder(ctx, name, k.update(ctx, found, all))
		}
	}
	return k.create(ctx, object, all, name)
}

func (k collection) create(ctx context.Context, object target.Object, all attributes, name string) (string, error) {
	var created resource
	err := k.c.http.do(ctx, call{op: k.creating(), method: http.MethodPost, path: k.path, body: all.resource(k.schema), into: &created})
	return k.created(ctx, object, all, name, string(created.ID), err)
}

func (k collection) creating() string { return "create " + k.noun }

// created judges the answer to a creation, alone or among others.
func (k collection) created(ctx context.Context, object target.Object, all attributes, name, id string, err error) (string, error) {
	status := statusOf(err)
	switch {
	case err != nil && target.ClassOf(err) == target.Conflict:
		return k.adopt(ctx, object, all, name, err)
	case status == http.StatusInternalServerError && k.unique:
		return k.adoptDespite(ctx, object, all, name, err)
	case err != nil && (target.ClassOf(err) == target.Gone || status == http.StatusNotImplemented):
		k.c.service.doubt()
		return "", &target.Error{
			Class: target.Permanent, Op: k.creating(), Status: status,
			Detail: "the server has no " + k.path + "; if it has accounts only, set scim.groups: off",
		}
	case err != nil:
		return "", err
	case id == "":
		return "", &target.Error{Class: target.Permanent, Op: k.creating(), UnknownOutcome: true, Detail: "the answer has no id"}
	}
	return id, nil
}

// adopt takes over the object that stands in the way of a creation, if it is
// ours: by externalId, or by user name with no other owner's externalId.
func (k collection) adopt(ctx context.Context, object target.Object, all attributes, name string, conflict error) (string, error) {
	id, err := k.find(ctx, object.ExternalID, name)
	if err != nil {
		return "", err
	}
	if id == "" && k.unique {
		if id, err = k.findNamed(ctx, name, object.ExternalID); err != nil {
			return "", err
		}
	}
	if id == "" {
		return "", k.withHolder(ctx, name, conflict)
	}
	return id, k.update(ctx, id, all)
}

// withHolder says in a conflict about a name which object of ours has it, as far
// as the server tells.
func (k collection) withHolder(ctx context.Context, name string, conflict error) error {
	e, ok := errors.AsType[*target.Error](conflict)
	if !ok || e.Class != target.Conflict || name == "" {
		return conflict
	}
	list, err := k.page(ctx, "find "+k.noun, k.naming+" eq "+quote(name), 1)
	if err != nil {
		return conflict
	}
	for _, r := range list.Resources {
		if r.ExternalID != "" && strings.EqualFold(r.name(k), name) {
			told := *e
			told.Holder = r.ExternalID
			return &told
		}
	}
	return conflict
}

// adoptDespite looks behind an internal error: some servers have carried the
// request out all the same, others answer so when the name is taken. Whatever
// stands there under that name tells.
func (k collection) adoptDespite(ctx context.Context, object target.Object, all attributes, name string, failure error) (string, error) {
	id, err := k.findNamed(ctx, name, object.ExternalID)
	switch {
	case err != nil && target.ClassOf(err) == target.Conflict:
		return "", err
	case err != nil || id == "":
		return "", failure
	}
	return id, k.update(ctx, id, all)
}

// remove deletes an object; one that is gone is success.
func (k collection) remove(ctx context.Context, object target.Object) error {
	ids := []string{object.RemoteID}
	if object.RemoteID == "" {
		ids = nil
	}
	if object.RemoteID == "" || object.Uncertain {
		found, err := k.find(ctx, object.ExternalID, "")
		if err != nil {
			return err
		}
		if found != "" && found != object.RemoteID {
			ids = append(ids, found)
		}
	}
	for _, id := range ids {
		err := k.c.http.do(ctx, call{op: "delete " + k.noun, method: http.MethodDelete, path: k.one(id)})
		if err := k.removed(ctx, id, err); err != nil {
			return err
		}
	}
	return nil
}

// removed judges the answer to a deletion. A server that keeps its accounts
// for good has them barred.
func (k collection) removed(ctx context.Context, id string, err error) error {
	switch {
	case err == nil || target.ClassOf(err) == target.Gone:
		return nil
	case !refusesMethod(err):
		return err
	case k.unique:
		return k.bar(ctx, id)
	default:
		return permanent(err, "the server deletes no "+k.noun)
	}
}

// bar bars an account's sign-in.
func (k collection) bar(ctx context.Context, id string) error {
	err := k.update(ctx, id, attributes{{"active", false}})
	if err != nil && target.ClassOf(err) == target.Gone {
		return nil
	}
	return err
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
