package targettest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
)

// requestsMost bounds the requests of a list of a little population.
const requestsMost = 60

// population is what a list is read of while it changes.
type population struct {
	*law
	departments map[string]target.Department // by code; those that stand still
	users       map[string]target.User       // by name; those that stand still
	in          map[string]string            // the department of each account, by their remote ids
	moved       map[string]bool              // remote ids of departments that are renamed or moved
}

// movements are what happens to a population just before a request.
var movements = map[string]func(p *population){
	"an account goes":                      func(p *population) { p.removeUser("b1") },
	"three accounts go":                    func(p *population) { p.removeUser("b1"); p.removeUser("b2"); p.removeUser("b3") },
	"an account comes first":               func(p *population) { p.putUser(p.user("a0")) },
	"an account comes last":                func(p *population) { p.putUser(p.user("z0")) },
	"a department goes":                    func(p *population) { p.removeDepartment("empty") },
	"departments go":                       func(p *population) { p.removeDepartment("empty"); p.removeDepartment("leaf") },
	"a department comes":                   func(p *population) { p.putDepartment(p.law.department("0")) },
	"a department is renamed to the front": func(p *population) { p.rename("m", "0") },
	"a department is renamed to the back":  func(p *population) { p.rename("m", "z") },
	"a department moves": func(p *population) {
		d := p.moving("below")
		if p.capabilities().NativeParent {
			d.ParentCode, d.ParentRemoteID = "m", p.departments["m"].RemoteID
		}
		p.putDepartment(d)
	},
	"an account moves": func(p *population) {
		u := p.users["b4"]
		delete(p.users, "b4")
		p.put(p.departments["k"], target.MemberChange{Add: []target.Member{member(u)}})
	},
}

// Lists holds a connector to the law of lists: objects come, go, move and are
// renamed at every request of one. It is complete for what stood still, and says
// nothing false of the rest. open starts a server of the test's own, for a
// connector whose lists come in pages of three.
func Lists(t *testing.T, open func(t *testing.T) Bench) {
	t.Helper()
	for name, movement := range movements {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 1; ; at++ {
				require.Less(t, at, requestsMost, "the list does not end")
				if !readWhile(t, open(t), movement, at, fmt.Sprintf("%s before request %d", name, at)) {
					return
				}
			}
		})
	}
}

// readWhile reads a list, in which something happens before a request, and
// reports whether there was that request.
func readWhile(t *testing.T, bench Bench, movement func(*population), at int, when string) (happened bool) {
	t.Helper()
	p := settle(newLaw(t, bench))
	lister := p.lister()
	requests := 0
	found := make(map[string]target.Found)
	for f, err := range lister.List(p.ctx, func(ctx context.Context, _ string, request func(context.Context) error) error {
		if requests++; requests == at {
			happened = true
			movement(p)
		}
		return request(ctx)
	}) {
		require.NoError(t, err, when)
		require.NotContains(t, found, f.RemoteID, "%s: each once", when)
		f.Members = slices.Clone(f.Members)
		found[f.RemoteID] = f
	}
	p.complete(lister, found, when)
	return happened
}

// settle puts a little population that crosses the borders of pages.
func settle(l *law) *population {
	p := &population{
		law: l, departments: make(map[string]target.Department), users: make(map[string]target.User),
		in: make(map[string]string), moved: make(map[string]bool),
	}
	native := p.capabilities().NativeParent
	for _, code := range []string{"empty", "k", "m", "below", "leaf", "x"} {
		d := p.law.department(code)
		if above, ok := map[string]string{"below": "k", "leaf": "m"}[code]; ok && native {
			d.ParentCode, d.ParentRemoteID = above, p.departments[above].RemoteID
		}
		p.departments[code] = p.putDepartment(d)
	}
	for i := 1; i <= 7; i++ {
		name := fmt.Sprintf("b%d", i)
		u := p.putUser(p.user(name))
		p.users[name] = u
		d := p.departments[[]string{"m", "below", "k", "x"}[i%4]]
		p.put(d, target.MemberChange{Add: []target.Member{member(u)}})
		p.in[u.RemoteID] = d.RemoteID
	}
	return p
}

func (p *population) put(d target.Department, change target.MemberChange) {
	p.Helper()
	require.NoError(p, p.connector.ChangeMembers(p.ctx, d.Object, change))
}

func (p *population) removeUser(name string) {
	p.Helper()
	require.NoError(p, p.connector.DeleteUser(p.ctx, p.users[name].Object))
	delete(p.users, name)
}

func (p *population) removeDepartment(code string) {
	p.Helper()
	require.NoError(p, p.connector.DeleteDepartment(p.ctx, p.departments[code].Object))
	delete(p.departments, code)
}

// moving takes a department out of those that stand still.
func (p *population) moving(code string) target.Department {
	d := p.departments[code]
	delete(p.departments, code)
	p.moved[d.RemoteID] = true
	return d
}

func (p *population) rename(code, name string) {
	p.Helper()
	d := p.moving(code)
	d.Name = p.prefix + " 部门 " + name
	p.putDepartment(d)
}

// complete checks a list against what stood still, and that it says nothing else
// than what was so before, or is so now.
func (p *population) complete(lister target.Lister, found map[string]target.Found, when string) {
	p.Helper()
	for code, d := range p.departments {
		require.Contains(p, found, d.RemoteID, "%s: department %s", when, code)
		require.Empty(p, lister.CompareDepartment(found[d.RemoteID], d).Differ, "%s: department %s", when, code)
	}
	still := make(map[string]bool)
	for name, u := range p.users {
		require.Contains(p, found, u.RemoteID, "%s: account %s", when, name)
		require.Empty(p, lister.CompareUser(found[u.RemoteID], u).Differ, "%s: account %s", when, name)
		still[u.RemoteID] = true
	}
	shown := make(map[string]string)
	for id, f := range found {
		for _, m := range f.Members {
			if still[m.RemoteID] {
				require.Equal(p, p.in[m.RemoteID], id, "%s: %s is in another department", when, m.RemoteID)
				shown[m.RemoteID] = id
			}
		}
		for _, group := range f.Groups {
			if still[id] {
				require.Equal(p, p.in[id], group, "%s: %s is in another department", when, id)
				shown[id] = group
			}
		}
	}
	for id := range still {
		if group := p.in[id]; !p.moved[group] {
			require.Equal(p, group, shown[id], "%s: %s is not in its department", when, id)
		}
	}
}
