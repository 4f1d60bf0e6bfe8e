package scim_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/scim/scimtest"
	"github.com/openkoo/connector/target/targettest"
)

// quirky starts a server with quirks: from, where connectors come in; behind,
// where the tests look.
func quirky(t testing.TB, options scimserver.Options) (server *scimserver.Server, front, behind scimtest.Server) {
	t.Helper()
	options.Token = token
	server, err := scimserver.New(options)
	require.NoError(t, err)
	listening, plain := httptest.NewServer(server), httptest.NewServer(server.Plain())
	t.Cleanup(listening.Close)
	t.Cleanup(plain.Close)
	return server, scimtest.Server{URL: listening.URL, Token: token}, scimtest.Server{URL: plain.URL, Token: token}
}

// dial connects as a protocol has it.
func dial(t testing.TB, url string, protocol scim.Protocol) *scim.Connector {
	t.Helper()
	connector, err := scim.New(scim.Config{URL: url, BearerToken: token, Protocol: protocol, Timeout: time.Minute, ShortRetries: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connector.Close()) })
	return connector
}

// The reasons why some laws say nothing about a server.
const (
	twoRequests = "PUT writes an object whole, so it is read first"
)

var putting = map[string]string{"objects/one request changes one object": twoRequests}

// profile is all but what no sane server answers: that is met by the transport,
// which is the same for all (TestLawsAgainstElimity).
var profile = []string{"objects", "found again", "members", "failures", "classes", "checks", "lists", "failures/lists"}

// content is what a quirk may change; how the wire fails is the same for all.
var content = []string{"objects", "found again", "members"}

func TestLawsOfEveryProfileAndQuirk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options    scimserver.Options
		protocol   scim.Protocol
		parts      []string // all if there are none
		deviations map[string]string
	}{
		"entra": {options: scimserver.Options{Quirks: scimserver.LikeEntra()}, parts: profile, protocol: scim.Protocol{Profile: scim.Entra}},
		"okta":  {options: scimserver.Options{Quirks: scimserver.LikeOkta()}, parts: profile, protocol: scim.Protocol{Profile: scim.Okta}, deviations: putting},
		"aws": {
			options: scimserver.Options{Quirks: scimserver.LikeAWS()}, parts: profile, protocol: scim.Protocol{Profile: scim.AWS},
			deviations: map[string]string{"lists/a list tells who is in which department": "the server shows no members"},
		},
		"generic on an Okta-style": {options: scimserver.Options{Quirks: scimserver.Quirks{FiltersBy: []string{"userName", "displayName"}}}, parts: content},
		"no PATCH": {
			options: scimserver.Options{Quirks: scimserver.Quirks{NoPatch: true}}, deviations: map[string]string{
				"objects/one request changes one object": twoRequests, "members/many members go in one change": twoRequests,
			},
		},
		"versions": {
			options: scimserver.Options{Quirks: scimserver.Quirks{Versions: true}}, parts: content, protocol: scim.Protocol{UserChanges: scim.MethodPut, GroupChanges: scim.MethodPut},
			deviations: map[string]string{"objects/one request changes one object": twoRequests, "members/many members go in one change": twoRequests},
		},
		"strict removal":    {options: scimserver.Options{Quirks: scimserver.Quirks{StrictRemoval: true}}, parts: content, deviations: map[string]string{"objects/one request changes one object": twoRequests}},
		"filters ignored":   {options: scimserver.Options{Quirks: scimserver.Quirks{IgnoresFilters: true}}, parts: content},
		"ids to be escaped": {options: scimserver.Options{Quirks: scimserver.Quirks{PathIDs: true}}, parts: content},
		"strangers dropped": {options: scimserver.Options{Quirks: scimserver.Quirks{DropsStrangers: true, TellsMembers: true}}, parts: content},
		"blames itself":     {options: scimserver.Options{Quirks: scimserver.Quirks{Blames: true}}, parts: content}, // a conflict on a change: fanout, TestWhatIsRefusedForEverBecomesADeadLetter
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, front, behind := quirky(t, c.options)
			targettest.Run(t, targettest.Bench{
				Server: behind, URL: front.URL, Secret: token, Carried: scimtest.Carried, Deviations: c.deviations, Parts: c.parts,
				Connect: func(t testing.TB, url, secret string, patience time.Duration) target.Connector {
					connector, err := scim.New(scim.Config{URL: url, BearerToken: secret, Protocol: c.protocol, Timeout: patience, ShortRetries: -1})
					require.NoError(t, err)
					return connector
				},
			})
		})
	}
}
