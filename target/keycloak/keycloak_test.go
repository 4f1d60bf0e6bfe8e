package keycloak_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/keycloak"
	"github.com/openkoo/connector/target/keycloak/keycloakfake"
	"github.com/openkoo/connector/target/targettest"
)

func TestOneTokenServesUntilItEnds(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	now.Store(time.Now().Unix())
	clock := func() time.Time { return time.Unix(now.Load(), 0) }
	b := newBed(t, keycloakfake.Options{Now: clock, TokenLifetime: time.Minute}, func(c *keycloak.Config) { c.Now = clock })
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		all.Go(func() {
			if _, err := b.PutUser(t.Context(), user(name)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Equal(t, 1, b.realm.TokensIssued(), "of many that ask at once one fetches")
	now.Add(49)
	b.putUser(user("g"))
	require.Equal(t, 1, b.realm.TokensIssued())
	now.Add(2)
	b.putUser(user("h"))
	require.Equal(t, 2, b.realm.TokensIssued(), "a new one comes before the old one ends")
}

func TestATokenThatIsRevokedIsReplacedOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	b.putUser(user("a"))
	b.realm.Revoke()
	b.putUser(user("b"))
	require.Equal(t, 2, b.realm.TokensIssued())

	// A server that refuses every token is not asked for ever.
	b.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if strings.HasSuffix(r.Path, "/token") {
			return nil
		}
		return targettest.Answer(http.StatusUnauthorized, `{"error":"HTTP 401 Unauthorized"}`)
	})
	b.proxy.Forget()
	_, err := b.PutUser(t.Context(), user("c"))
	require.Contains(t, requireClass(t, target.Down, err).Detail, "auth")
	require.Len(t, b.proxy.Requests(), 3)
}

func TestWithoutATokenNothingIsSent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault targettest.Fault
		class target.Class
		want  string
	}{
		"wrong secret":       {targettest.Answer(401, `{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}`), target.Down, "Invalid client"},
		"no service account": {targettest.Answer(400, `{"error":"unauthorized_client","error_description":"Client not enabled to retrieve service account"}`), target.Down, "service account"},
		"no such realm":      {targettest.Answer(404, `{"error":"Realm does not exist"}`), target.Down, "realm"},
		"HTML":               {targettest.Answer(200, "<html>welcome</html>"), target.Transient, "no token"},
		"nothing":            {targettest.Answer(200, "{}"), target.Transient, "access_token"},
		"trouble":            {targettest.Answer(500, "client_secret="+secret), target.Transient, "[secret]"},
		"too many":           {targettest.Answer(429, "", "Retry-After", "4"), target.RateLimited, ""},
		"cut":                {targettest.Reset, target.Transient, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, keycloakfake.Options{})
			b.proxy.Always(test.fault)
			_, err := b.PutUser(t.Context(), user("a"))
			failure := requireClass(t, test.class, err)
			require.False(t, failure.UnknownOutcome, "it is known that nothing was done")
			require.Contains(t, err.Error(), test.want)
			require.Len(t, b.proxy.Requests(), 1)
			b.proxy.Heal()
			b.putUser(user("a"))
		})
	}
}

func TestDescribeTellsWhetherTheRealmWillDo(t *testing.T) {
	t.Parallel()
	known := []string{
		"orgsyncId", "accountName", "role", "title", "employeeNumber", "employeeType", "departmentCode", "departmentName", "organization", "mobile", "workPlace", "entryDate",
	}
	for name, test := range map[string]struct {
		options keycloakfake.Options
		config  func(*keycloak.Config)
		fault   targettest.Fault
		want    string // of the error, empty for none
	}{
		"well":                     {},
		"before user profiles":     {options: keycloakfake.Options{NoProfile: true}},
		"all attributes are known": {options: keycloakfake.Options{StrictProfile: true, KnownAttributes: known}},
		"attributes are dropped":   {options: keycloakfake.Options{StrictProfile: true, KnownAttributes: known[2:]}, want: "user profile: orgsyncId, accountName"},
		"no rights":                {fault: targettest.Answer(403, `{"error":"HTTP 403 Forbidden"}`), want: "manage-users"},
		"wrong secret":             {config: func(c *keycloak.Config) { c.ClientSecret = "the-wrong-one" }, want: "check the target's auth"},
		"wrong realm":              {config: func(c *keycloak.Config) { c.Realm = "other" }, want: "realm"},
		"wrong path":               {config: func(c *keycloak.Config) { c.URL += "/auth" }, want: "url"},
		"garbage":                  {fault: targettest.Answer(200, "<html>"), want: "not the JSON"},
		"private address":          {config: func(c *keycloak.Config) { c.DenyPrivate = true }, want: "allowPrivate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.config == nil {
				test.config = func(*keycloak.Config) {}
			}
			b := newBed(t, test.options, test.config)
			if test.fault != nil {
				b.proxy.Next(nil, test.fault)
			}
			capabilities, err := b.Describe(t.Context())
			if test.want == "" {
				require.NoError(t, err)
				require.Equal(t, target.Capabilities{NativeParent: true, Memberships: true, MembersPerChange: 1}, capabilities)
				return
			}
			requireClass(t, target.Down, err)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "the-wrong-one")
		})
	}
}

func TestGarbageInPlaceOfAnObjectIsNotTakenForIt(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	group, account := with(department("g", "G", ""), b.putDepartment(department("g", "G", ""))), user("a")
	account.RemoteID = b.putUser(account)
	for _, body := range []string{"<html>sign in</html>", "", "[]", "{}", `{"id":"another"}`, `{"id":7}`} {
		garbage := targettest.Answer(200, body)
		b.proxy.Next(garbage)
		_, err := b.PutDepartment(t.Context(), group)
		requireClass(t, target.Transient, err)
		b.proxy.Next(garbage)
		_, err = b.PutUser(t.Context(), account)
		requireClass(t, target.Transient, err)
		b.proxy.Next(garbage)
		_, err = b.PutDepartment(t.Context(), department("new", "N", ""))
		require.True(t, requireClass(t, target.Transient, err).UnknownOutcome)
	}
	require.Equal(t, []string{"/G"}, b.realm.Paths())
	require.Len(t, b.realm.Users(), 1)
}

func TestValidateNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := keycloak.New(keycloak.Config{Timeout: -1})
	require.ErrorContains(t, err, "auth: want userName and password", "by the names that the settings have")
	for _, want := range []string{"url", "realm", "auth", "timeout"} {
		require.ErrorContains(t, err, want)
	}
	_, err = keycloak.New(keycloak.Config{URL: "https://x", Realm: "r", ClientID: "c", ClientSecret: "s", CAFile: "/nowhere.pem"})
	require.ErrorContains(t, err, "caFile")
}
