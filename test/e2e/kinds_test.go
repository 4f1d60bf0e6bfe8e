package e2e

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target/keycloak/keycloakfake"
	"github.com/openkoo/connector/target/webhook"
	"github.com/openkoo/connector/test/peers/slapd"
)

// signingSecret signs the webhook's messages.
var signingSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of more than 24 bytes"))

// kind is a target that is no SCIM server.
type kind struct {
	yaml map[string]any
	// picture is what the target has; adapt makes what it is to have of an
	// account into what this kind shows.
	picture func(t *testing.T) (departments, users map[string]object)
	adapt   func(p *pusher, e *enterprise, userName string, want object) object
}

func asIs(_ *pusher, _ *enterprise, _ string, want object) object { return want }

// An enterprise's life at every other kind of target at once, with a restart
// in between: each ends as the store is.
func TestLifeAtOtherKindsOfTarget(t *testing.T) {
	t.Parallel()
	kinds := map[string]kind{"webhook": webhookKind(t), "ldap": ldapKind(t), "keycloak": keycloakKind(t)}
	targets := "targets:\n"
	for name, k := range kinds {
		k.yaml["name"], k.yaml["type"], k.yaml["removals"] = name, name, noLimit
		text, err := json.Marshal(k.yaml)
		require.NoError(t, err)
		targets += "  - " + string(text) + "\n"
	}
	c := start(t, targets)
	p := &pusher{t: t, c: c, scope: directory.Scope{Dataset: directory.Prod, InstanceID: "inst/1", TenantID: "t1"}, clock: time.Now().Add(-time.Hour)}
	e := grow(120, 150)
	check := func(when string) {
		status := p.synced()
		for _, s := range status.Targets {
			require.Zero(t, s.Pending+s.Retrying+s.Waiting+s.Dead, "%s: %+v", when, s)
		}
		departments, users := p.expected(e)
		for name, k := range kinds {
			groups, accounts := k.picture(t)
			adapted := maps.Clone(users)
			for user := range e.users {
				id := p.scope.ExternalID(user)
				adapted[id] = k.adapt(p, e, user, users[id])
			}
			p.same(departments, groups, when+": departments at "+name)
			p.same(adapted, accounts, when+": accounts at "+name)
		}
	}
	p.push(directory.FlagAdd, &directory.TenantPush{OrderID: "o", Code: "acme", Name: "企业", DomainName: "acme.example.com"})
	p.push(directory.FlagModify, e.full())
	for _, batch := range e.batches() {
		p.push(directory.FlagAdd, batch)
	}
	c.stop(syscall.SIGKILL)
	c.run()
	check("bound")
	edit(p, e)
	check("edited")
	recreate(p, e)
	one, other := e.departments["d2-0001"], e.departments["d2-0006"] // siblings, who swap names
	require.Equal(t, one.ParentCode, other.ParentCode)
	p.put(e, one.Code, other.Name, one.ParentCode)
	p.put(e, other.Code, one.Name, other.ParentCode)
	check("re-created")
}

func webhookKind(t *testing.T) kind {
	verifier, err := standardwebhooks.NewWebhook(signingSecret)
	require.NoError(t, err)
	var mu sync.Mutex
	latest := map[string]webhook.Message{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var m webhook.Message
		if err != nil || verifier.Verify(body, r.Header) != nil || json.Unmarshal(body, &m) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		what, _, _ := strings.Cut(string(m.Type), ".")
		key := what + " " + m.Data.ExternalID
		if known := latest[key].Data; m.Data.Version < known.Version || m.Data.Version == known.Version && m.Data.Revision < known.Revision {
			return
		}
		latest[key] = m
	}))
	t.Cleanup(server.Close)
	return kind{
		yaml: map[string]any{"url": server.URL, "allowPrivate": true, "auth": map[string]any{"type": "signature", "secrets": []string{signingSecret}}},
		picture: func(*testing.T) (departments, users map[string]object) {
			mu.Lock()
			defer mu.Unlock()
			departments, users = map[string]object{}, map[string]object{}
			for _, m := range latest {
				scope := directory.Scope{Dataset: directory.Dataset(m.Data.Scope.Dataset), InstanceID: m.Data.Scope.InstanceID, TenantID: m.Data.Scope.TenantID}
				in := func(code string) string {
					if code == "" {
						return ""
					}
					return scope.ExternalID(code)
				}
				if d := m.Data.Department; d != nil {
					departments[m.Data.ExternalID] = object{Name: d.Name, In: in(d.ParentCode)}
				}
				if u := m.Data.User; u != nil {
					users[m.Data.ExternalID] = object{Name: u.SignInName + " " + u.OrgName, Active: u.Active, In: in(u.OrgCode)}
				}
			}
			return departments, users
		},
		adapt: func(p *pusher, e *enterprise, userName string, want object) object {
			want.In = p.scope.ExternalID(e.users[userName].OrgCode) // what the marketplace said, there or not
			return want
		},
	}
}

func keycloakKind(t *testing.T) kind {
	realm := keycloakfake.New(keycloakfake.Options{})
	server := httptest.NewServer(realm)
	t.Cleanup(server.Close)
	first := func(attributes map[string][]string, name string) string {
		return strings.Join(attributes[name], " and ")
	}
	return kind{
		yaml: map[string]any{"url": server.URL, "realm": keycloakfake.Realm, "auth": map[string]any{"type": "basic", "userName": "connector", "password": "client-secret"}},
		picture: func(*testing.T) (departments, users map[string]object) {
			departments, users = map[string]object{}, map[string]object{}
			ids, in := map[string]string{"": ""}, map[string]string{}
			for _, g := range realm.Groups() {
				ids[g.ID] = first(g.Attributes, "orgsyncId")
				for id := range g.Members {
					in[id] += ids[g.ID]
				}
			}
			for _, g := range realm.Groups() {
				departments[ids[g.ID]] = object{Name: g.Name, In: ids[g.ParentID]}
			}
			for _, u := range realm.Users() {
				users[first(u.Attributes, "orgsyncId")] = object{Name: u.Username + " " + first(u.Attributes, "departmentName"), Active: u.Enabled, In: in[u.ID]}
			}
			return departments, users
		},
		adapt: asIs,
	}
}

func ldapKind(t *testing.T) kind {
	server, err := slapd.Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(server.Down)
	return kind{
		yaml: map[string]any{
			"url": server.URL, "caFile": server.CAFile, "auth": map[string]any{"type": "basic", "userName": slapd.Admin, "password": slapd.Password}, "ldap": map[string]any{"baseDN": slapd.Suffix},
		},
		picture: func(t *testing.T) (departments, users map[string]object) {
			conn, err := server.Client()
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			found, err := conn.SearchWithPaging(ldapv3.NewSearchRequest(slapd.Suffix, ldapv3.ScopeWholeSubtree, ldapv3.NeverDerefAliases, 0, 0, false, "(businessCategory=*)", nil, nil), 50)
			require.NoError(t, err)
			departments, users = map[string]object{}, map[string]object{}
			ids, parents := map[string]string{}, map[string]string{}
			for _, e := range found.Entries {
				dn, err := ldapv3.ParseDN(e.DN)
				require.NoError(t, err)
				ids[dn.String()] = e.GetAttributeValue("businessCategory")
				parents[e.DN] = (&ldapv3.DN{RDNs: dn.RDNs[1:]}).String()
			}
			for _, e := range found.Entries {
				get := e.GetAttributeValue
				if uid := get("uid"); uid != "" {
					users[get("businessCategory")] = object{Name: uid + " " + get("ou"), Active: !strings.HasPrefix(parents[e.DN], "ou=inactive,"), In: ids[parents[e.DN]]}
				} else {
					departments[get("businessCategory")] = object{Name: strings.Join(e.GetAttributeValues("ou"), " and "), In: ids[parents[e.DN]]}
				}
			}
			return departments, users
		},
		adapt: func(_ *pusher, _ *enterprise, _ string, want object) object {
			if !want.Active {
				want.In = "" // it stands with the inactive ones
			}
			return want
		},
	}
}
