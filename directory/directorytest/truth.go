package directorytest

import (
	"cmp"
	"maps"
	"slices"

	"github.com/openkoo/connector/directory"
)

// Department, Account, Tenant and Application are entities as the accepted
// pushes mean them. Since is the time of the push that had the last word, also
// where that word was that the entity is gone.
type (
	// Department is what is meant of an orgCode.
	Department struct {
		Lives         bool
		Name, Parent  string
		ParentMissing bool
		Since         directory.SourceTime
	}
	// Account is what is meant of a userName.
	Account struct {
		Lives  bool
		Item   directory.UserItem
		Grants map[string]directory.SourceTime // the applications granted
		Since  directory.SourceTime
	}
	// Tenant is what is meant of the scope's tenant.
	Tenant struct {
		Lives bool
		Item  directory.TenantPush
		Since directory.SourceTime
	}
	// Application is what is meant of an appId.
	Application struct {
		Lives                 bool
		ClientID, Fingerprint string
		Since                 directory.SourceTime
	}
)

// Meaning is a whole scope as pushes mean it, whoever has planned them.
// Entities that no push has spoken of are left out.
type Meaning struct {
	Tenant       Tenant
	Departments  map[string]Department
	Users        map[string]Account
	Applications map[string]Application
}

// Truth says what the accepted pushes mean, in the order of their arrival: for
// each entity the newest word counts, of equally new ones the last to arrive.
// A full push is a word about every department there is. It is the reference
// that planners are held to, written for being right and not for being fast:
// it looks at all pushes each time and at no stored state.
func Truth(pushes []*directory.Push) Meaning {
	m := Meaning{
		Departments: make(map[string]Department), Users: make(map[string]Account), Applications: make(map[string]Application),
	}
	// A stable sort by time leaves equal times in the order of arrival.
	ordered := slices.SortedStableFunc(slices.Values(pushes), func(a, b *directory.Push) int { return cmp.Compare(a.SourceTime, b.SourceTime) })
	for _, push := range ordered {
		m.say(push)
	}
	m.place()
	return m
}

func (m *Meaning) say(push *directory.Push) {
	at, lives := push.SourceTime, push.Flag != directory.FlagDelete
	switch payload := push.Payload.(type) {
	case *directory.TenantPush:
		m.Tenant = Tenant{Lives: lives, Since: at}
		if lives {
			m.Tenant.Item = *payload
		}
	case *directory.ApplicationPush:
		app := Application{Lives: lives, Since: at}
		if lives {
			app.ClientID, app.Fingerprint = payload.ClientID, string(payload.Fingerprint)
		}
		m.Applications[payload.AppID] = app
	case *directory.DepartmentPush:
		m.sayDepartment(payload.DepartmentItem, lives, at)
	case *directory.FullPush:
		for code := range m.Departments {
			m.Departments[code] = Department{Since: at}
		}
		for _, item := range payload.Departments {
			m.sayDepartment(item, true, at)
		}
	case *directory.AuthPush:
		for _, item := range payload.Users {
			m.sayUser(push.Flag, payload.AppID, item, at)
		}
	}
}

func (m *Meaning) sayDepartment(item directory.DepartmentItem, lives bool, at directory.SourceTime) {
	d := Department{Lives: lives, Since: at}
	if lives {
		d.Name, d.Parent = item.Name, item.ParentCode
	}
	m.Departments[item.Code] = d
}

func (m *Meaning) sayUser(flag directory.Flag, appID string, item directory.UserItem, at directory.SourceTime) {
	u := m.Users[item.UserName]
	u.Grants = maps.Clone(u.Grants)
	switch flag {
	case directory.FlagDelete:
		u = Account{Since: at}
	case directory.FlagCancel:
		delete(u.Grants, appID)
	default:
		u.Lives, u.Item, u.Since = true, item, at
		if u.Grants == nil {
			u.Grants = make(map[string]directory.SourceTime)
		}
		u.Grants[appID] = at
	}
	if len(u.Grants) == 0 {
		u.Grants = nil
	}
	m.Users[item.UserName] = u
}

// place decides which departments cannot follow their parent.
func (m *Meaning) place() {
	for code, d := range m.Departments {
		if !d.Lives || d.Parent == "" {
			continue
		}
		ring := m.Ring(code)
		d.ParentMissing = !m.Departments[d.Parent].Lives || (len(ring) > 0 && m.weakest(ring) == code)
		m.Departments[code] = d
	}
}

// Ring is the cycle of living departments that a department is on, following
// the parents as told; nil if there is none.
func (m *Meaning) Ring(code string) []string {
	ring := []string{code}
	for at := m.Departments[code].Parent; m.Departments[at].Lives; at = m.Departments[at].Parent {
		if at == code {
			return ring
		}
		if slices.Contains(ring, at) {
			return nil
		}
		ring = append(ring, at)
	}
	return nil
}

func (m *Meaning) weakest(ring []string) string {
	return slices.MinFunc(ring, func(a, b string) int {
		return cmp.Or(cmp.Compare(m.Departments[a].Since, m.Departments[b].Since), cmp.Compare(a, b))
	})
}
