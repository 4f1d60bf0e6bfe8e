package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

// enterprise is what the test has pushed: the truth to compare with.
type enterprise struct {
	departments map[string]directory.DepartmentItem
	users       map[string]directory.UserItem
	revoked     map[string]bool // users without a grant
}

// grow makes n departments in eight levels with Chinese names, one of whose
// parent is in no list, and users spread over them.
func grow(n, users int) *enterprise {
	e := &enterprise{departments: make(map[string]directory.DepartmentItem), users: make(map[string]directory.UserItem), revoked: make(map[string]bool)}
	width := []int{1, 5, 20, 60, 150, 300, 600}
	var above []string
	made := 0
	for level := 0; made < n; level++ {
		count := n - made
		if level < len(width) {
			count = min(width[level], count)
		}
		var here []string
		for i := range count {
			code := fmt.Sprintf("d%d-%04d", level, i)
			parent := ""
			if level > 0 {
				parent = above[i%len(above)]
			}
			e.departments[code] = directory.DepartmentItem{Code: code, Name: fmt.Sprintf("第%d级部门%d", level+1, i), ParentCode: parent}
			here = append(here, code)
			made++
		}
		above = here
	}
	lost := e.departments["d3-0007"]
	lost.ParentCode = "265789314"
	e.departments["d3-0007"] = lost
	codes := e.codes()
	for i := range users {
		name := fmt.Sprintf("user%05d", i)
		e.users[name] = directory.UserItem{UserName: name, Name: fmt.Sprintf("员工%d", i), Email: name + "@example.com", OrgCode: codes[i%len(codes)], Role: "user", Enabled: true}
	}
	return e
}

func (e *enterprise) codes() []string {
	codes := make([]string, 0, len(e.departments))
	for code := range e.departments {
		codes = append(codes, code)
	}
	return codes
}

// full is the whole list in an order of its own.
func (e *enterprise) full() *directory.FullPush {
	push := &directory.FullPush{}
	for _, d := range e.departments {
		push.Departments = append(push.Departments, d)
	}
	rand.Shuffle(len(push.Departments), func(i, j int) {
		push.Departments[i], push.Departments[j] = push.Departments[j], push.Departments[i]
	})
	return push
}

func (e *enterprise) batches() []*directory.AuthPush {
	var batches []*directory.AuthPush
	for _, u := range e.users {
		if len(batches) == 0 || len(batches[len(batches)-1].Users) == directory.MaxUsers {
			batches = append(batches, &directory.AuthPush{AppID: "app-1"})
		}
		last := batches[len(batches)-1]
		last.Users = append(last.Users, u)
	}
	return batches
}

// attached is where a department hangs: at the root if its parent is unknown.
func (e *enterprise) attached(code string) string {
	parent := e.departments[code].ParentCode
	if _, ok := e.departments[parent]; !ok {
		return ""
	}
	return parent
}

// pusher plays the marketplace; each push is later than the one before.
type pusher struct {
	t     *testing.T
	c     *connector
	scope directory.Scope
	clock time.Time
}

func (p *pusher) push(flag directory.Flag, payload directory.Payload) {
	p.t.Helper()
	p.clock = p.clock.Add(time.Second)
	body, err := client.Body(p.scope, flag, directory.SourceTimeOf(p.clock), payload)
	require.NoError(p.t, err)
	sender, err := client.New(p.c.base+"/saasproduce", p.c.secret("kit-access-key"), client.Options{})
	require.NoError(p.t, err)
	answer, err := sender.Push(context.Background(), payload.PushKind(), body)
	require.NoError(p.t, err)
	require.Equal(p.t, "000000", answer.Code, answer.Message)
}

type syncStatus struct {
	State       string
	Departments int
	Users       int
	Targets     []struct {
		Name                                        string
		Pending, Retrying, Waiting, Delivered, Dead int
		LastError                                   string
	}
}

func (p *pusher) status() syncStatus {
	p.t.Helper()
	var s syncStatus
	p.c.get("/sync-status?"+url.Values{"tenantId": {p.scope.TenantID}, "instanceId": {p.scope.InstanceID}}.Encode(), &s)
	return s
}

// synced waits until every target has what the store has.
func (p *pusher) synced() syncStatus {
	p.t.Helper()
	var s syncStatus
	require.Eventually(p.t, func() bool {
		s = p.status()
		return s.State == "synced"
	}, 4*time.Minute, 100*time.Millisecond, "last status %+v", &s)
	return s
}

// check compares the store, the status and the SCIM servers with the truth.
func (p *pusher) check(e *enterprise, servers ...peer) {
	p.t.Helper()
	require.Len(p.t, p.checkStore(e).Targets, len(servers))
	departments, users := p.expected(e)
	for _, server := range servers {
		groups, accounts := server.picture(p.t.Context(), p.t)
		p.same(departments, groups, "groups at "+server.name)
		p.same(users, accounts, "accounts at "+server.name)
	}
}

// checkStore waits until all is delivered, and compares the store and the
// status with the truth.
func (p *pusher) checkStore(e *enterprise) syncStatus {
	p.t.Helper()
	status := p.synced()
	require.Equal(p.t, len(e.departments), status.Departments)
	require.Equal(p.t, len(e.users), status.Users)
	for _, t := range status.Targets {
		require.Zero(p.t, t.Pending+t.Retrying+t.Waiting+t.Dead, "%+v", t)
	}
	var tree struct {
		Departments int
		Roots       []treeNode
	}
	p.c.get("/departments/tree?"+url.Values{"tenantId": {p.scope.TenantID}, "instanceId": {p.scope.InstanceID}}.Encode(), &tree)
	have, want := make(map[string]object), make(map[string]object)
	walk(tree.Roots, "", have)
	for code, d := range e.departments {
		want[code] = object{Name: d.Name, In: e.attached(code)}
	}
	p.same(want, have, "departments in the store")
	return status
}

// same compares two pictures and shows the first few differences.
func (p *pusher) same(want, have map[string]object, what string) {
	p.t.Helper()
	var differences []string
	for id := range maps.All(want) {
		if one, there := have[id]; !there || one != want[id] {
			differences = append(differences, fmt.Sprintf("%s: want %+v, have %+v", id, want[id], one))
		}
	}
	for id, one := range have {
		if _, wanted := want[id]; !wanted {
			differences = append(differences, fmt.Sprintf("%s: not wanted, have %+v", id, one))
		}
	}
	require.Empty(p.t, differences[:min(len(differences), 5)], "%s: %d differences", what, len(differences))
}

// expected is what a target is to have.
func (p *pusher) expected(e *enterprise) (departments, users map[string]object) {
	departments, users = make(map[string]object), make(map[string]object)
	id := func(code string) string {
		if _, there := e.departments[code]; !there {
			return ""
		}
		return p.scope.ExternalID(code)
	}
	for code, d := range e.departments {
		departments[id(code)] = object{Name: d.Name, In: id(e.attached(code))}
	}
	for name, u := range e.users {
		users[p.scope.ExternalID(name)] = object{
			Name: name + "@acme " + e.departments[u.OrgCode].Name, Active: !e.revoked[name], In: id(u.OrgCode),
		}
	}
	return departments, users
}

type treeNode struct {
	OrgCode, OrgName string
	Children         []treeNode
}

func walk(nodes []treeNode, parent string, into map[string]object) {
	for _, n := range nodes {
		into[n.OrgCode] = object{Name: n.OrgName, In: parent}
		walk(n.Children, n.OrgCode, into)
	}
}

// An enterprise of 2,000 departments and 3,000 users is bound, edited and
// followed by two SCIM servers, with kills and restarts in between.
func TestLifeOfAnEnterprise(t *testing.T) {
	t.Parallel()
	servers := peers(t)
	targets := "targets:\n"
	for _, s := range servers {
		targets += targetYAML(s.name, s.URL, s.Token)
	}
	c := start(t, targets)
	p := &pusher{t: t, c: c, scope: directory.Scope{Dataset: directory.Prod, InstanceID: "inst/1", TenantID: "t1"}, clock: time.Now().Add(-time.Hour)}
	e := grow(2000, 3000)

	p.push(directory.FlagAdd, &directory.TenantPush{OrderID: "o", Code: "acme", Name: "企业", DomainName: "acme.example.com"})
	p.push(directory.FlagModify, e.full())
	for _, s := range servers {
		p.delivering(s, "POST /Groups")
	}
	c.stop(syscall.SIGKILL) // in the middle of the delivery
	c.run()
	for _, batch := range e.batches() {
		p.push(directory.FlagAdd, batch)
	}
	p.delivering(servers[0], "POST /Users")
	c.stop(syscall.SIGTERM)
	c.run()
	p.delivering(servers[0], "PATCH /Groups")
	c.stop(syscall.SIGKILL)
	c.run()
	p.check(e, servers...)

	edit(p, e)
	c.stop(syscall.SIGTERM)
	c.run()
	p.check(e, servers...)

	recreate(p, e)
	p.check(e, servers...)

	// The same list again: no request goes out.
	before := p.written(servers)
	p.push(directory.FlagModify, e.full())
	p.check(e, servers...)
	require.Equal(t, before, p.written(servers))

	// An empty list deletes nobody.
	p.push(directory.FlagModify, &directory.FullPush{})
	require.Equal(t, "held", p.status().State)
	require.Equal(t, before, p.written(servers))
}

// delivering waits until a server is sent requests of a kind.
func (p *pusher) delivering(server peer, request string) {
	p.t.Helper()
	before := server.requests()[request]
	require.Eventually(p.t, func() bool { return server.requests()[request] > before }, 4*time.Minute, 5*time.Millisecond, "%s to %s", request, server.name)
}

// written counts the requests that changed something at each server.
func (p *pusher) written(servers []peer) map[string]map[string]int {
	counts := make(map[string]map[string]int)
	for _, s := range servers {
		counts[s.name] = s.writes()
	}
	return counts
}

// put adds, renames or moves a department.
func (p *pusher) put(e *enterprise, code, name, parent string) {
	p.t.Helper()
	e.departments[code] = directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}
	p.push(directory.FlagModify, &directory.DepartmentPush{DepartmentItem: e.departments[code]})
}

// edit renames, moves, deletes and adds, and withdraws an authorisation.
func edit(p *pusher, e *enterprise) {
	p.put(e, "d1-0001", "改名部", "d0-0000")
	p.put(e, "d2-0003", "移动部", "d1-0004")
	p.put(e, "265789314", "迟到的上级", "d0-0000")             // the parent that d3-0007 waited for
	for _, code := range []string{"d2-0019", "d3-0011"} { // with children, who go to the root, and users
		delete(e.departments, code)
		p.push(directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: code}})
	}
	moved := &directory.AuthPush{AppID: "app-1"}
	for name, u := range e.users {
		if u.OrgCode == "d2-0019" { // those of d3-0011 stay behind
			u.OrgCode = "d0-0000"
			e.users[name] = u
			moved.Users = append(moved.Users, u)
		}
	}
	p.push(directory.FlagModify, moved)
	p.push(directory.FlagDelete, &directory.AuthPush{AppID: "app-1", Users: []directory.UserItem{e.users["user00007"]}})
	delete(e.users, "user00007")
	p.push(directory.FlagCancel, &directory.AuthPush{AppID: "app-1", Users: []directory.UserItem{e.users["user00008"]}})
	e.revoked["user00008"] = true
}

// recreate brings back what edit took away.
func recreate(p *pusher, e *enterprise) {
	p.put(e, "d3-0011", "重建部", "d1-0001")
	back := directory.UserItem{UserName: "user00007", Name: "归来", OrgCode: "d3-0011", Role: "user", Enabled: true}
	e.users["user00007"] = back
	delete(e.revoked, "user00008")
	p.push(directory.FlagAdd, &directory.AuthPush{AppID: "app-1", Users: []directory.UserItem{back, e.users["user00008"]}})
}

// noLimit lets a target be sent every deletion at once: these tests ask
// whether it becomes what the store is.
var noLimit = map[string]int{"maxPercent": 100}

func targetYAML(name, url, token string) string {
	text, _ := json.Marshal([]map[string]any{{"name": name, "type": "scim", "url": url, "auth": map[string]string{"type": "bearer", "token": token},
		"removals": noLimit}})
	return "  - " + string(text[1:len(text)-1]) + "\n"
}
