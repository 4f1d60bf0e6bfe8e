package ldap_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	ldapv3 "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/ldap"
)

// list is what a list has, by remote id, and how many requests it took.
func (b *bed) list() (all map[string]target.Found, requests int, last error) {
	all = make(map[string]target.Found)
	for found, err := range b.List(b.t.Context(), func(ctx context.Context, _ string, request func(context.Context) error) error {
		requests++
		return request(ctx)
	}) {
		if err != nil {
			return all, requests, err
		}
		require.NotContains(b.t, all, found.RemoteID)
		all[found.RemoteID] = found
	}
	return all, requests, nil
}

func TestAListIsReadInPages(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const users = 1100
	for i := range users {
		b.addPerson(fmt.Sprintf("uid=theirs%d,ou=departments,%s", i, b.base), nil)
	}
	all, requests, err := b.list()
	require.NoError(t, err)
	require.Len(t, all, users)
	require.Equal(t, 1+3, requests, "a page of departments, three of accounts")
}

func TestAListIsOfWhereWeWriteTo(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.addUnit("ou=theirs,"+b.base, nil)
	b.addPerson("uid=theirs,ou=theirs,"+b.base, nil)
	b.addPerson("uid=hers,ou=departments,"+b.base, nil)
	b.addUnit("ou=his,ou=departments,"+b.base, nil)
	id := b.putDepartment(department("a", "a", ""))
	require.NoError(t, b.admin.ModifyDN(ldapv3.NewModifyDNRequest("ou=a,ou=departments,"+b.base, "ou=a", true, "ou=theirs,"+b.base)))
	all, _, err := b.list()
	require.NoError(t, err)
	require.Len(t, all, 3, "strangers' where we write to, and ours wherever it was taken")
	require.Contains(t, all, id)
	require.Equal(t, []string{"parent"}, b.CompareDepartment(all[id], department("a", "a", "")).Differ)
}

func TestAnAccountThatMayNotSignInIsInNoDepartmentForNow(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	group := b.putDepartment(department("a", "a", ""))
	ann := user("ann", "")
	ann.Active = false
	id := b.putUser(ann)
	require.NoError(t, b.ChangeMembers(t.Context(), target.Object{RemoteID: group}, target.MemberChange{Add: []target.Member{{RemoteID: id}}}))
	all, _, err := b.list()
	require.NoError(t, err)
	require.True(t, all[id].Unplaced)
	require.Empty(t, all[id].Groups)
	require.Empty(t, b.CompareUser(all[id], ann).Differ)
	ann.Active = true
	require.Equal(t, []string{"active"}, b.CompareUser(all[id], ann).Differ)
}

func TestAnAttributeBarsAnAccountInAListToo(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *ldap.Config) { c.InactiveAttribute, c.InactiveValue = "description", "barred" })
	ann := user("ann", "")
	ann.Active = false
	id := b.putUser(ann)
	all, _, err := b.list()
	require.NoError(t, err)
	require.False(t, all[id].Unplaced)
	require.Empty(t, b.CompareUser(all[id], ann).Differ)
	ann.Active = true
	require.Equal(t, []string{"description"}, b.CompareUser(all[id], ann).Differ)
}

func TestAListWhoseConnectionGoesIsNotGoneOnWith(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for i := range 600 {
		b.addPerson(fmt.Sprintf("uid=theirs%d,ou=departments,%s", i, b.base), nil)
	}
	requests, seen := 0, 0
	var last error
	for _, err := range b.List(t.Context(), func(ctx context.Context, _ string, request func(context.Context) error) error {
		if requests++; requests == 3 { // the second page of accounts
			ended, cancel := context.WithCancel(ctx)
			cancel()
			first := request(ended)
			require.Error(t, first)
			return first
		}
		return request(ctx)
	}) {
		if last = err; err == nil {
			seen++
		}
	}
	require.Equal(t, 500, seen)
	e, ok := errors.AsType[*target.Error](last)
	require.True(t, ok)
	require.Equal(t, target.Permanent, e.Class, "not to be tried again: the cookie went with the connection")
	require.ErrorContains(t, last, "broke off")
}

func TestWhatIsMappedIsCompared(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	d, ann := department("a", "a", ""), user("ann", "")
	d.Mapped = []target.Mapped{{Name: "description", Value: []any{"one", "two"}}}
	ann.Mapped = []target.Mapped{{Name: "description", Value: "x"}, {Name: "mail", Value: []any{"a@example.com", "b@example.com"}}}
	group, id := b.putDepartment(d), b.putUser(ann)
	all, _, err := b.list()
	require.NoError(t, err)
	require.Empty(t, b.CompareDepartment(all[group], d).Differ)
	require.Empty(t, b.CompareUser(all[id], ann).Differ)
	d.Mapped = []target.Mapped{{Name: "description", Value: []any{"two"}}, {Name: "l", Value: "深圳"}}
	ann.Mapped = []target.Mapped{{Name: "description", Value: nil}, {Name: "mail", Value: []any{"b@example.com"}}}
	require.Equal(t, []string{"description", "l"}, b.CompareDepartment(all[group], d).Differ)
	require.ElementsMatch(t, []string{"description", "mail"}, b.CompareUser(all[id], ann).Differ)
}
