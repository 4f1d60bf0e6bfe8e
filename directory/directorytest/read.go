package directorytest

import (
	"context"
	"fmt"
	"iter"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// View is what reading a whole scope needs of a store's view.
type View interface {
	State(ctx context.Context) (directory.State, error)
	Tenant(ctx context.Context) (directory.Tenant, bool, error)
	Application(ctx context.Context, appID string) (directory.Application, bool, error)
	Departments(ctx context.Context) iter.Seq2[directory.Department, error]
	Users(ctx context.Context, names []string) (map[string]directory.User, error)
}

// Read takes a snapshot through a view: of all departments, and of the users
// and applications an enterprise has.
func (e Enterprise) Read(ctx context.Context, t require.TestingT, view View) Snapshot {
	s := Snapshot{Departments: make(map[string]directory.Department), Applications: make(map[string]directory.Application)}
	var err error
	s.State, err = view.State(ctx)
	require.NoError(t, err)
	last := ""
	for d, err := range view.Departments(ctx) {
		require.NoError(t, err)
		require.Less(t, last, d.Code, "departments come by ascending code")
		last = d.Code
		s.Departments[d.Code] = d
	}
	names := make([]string, e.Users)
	for i := range names {
		names[i] = fmt.Sprintf("u%d", i)
	}
	s.Users, err = view.Users(ctx, names)
	require.NoError(t, err)
	for i := range e.Applications {
		app, known, err := view.Application(ctx, fmt.Sprintf("app%d", i))
		require.NoError(t, err)
		if known {
			s.Applications[app.AppID] = app
		}
	}
	tenant, known, err := view.Tenant(ctx)
	require.NoError(t, err)
	if known {
		s.Tenant = &tenant
	}
	return s
}
