package doctor_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/doctor"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
	"github.com/openkoo/connector/target/ldap"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/webhook"
	"github.com/openkoo/connector/test/peers/scimmy"
	"github.com/openkoo/connector/test/peers/slapd"
)

func checked(t *testing.T, kind string, connector target.Connector, err error, route egress.Route) doctor.Check {
	t.Helper()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connector.Close()) })
	checker, ok := connector.(target.Checker)
	require.True(t, ok)
	return doctor.CheckTarget(doctor.Target{Name: "corp", Type: kind, Setting: "targets[0]", Checker: checker, Route: route})
}

func scimTarget(t *testing.T, url, token, caFile string) doctor.Check {
	t.Helper()
	connector, err := scim.New(scim.Config{URL: url, BearerToken: token, CAFile: caFile, ShortRetries: -1})
	return checked(t, "scim", connector, err, egress.Route{URL: url, CAFile: caFile, AllowPrivate: true})
}

func TestASCIMTargetIsAsked(t *testing.T) {
	t.Parallel()
	server := scimmy.Start(t)
	finds(t, scimTarget(t, server.URL, server.Token, ""), want{doctor.OK, "answers and lets us in"})
	findings := finds(t, scimTarget(t, server.URL, "a-wrong-token", ""), want{doctor.Problem, "status 401"})
	require.Contains(t, findings[0].Next, "Correct targets[0].auth")
	keepsSecret(t, findings, "a-wrong-token")
	findings = finds(t, scimTarget(t, "http://"+nowhere, "t", ""), want{doctor.Problem, "cannot be reached"})
	require.Contains(t, findings[0].Next, "Start the target, or correct targets[0].url")
	findings = finds(t, scimTarget(t, "https://no-such-host.invalid/scim", "t", ""), want{doctor.Problem, "does not resolve"})
	require.Contains(t, findings[0].Next, "targets[0].url, or the name server")
	finds(t, scimTarget(t, server.URL+"/elsewhere", server.Token, ""), want{doctor.Problem, "check the target's url"})
}

// provider is a SCIM server as far as a check asks it.
var provider = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/scim+json")
	if r.URL.Path == "/slow/ServiceProviderConfig" {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	_, _ = w.Write([]byte(`{"patch":{"supported":true}}`))
})

func TestATargetsCertificateIsLookedAt(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	well := authority.server(t, provider, inAYear(), "localhost")
	finds(t, scimTarget(t, well.URL, "t", authority.file), want{doctor.OK, "lets us in"})
	finds(t, scimTarget(t, well.URL+"/slow", "t", authority.file), want{doctor.Warning, "rate-limited"})
	finds(t, scimTarget(t, well.URL, "t", ""), want{doctor.Problem, "its certificate does not verify"})
	ending := authority.server(t, provider, time.Now().Add(5*24*time.Hour+time.Hour), "localhost")
	finds(t, scimTarget(t, ending.URL, "t", authority.file), want{doctor.Warning, "the certificate of localhost ends in 5 days"})
	ended := authority.server(t, provider, time.Now().Add(-time.Hour), "localhost")
	findings := finds(t, scimTarget(t, ended.URL, "t", authority.file), want{doctor.Problem, "certificate has expired"})
	require.Contains(t, findings[0].Next, "Renew the target's certificate")
}

func TestAnLDAPTargetIsAskedAndNotChanged(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "doctor")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	server, err := slapd.Start(dir)
	require.NoError(t, err)
	t.Cleanup(server.Down)
	conn, err := server.Client()
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	entries := func() (names []string) {
		found, err := conn.Search(ldapv3.NewSearchRequest(slapd.Suffix, ldapv3.ScopeWholeSubtree, ldapv3.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"}, nil))
		require.NoError(t, err)
		for _, entry := range found.Entries {
			names = append(names, entry.DN)
		}
		return names
	}
	before := entries()
	with := func(change func(*ldap.Config)) doctor.Check {
		config := ldap.Config{URL: server.URL, BindDN: slapd.Admin, Password: slapd.Password, BaseDN: slapd.Suffix, CAFile: server.CAFile}
		change(&config)
		connector, err := ldap.New(config)
		return checked(t, "ldap", connector, err, egress.Route{URL: config.URL, CAFile: config.CAFile, AllowPrivate: true})
	}
	finds(t, with(func(*ldap.Config) {}), want{doctor.OK, "lets us in"})
	// The test's own authority ends tomorrow.
	finds(t, with(func(c *ldap.Config) { c.URL = server.TLSURL }), want{doctor.Warning, "ends in 0 days"})
	findings := finds(t, with(func(c *ldap.Config) { c.Password = "a-wrong-password" }), want{doctor.Problem, "status 49"})
	require.Contains(t, findings[0].Next, "Correct targets[0].auth")
	keepsSecret(t, findings, "a-wrong-password")
	finds(t, with(func(c *ldap.Config) { c.BaseDN = "dc=other,dc=com" }), want{doctor.Problem, "baseDN dc=other,dc=com does not exist"})
	finds(t, with(func(c *ldap.Config) { c.CAFile = "" }), want{doctor.Problem, "certificate"})

	require.Equal(t, before, entries(), "a check makes no container")
}

func TestAWebhookIsOnlyConnectedTo(t *testing.T) {
	t.Parallel()
	const path = "/hooks/s3cr3t-path"
	var messages atomic.Int32
	receiver := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { messages.Add(1) })
	authority := newAuthority(t)
	to := func(url, caFile string, private bool) doctor.Check {
		connector, err := webhook.New(webhook.Config{
			URL: url + path, Secrets: []string{"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"}, CAFile: caFile, AllowPrivate: private,
		})
		return checked(t, "webhook", connector, err, egress.Route{URL: url + path, CAFile: caFile, AllowPrivate: private})
	}
	well := authority.server(t, receiver, inAYear(), "localhost")
	plain := httptest.NewServer(receiver)
	t.Cleanup(plain.Close)
	finds(t, to(well.URL, authority.file, true), want{doctor.OK, "no message was sent"})
	finds(t, to(plain.URL, "", true), want{doctor.OK, "no message was sent"})
	findings := finds(t, to(well.URL, "", true), want{doctor.Problem, "certificate does not verify"})
	findings = append(findings, finds(t, to(well.URL, authority.file, false), want{doctor.Problem, "is not to be dialled"})...)
	require.Contains(t, findings[1].Next, "targets[0].allowPrivate")
	findings = append(findings, finds(t, to("https://"+nowhere, authority.file, true), want{doctor.Problem, "cannot be reached"})...)
	keepsSecret(t, findings, "s3cr3t-path", "MDEyMzQ1")
	require.Zero(t, messages.Load())
}
