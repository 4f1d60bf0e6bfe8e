package keycloak_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/keycloak/keycloakfake"
)

// list is what a list has, by remote id, and how many requests it took.
func (b *bed) list() (all map[string]target.Found, requests int, err error) {
	all = make(map[string]target.Found)
	for found, err := range b.List(b.t.Context(), func(ctx context.Context, _ string, request func(context.Context) error) error {
		requests++
		return request(ctx)
	}) {
		if err != nil {
			return all, requests, err
		}
		all[found.RemoteID] = found
	}
	return all, requests, nil
}

func TestAListGoesThroughTreeAndPages(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	a := b.putDepartment(department("a", "a", ""))
	below := b.putDepartment(department("b", "b", a))
	bottom := b.putDepartment(department("c", "c", below))
	var members []target.Member
	for i := range 501 {
		members = append(members, target.Member{RemoteID: b.putUser(user(fmt.Sprintf("u%03d", i)))})
	}
	for _, m := range members {
		require.NoError(t, b.ChangeMembers(t.Context(), target.Object{RemoteID: bottom}, target.MemberChange{Add: []target.Member{m}}))
	}
	all, requests, err := b.list()
	require.NoError(t, err)
	require.Len(t, all, 504)
	require.Len(t, all[bottom].Members, 501)
	require.Equal(t, 2+3+4, requests, "two pages of users, three of groups, of members one each and one more")
	require.Empty(t, b.CompareDepartment(all[bottom], with(department("c", "c", below), bottom)).Differ)
	require.Equal(t, []string{"parent"}, b.CompareDepartment(all[bottom], with(department("c", "c", a), bottom)).Differ)
	require.Equal(t, []string{"name"}, b.CompareDepartment(all[a], with(department("a", "another", ""), a)).Differ)
}

func TestANameOfOursThatIsTooLongIsKnownAsOurs(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	id := b.putUser(user(strings.Repeat("员", 60)))
	all, _, err := b.list()
	require.NoError(t, err)
	require.True(t, all[id].Illegible)
	require.Empty(t, all[id].ExternalID)
}

func TestWhatIsMappedIsCompared(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	ann := user("ann")
	ann.Title = "Engineer"
	ann.Mapped = []target.Mapped{{Name: "attributes.badges", Value: []any{"a", "b"}}, {Name: "attributes.title", Value: "Dr."}, {Name: "firstName", Value: "Ann"}}
	id := b.putUser(ann)
	all, _, err := b.list()
	require.NoError(t, err)
	require.Empty(t, b.CompareUser(all[id], ann).Differ)
	ann.Mapped = []target.Mapped{{Name: "attributes.badges", Value: []any{"a"}}, {Name: "attributes.title", Value: nil}, {Name: "firstName", Value: "A."}}
	require.ElementsMatch(t, []string{"badges", "firstName", "title"}, b.CompareUser(all[id], ann).Differ)
}
