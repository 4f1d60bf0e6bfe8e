package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const mappedTargets = `
targets:
  - name: corp
    type: scim
    url: http://127.0.0.1:1
    userNames: plain
    mapping:
      user: {displayName: 'user.name + " " + department.name', nickName: 'split(user.email, "@")[1]'}
  - {name: tree, type: ldap, url: "ldaps://127.0.0.1:1", ldap: {baseDN: "dc=x"}, mapping: {department: {description: 'department.code'}}, auth: {type: basic, userName: "cn=x", password: y}}
  - {name: app, type: webhook, url: "https://127.0.0.1:1", allowPrivate: true, auth: {type: signature, secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8G]}}
`

// A mapping is looked at without a target and without a running connector.
func TestMappingsAreShownOnASample(t *testing.T) {
	t.Parallel()
	config := write(t, "orgsync.yaml", mappedTargets)
	r := run(t, nil, "mapping", "check", "--config", config)
	require.NoError(t, r.err)
	require.Regexp(t, `(?m)^corp \(scim\)\n  user zhang\n    userName +"zhang"$`, r.out)
	require.Regexp(t, `(?m)^  \* displayName +"张三 研发部"$`, r.out)
	require.Regexp(t, `(?m)^  \* nickName +"example.com"$`, r.out)
	require.Regexp(t, `(?m)^    uid +"zhang@acme"$`, r.out)
	require.Regexp(t, `(?m)^  \* description +"1001"$`, r.out)
	require.Contains(t, r.out, "app (webhook)\n  sent as whole snapshots; nothing is mapped\n")

	users := write(t, "users.csv", "userName,name,orgCode,role,enable,email\nli,李四,2000,user,true,li@b.example.com\nwu,吴,9,user,true,\n")
	departments := write(t, "departments.csv", "orgCode,orgName,parentCode\n2000,财务部,\n")
	tenant := write(t, "tenant.json", `{"tenantCode": "b", "name": "B", "domainName": "b.example.com"}`)
	r = run(t, nil, "mapping", "check", "--config", config, "--target", "corp", "--users", users, "--departments", departments, "--tenant", tenant)
	require.ErrorContains(t, r.err, "corp: user wu: map user: permanent: attribute nickName: line 1, column")
	require.Regexp(t, `(?m)^  \* displayName +"李四 财务部"$`, r.out)
	require.NotContains(t, r.out, "uid")
}

// Where a server wants both names, what becomes of a name is to be seen.
func TestMappingCheck_ShowsThePartsOfAName(t *testing.T) {
	t.Parallel()
	config := write(t, "orgsync.yaml", `
targets:
  - {name: entra, type: scim, url: "https://127.0.0.1:1", scim: {profile: entra}, auth: {type: bearer, token: t}}
  - {name: plain, type: scim, url: "https://127.0.0.1:2", auth: {type: bearer, token: t}}
`)
	users := write(t, "users.csv", "userName,name,orgCode,role,enable\nli,张 三,1,user,true\n")
	r := run(t, nil, "mapping", "check", "--config", config, "--users", users, "--target", "entra")
	require.NoError(t, r.err)
	require.Regexp(t, `(?m)^    name.familyName +"张"$`, r.out)
	require.Regexp(t, `(?m)^    name.givenName +"三"$`, r.out)
	require.NotContains(t, run(t, nil, "mapping", "check", "--config", config, "--target", "plain").out, "familyName")
}

func TestFaultyMappingsAreNamedWithTheirPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, yaml string
		args, want []string
	}{
		{
			"faults", "targets: [{name: a, type: scim, url: 'http://127.0.0.1:1', mapping: {user: {title: user.nam, active: 'true'}, department: {title: '1'}}}]",
			[]string{"check"},
			[]string{
				`target "a": targets[0].mapping.user.title: line 1, column 6: no member nam; there are userName, `,
				`target "a": targets[0].mapping.user.active: cannot be mapped: onRevoke and onDelete decide who may sign in`,
				`target "a": targets[0].mapping.department.title: no such attribute`,
			},
		},
		{"not for webhook", "targets: [{name: a, type: webhook, url: 'https://x.example.com', mapping: {user: {name: user.name}}, auth: {type: signature, secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8G]}}]", []string{"check"}, []string{"targets[0].mapping: not for webhook"}},
		{"no targets", "", []string{"check"}, []string{"no target is configured"}},
		{"unknown target", mappedTargets, []string{"check", "--target", "x"}, []string{`--target "x": no target of that name`}},
		{"no such file", mappedTargets, []string{"check", "--users", "/nowhere.csv"}, []string{"read /nowhere.csv"}},
		{"wrong type", "", []string{"defaults", "webhook"}, []string{"want scim, ldap or keycloak"}},
		{"no type", "", []string{"defaults"}, []string{"want one TYPE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"mapping"}, c.args...)
			r := run(t, nil, append(args, "--config", write(t, "orgsync.yaml", c.yaml))...)
			for _, want := range c.want {
				require.ErrorContains(t, r.err, want)
			}
		})
	}
}
