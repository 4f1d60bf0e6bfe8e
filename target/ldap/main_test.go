package ldap_test

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	ldapv3 "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/ldap"
	"github.com/openkoo/connector/test/peers/slapd"
)

// server is shared: each test has a base of its own.
var server *slapd.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "slapd")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		server, err = slapd.Start(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	server.Down()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

var bases atomic.Int64

// bed is a directory to write in, and a client to look at it.
type bed struct {
	*ldap.Connector
	t      *testing.T
	base   string
	config ldap.Config
	admin  *ldapv3.Conn
}

// newBase is an empty base and nobody to write in it.
func newBase(t *testing.T) *bed {
	t.Helper()
	admin, err := server.Client()
	require.NoError(t, err)
	t.Cleanup(func() { _ = admin.Close() })
	b := &bed{t: t, base: fmt.Sprintf("ou=base-%d,%s", bases.Add(1), slapd.Suffix), admin: admin}
	b.addUnit(b.base, nil)
	return b
}

func newBed(t *testing.T, change ...func(*ldap.Config)) *bed {
	t.Helper()
	b := newBase(t)
	b.config = ldap.Config{URL: server.URL, CAFile: server.CAFile, BindDN: slapd.Admin, Password: slapd.Password, BaseDN: b.base, Connections: 4}
	for _, c := range change {
		c(&b.config)
	}
	var err error
	b.Connector, err = ldap.New(b.config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	_, err = b.Describe(t.Context())
	require.NoError(t, err)
	return b
}

func (b *bed) addUnit(dn string, external []string) {
	b.t.Helper()
	request := ldapv3.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{"organizationalUnit"})
	if external != nil {
		request.Attribute("businessCategory", external)
	}
	require.NoError(b.t, b.admin.Add(request))
}

func (b *bed) addPerson(dn string, external []string) {
	b.t.Helper()
	request := ldapv3.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{"inetOrgPerson"})
	request.Attribute("cn", []string{"x"})
	request.Attribute("sn", []string{"x"})
	if external != nil {
		request.Attribute("businessCategory", external)
	}
	require.NoError(b.t, b.admin.Add(request))
}

// tree is what is under the base, from an entry's path of names to the entry.
func (b *bed) tree() map[string]*ldapv3.Entry {
	b.t.Helper()
	found, err := b.admin.SearchWithPaging(ldapv3.NewSearchRequest(b.base, ldapv3.ScopeWholeSubtree, ldapv3.NeverDerefAliases, 0, 0, false,
		"(objectClass=*)", []string{"*", "+"}, nil), 50)
	require.NoError(b.t, err)
	base, err := ldapv3.ParseDN(b.base)
	require.NoError(b.t, err)
	all := map[string]*ldapv3.Entry{}
	for _, e := range found.Entries {
		dn, err := ldapv3.ParseDN(e.DN)
		require.NoError(b.t, err)
		var path []string
		for i := len(dn.RDNs) - len(base.RDNs) - 1; i >= 0; i-- {
			path = append(path, dn.RDNs[i].Attributes[0].Value)
		}
		if len(path) > 0 {
			all[strings.Join(path, "/")] = e
		}
	}
	return all
}

// paths lists the tree less the containers.
func (b *bed) paths() []string {
	b.t.Helper()
	var all []string
	for path := range b.tree() {
		if path != "departments" && path != "inactive" {
			all = append(all, path)
		}
	}
	return all
}

var scope = directory.Scope{Dataset: directory.Prod, InstanceID: "inst-1", TenantID: "t1"}

func object(key string) target.Object {
	return target.Object{ExternalID: scope.ExternalID(key), Origin: target.Origin{Scope: scope, Key: key}}
}

func department(code, name, parentID string) target.Department {
	return target.Department{Object: object(code), Code: code, Name: name, ParentRemoteID: parentID}
}

func user(name, departmentCode string) target.User {
	return target.User{Object: object(name), UserName: name + "@acme", AccountName: name, DisplayName: "张三 " + name, Active: true, DepartmentCode: departmentCode}
}

func (b *bed) putDepartment(d target.Department) string {
	b.t.Helper()
	id, err := b.PutDepartment(b.t.Context(), d)
	require.NoError(b.t, err)
	require.NotEmpty(b.t, id)
	return id
}

func (b *bed) putUser(u target.User) string {
	b.t.Helper()
	id, err := b.PutUser(b.t.Context(), u)
	require.NoError(b.t, err)
	require.NotEmpty(b.t, id)
	return id
}

func with(d target.Department, remoteID string) target.Department {
	d.RemoteID = remoteID
	return d
}

func requireClass(t *testing.T, want target.Class, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, target.ClassOf(err), "%v", err)
	require.NotContains(t, err.Error(), slapd.Password)
}
