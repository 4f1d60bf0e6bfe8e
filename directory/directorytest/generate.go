package directorytest

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
)

// Scope is the scope of all generated pushes.
var Scope = directory.Scope{Dataset: directory.Prod, InstanceID: "i-1", TenantID: "t-1"}

// Enterprise is a small enterprise to draw pushes about: so few entities that
// the pushes of one run meet each other all the time. Without users, all
// pushes are about departments.
type Enterprise struct {
	Departments, Users, Applications int
	// Secrets are client secrets as the marketplace sends them; without any,
	// no credentials are pushed.
	Secrets []string
}

// Small is an enterprise where most pushes meet. Knotted has so few departments
// that out of order pushes often close cycles.
var (
	Small   = Enterprise{Departments: 6, Users: 3, Applications: 2}
	Knotted = Enterprise{Departments: 3}
)

func pick(t *rapid.T, prefix string, n int) string {
	return fmt.Sprintf("%s%d", prefix, rapid.IntRange(0, n-1).Draw(t, prefix))
}

// Pushes draws n pushes in the order of their arrival. No two have the same
// time, and time and arrival have nothing to do with each other.
func (e Enterprise) Pushes(t *rapid.T, n int) []*directory.Push {
	times := make([]directory.SourceTime, n)
	for i := range times {
		times[i] = directory.SourceTime(1000 + i)
	}
	times = rapid.Permutation(times).Draw(t, "times")
	pushes := make([]*directory.Push, n)
	for i := range pushes {
		pushes[i] = e.Push(t, times[i])
		pushes[i].ID = fmt.Sprintf("push-%03d", i)
	}
	return pushes
}

// Push draws one push of any kind.
func (e Enterprise) Push(t *rapid.T, at directory.SourceTime) *directory.Push {
	kinds := []directory.PushKind{
		directory.SingleOrgSync, directory.SingleOrgSync, directory.SingleOrgSync, directory.SingleOrgSync,
		directory.AllOrgSync, directory.AuthSync, directory.AuthSync, directory.AuthSync, directory.TenantSync,
	}
	if e.Users == 0 {
		kinds = kinds[:5]
	}
	if len(e.Secrets) > 0 {
		kinds = append(kinds, directory.ApplicationSync)
	}
	return e.PushOf(t, rapid.SampledFrom(kinds).Draw(t, "kind"), at)
}

// PushOf draws a push of one kind.
func (e Enterprise) PushOf(t *rapid.T, kind directory.PushKind, at directory.SourceTime) *directory.Push {
	push := &directory.Push{Scope: Scope, SourceTime: at, Flag: directory.FlagModify}
	flags := []directory.Flag{directory.FlagAdd, directory.FlagModify, directory.FlagModify, directory.FlagDelete}
	switch kind {
	case directory.TenantSync:
		push.Payload = &directory.TenantPush{Code: "acme", Name: pick(t, "name", 2), DomainName: pick(t, "domain", 2)}
	case directory.ApplicationSync:
		push.Payload = &directory.ApplicationPush{
			AppID: pick(t, "app", e.Applications), ClientID: pick(t, "client", 2),
			ClientSecret: rapid.SampledFrom(e.Secrets).Draw(t, "secret"),
		}
	case directory.SingleOrgSync:
		push.Payload = &directory.DepartmentPush{DepartmentItem: e.department(t, pick(t, "d", e.Departments))}
	case directory.AllOrgSync:
		flags = flags[1:2]
		push.Payload = &directory.FullPush{Departments: e.list(t)}
	case directory.AuthSync:
		flags = append(flags, directory.FlagCancel)
		push.Payload = &directory.AuthPush{AppID: pick(t, "app", e.Applications), Users: e.users(t)}
	}
	push.Flag = rapid.SampledFrom(flags).Draw(t, "flag")
	return push
}

// department draws where a department is put. Its parent may be itself, below
// it, or nobody anyone knows.
func (e Enterprise) department(t *rapid.T, code string) directory.DepartmentItem {
	return directory.DepartmentItem{Code: code, Name: pick(t, "name", 2), ParentCode: e.parent(t)}
}

func (e Enterprise) parent(t *rapid.T) string {
	switch n := rapid.IntRange(-2, e.Departments-1).Draw(t, "parent"); n {
	case -2:
		return ""
	case -1:
		return "nobody"
	default:
		return fmt.Sprintf("d%d", n)
	}
}

// list draws a department list that does not contradict itself.
func (e Enterprise) list(t *rapid.T) []directory.DepartmentItem {
	order := make([]int, e.Departments)
	for i := range order {
		order[i] = i
	}
	order = rapid.Permutation(order).Draw(t, "order")
	order = order[:rapid.IntRange(0, len(order)).Draw(t, "listed")]
	place := make(map[string]int, len(order)) // in the list
	items := make([]directory.DepartmentItem, len(order))
	for i, n := range order {
		items[i] = e.department(t, fmt.Sprintf("d%d", n))
		place[items[i].Code] = i
	}
	for i := range items {
		if at, listed := place[items[i].ParentCode]; listed && at >= i {
			items[i].ParentCode = ""
		}
	}
	return items
}

func (e Enterprise) users(t *rapid.T) []directory.UserItem {
	first := rapid.IntRange(0, e.Users-1).Draw(t, "first")
	last := rapid.IntRange(first, e.Users-1).Draw(t, "last")
	var items []directory.UserItem
	for n := first; n <= last; n++ {
		items = append(items, directory.UserItem{
			UserName: fmt.Sprintf("u%d", n), Name: pick(t, "name", 2), OrgCode: pick(t, "d", e.Departments),
			Role: "user", Enabled: rapid.Bool().Draw(t, "enabled"), Mobile: pick(t, "mobile", 2),
		})
	}
	return items
}
