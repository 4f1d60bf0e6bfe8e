package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

// The size of an enterprise. The test server looks through all documents to find
// one: ten times as many would take a hundred times as long.
const (
	buyerDepartments = 8
	buyerUsers       = 4
)

// buyer is one enterprise whose edits come in through all replicas at once. The
// truth is what its calls say in the order of their times, whatever the order
// in which they arrive.
type buyer struct {
	cluster *cluster
	scope   directory.Scope
	key     string

	mu       sync.Mutex
	random   *rand.Rand
	clock    time.Time
	truth    *enterprise
	answered []directory.SourceTime // answered 000000
	refused  []string               // answers other than 000000
}

func (c *cluster) buyer(n int) *buyer {
	b := &buyer{
		cluster: c, key: c.replicas[0].secret("kit-access-key"),
		scope:  directory.Scope{Dataset: directory.Prod, InstanceID: "i1", TenantID: fmt.Sprintf("t%d", n)},
		random: rand.New(rand.NewPCG(uint64(n), 20261124)), clock: time.Now().Add(-time.Hour).Truncate(time.Millisecond),
		truth: &enterprise{departments: make(map[string]directory.DepartmentItem), users: make(map[string]directory.UserItem), revoked: make(map[string]bool)},
	}
	return b
}

// call is a push before it is signed.
type call struct {
	at   directory.SourceTime
	kind directory.PushKind
	body []byte
}

// editor changes the truth and says how the marketplace tells of it.
type editor func(e *enterprise) (directory.Flag, directory.Payload)

// change makes the next call of what it does to the truth.
func (b *buyer) change(do editor) (call, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock = b.clock.Add(time.Second)
	flag, payload := do(b.truth)
	at := directory.SourceTimeOf(b.clock)
	body, err := client.Body(b.scope, flag, at, payload)
	return call{at, payload.PushKind(), body}, err
}

// send sends a call until it is answered 000000, each time through the next
// replica, as the buyer would who sees that it has failed.
func (b *buyer) send(ctx context.Context, c call) error {
	for {
		replica := b.cluster.turn()
		sender, err := client.New(replica.base+"/saasproduce", b.key, client.Options{})
		if err != nil {
			return err
		}
		answer, err := sender.Push(ctx, c.kind, c.body)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%s of %s is never answered: %w", c.kind, b.scope, err)
		case err != nil: // no answer
			continue
		case answer.OK():
			b.mu.Lock()
			b.answered = append(b.answered, c.at)
			b.mu.Unlock()
			b.cluster.answered.Add(1)
			return nil
		case answer.Code != "000005":
			return fmt.Errorf("%s of %s through %s: %s %s", c.kind, b.scope, replica.name, answer.Code, answer.Message)
		}
		b.mu.Lock()
		b.refused = append(b.refused, fmt.Sprintf("%s through %s: %s", c.kind, replica.name, answer.Message))
		b.mu.Unlock()
	}
}

// push is change and send.
func (b *buyer) push(ctx context.Context, do editor) error {
	c, err := b.change(do)
	if err != nil {
		return err
	}
	return b.send(ctx, c)
}

// bind is what the marketplace sends when the buyer binds the application.
func (b *buyer) bind(ctx context.Context) error {
	steps := []editor{
		func(*enterprise) (directory.Flag, directory.Payload) {
			return directory.FlagAdd, &directory.TenantPush{OrderID: "o", Code: "acme", Name: "企业", DomainName: "acme.example.com"}
		},
		func(e *enterprise) (directory.Flag, directory.Payload) {
			for i := range buyerDepartments {
				d := directory.DepartmentItem{Code: fmt.Sprintf("d%02d", i), Name: fmt.Sprintf("部门%d", i)}
				if i > 0 {
					d.ParentCode = branch(i)
				}
				e.departments[d.Code] = d
			}
			return directory.FlagModify, e.full()
		},
		func(e *enterprise) (directory.Flag, directory.Payload) {
			add := &directory.AuthPush{AppID: "app-1"}
			for i := range buyerUsers {
				add.Users = append(add.Users, b.employ(e, i, "d05"))
			}
			return directory.FlagAdd, add
		},
	}
	for _, step := range steps {
		if err := b.push(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// branches are the departments below the root that nothing happens to: what is
// below them comes and goes.
const branches = 2

// branch is where the department of a number hangs at first.
func branch(i int) string {
	if i <= branches {
		return "d00"
	}
	return fmt.Sprintf("d%02d", 1+i%branches)
}

// employ puts a user into a department, under a name never used before. Two
// tenants have no userName in common: their tenantCode is the same.
func (b *buyer) employ(e *enterprise, i int, code string) directory.UserItem {
	name := fmt.Sprintf("%s-u%d", b.scope.TenantID, i)
	u := directory.UserItem{UserName: name, Name: fmt.Sprintf("员工%d-%d", i, b.clock.Unix()), OrgCode: code, Role: "user", Enabled: true}
	e.users[name] = u
	delete(e.revoked, name)
	return u
}

// editDepartments renames, moves, deletes or brings back a department, or
// sends them all.
func (b *buyer) editDepartments(e *enterprise) (directory.Flag, directory.Payload) {
	code := fmt.Sprintf("d%02d", 1+branches+b.random.IntN(buyerDepartments-branches-1))
	d, there := e.departments[code]
	switch what := b.random.IntN(8); {
	case what == 0:
		return directory.FlagModify, e.full()
	case what == 1 && there:
		delete(e.departments, code)
		return directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: code}}
	case what <= 3 && there:
		d.ParentCode = fmt.Sprintf("d%02d", 1+b.random.IntN(branches))
	default:
		d = directory.DepartmentItem{Code: code, Name: fmt.Sprintf("部门-%d", b.clock.Unix()), ParentCode: d.ParentCode}
	}
	e.departments[code] = d
	return directory.FlagModify, &directory.DepartmentPush{DepartmentItem: d}
}

// editUsers changes some users, or withdraws an authorisation, or deletes an
// account.
func (b *buyer) editUsers(e *enterprise) (directory.Flag, directory.Payload) {
	push := &directory.AuthPush{AppID: "app-1"}
	first := b.random.IntN(buyerUsers)
	name := fmt.Sprintf("%s-u%d", b.scope.TenantID, first)
	u, there := e.users[name]
	switch what := b.random.IntN(6); {
	case what == 0 && there:
		delete(e.users, name)
		delete(e.revoked, name)
		push.Users = []directory.UserItem{u}
		return directory.FlagDelete, push
	case what == 1 && there:
		e.revoked[name] = true
		push.Users = []directory.UserItem{u}
		return directory.FlagCancel, push
	}
	for i := range 1 + b.random.IntN(3) {
		code := fmt.Sprintf("d%02d", b.random.IntN(buyerDepartments))
		push.Users = append(push.Users, b.employ(e, (first+i)%buyerUsers, code))
	}
	return directory.FlagModify, push
}

// journaled checks that no call that was answered is missing in the journal.
func (c *connector) journaled(scope directory.Scope, answered []directory.SourceTime) {
	c.t.Helper()
	var journal struct {
		Items []struct {
			SourceTime directory.SourceTime
			Phase      string
		}
		Cursor string
	}
	c.get("/pushes?"+url.Values{"tenantId": {scope.TenantID}, "limit": {"1000"}}.Encode(), &journal)
	require.Empty(c.t, journal.Cursor)
	applied := make(map[directory.SourceTime]bool)
	for _, record := range journal.Items {
		applied[record.SourceTime] = applied[record.SourceTime] || record.Phase == "applied"
	}
	for _, sent := range answered {
		require.True(c.t, applied[sent], "the call of %s of %s was answered and is not in the journal", sent.Time(), scope)
	}
}

// delivered checks that every slot has the version it is to have.
func (b *buyer) delivered(at *connector) {
	b.cluster.t.Helper()
	var slots struct {
		Items []struct {
			Kind, Key, State   string
			Desired, Delivered int64
		}
		Cursor string
	}
	at.get("/deliveries?"+url.Values{"tenantId": {b.scope.TenantID}, "limit": {"1000"}}.Encode(), &slots)
	require.Empty(b.cluster.t, slots.Cursor)
	require.NotEmpty(b.cluster.t, slots.Items)
	for _, slot := range slots.Items {
		require.Equal(b.cluster.t, "delivered", slot.State, "%+v", slot)
		require.Equal(b.cluster.t, slot.Desired, slot.Delivered, "%+v", slot)
	}
}

// stored checks that the store has the users of the truth.
func (b *buyer) stored(at *connector) {
	b.cluster.t.Helper()
	type user struct{ UserName, Name, OrgCode string }
	var users struct{ Items []user }
	at.get("/users?"+url.Values{"tenantId": {b.scope.TenantID}, "limit": {"1000"}}.Encode(), &users)
	var want []user
	for _, u := range b.truth.users {
		want = append(want, user{u.UserName, u.Name, u.OrgCode})
	}
	require.ElementsMatch(b.cluster.t, want, users.Items, "users of %s", b.scope)
}

// agree checks that store, journal, slots and the SCIM server all have the
// truth of all buyers, as a replica tells it.
func (c *cluster) agree(at *connector, buyers []*buyer) {
	c.t.Helper()
	departments, users := make(map[string]object), make(map[string]object)
	called := make(map[string]string)
	var p *pusher
	for _, b := range buyers {
		p = &pusher{t: c.t, c: at, scope: b.scope}
		p.checkStore(b.truth)
		b.stored(at)
		at.journaled(b.scope, b.answered)
		b.delivered(at)
		d, u := p.expected(b.truth)
		maps.Copy(departments, d)
		maps.Copy(users, u)
		for name, user := range b.truth.users {
			called[b.scope.ExternalID(name)] = user.Name
		}
	}
	groups, accounts := c.spy.picture(c.t.Context(), c.t)
	maps.DeleteFunc(users, func(id string, u object) bool {
		_, there := accounts[id]
		return !u.Active && !there // revoked before it was delivered: never made only to be barred
	})
	p.same(departments, groups, "groups")
	p.same(users, accounts, "accounts")
	people, err := c.spy.Users(c.t.Context())
	require.NoError(c.t, err)
	for _, one := range people {
		require.Equal(c.t, called[one.ExternalID], one.DisplayName, one.ExternalID)
	}
}

// refusals are the answers other than 000000 that the buyers were given.
func refusals(buyers []*buyer) []string {
	var all []string
	for _, b := range buyers {
		b.mu.Lock()
		all = append(all, b.refused...)
		b.mu.Unlock()
	}
	return slices.Sorted(slices.Values(all))
}
