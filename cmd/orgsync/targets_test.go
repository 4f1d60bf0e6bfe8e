package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/fanout"
)

func TestEveryTypeOfTargetIsBuilt(t *testing.T) {
	t.Parallel()
	secret := config.Secret("whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32))))
	configured := []config.Target{
		{
			Name: "s", Type: "scim", URL: "https://idp.example.com/scim", Concurrency: 3,
			Backoff: config.Backoff{Base: time.Minute, Max: time.Hour}, Rate: config.Rate{PerSecond: 5, Burst: 2, Least: 0.5},
		},
		{Name: "w", Type: "webhook", URL: "https://app.example.com/hook/secret-path", Auth: config.Auth{Type: "signature", Secrets: []config.Secret{secret}}},
		{Name: "l", Type: "ldap", URL: "ldaps://ldap.example.com", LDAP: config.LDAP{BaseDN: "dc=example,dc=com"}},
		{Name: "k", Type: "keycloak", URL: "https://sso.example.com", Realm: "r", Auth: config.Auth{Type: "basic", UserName: "c", Password: "p"}},
	}
	require.Len(t, configured, len(connectorTypes), "a type is missing here")
	require.NoError(t, checkTargets(configured))
	targets, err := buildTargets(configured)
	require.NoError(t, err)
	for i, target := range targets {
		require.Equal(t, configured[i].Name, target.Name)
		require.NotNil(t, target.Connector)
		require.NoError(t, target.Connector.Close())
	}
	require.Equal(t, 3, targets[0].Concurrency)
	require.Equal(t, fanout.Backoff{Base: time.Minute, Max: time.Hour}, targets[0].Backoff)
	require.Equal(t, coordination.Rate{PerSecond: 5, Burst: 2, Least: 0.5}, targets[0].Rate)
	require.Equal(t, "https://app.example.com", whereabouts(&configured[1]))
	require.Equal(t, "https://idp.example.com/scim", whereabouts(&configured[0]))
}

// A setting that is read and not passed on would be believed all the same.
func TestEverySettingOfTheProtocolReachesTheConnector(t *testing.T) {
	t.Parallel()
	read := config.Target{}
	members := reflect.ValueOf(&read.SCIM).Elem()
	for i := range members.NumField() {
		members.Field(i).SetString(members.Type().Field(i).Name)
	}
	passed := reflect.ValueOf(scimConfig(&read).Protocol)
	require.Equal(t, members.NumField(), passed.NumField())
	seen := make(map[string]bool)
	for _, value := range passed.Fields() {
		seen[value.String()] = true
	}
	for i := range members.NumField() {
		require.True(t, seen[members.Type().Field(i).Name], members.Type().Field(i).Name)
	}
}

func TestFaultsOfTargetsAreNamedAsInYAML(t *testing.T) {
	t.Parallel()
	err := checkTargets([]config.Target{
		{Type: "scim", URL: "nonsense"},
		{Type: "webhook", URL: "http://app.example.com/secret-path", Auth: config.Auth{Secrets: []config.Secret{"whsec_short"}}},
		{Type: "ldap", URL: "ldap://x", LDAP: config.LDAP{BaseDN: "nonsense", InactiveAttribute: "a"}},
		{Type: "keycloak", URL: "https://x"},
		{Type: "soap"},
	})
	for _, want := range []string{
		"targets[0].url: ", "targets[1].url: http://", "targets[1].auth.secrets[0]: ", "targets[2].ldap.baseDN: ", "targets[2].ldap.inactiveValue: ", "targets[3].realm: ", "targets[3].auth: ",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "secret-path")
	require.NotContains(t, err.Error(), "whsec_short")
}

func TestEveryFaultOfEveryTargetIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "faulty.yaml")
	require.NoError(t, os.WriteFile(path, []byte(`
targets:
  - {name: corp-scim, type: scim, url: "http://idp.example.com", timeout: -1s, caFile: none.pem, tenants: [""], onDelete: burn, parents: sideways, auth: {type: bearer}}
  - {name: corp-hook, type: webhook, url: "http://10.1.2.3/secret-path", auth: {type: signature, secrets: [whsec_short]}}
  - {name: corp-ldap, type: ldap, url: "https://x", auth: {type: basic, userName: cn=a, passwordFile: /nowhere}, realm: r, ldap: {baseDN: nonsense, inactiveAttribute: a}}
  - {name: corp-kc, type: keycloak, url: "http://sso.example.com", auth: {type: basic, userName: c, password: the-client-secret}}
  - {name: corp-meta, type: scim, url: "https://169.254.169.254/scim", membersPerChange: -1, scim: {profile: ours, lookup: luck}}
  - {type: soap}
`), 0o600))
	_, err := (&settings{config: path}).load()
	for _, want := range []string{
		`target "corp-scim": targets[0].url: http:// would show credentials`, `target "corp-scim": targets[0].timeout: `,
		`target "corp-scim": targets[0].caFile: `, `target "corp-scim": targets[0].tenants: `, `target "corp-scim": targets[0].onDelete: "burn"`,
		`target "corp-scim": targets[0].parents: `, `target "corp-scim": targets[0].auth.token: missing`,
		`target "corp-hook": targets[1].url: http:// would show`, `target "corp-hook": targets[1].url: address is not allowed: 10.1.2.3`, `target "corp-hook": targets[1].auth.secrets[0]: `,
		`target "corp-ldap": targets[2].url: `, `target "corp-ldap": targets[2].auth.passwordFile: `, `target "corp-ldap": targets[2].realm: for keycloak only`,
		`target "corp-ldap": targets[2].ldap.baseDN: `, `target "corp-ldap": targets[2].ldap.inactiveValue: `,
		`target "corp-kc": targets[3].url: http:// would show`, `target "corp-kc": targets[3].realm: `,
		`target "corp-meta": targets[4].url: address is not allowed: 169.254.169.254`, `target "corp-meta": targets[4].membersPerChange: `,
		`target "corp-meta": targets[4].scim.profile: "ours": want aws, entra, generic, okta`, `target "corp-meta": targets[4].scim.lookup: "luck": want externalId, name`,
		`targets[5].name: `, `targets[5].type: "soap"`,
	} {
		require.ErrorContains(t, err, want)
	}
	for _, secret := range []string{"secret-path", "whsec_short", "the-client-secret"} {
		require.NotContains(t, err.Error(), secret)
	}
	last := -1
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if _, rest, ok := strings.Cut(line, "targets["); ok {
			at := int(rest[0] - '0')
			require.GreaterOrEqual(t, at, last, "the lines of one target stand together")
			last = at
		}
	}
}

func TestCredentialsStayOffTheWireOfOthersUnlessTold(t *testing.T) {
	t.Parallel()
	secret := config.Secret("whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32))))
	for _, configured := range []config.Target{
		{Type: "scim", Auth: config.Auth{Type: "bearer", Token: "t"}},
		{Type: "webhook", Auth: config.Auth{Type: "signature", Secrets: []config.Secret{secret}}},
		{Type: "keycloak", Realm: "r", Auth: config.Auth{Type: "basic", UserName: "c", Password: "p"}},
	} {
		for url, plaintext := range map[string]bool{"http://app.example.com": false, "http://localhost:1": true} {
			configured.URL, configured.Plaintext = url, false
			require.Equal(t, plaintext, checkTargets([]config.Target{configured}) == nil, "%s %s", configured.Type, url)
			configured.Plaintext = true
			require.NoError(t, checkTargets([]config.Target{configured}), "%s %s", configured.Type, url)
		}
	}
	require.False(t, ldapConfig(&config.Target{}).Plaintext, "ldap:// wants StartTLS")
	require.True(t, ldapConfig(&config.Target{Plaintext: true}).Plaintext)
}

func TestOnlyWebhooksAreKeptFromPrivateAddressesUnlessTold(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	require.False(t, webhookConfig(&config.Target{}).AllowPrivate)
	require.True(t, webhookConfig(&config.Target{AllowPrivate: &yes}).AllowPrivate)
	require.False(t, scimConfig(&config.Target{}).DenyPrivate)
	require.False(t, ldapConfig(&config.Target{}).DenyPrivate)
	require.False(t, keycloakConfig(&config.Target{}).DenyPrivate)
	for _, deny := range []bool{
		scimConfig(&config.Target{AllowPrivate: &no}).DenyPrivate, ldapConfig(&config.Target{AllowPrivate: &no}).DenyPrivate, keycloakConfig(&config.Target{AllowPrivate: &no}).DenyPrivate,
	} {
		require.True(t, deny)
	}
}

// Of a target's address the way there, and a slash at its end, are no part.
func TestThePlaceOfATargetIsWhereItsIdsAreTrue(t *testing.T) {
	t.Parallel()
	place := func(kind, url string) string { return placeOf(&config.Target{Type: kind, URL: url}) }
	one := place("scim", "https://idp.example.com/scim/v2")
	require.Equal(t, one, place("scim", "http://IDP.example.com/scim/v2/"))
	require.NotEqual(t, one, place("scim", "https://idp.example.com/scim/other"))
	require.NotEqual(t, one, place("scim", "https://new.example.com/scim/v2"))
	require.Empty(t, place("webhook", "https://idp.example.com/v2"))
	require.Empty(t, place("ldap", "ldaps://ldap.example.com"))
}

// Tenants in another order, or twice, are the same selection.
func TestTheSelectionNamesWhatIsChosen(t *testing.T) {
	t.Parallel()
	name := func(test bool, tenants ...string) string {
		return selectionOf(&config.Target{TestData: test, Tenants: tenants})
	}
	require.Empty(t, name(false))
	require.Empty(t, name(false, "a", "*"))
	require.Equal(t, name(true), name(true, "*"))
	require.NotEmpty(t, name(true))
	require.Equal(t, name(false, "b", "a"), name(false, "a", "b", "a"))
	require.NotEqual(t, name(false, "a", "b"), name(false, "a b"))
	require.NotEqual(t, name(false, "a"), name(true, "a"))
}
