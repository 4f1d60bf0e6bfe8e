package directorytest

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/openkoo/connector/directory"
)

// Memory is one scope kept in memory: what planners see of a store and what a
// store does with a plan. Reads counts the calls that would each cost a store
// a round trip. It is for one goroutine.
type Memory struct {
	Reads int

	state        directory.State
	tenant       *directory.Tenant
	departments  map[string]directory.Department
	users        map[string]directory.User
	applications map[string]directory.Application
}

// NewMemory makes an empty scope.
func NewMemory() *Memory {
	return &Memory{
		departments:  make(map[string]directory.Department),
		users:        make(map[string]directory.User),
		applications: make(map[string]directory.Application),
	}
}

// State is the scope as a whole.
func (m *Memory) State(context.Context) (directory.State, error) {
	m.Reads++
	return m.state, nil
}

// Tenant is the scope's tenant.
func (m *Memory) Tenant(context.Context) (directory.Tenant, bool, error) {
	m.Reads++
	if m.tenant == nil {
		return directory.Tenant{}, false, nil
	}
	return *m.tenant, true, nil
}

// Application reads one application.
func (m *Memory) Application(_ context.Context, appID string) (directory.Application, bool, error) {
	m.Reads++
	app, ok := m.applications[appID]
	return app, ok, nil
}

// Department reads one department.
func (m *Memory) Department(_ context.Context, code string) (directory.Department, bool, error) {
	m.Reads++
	d, ok := m.departments[code]
	return d, ok, nil
}

// Departments yields all departments by code, tombstones included.
func (m *Memory) Departments(context.Context) iter.Seq2[directory.Department, error] {
	m.Reads++
	return func(yield func(directory.Department, error) bool) {
		for _, code := range slices.Sorted(maps.Keys(m.departments)) {
			if !yield(m.departments[code], nil) {
				return
			}
		}
	}
}

// Around reads what stands around a department.
func (m *Memory) Around(_ context.Context, code, parentCode string) (directory.Surroundings, error) {
	m.Reads++
	var around directory.Surroundings
	around.Self, around.Known = m.departments[code]
	parent, ok := m.departments[parentCode]
	around.ParentLives = ok && !parent.Deleted
	for _, d := range m.departments {
		if d.ParentCode == code && !d.Deleted {
			around.Children = append(around.Children, d)
		}
	}
	slices.SortFunc(around.Children, func(a, b directory.Department) int { return cmp.Compare(a.Code, b.Code) })
	return around, nil
}

// UsersIn counts the living users of departments.
func (m *Memory) UsersIn(_ context.Context, codes []string) (map[string]int, error) {
	m.Reads++
	in := make(map[string]int)
	for _, u := range m.users {
		if !u.Deleted && slices.Contains(codes, u.OrgCode) {
			in[u.OrgCode]++
		}
	}
	return in, nil
}

// Users reads users by name.
func (m *Memory) Users(_ context.Context, names []string) (map[string]directory.User, error) {
	m.Reads++
	found := make(map[string]directory.User)
	for _, name := range names {
		if u, ok := m.users[name]; ok {
			u.Grants = maps.Clone(u.Grants)
			found[name] = u
		}
	}
	return found, nil
}

// Apply does what a store does with a plan.
func (m *Memory) Apply(plan *directory.Plan) {
	if plan.Tenant != nil {
		m.tenant = plan.Tenant
	}
	for _, d := range plan.Departments {
		m.departments[d.Code] = d
	}
	for _, u := range plan.Users {
		m.users[u.UserName] = u
	}
	for _, a := range plan.Applications {
		m.applications[a.AppID] = a
	}
	for _, touch := range plan.Touched {
		m.touch(touch)
	}
	m.state.Departments += plan.Delta.Departments
	m.state.ParentMissing += plan.Delta.ParentMissing
	m.state.Users += plan.Delta.Users
	m.state.Applications += plan.Delta.Applications
	m.state.FullTime = max(m.state.FullTime, plan.FullTime)
	if plan.HoldSet {
		m.state.Hold = plan.Hold
	}
}

func (m *Memory) touch(touch directory.Touch) {
	switch touch.Kind {
	case directory.KindTenant:
		m.tenant.SourceTime = touch.SourceTime
	case directory.KindDepartment:
		d := m.departments[touch.Key]
		d.SourceTime = touch.SourceTime
		m.departments[touch.Key] = d
	case directory.KindUser:
		m.users[touch.Key] = *touch.User
	case directory.KindApplication:
		a := m.applications[touch.Key]
		a.SourceTime = touch.SourceTime
		m.applications[touch.Key] = a
	}
}

// Snapshot is all of the scope at one moment.
func (m *Memory) Snapshot() Snapshot {
	s := Snapshot{State: m.state, Departments: maps.Clone(m.departments), Users: maps.Clone(m.users), Applications: maps.Clone(m.applications)}
	if m.tenant != nil {
		tenant := *m.tenant
		s.Tenant = &tenant
	}
	return s
}
