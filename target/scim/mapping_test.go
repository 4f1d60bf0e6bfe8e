package scim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/mapping"
	"github.com/openkoo/connector/target/targettest"
)

// renderer renders as the fan-out does, with a mapping or without.
func renderer(m *mapping.Mapper) targettest.Renderer {
	t := &fanout.Target{UserNames: fanout.Qualified}
	if m != nil {
		t.Mapping = m
	}
	return t
}

func TestTheDefaultsOfTheMappingAreWhatIsSentWithoutOne(t *testing.T) {
	t.Parallel()
	c, err := New(Config{URL: "http://127.0.0.1:1"})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	targettest.MappingLaw(t, Config{}.Schema(), renderer, func(u target.User) any { return c.user(u) }, func(d target.Department) any { return c.department(d) })
}

func TestMappedAttributesTakeTheirPlaces(t *testing.T) {
	t.Parallel()
	const costs = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter"
	const badge = "urn:example:params:acme:2.0:User:badge"
	body := userAttributes(target.User{UserName: "zhang", DisplayName: "张三", Email: "old@example.com", Active: true}).overlay([]target.Mapped{
		{Name: "displayName", Value: "张三 (研发部)"},
		{Name: "emails", Value: []any{"a@example.com", "b@example.com"}},
		{Name: "nickName", Value: "zs"},
		{Name: "title", Value: nil},
		{Name: badge, Value: 7},
		{Name: costs, Value: "cc-1"},
	}).resource(userSchema)
	require.Equal(t, "张三 (研发部)", body["displayName"])
	require.Equal(t, []any{
		map[string]any{"value": "a@example.com", "type": "work", "primary": true}, map[string]any{"value": "b@example.com", "type": "work"},
	}, body["emails"])
	require.Equal(t, "zs", body["nickName"])
	require.NotContains(t, body, "title")
	require.EqualValues(t, map[string]any{"badge": 7}, body["urn:example:params:acme:2.0:User"])
	require.EqualValues(t, map[string]any{"costCenter": "cc-1"}, body[enterpriseSchema])
	require.ElementsMatch(t, []any{userSchema, enterpriseSchema, "urn:example:params:acme:2.0:User"}, body["schemas"])
}

func TestAttributesThatCannotBeMappedAreNamedWithTheReason(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"externalId": "it keeps our name for the account", "active": "onRevoke and onDelete", "nickname": "no such attribute; one of an extension is urn:",
		"displayname": "it is spelt displayName", "urn:ietf:params:scim:schemas:core:2.0:User:title": "no such attribute",
		"urn:x": "no such attribute", "name": "no such attribute", "emails[type eq \"work\"].value": "no such attribute", "": "no such attribute",
	} {
		_, err := mapping.Compile(Config{}.Schema(), mapping.Rules{User: map[string]string{name: "user.name"}})
		require.ErrorContains(t, err, want, name)
	}
	_, err := mapping.Compile(Config{}.Schema(), mapping.Rules{Department: map[string]string{"members": "department.name", "title": "department.name"}})
	require.ErrorContains(t, err, "department.members: cannot be mapped: the directory says who is in a department")
	require.ErrorContains(t, err, "department.title: no such attribute")
}
