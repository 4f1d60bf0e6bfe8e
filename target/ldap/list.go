package ldap

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"github.com/openkoo/connector/target"
)

// listPage is how many entries a page of a list asks for.
const listPage = 500

var _ target.Lister = (*Connector)(nil)

// listed is an entry of a list with what is compared of it.
type listed struct {
	entry
	at     place
	parent string // the remote id of the department it stands under
	root   bool   // it stands at the root of the tree
	values map[string][]string
}

// List implements target.Lister: one search for the departments and one for the
// accounts, in pages. Strangers' entries are told where we write to only.
func (c *Connector) List(ctx context.Context, through target.Through) iter.Seq2[target.Found, error] {
	return func(yield func(target.Found, error) bool) {
		units, err := c.listUnits(ctx, through)
		if err != nil {
			yield(target.Found{}, err)
			return
		}
		ids := make(map[string]string, len(units))
		for _, u := range units {
			ids[dnKey(u.dn)] = u.id
		}
		if slices.ContainsFunc(units, func(u listed) bool { return ids[dnKey(u.at.parent)] == "" && c.placed(u) }) {
			if err := c.learn(ctx, through, ids); err != nil { // a parent moved between two pages
				yield(target.Found{}, err)
				return
			}
		}
		for _, u := range units {
			if !c.ours(u) {
				continue
			}
			u.parent, u.root = ids[dnKey(u.at.parent)], sameDN(u.at.parent, c.config.DepartmentsDN)
			if !yield(c.found(target.MemberDepartment, u), nil) {
				return
			}
		}
		var moved []listed // their departments have other names than before
		err = c.listClass(ctx, through, personClass, func(u listed) bool {
			if !c.ours(u) {
				return true
			}
			if u.parent = ids[dnKey(u.at.parent)]; u.parent == "" && c.placed(u) {
				moved = append(moved, u)
				return true
			}
			return yield(c.found(target.MemberUser, u), nil)
		})
		if err == nil && len(moved) > 0 {
			err = c.learn(ctx, through, ids)
		}
		for _, u := range moved {
			u.parent = ids[dnKey(u.at.parent)]
			if err == nil && !yield(c.found(target.MemberUser, u), nil) {
				return
			}
		}
		if err != nil {
			yield(target.Found{}, err)
		}
	}
}

// placed reports an entry that stands in a department.
func (c *Connector) placed(u listed) bool {
	return within(u.dn, c.config.DepartmentsDN) && !sameDN(u.at.parent, c.config.DepartmentsDN)
}

// learn adds the names that departments have now, for entries that stand where
// none stood when they were read: one of them, or one above, was renamed or
// moved since.
func (c *Connector) learn(ctx context.Context, through target.Through, ids map[string]string) error {
	units, err := c.listUnits(ctx, through)
	for _, u := range units {
		ids[dnKey(u.dn)] = u.id
	}
	return err
}

// listUnits reads all departments: parents may come after their children.
func (c *Connector) listUnits(ctx context.Context, through target.Through) (units []listed, err error) {
	err = c.listClass(ctx, through, unitClass, func(u listed) bool {
		for _, container := range []string{c.config.BaseDN, c.config.DepartmentsDN, c.config.InactiveDN} {
			if sameDN(u.dn, container) {
				return true
			}
		}
		units = append(units, u)
		return true
	})
	return units, err
}

// ours reports an entry that bears our name, or stands where we write to.
func (c *Connector) ours(u listed) bool {
	if u.owner() != "" {
		return true
	}
	key := dnKey(u.dn)
	return strings.HasSuffix(key, ","+dnKey(c.config.DepartmentsDN)) || strings.HasSuffix(key, ","+dnKey(c.config.InactiveDN))
}

// listClass reads all entries of a class. A server answers further pages to the
// connection only that asked for the first, so the list has one of its own. see
// returns false to end it.
func (c *Connector) listClass(ctx context.Context, through target.Through, class string, see func(listed) bool) error {
	op := "list " + class
	var s *session
	defer func() {
		if s != nil {
			s.close()
		}
	}()
	paging := ldapv3.NewControlPaging(uint32(c.config.ListPage)) //nolint:gosec // a small number
	for {
		request := ldapv3.NewSearchRequest(c.config.BaseDN, ldapv3.ScopeWholeSubtree, ldapv3.NeverDerefAliases, 0, int(c.config.Timeout.Seconds()), false,
			equals("objectClass", class), c.listAttributes(), []ldapv3.Control{paging})
		var answer *ldapv3.SearchResult
		err := through(ctx, op, func(ctx context.Context) (err error) {
			if s == nil {
				if s, err = c.pool.open(ctx); err != nil {
					return openError(op, err)
				}
			}
			answer, err = s.search(ctx, request, c.config.Timeout)
			if err == nil {
				return nil
			}
			s.close()
			s = nil
			failure := operationError(op, err)
			if len(paging.Cookie) > 0 {
				return brokenOff(op, failure)
			}
			return failure
		})
		if err != nil {
			return err
		}
		for _, e := range answer.Entries {
			u, err := c.readListed(e)
			if err != nil {
				return &target.Error{Class: target.Permanent, Op: op, Err: err}
			}
			if !see(u) {
				return nil
			}
		}
		next, ok := ldapv3.FindControl(answer.Controls, ldapv3.ControlTypePaging).(*ldapv3.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return nil
		}
		paging.SetCookie(next.Cookie)
	}
}

// brokenOff is a list that cannot be gone on with: its connection is gone.
func brokenOff(op string, failure error) error {
	if target.ClassOf(failure) == target.Down {
		return failure
	}
	return &target.Error{Class: target.Permanent, Op: op, Detail: "the list broke off between two pages", Err: failure}
}

// search runs one search on a connection of the caller's own.
func (s *session) search(ctx context.Context, request *ldapv3.SearchRequest, timeout time.Duration) (*ldapv3.SearchResult, error) {
	_ = s.raw.SetDeadline(time.Now().Add(timeout))
	stop := context.AfterFunc(ctx, func() { _ = s.raw.Close() })
	defer stop()
	answer, err := s.conn.Search(request)
	if err == nil {
		_ = s.raw.SetDeadline(time.Time{})
	}
	return answer, err
}

// listAttributes are what a list reads of entries: all that users have set, for
// a mapping may have set any of them.
func (c *Connector) listAttributes() []string { return append(c.attributes(), "*") }

func (c *Connector) readListed(e *ldapv3.Entry) (u listed, err error) {
	u.entry = c.read(e)
	if u.at, err = splitDN(e.DN); err != nil {
		return u, err
	}
	u.values = make(map[string][]string, len(e.Attributes))
	for _, a := range e.Attributes {
		u.values[strings.ToLower(a.Name)] = a.Values
	}
	return u, nil
}

func (c *Connector) found(kind target.MemberKind, u listed) target.Found {
	f := target.Found{Kind: kind, RemoteID: u.id, ExternalID: u.owner(), Name: u.at.value, Content: u}
	if kind == target.MemberUser {
		f.Unplaced = c.inactive(u)
		if u.parent != "" {
			f.Groups = []string{u.parent}
		}
	}
	return f
}

// inactive reports an account that stands with those who may not sign in.
func (c *Connector) inactive(u listed) bool {
	return c.config.InactiveAttribute == "" && sameDN(u.at.parent, c.config.InactiveDN)
}

// CompareDepartment implements target.Lister.
func (c *Connector) CompareDepartment(f target.Found, want target.Department) target.Comparison {
	u, _ := f.Content.(listed)
	name := want.Name
	if name == "" {
		name = want.Code
	}
	to := spot{name: name, rdn: short(name, want.ExternalID)}
	var r target.Comparer
	// Beside its name it stands while a sibling has that.
	stands := u.at.value == to.rdn || u.at.value == target.Beside(to.rdn, want.ExternalID)
	wanted := slices.Sorted(slices.Values(to.values(u.at.value)))
	r.Check("ou", stands && slices.Equal(slices.Sorted(slices.Values(u.names)), wanted), u.names)
	r.Check("parent", u.parent == want.ParentRemoteID && (u.parent != "" || u.root), u.at.parent)
	u.compare(&r, departmentAttributes(want))
	return r.Comparison()
}

// CompareUser implements target.Lister. Which department an account is in is
// for its membership to say.
func (c *Connector) CompareUser(f target.Found, want target.User) target.Comparison {
	u, _ := f.Content.(listed)
	var r target.Comparer
	r.Check("uid", u.at.attribute == "uid" && u.at.value == want.UserName, u.at.value)
	u.compare(&r, userAttributes(want))
	if c.config.InactiveAttribute != "" {
		r.Check(c.config.InactiveAttribute, u.barred != want.Active, u.barred)
	} else {
		r.Check("active", c.inactive(u) != want.Active, c.inactive(u))
	}
	return r.Comparison()
}

// compare checks attributes, whose values are a set.
func (u listed) compare(r *target.Comparer, wanted []ldapv3.Attribute) {
	for _, a := range wanted {
		have := u.values[strings.ToLower(a.Type)]
		if len(a.Vals) > 0 || len(have) > 0 {
			r.Check(a.Type, slices.Equal(slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(a.Vals))), have)
		}
	}
}

// dnKey writes a DN so that equal ones are equal texts.
func dnKey(text string) string {
	dn, err := ldapv3.ParseDN(text)
	if err != nil {
		return text
	}
	return strings.ToLower(dn.String())
}
