package ldap_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/ldap"
	"github.com/openkoo/connector/target/targettest"
	"github.com/openkoo/connector/test/peers/slapd"
)

// behind is a base in the directory as the suite sees it.
type behind struct {
	base      string
	strangers atomic.Int64
}

// all reads everything below the base.
func (b *behind) all() ([]*ldapv3.Entry, error) {
	conn, err := server.Client()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	found, err := conn.SearchWithPaging(ldapv3.NewSearchRequest(b.base, ldapv3.ScopeWholeSubtree, ldapv3.NeverDerefAliases, 0, 0, false,
		"(objectClass=*)", []string{"*", "+"}, nil), 50)
	if err != nil {
		return nil, err
	}
	return found.Entries, nil
}

// parent is the DN above an entry's, as the server writes it.
func parent(e *ldapv3.Entry) string {
	dn, err := ldapv3.ParseDN(e.DN)
	if err != nil || len(dn.RDNs) == 0 {
		return ""
	}
	return (&ldapv3.DN{RDNs: dn.RDNs[1:]}).String()
}

func normal(dn string) string {
	parsed, err := ldapv3.ParseDN(dn)
	if err != nil {
		return dn
	}
	return parsed.String()
}

func (b *behind) Departments(context.Context) ([]targettest.Department, error) {
	entries, err := b.all()
	var all []targettest.Department
	for _, e := range entries {
		if e.GetAttributeValue("uid") != "" {
			continue
		}
		d := targettest.Department{Department: target.Department{
			Object: target.Object{ExternalID: e.GetAttributeValue("businessCategory"), RemoteID: e.GetAttributeValue("entryUUID")}, Name: e.GetAttributeValue("ou"),
		}}
		for _, member := range entries {
			if member.GetAttributeValue("uid") != "" && parent(member) == normal(e.DN) {
				d.Members = append(d.Members, target.Member{RemoteID: member.GetAttributeValue("entryUUID")})
			}
		}
		all = append(all, d)
	}
	return all, err
}

func (b *behind) Users(context.Context) ([]target.User, error) {
	entries, err := b.all()
	var all []target.User
	for _, e := range entries {
		get := e.GetAttributeValue
		if get("uid") == "" {
			continue
		}
		all = append(all, target.User{
			Object:   target.Object{ExternalID: get("businessCategory"), RemoteID: get("entryUUID")},
			UserName: get("uid"), DisplayName: get("displayName"), Active: parent(e) != normal("ou=inactive,"+b.base), Title: get("title"),
			EmployeeNumber: get("employeeNumber"), EmployeeType: get("employeeType"), DepartmentCode: get("departmentNumber"), DepartmentName: get("ou"),
			Organization: get("o"), Mobile: get("mobile"), Email: get("mail"), WorkPlace: get("physicalDeliveryOfficeName"),
		})
	}
	return all, err
}

// add makes an entry of a stranger's; where the name is taken, elsewhere.
func (b *behind) add(rdn, external string, class ...string) (string, error) {
	conn, err := server.Client()
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	for _, parent := range []string{"ou=departments," + b.base, fmt.Sprintf("ou=stranger-%d,%s", b.strangers.Add(1), b.base)} {
		request := ldapv3.NewAddRequest(rdn+","+parent, nil)
		request.Attribute("objectClass", class)
		if class[0] == "inetOrgPerson" {
			request.Attribute("cn", []string{"x"})
			request.Attribute("sn", []string{"x"})
		}
		if external != "" {
			request.Attribute("businessCategory", []string{external})
		}
		err = conn.Add(request)
		if ldapv3.IsErrorWithCode(err, ldapv3.LDAPResultNoSuchObject) {
			container := ldapv3.NewAddRequest(parent, nil)
			container.Attribute("objectClass", []string{"organizationalUnit"})
			err = errors.Join(conn.Add(container), conn.Add(request))
		}
		if err != nil {
			continue
		}
		found, err := conn.Search(ldapv3.NewSearchRequest(request.DN, ldapv3.ScopeBaseObject, ldapv3.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"entryUUID"}, nil))
		if err != nil || len(found.Entries) != 1 {
			return "", errors.Join(err, errors.New("not to be seen"))
		}
		return found.Entries[0].GetAttributeValue("entryUUID"), nil
	}
	return "", err
}

func (b *behind) CreateDepartment(_ context.Context, name, external string) (string, error) {
	return b.add("ou="+ldapv3.EscapeDN(name), external, "organizationalUnit")
}

func (b *behind) CreateUser(_ context.Context, userName, external string) (string, error) {
	return b.add("uid="+ldapv3.EscapeDN(userName), external, "inetOrgPerson")
}

func (b *behind) Delete(_ context.Context, _ target.MemberKind, remoteID string) error {
	entries, err := b.all()
	if err != nil {
		return err
	}
	conn, err := server.Client()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for _, e := range entries {
		if e.GetAttributeValue("entryUUID") == remoteID {
			return conn.Del(ldapv3.NewDelRequest(e.DN, nil))
		}
	}
	return nil
}

func TestLaws(t *testing.T) {
	t.Parallel()
	b := &behind{base: newBed(t).base}
	targettest.Run(t, targettest.Bench{
		Server: b, URL: server.URL, Secret: slapd.Password, Bare: true,
		Connect: func(t testing.TB, url, secret string, patience time.Duration) target.Connector {
			c, err := ldap.New(ldap.Config{URL: url, CAFile: server.CAFile, BindDN: slapd.Admin, Password: secret, BaseDN: b.base, Timeout: patience})
			require.NoError(t, err)
			return c
		},
		Carried: func(u target.User) target.User {
			u.AccountName, u.Uncertain = "", false
			return u
		},
		Deviations: map[string]string{
			"found again/an account of that name without an owner is taken over": "it might be an administrator's; TestSomebodyElsesAccountIsNotTaken",
		},
	})
}

func TestLists(t *testing.T) {
	t.Parallel()
	targettest.Lists(t, func(t *testing.T) targettest.Bench {
		b := &behind{base: newBase(t).base}
		return targettest.Bench{
			Server: b, URL: server.URL, Secret: slapd.Password, Bare: true,
			Connect: func(t testing.TB, url, secret string, patience time.Duration) target.Connector {
				c, err := ldap.New(ldap.Config{URL: url, CAFile: server.CAFile, BindDN: slapd.Admin, Password: secret, BaseDN: b.base, Timeout: patience, ListPage: 3})
				require.NoError(t, err)
				return c
			},
		}
	})
}
