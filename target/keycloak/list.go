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

const (
	// listPage is how many objects a page of a list asks for.
	listPage = 500
	// listSteps bounds how often a page is looked for again, one page further
	// back each time, when objects before it went meanwhile.
	listSteps = 3
)

var _ target.Lister = (*Connector)(nil)

// listing is one list on its way.
type listing struct {
	c       *Connector
	through target.Through
	yield   func(target.Found, error) bool
	page    int                 // objects to ask for
	ended   bool                // nobody listens any more
	told    map[string]struct{} // ids of the groups told of: one may move while the list is read
}

// List implements target.Lister: one pass over the realm's users and one over
// its groups. Keycloak lists the children and the members of one group at a
// time, so the latter takes a request for each group of ours and each that has
// children.
func (c *Connector) List(ctx context.Context, through target.Through) iter.Seq2[target.Found, error] {
	return func(yield func(target.Found, error) bool) {
		l := &listing{c: c, through: through, yield: yield, page: c.listPage, told: make(map[string]struct{})}
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
// object, and are in order of names: what comes, goes or is renamed before a page
// moves it. Each therefore begins with the last object of the one before; where
// none of those seen is to be found, the list has moved up, and the page is
// looked for further back. What stood still is seen once. The server fills its
// pages as long as it can.
func paged[T any](ctx context.Context, l *listing, op, path, brief string, id func(T) string, see func(T) error) error {
	seen := make(map[string]struct{})
	for first := 0; !l.ended; {
		page, at, err := pageAfter(ctx, l, op, path, brief, first, func(one T) bool { _, ok := seen[id(one)]; return ok || len(seen) == 0 })
		if err != nil {
			return err
		}
		for _, one := range page {
			if id(one) == "" {
				return untrusted(op, "an object in the list has no id")
			}
			if _, twice := seen[id(one)]; twice {
				continue
			}
			seen[id(one)] = struct{}{}
			if err := see(one); err != nil || l.ended {
				return err
			}
		}
		if len(page) < l.page {
			return nil
		}
		first = at + len(page) - 1
	}
	return nil
}

// pageAfter reads the page at first, or one before it that has an object that
// was seen, and says where it begins.
func pageAfter[T any](ctx context.Context, l *listing, op, path, brief string, first int, known func(T) bool) (page []T, at int, err error) {
	for range listSteps {
		query := url.Values{"first": {strconv.Itoa(first)}, "max": {strconv.Itoa(l.page)}, "briefRepresentation": {brief}}
		page = nil
		if err := l.get(ctx, op, path, query, &page); err != nil {
			return nil, 0, err
		}
		if first == 0 || slices.ContainsFunc(page, known) {
			return page, first, nil
		}
		first = max(0, first-l.page)
	}
	return nil, 0, untrusted(op, "objects changed places while the list was read")
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
		if err != nil && !isGone(err) { // gone with all that was below it
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

// group tells of one group, with its members if it is ours. One that is gone by
// then is left out.
func (l *listing) group(ctx context.Context, g group) error {
	if _, twice := l.told[g.ID]; twice {
		return nil
	}
	f := target.Found{Kind: target.MemberDepartment, RemoteID: g.ID, Name: g.Name, Content: g}
	if f.ExternalID, f.Illegible = whose(g.Attributes[externalID]); f.ExternalID != "" {
		err := paged(ctx, l, "list members", groupPath(g.ID)+"/members", "true", func(u user) string { return u.ID }, func(u user) error {
			f.Members = append(f.Members, target.Member{Kind: target.MemberUser, RemoteID: u.ID})
			return nil
		})
		if isGone(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	l.told[g.ID] = struct{}{}
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
	r.Check("name", g.Name == name || g.Name == target.Beside(name, want.ExternalID), g.Name)
	r.Check("parent", g.ParentID == want.ParentRemoteID, g.ParentID)
	return r.Comparison()
}

// CompareUser implements target.Lister: what a change would set is what differs.
func (c *Connector) CompareUser(found target.Found, want target.User) target.Comparison {
	have, _ := found.Content.(map[string]any)
	wanted := clone(have)
	render(wanted, want)
	var r target.Comparer
	compare(&r, have, wanted)
	attributes, _ := have["attributes"].(map[string]any)
	rendered, _ := wanted["attributes"].(map[string]any)
	compare(&r, attributes, rendered)
	return r.Comparison()
}

// compare checks the members of an object, but for those that are objects.
func compare(r *target.Comparer, have, want map[string]any) {
	names := maps.Clone(have)
	maps.Copy(names, want)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if _, object := names[name].(map[string]any); !object {
			r.Check(name, reflect.DeepEqual(have[name], want[name]), have[name])
		}
	}
}
