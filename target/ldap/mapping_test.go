package ldap

import (
	"testing"

	ldapv3 "github.com/go-ldap/ldap/v3"
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
	targettest.MappingLaw(t, Config{}.Schema(), renderer, func(u target.User) any { return []any{u.UserName, userAttributes(u)} }, func(d target.Department) any { return []any{d.Name, overlay(nil, d.Mapped)} })
}

func TestMappedAttributesReplaceOrJoin(t *testing.T) {
	t.Parallel()
	got := overlay([]ldapv3.Attribute{{Type: "cn", Vals: []string{"a"}}, {Type: "mail", Vals: []string{"old"}}, {Type: "o", Vals: []string{"ACME"}}}, []target.Mapped{
		{Name: "description", Value: "d"}, {Name: "mail", Value: []any{"a", "b"}}, {Name: "o", Value: nil},
	})
	require.Equal(t, []ldapv3.Attribute{
		{Type: "cn", Vals: []string{"a"}}, {Type: "mail", Vals: []string{"a", "b"}}, {Type: "o"}, {Type: "description", Vals: []string{"d"}},
	}, got)
}

func TestAttributesThatCannotBeMappedAreNamedWithTheReason(t *testing.T) {
	t.Parallel()
	config := Config{InactiveAttribute: "nsAccountLock"}
	for name, want := range map[string]string{
		"businessCategory": "it keeps our name for the entry", "entryUUID": "the server names the entry by it", "objectClass": "it makes the entry what it is",
		"nsAccountLock": "it bars accounts", "userPassword": "sets no passwords", "memberof": "the server keeps it", "cn;lang-zh": "no attribute of LDAP",
		"CN": "it is spelt cn", "": "no attribute of LDAP",
	} {
		for _, rules := range []mapping.Rules{{User: map[string]string{name: `"x"`}}, {Department: map[string]string{name: `"x"`}}} {
			_, err := mapping.Compile(config.Schema(), rules)
			if name == "CN" && len(rules.Department) > 0 {
				require.NoError(t, err, "a department has no cn of ours")
				continue
			}
			require.ErrorContains(t, err, want, name)
		}
	}
}
