package keycloak

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
	targettest.MappingLaw(t, Config{}.Schema(), renderer, func(u target.User) any {
		body := make(map[string]any)
		render(body, u)
		return body
	}, func(d target.Department) any { return []any{d.Name, d.Code} })
}

func TestMappedAttributesTakeTheirPlaces(t *testing.T) {
	t.Parallel()
	body := map[string]any{"lastName": "old", "attributes": map[string]any{"theirs": []any{"x"}, "title": []any{"Engineer"}}}
	render(body, target.User{UserName: "zhang", DisplayName: "张三", Title: "Engineer", Role: "user", Mapped: []target.Mapped{
		{Name: "attributes.badges", Value: []any{"a", "b"}},
		{Name: "attributes.role", Value: nil},
		{Name: "attributes.title", Value: "Dr."},
		{Name: "email", Value: "zhang@example.com"},
		{Name: "firstName", Value: "三"},
		{Name: "lastName", Value: "张"},
	}})
	require.Equal(t, "三", body["firstName"])
	require.Equal(t, "张", body["lastName"])
	require.Equal(t, "zhang@example.com", body["email"])
	attributes, ok := body["attributes"].(map[string]any)
	require.True(t, ok)
	require.Equal(t, []any{"a", "b"}, attributes["badges"])
	require.Equal(t, []any{"Dr."}, attributes["title"])
	require.Equal(t, []any{"x"}, attributes["theirs"])
	require.NotContains(t, attributes, "role")
}

func TestAttributesThatCannotBeMappedAreNamedWithTheReason(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"enabled": "onRevoke and onDelete", "attributes." + externalID: "it keeps our name", "attributes.": "no such attribute", "id": "no such attribute",
		"FirstName": "it is spelt firstName", "attributes.a b": "no such attribute",
	} {
		_, err := mapping.Compile(Config{}.Schema(), mapping.Rules{User: map[string]string{name: `"x"`}})
		require.ErrorContains(t, err, want, name)
	}
	_, err := mapping.Compile(Config{}.Schema(), mapping.Rules{Department: map[string]string{"attributes.x": "department.name"}})
	require.ErrorContains(t, err, "there are name")
}
