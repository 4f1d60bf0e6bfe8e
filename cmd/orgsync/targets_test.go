package main

import (
	"encoding/base64"
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
