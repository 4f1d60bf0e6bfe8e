package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTargetsOfEveryTypeAreRead(t *testing.T) {
	t.Parallel()
	secrets := write(t, "secrets", "whsec_new\nwhsec_old\n")
	c, err := Load(write(t, "c.yaml", `
targets:
  - {name: s, type: scim, url: https://x, allowPrivate: false, auth: {type: bearer, token: scim-token}}
  - {name: w, type: webhook, url: https://x, allowPrivate: true, auth: {type: signature, secretsFile: `+secrets+`}}
  - {name: l, type: ldap, url: ldaps://x, auth: {type: basic, userName: "cn=a,dc=b", password: bind}, plaintext: true, ldap: {baseDN: "dc=b"}}
  - {name: k, type: keycloak, url: https://x, realm: r, auth: {type: basic, userName: client, password: secret}}
`), nil, nil)
	require.NoError(t, err)
	require.False(t, *c.Targets[0].AllowPrivate)
	require.True(t, *c.Targets[1].AllowPrivate)
	require.Nil(t, c.Targets[2].AllowPrivate, "no word is not a no")
	require.Equal(t, []string{"whsec_new", "whsec_old"}, c.Targets[1].Auth.SigningSecrets())
	require.Equal(t, LDAP{BaseDN: "dc=b"}, c.Targets[2].LDAP)
	require.True(t, c.Targets[2].Plaintext)
	require.Equal(t, "r", c.Targets[3].Realm)
}

// A setting that the type does not use was written by somebody who believes it
// is used.
func TestSettingsThatATargetWouldNotUseAreRefused(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		"type: scim, auth: {type: signature, secrets: [whsec_x]}":                                "targets[0].auth.type: signature is for webhook",
		"type: scim, auth: {secrets: [whsec_x]}":                                                 "want signature",
		"type: scim, realm: r":                                                                   "targets[0].realm: for keycloak only",
		"type: scim, ldap: {baseDN: dc=b}":                                                       "targets[0].ldap: for ldap only",
		"type: scim, allowPrivate: perhaps":                                                      "targets[0].allowPrivate: want true or false",
		"type: webhook":                                                                          `targets[0].auth.type: "": webhook wants signature`,
		"type: webhook, auth: {type: signature}":                                                 "targets[0].auth.secrets: missing",
		"type: webhook, auth: {type: signature, secrets: [whsec_x], token: t}":                   "and a token, user name or password is given",
		"type: webhook, auth: {type: signature, secretsFile: /nowhere}":                          "targets[0].auth.secretsFile",
		"type: webhook, auth: {type: signature, secrets: [whsec_secret], secretsFile: /nowhere}": "given themselves and as a file",
		"type: webhook, parents: nested, auth: {type: signature, secrets: [whsec_x]}":            "targets[0].parents: for scim only",
		"type: ldap, auth: {type: bearer, token: t}":                                             "ldap wants basic",
		"type: ldap, scim: {profile: aws}":                                                       "targets[0].scim: for scim only",
		"type: ldap, membersPerChange: 5":                                                        "targets[0].membersPerChange: for scim only",
		"type: scim, deleteAfter: -1h":                                                           "targets[0].deleteAfter: less than 0",
		"type: scim, removals: {maxPerHour: -1}":                                                 "targets[0].removals.maxPerHour: less than 0",
		"type: scim, removals: {maxPercent: 101}":                                                "targets[0].removals.maxPercent: want 0 to 100",
		"type: scim, rate: {perSecond: -1}":                                                      "targets[0].rate.perSecond: want 0 to 100000",
		"type: scim, rate: {perSecond: fast}":                                                    "targets[0].rate.perSecond: want a number",
		"type: scim, rate: {perSecond: .nan}":                                                    "targets[0].rate.perSecond: want 0 to 100000",
		"type: scim, rate: {perSecond: .inf}":                                                    "targets[0].rate.perSecond: want 0 to 100000",
		"type: scim, rate: {burst: -1}":                                                          "targets[0].rate.burst: want 0 to 100000",
		"type: scim, rate: {least: -1}":                                                          "targets[0].rate.least: want 0 to 100000",
		"type: scim, rate: {perSecond: 2, least: 3}":                                             "targets[0].rate.least: more than perSecond",
		"type: scim, backoff: {base: -1s}":                                                       "targets[0].backoff.base: less than 0",
		"type: scim, backoff: {base: 2s, max: 1s}":                                               "targets[0].backoff.max: less than backoff.base",
		"type: keycloak":                                                                         "keycloak wants basic",
		"type: keycloak, auth: {type: basic, userName: c, password: p}, ldap: {baseDN: dc=b}":    "targets[0].ldap: for ldap only",
	} {
		_, err := Load(write(t, "c.yaml", "targets: [{name: a, url: https://x, "+settings+"}]"), nil, nil)
		require.ErrorContains(t, err, want, settings)
		require.NotContains(t, err.Error(), "whsec_secret")
	}
}
