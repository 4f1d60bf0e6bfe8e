package keycloak_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/keycloak"
	"github.com/openkoo/connector/target/keycloak/keycloakfake"
	"github.com/openkoo/connector/target/targettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "client-secret"

// bed is a realm behind a proxy, and a connector to it.
type bed struct {
	*keycloak.Connector
	t     *testing.T
	realm *keycloakfake.Server
	proxy *targettest.Proxy
}

func newBed(t *testing.T, options keycloakfake.Options, change ...func(*keycloak.Config)) *bed {
	t.Helper()
	b := &bed{t: t, realm: keycloakfake.New(options)}
	server := httptest.NewServer(b.realm)
	t.Cleanup(server.Close)
	b.proxy = targettest.NewProxy(t, server.URL)
	config := keycloak.Config{URL: b.proxy.URL, Realm: keycloakfake.Realm, ClientID: "connector", ClientSecret: secret, ShortRetries: -1}
	for _, c := range change {
		c(&config)
	}
	var err error
	b.Connector, err = keycloak.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

var scope = directory.Scope{Dataset: directory.Prod, InstanceID: "inst:1", TenantID: "t1"}

func object(key string) target.Object {
	return target.Object{ExternalID: scope.ExternalID(key), Origin: target.Origin{Scope: scope, Key: key}}
}

func department(code, name, parentID string) target.Department {
	return target.Department{Object: object(code), Code: code, Name: name, ParentRemoteID: parentID}
}

func user(name string) target.User {
	return target.User{Object: object(name), UserName: name + "@acme", AccountName: name, DisplayName: "张三 " + name, Active: true}
}

func (b *bed) putDepartment(d target.Department) string {
	b.t.Helper()
	id, err := b.PutDepartment(b.t.Context(), d)
	require.NoError(b.t, err)
	require.NotEmpty(b.t, id)
	return id
}

func (b *bed) putUser(u target.User) string {
	b.t.Helper()
	id, err := b.PutUser(b.t.Context(), u)
	require.NoError(b.t, err)
	require.NotEmpty(b.t, id)
	return id
}

// writes are the requests so far that change something, less those for tokens.
func (b *bed) writes() []string {
	var all []string
	for _, r := range b.proxy.Requests() {
		if r.Method != http.MethodGet && r.Path != "/realms/acme%20realm/protocol/openid-connect/token" {
			all = append(all, r.Method)
		}
	}
	return all
}

func with(d target.Department, remoteID string) target.Department {
	d.RemoteID = remoteID
	return d
}

func requireClass(t *testing.T, want target.Class, err error) *target.Error {
	t.Helper()
	var failure *target.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, want, failure.Class, "%v", err)
	require.NotContains(t, err.Error(), secret)
	return failure
}
