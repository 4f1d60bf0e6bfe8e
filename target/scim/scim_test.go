package scim_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/scim/scimtest"
	"github.com/openkoo/connector/target/targettest"
	"github.com/openkoo/connector/test/peers/scimmy"
)

const token = "scim-bearer-token"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t testing.TB, url, secret string, patience time.Duration) target.Connector {
	connector, err := scim.New(scim.Config{URL: url, BearerToken: secret, Timeout: patience, ShortRetries: -1})
	require.NoError(t, err)
	return connector
}

// serve starts the server that the demo uses.
func serve(t testing.TB) (*scimserver.Server, scimtest.Server) {
	t.Helper()
	server, err := scimserver.New(scimserver.Options{Token: token})
	require.NoError(t, err)
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	return server, scimtest.Server{URL: listening.URL, Token: token}
}

func TestLawsAgainstElimity(t *testing.T) {
	t.Parallel()
	_, server := serve(t)
	targettest.Run(t, targettest.Bench{Server: server, URL: server.URL, Secret: server.Token, Connect: connect, Carried: scimtest.Carried})
}

func TestLawsAgainstScimmy(t *testing.T) {
	t.Parallel()
	server := scimmy.Start(t)
	targettest.Run(t, targettest.Bench{Server: server, URL: server.URL, Secret: server.Token, Connect: connect, Carried: scimtest.Carried})
}

func TestLists(t *testing.T) {
	t.Parallel()
	targettest.Lists(t, func(t *testing.T) targettest.Bench {
		_, server := serve(t)
		return targettest.Bench{
			Server: server, URL: server.URL, Secret: server.Token, Carried: scimtest.Carried,
			Connect: func(t testing.TB, url, secret string, patience time.Duration) target.Connector {
				connector, err := scim.New(scim.Config{URL: url, BearerToken: secret, Timeout: patience, ListPage: 3})
				require.NoError(t, err)
				return connector
			},
		}
	})
}
