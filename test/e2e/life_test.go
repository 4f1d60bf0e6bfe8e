package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/target/scim/scimserver"
)

// enterprise is what the test has pushed: the truth to compare with.
type enterprise struct {
	departments map[string]directory.DepartmentItem
	users       map[string]directory.UserItem
}

// grow makes n departments in eight levels with Chinese names, one of whose
// parent is in no list, and users spread over them.
func grow(n, users int) *enterprise {
	e := &enterprise{departments: make(map[string]directory.DepartmentItem), users: make(map[string]directory.UserItem)}
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
		e.users[name] = directory.UserItem{UserName: name, Name: fmt.Sprintf("员工%d", i), OrgCode: codes[i%len(codes)], Role: "user", Enabled: true}
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

// check compares the store and the SCIM servers with the truth.
func (p *pusher) check(e *enterprise, servers ...snapshotter) {
	p.t.Helper()
	status := p.synced()
	require.Equal(p.t, len(e.departments), status.Departments)
	require.Equal(p.t, len(e.users), status.Users)
	var tree struct {
		Departments int
		Roots       []treeNode
	}
	p.c.get("/departments/tree?"+url.Values{"tenantId": {p.scope.TenantID}, "instanceId": {p.scope.InstanceID}}.Encode(), &tree)
	parents := make(map[string]string)
	walk(tree.Roots, "", parents)
	require.Len(p.t, parents, len(e.departments))
	for code := range e.departments {
		require.Equal(p.t, e.attached(code), parents[code], "parent of %s in the store", code)
	}
	for _, server := range servers {
		p.compare(e, server())
	}
}

type treeNode struct {
	OrgCode, OrgName string
	Children         []treeNode
}

func walk(nodes []treeNode, parent string, into map[string]string) {
	for _, n := range nodes {
		into[n.OrgCode] = parent
		walk(n.Children, n.OrgCode, into)
	}
}

type snapshotter func() scimserver.Snapshot

func (p *pusher) compare(e *enterprise, s scimserver.Snapshot) {
	p.t.Helper()
	require.Len(p.t, s.Groups, len(e.departments))
	require.Len(p.t, s.Users, len(e.users))
	children, members := 0, 0
	for code, d := range e.departments {
		group, ok := s.Groups[p.scope.ExternalID(code)]
		require.True(p.t, ok, "group of %s", code)
		require.Equal(p.t, d.Name, group.DisplayName)
		for _, child := range group.Groups {
			children++
			require.Contains(p.t, s.Groups, child)
		}
		members += len(group.Users)
		for _, name := range group.Users {
			require.Contains(p.t, s.Users, name)
		}
	}
	attached := 0
	for code := range e.departments {
		if parent := e.attached(code); parent != "" {
			attached++
			require.Contains(p.t, s.Groups[p.scope.ExternalID(parent)].Groups, p.scope.ExternalID(code))
		}
	}
	require.Equal(p.t, attached, children, "nested memberships")
	require.Equal(p.t, len(e.users), members, "memberships")
	for name, u := range e.users {
		require.Contains(p.t, s.Groups[p.scope.ExternalID(u.OrgCode)].Users, p.scope.ExternalID(name))
	}
}

// An enterprise of 2,000 departments and 3,000 users is bound, edited and
// followed by SCIM servers, with restarts and a kill in between.
func TestLifeOfAnEnterprise(t *testing.T) {
	t.Parallel()
	server, err := scimserver.New(scimserver.Options{Token: "scim-token"})
	require.NoError(t, err)
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	servers := []snapshotter{server.Snapshot}
	targets := target("in-process", listening.URL, "scim-token")
	peers, moreTargets := thirdParty(t)
	servers, targets = append(servers, peers...), targets+moreTargets

	c := start(t, "targets:\n"+targets)
	p := &pusher{t: t, c: c, scope: directory.Scope{Dataset: directory.Prod, InstanceID: "inst/1", TenantID: "t1"}, clock: time.Now().Add(-time.Hour)}
	e := grow(2000, 3000)

	p.push(directory.FlagAdd, &directory.TenantPush{OrderID: "o", Code: "acme", Name: "企业", DomainName: "acme.example.com"})
	p.push(directory.FlagModify, e.full())
	c.stop(syscall.SIGKILL) // in the middle of the delivery
	c.run()
	for _, batch := range e.batches() {
		p.push(directory.FlagAdd, batch)
	}
	p.check(e, servers...)

	edit(p, e)
	c.stop(syscall.SIGTERM)
	c.run()
	p.check(e, servers...)

	// The same list again: no request goes out.
	before := fmt.Sprint(server.Requests())
	p.push(directory.FlagModify, e.full())
	p.check(e, servers...)
	require.Equal(t, before, fmt.Sprint(server.Requests()))

	// An empty list deletes nobody.
	p.push(directory.FlagModify, &directory.FullPush{})
	require.Equal(t, "held", p.status().State)
	require.Equal(t, before, fmt.Sprint(server.Requests()))
}

// edit renames, moves, deletes and adds, and withdraws an authorisation.
func edit(p *pusher, e *enterprise) {
	put := func(code, name, parent string) {
		e.departments[code] = directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}
		p.push(directory.FlagModify, &directory.DepartmentPush{DepartmentItem: e.departments[code]})
	}
	put("d1-0001", "改名部", "d0-0000")
	put("d2-0003", "移动部", "d1-0004")
	put("265789314", "迟到的上级", "d0-0000") // the parent that d3-0007 waited for
	delete(e.departments, "d2-0019")     // has children: they go to the root
	p.push(directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: "d2-0019"}})
	for name, u := range e.users {
		if u.OrgCode == "d2-0019" {
			u.OrgCode = "d0-0000"
			e.users[name] = u
			p.push(directory.FlagModify, &directory.AuthPush{AppID: "app-1", Users: []directory.UserItem{u}})
		}
	}
	gone := e.users["user00007"]
	delete(e.users, "user00007")
	p.push(directory.FlagDelete, &directory.AuthPush{AppID: "app-1", Users: []directory.UserItem{gone}})
}

func target(name, url, token string) string {
	text, _ := json.Marshal([]map[string]any{{"name": name, "type": "scim", "url": url, "auth": map[string]string{"type": "bearer", "token": token}}})
	return "  - " + string(text[1:len(text)-1]) + "\n"
}
