// Package targettest holds every connector to the laws of the port
// target.Connector: one table, run against each connector with a real server
// behind a proxy that fails on demand.
package targettest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
)

// Server is what the suite sees of, and does at, a server behind the
// connector's back.
type Server interface {
	// Departments and Users are all that the server has.
	Departments(ctx context.Context) ([]Department, error)
	Users(ctx context.Context) ([]target.User, error)
	// CreateDepartment and CreateUser make an object as a stranger would.
	CreateDepartment(ctx context.Context, name, externalID string) (remoteID string, err error)
	CreateUser(ctx context.Context, userName, externalID string) (remoteID string, err error)
	// Delete removes an object.
	Delete(ctx context.Context, kind target.MemberKind, remoteID string) error
}

// Department is a department as the server has it.
type Department struct {
	target.Department
	Members []target.Member
}

// Bench is a connector and its server.
type Bench struct {
	Server Server
	// URL is where the server listens. Secret is what lets a connector in; it
	// must show in no error.
	URL, Secret string
	// Connect makes a connector that reaches the server at url with a secret,
	// gives up on a request after patience, and retries nothing.
	Connect func(t testing.TB, url, secret string, patience time.Duration) target.Connector
	// Bare says that the connector speaks no HTTP: it is connected to the server
	// without the proxy, and the laws about failures of the wire are left to
	// tests of its own.
	Bare bool
	// Parts names the parts of the suite to run, such as "members"; none for all.
	// It is for a server that differs from another, which the whole is run
	// against, in what these parts are about.
	Parts []string
	// Deviations names the laws ("members/many members go in one change") that
	// do not fit what the target is, with the reason for each.
	Deviations map[string]string
	// Carried is the part of an account that the connector brings to the
	// server and that Users tells; nil for all.
	Carried func(target.User) target.User
}

const (
	// patience is how long a connector waits for an answer where none is to
	// fail for its slowness, impatience where it is.
	patience   = time.Minute
	impatience = time.Second
)

// Run runs the whole suite. The server is shared by all tests.
func Run(t *testing.T, bench Bench) {
	t.Helper()
	if bench.Carried == nil {
		bench.Carried = func(u target.User) target.User { return u }
	}
	all := make(map[string]func(*law))
	for part, laws := range map[string]map[string]func(*law){
		"objects": objectLaws, "found again": searchLaws, "members": memberLaws, "failures": failureLaws, "classes": classLaws(), "checks": checkLaws,
		"lists": listLaws, "failures/lists": brokenLists,
	} {
		for name, test := range laws {
			if len(bench.Parts) > 0 && !slices.Contains(bench.Parts, part) {
				continue
			}
			all[part+"/"+name] = test
		}
	}
	for name := range bench.Deviations {
		require.Contains(t, all, name, "a deviation from no law")
	}
	for name, test := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if reason := bench.Deviations[name]; reason != "" {
				t.Skip(reason)
			}
			if bench.Bare && (strings.HasPrefix(name, "failures/") || strings.HasPrefix(name, "classes/")) {
				t.Skip(noWire)
			}
			test(newLaw(t, bench))
		})
	}
}

// noWire is why a law about HTTP says nothing about a connector without.
const noWire = "the connector speaks no HTTP; its own tests break its wire"

// law is one test's connector, with a proxy of its own and names of its own.
type law struct {
	testing.TB
	Bench
	ctx       context.Context
	proxy     *Proxy
	connector target.Connector
	prefix    string
}

var laws atomic.Int64

func newLaw(t *testing.T, bench Bench) *law {
	l := &law{TB: t, Bench: bench, ctx: t.Context(), prefix: fmt.Sprintf("law%d", laws.Add(1))}
	url := bench.URL
	if !bench.Bare {
		l.proxy = NewProxy(t, bench.URL)
		url = l.proxy.URL
	}
	l.connector = l.connect(url, bench.Secret)
	return l
}

// wire is the proxy in front of the server.
func (l *law) wire() *Proxy {
	if l.proxy == nil {
		l.Skip(noWire)
	}
	return l.proxy
}

// capabilities are what the target says it can do.
func (l *law) capabilities() target.Capabilities {
	l.Helper()
	capabilities, err := l.connector.Describe(l.ctx)
	require.NoError(l, err)
	return capabilities
}

func (l *law) connect(url, secret string) target.Connector {
	return l.connectWith(url, secret, patience)
}

func (l *law) connectWith(url, secret string, patience time.Duration) target.Connector {
	connector := l.Connect(l, url, secret, patience)
	l.Cleanup(func() { require.NoError(l, connector.Close()) })
	return connector
}

// department is a department with names that only this test uses.
func (l *law) department(code string) target.Department {
	return target.Department{
		Object: target.Object{ExternalID: "prod/inst%2F1/" + l.prefix + "/" + code}, Code: code, Name: l.prefix + " 部门 " + code,
	}
}

// user is an account with names that only this test uses, everything set.
func (l *law) user(name string) target.User {
	return target.User{
		Object:   target.Object{ExternalID: "prod/inst%2F1/" + l.prefix + "/" + name},
		UserName: l.prefix + "." + name + "@acme", AccountName: name, DisplayName: "员工 " + name, Active: true,
		Title: "工程师", EmployeeNumber: "E1", EmployeeType: "1", DepartmentCode: "d1", DepartmentName: "研发部",
		Organization: "企业", Mobile: "13800000000", Email: name + "@example.com",
	}
}

func (l *law) putDepartment(d target.Department) target.Department {
	l.Helper()
	id, err := l.connector.PutDepartment(l.ctx, d)
	require.NoError(l, err)
	require.NotEmpty(l, id)
	d.RemoteID, d.Uncertain = id, false
	return d
}

func (l *law) putUser(u target.User) target.User {
	l.Helper()
	id, err := l.connector.PutUser(l.ctx, u)
	require.NoError(l, err)
	require.NotEmpty(l, id)
	u.RemoteID, u.Uncertain = id, false
	return u
}

// departments are those of this test at the server.
func (l *law) departments() []Department {
	l.Helper()
	all, err := l.Server.Departments(l.ctx)
	require.NoError(l, err)
	var own []Department
	for _, d := range all {
		if strings.HasPrefix(d.Name, l.prefix+" ") {
			own = append(own, d)
		}
	}
	return own
}

// users are those of this test at the server.
func (l *law) users() []target.User {
	l.Helper()
	all, err := l.Server.Users(l.ctx)
	require.NoError(l, err)
	var own []target.User
	for _, u := range all {
		if strings.HasPrefix(u.UserName, l.prefix+".") {
			own = append(own, u)
		}
	}
	return own
}

// onlyDepartment is the one department of this test at the server.
func (l *law) onlyDepartment() Department {
	l.Helper()
	own := l.departments()
	require.Len(l, own, 1)
	return own[0]
}

// onlyUser is the one account of this test at the server.
func (l *law) onlyUser() target.User {
	l.Helper()
	own := l.users()
	require.Len(l, own, 1)
	return own[0]
}

// fails asserts that an error is a *target.Error of a class.
func (l *law) fails(err error, class target.Class) {
	l.Helper()
	_ = l.failure(err, class)
}

// failure is fails, for what else the error is to say.
func (l *law) failure(err error, class target.Class) *target.Error {
	l.Helper()
	var e *target.Error
	require.ErrorAs(l, err, &e)
	require.Equal(l, class, e.Class, "%v", err)
	require.NotEmpty(l, e.Op)
	require.NotContains(l, err.Error(), l.Secret)
	return e
}
