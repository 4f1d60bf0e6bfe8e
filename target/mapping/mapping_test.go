package mapping_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/mapping"
)

// schema is a made-up connector's.
var schema = mapping.Schema{
	User: mapping.Object{
		Attributes: []mapping.Attribute{
			{Name: "userName", Part: mapping.SignIn, Default: "user.signInName"},
			{Name: "displayName", Default: `user.name != "" ? user.name : user.userName`},
			{Name: "mail", Kind: mapping.Texts, Default: "user.email"},
			{Name: "externalId", Fixed: "the connector finds accounts by it"},
		},
		Further: func(name string) (mapping.Kind, error) {
			if strings.HasPrefix(name, "x-") {
				return mapping.Any, nil
			}
			return 0, fmt.Errorf("no such attribute; further ones begin with x-")
		},
	},
	Department: mapping.Object{Attributes: []mapping.Attribute{{Name: "name", Part: mapping.Name, Default: "department.name"}}},
}

var scope = directory.Scope{Dataset: directory.Prod, InstanceID: "i-1", TenantID: "t-1"}

func mapUser(t require.TestingT, rules map[string]string, u *directory.User) (target.User, error) {
	m, err := mapping.Compile(schema, mapping.Rules{User: rules})
	require.NoError(t, err)
	into := target.User{UserName: u.UserName + "@acme", Active: u.Active()}
	tenant := &directory.Tenant{Code: "acme", Name: "ACME", DomainName: "acme.example.com"}
	department := &directory.Department{Code: u.OrgCode, Name: "研发部", ParentCode: "1000"}
	err = m.MapUser(&into, scope, u, tenant, department)
	return into, err
}

func zhang() *directory.User {
	return &directory.User{
		UserName: "zhang", Name: "张三", OrgCode: "1001", Role: "user", Enabled: true, Position: "Engineer", EmployeeType: 2,
		Email: "zhang@example.com", Mobile: "+86 138 1234 5678",
		Grants: map[string]directory.Grant{"b": {}, "a": {}, "gone": {Revoked: true}},
	}
}

func TestExpressionsSeeWhatThereIs(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]any{
		`user.userName + "@" + tenant.domainName`:        "zhang@acme.example.com",
		`user.signInName`:                                "zhang@acme",
		`department.name + " (" + department.code + ")"`: "研发部 (1001)",
		`origin.instanceId + "/" + origin.tenantId`:      "i-1/t-1",
		`user.role == "admin" ? "yes" : "no"`:            "no",
		`user.active`:                                    true,
		`user.applications`:                              []any{"a", "b"},
		`"a" in user.applications`:                       true,
		`[user.email, "", user.mobile]`:                  []any{"zhang@example.com", "+86 138 1234 5678"},
		`replace(user.mobile, " ", "")`:                  "+8613812345678",
		`upper(first(split(user.email, "@")))`:           "ZHANG",
		`len(user.applications)`:                         2,
		`user.employeeType`:                              "2",
		`user.workPlace`:                                 nil,
		`[""]`:                                           nil,
		`user.email matches "@example[.]com$" ? "inside" : "outside"`:     "inside",
		`user.workPlace != "" ? user.workPlace : "nowhere"`:               "nowhere",
		`join(user.applications, ", ")`:                                   "a, b",
		`tenant.name startsWith "AC" and not (user.role in ["x", "y"])`:   true,
		`trimSuffix(user.email, "@example.com") + "." + lower(user.role)`: "zhang.user",
	} {
		user, err := mapUser(t, map[string]string{"x-it": source}, zhang())
		require.NoError(t, err, source)
		require.Equal(t, []target.Mapped{{Name: "x-it", Value: want}}, user.Mapped, source)
	}
}

func TestNamesStandForTheObjectItself(t *testing.T) {
	t.Parallel()
	user, err := mapUser(t, map[string]string{"userName": `user.email`, "x-b": `1`, "displayName": `"n"`}, zhang())
	require.NoError(t, err)
	require.Equal(t, "zhang@example.com", user.UserName)
	require.Equal(t, []target.Mapped{{Name: "displayName", Value: "n"}, {Name: "x-b", Value: 1}}, user.Mapped, "by ascending name")

	m, err := mapping.Compile(schema, mapping.Rules{Department: map[string]string{"name": `origin.tenantId + "/" + department.name`}})
	require.NoError(t, err)
	department := target.Department{Name: "a"}
	require.NoError(t, m.MapDepartment(&department, scope, &directory.Department{Code: "1", Name: "研发部"}))
	require.Equal(t, target.Department{Name: "t-1/研发部", Mapped: []target.Mapped{}}, department)
}

// Everything that is wrong is told at once, each with its place.
func TestFaultsAreToldWithTheirPlace(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`user.nam`:                        `user.x-it: line 1, column 6: no member nam; there are userName, signInName, name, role,`,
		"user.name +\n tenant.cod":        `user.x-it: line 2, column 9: `,
		`usr.name`:                        `user.x-it: line 1, column 1: unknown name usr in usr.name`,
		`user.name + 1`:                   `user.x-it: line 1, column 11: invalid operation: + (mismatched types string and int)`,
		`user.name +`:                     `user.x-it: line 1, column 11: unexpected token EOF`,
		`user`:                            `user.x-it: it gives a whole account, and the attribute takes text, bool, number or list: user`,
		``:                                `user.x-it: an empty expression; to leave the attribute empty, write ""`,
		`let a = user.name; a + a`:        `user.x-it: let is not allowed in let a = user.name; a + a`,
		`map(user.applications, # + "x")`: `user.x-it: a predicate is not allowed in map(user.applications, # + "x")`,
		`1..1000000`:                      `user.x-it: a range is not allowed`,
		`now()`:                           `user.x-it: line 1, column 1: unknown name now`,
		strings.Repeat("1+", 300) + "1":   `user.x-it: `,
		strings.Repeat(" ", 3000) + "1":   `user.x-it: 3001 bytes: longer than 2000`,
		`user.name matches "["`:           `user.x-it: line 1, column 11: error parsing regexp`,
		`{"a": 1}`:                        `user.x-it: it gives map`,
	} {
		_, err := mapping.Compile(schema, mapping.Rules{User: map[string]string{"x-it": source}})
		require.ErrorContains(t, err, want, source)
		require.NotContains(t, err.Error(), "\n", source)
	}
	_, err := mapping.Compile(schema, mapping.Rules{
		User: map[string]string{
			"externalId": "user.userName", "username": "user.userName", "nick": "user.name", "displayName": "user.applications", "mail": "1",
		},
		Department: map[string]string{"name": "tenant.name", "x": "department.name"},
	})
	require.EqualError(t, err, strings.Join([]string{
		`user.displayName: it gives a list, and the attribute takes text: user.applications`,
		`user.externalId: cannot be mapped: the connector finds accounts by it`,
		`user.mail: it gives a number, and the attribute takes text or list of texts: 1`,
		`user.nick: no such attribute; further ones begin with x-; there are also userName, displayName, mail`,
		`user.username: no such attribute; it is spelt userName`,
		`department.name: line 1, column 1: unknown name tenant in tenant.name`,
		`department.x: no such attribute; there are name`,
	}, "\n"))
}

// What fails only with some account is that account's permanent failure, named
// by its attribute; nothing personal is in it.
func TestWhatFailsForOneAccountIsItsPermanentFailure(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`split(user.email, "!")[7]`:               `attribute x-it: line 1, column 23: index out of range`,
		`user.email == "" ? 1 : [[1]]`:            `attribute x-it: it has an entry of []`,
		`replace(user.email, user.workPlace, "")`: `attribute x-it: line 1, column 1: replace: nothing to replace`,
	} {
		_, err := mapUser(t, map[string]string{"x-it": source}, zhang())
		require.ErrorContains(t, err, want, source)
		require.Equal(t, target.Permanent, target.ClassOf(err))
		require.NotContains(t, err.Error(), "zhang@example.com")
	}
	long := strings.TrimSuffix(strings.Repeat("user.name + ", 40), " + ")
	u := zhang()
	u.Name = strings.Repeat("长", 255)
	_, err := mapUser(t, map[string]string{"displayName": long}, u)
	require.ErrorContains(t, err, "attribute displayName: 30600 bytes: longer than 4096")
	_, err = mapUser(t, map[string]string{"userName": "user.workPlace"}, zhang())
	require.ErrorContains(t, err, "attribute userName: it is empty, and a value is needed")
}

// A leaver is barred whatever the mapping makes of an account without data.
func TestALeaverIsBarredThoughARuleFails(t *testing.T) {
	t.Parallel()
	gone := &directory.User{UserName: "zhang", Meta: directory.Meta{Deleted: true}}
	user, err := mapUser(t, map[string]string{"userName": "user.email", "x-it": `split(user.email, "@")[1]`, "displayName": `user.userName`}, gone)
	require.NoError(t, err)
	require.Equal(t, "zhang@acme", user.UserName)
	require.Equal(t, []target.Mapped{{Name: "displayName", Value: "zhang"}}, user.Mapped)
}

func TestTheFingerprintIsOfTheRules(t *testing.T) {
	t.Parallel()
	of := func(rules mapping.Rules) string {
		m, err := mapping.Compile(schema, rules)
		require.NoError(t, err)
		return m.Fingerprint()
	}
	a := of(mapping.Rules{User: map[string]string{"x-a": "1", "x-b": "2"}})
	require.Equal(t, a, of(mapping.Rules{User: map[string]string{"x-b": "2", "x-a": "1"}}))
	require.NotEqual(t, a, of(mapping.Rules{User: map[string]string{"x-a": "1", "x-b": "3"}}))
	require.NotEqual(t, of(mapping.Rules{User: map[string]string{"displayName": "department.name"}}), of(mapping.Rules{}))
	require.True(t, mapping.Rules{}.Empty())
}

// words are what the fuzzing test makes expressions of.
var words = []string{
	"user", ".", "name", "email", "tenant", "code", "department", "origin", "(", ")", "[", "]", "0", "1", "-", "+", "*", "/", "%", "**",
	`"x"`, `"@"`, ",", "?", ":", "??", "?.", "==", "and", "or", "not", "in", "matches", "split", "join", "replace", "upper", "len", "first",
	"last", "int", "string", "applications", "let", "=", ";", "..", "#", "{", "}", "map", "filter", "repeat", "now", "$env", "|", "true", "nil",
}

// No expression brings a connector down: it is refused at the start, or it
// gives a value of the attribute's kind, or it is one account's failure.
func TestNoExpressionBringsItDown(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		source := strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 1, 14).Draw(r, "words"), " ")
		name := rapid.SampledFrom([]string{"userName", "displayName", "mail", "x-any"}).Draw(r, "attribute")
		check(r, name, source, zhang())
	})
}

func check(t require.TestingT, name, source string, u *directory.User) {
	m, err := mapping.Compile(schema, mapping.Rules{User: map[string]string{name: source}})
	if err != nil {
		require.NotContains(t, err.Error(), "\n")
		return
	}
	into := target.User{UserName: "zhang@acme", Active: true}
	if err := m.MapUser(&into, scope, u, nil, nil); err != nil {
		require.Equal(t, target.Permanent, target.ClassOf(err))
		return
	}
	require.NotEmpty(t, into.UserName)
	for _, mapped := range into.Mapped {
		switch v := mapped.Value.(type) {
		case nil:
		case string:
			require.NotEmpty(t, v)
		case []any:
			require.NotEqual(t, "displayName", name)
			require.NotEmpty(t, v)
		default:
			require.Equal(t, "x-any", name)
		}
	}
}

func FuzzExpression(f *testing.F) {
	f.Add("user.name", "张三")
	f.Add(`split(user.email, "@")[1]`, "a@b")
	f.Add(`replace(user.name, "a", user.name)`, "aaaa")
	f.Fuzz(func(t *testing.T, source, text string) {
		u := zhang()
		u.Name, u.Email = text, text
		check(t, "x-any", source, u)
		check(t, "displayName", source, u)
	})
}
