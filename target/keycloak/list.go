package keycloak

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
)

// listPage is how many objects a page of a list asks for.
const listPage = 500

var _ target.Lister = (*Connector)(nil)

// listing is one list on its way.
type listing struct {
	c       *Connector
	through target.Through
	yield   func(target.Found, error) bool
	ended   bool // nobody listens any more
}

// List implements target.Lister: one pass over the realm's users and one over
// its groups. Keycloak lists the children and the members of one group at a
// time, so the latter takes a request for each group of ours and each that has
// children.
func (c *Connector) List(ctx context.Context, through target.Through) iter.Seq2[target.Found, error] {
	return func(yield func(target.Found, error) bool) {
		l := &listing{c: c, through: through, yield: yield}
		err := l.allUsers(ctx)
		if err == nil && !l.ended {
			err = l.below(ctx, "", "/groups")
		}
		if err != nil && !l.ended {
			yield(target.Found{}, err)
		}
	}
}

func (l *listing) tell(f target.Found) {
	if !l.ended {
		l.ended = !l.yield(f, nil)
	}
}

func (l *listing) get(ctx context.Context, op, path string, query url.Values, into any) error {
	return l.through(ctx, op, func(ctx context.Context) error {
		return l.c.do(ctx, call{op: op, method: http.MethodGet, path: path, query: query, into: into})
	})
}

// paged goes through the pages of a list. They are counted from the first
// object, so what comes or goes before a page moves it: each begins with the
// last object of the one before, or the list cannot be trusted. The server fills
// its pages as long as it can.
func paged[T any](ctx context.Context, l *listing, op, path, brief string, id func(T) string, see func(T) error) error {
	last, first, seen := "", 0, 0
	for !l.ended {
		query := url.Values{"first": {strconv.Itoa(first)}, "max": {strconv.Itoa(listPage)}, "briefRepresentation": {brief}}
		var page []T
		if err := l.get(ctx, op, path, query, &page); err != nil {
			return err
		}
		full := len(page) >= listPage
		if last != "" {
			if len(page) == 0 || id(page[0]) != last {
				return untrusted(op, "objects changed places while the list was read")
			}
			page = page[1:]
		}
		for _, one := range page {
			if id(one) == "" {
				return untrusted(op, "an object in the list has no id")
			}
			if err := see(one); err != nil || l.ended {
				return err
			}
			last = id(one)
		}
		if seen += len(page); !full {
			return nil
		}
		first = seen - 1
	}
	return nil
}

func untrusted(op, detail string) error {
	return &target.Error{Class: target.Transient, Op: op, Detail: detail}
}

func (l *listing) allUsers(ctx context.Context) error {
	return paged(ctx, l, "list users", "/users", "false", func(u map[string]any) string {
		id, _ := u["id"].(string)
		return id
	}, func(u map[string]any) error {
		l.tell(foundUser(u))
		return nil
	})
}

func foundUser(u map[string]any) target.Found {
	f := target.Found{Kind: target.MemberUser, Content: u}
	f.RemoteID, _ = u["id"].(string)
	f.Name, _ = u["username"].(string)
	all, _ := u["attributes"].(map[string]any)
	values, _ := all[externalID].([]any)
	var ids []string
	for _, v := range values {
		if text, ok := v.(string); ok {
			ids = append(ids, text)
		}
	}
	f.ExternalID, f.Illegible = whose(ids)
	return f
}

// whose finds our name among an attribute's values. One that was too long for
// an attribute cannot be read back.
func whose(values []string) (external string, illegible bool) {
	for _, value := range values {
		if _, _, err := directory.ParseExternalID(value); err == nil {
			return value, false
		}
		illegible = illegible || strings.HasPrefix(value, "sha256:")
	}
	return "", illegible
}

// below tells of the groups under a parent, and of those below them.
func (l *listing) below(ctx context.Context, parent, path string) error {
	var parents []group
	err := paged(ctx, l, "list groups", path, "false", func(g group) string { return g.ID }, func(g group) error {
		g.ParentID = parent
		parents = append(parents, g)
		return l.group(ctx, g)
	})
	if err != nil {
		return err
	}
	for _, g := range parents {
		if l.ended {
			return nil
		}
		switch {
		case g.SubGroupCount == nil: // before Keycloak 23 a list has the whole tree
			err = l.tree(ctx, g)
		case *g.SubGroupCount > 0:
			err = l.below(ctx, g.ID, childrenPath(g.ID))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) tree(ctx context.Context, parent group) error {
	for _, g := range parent.SubGroups {
		g.ParentID = parent.ID
		if err := l.group(ctx, g); err != nil || l.ended {
			return err
		}
		if err := l.tree(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// group tells of one group, with its members if it is ours.
func (l *listing) group(ctx context.Context, g group) error {
	f := target.Found{Kind: target.MemberDepartment, RemoteID: g.ID, Name: g.Name, Content: g}
	if f.ExternalID, f.Illegible = whose(g.Attributes[externalID]); f.ExternalID != "" {
		err := paged(ctx, l, "list members", groupPath(g.ID)+"/members", "true", func(u user) string { return u.ID }, func(u user) error {
			f.Members = append(f.Members, target.Member{Kind: target.MemberUser, RemoteID: u.ID})
			return nil
		})
		if err != nil {
			return err
		}
	}
	l.tell(f)
	return nil
}

// CompareDepartment implements target.Lister.
func (c *Connector) CompareDepartment(found target.Found, want target.Department) target.Comparison {
	g, _ := found.Content.(group)
	name := want.Name
	if name == "" {
		name = want.Code
	}
	var r target.Comparer
	// Beside its name it stands while a sibling has that.
	r.Check("name", g.Name == name || g.Name == parked(name, want.ExternalID), g.Name)
	r.Check("parent", g.ParentID == want.ParentRemoteID, g.ParentID)
	return r.Comparison()
}

// CompareUser implements target.Lister.
func (c *Connector) CompareUser(found target.Found, want target.User) target.Comparison {
	u, _ := found.Content.(map[string]any)
	next := clone(u)
	render(next, want)
	var r target.Comparer
	for _, name := range []string{"username", "enabled", "firstName", "lastName", "email"} {
		if have, ok := u[name]; ok || next[name] != nil && next[name] != "" {
			r.Check(name, reflect.DeepEqual(have, next[name]), have)
		}
	}
	have, _ := u["attributes"].(map[string]any)
	set, _ := next["attributes"].(map[string]any)
	names := slices.Sorted(maps.Keys(set))
	for name := range have {
		if _, kept := set[name]; !kept {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		r.Check(name, reflect.DeepEqual(have[name], set[name]), have[name])
	}
	return r.Comparison()
}
