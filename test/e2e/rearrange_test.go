package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/scim/scimtest"
)

var (
	rearrangeSeeds = flag.Uint64("rearrange.seeds", 2, "how many trees TestRearrange_EndsAsTheStore re-arranges")
	rearrangeSeed  = flag.Uint64("rearrange.seed", 0, "the first seed of TestRearrange_EndsAsTheStore; 0 for a new one")
)

// Whatever a reorganisation does at once, in one list or one call after another,
// every kind of target ends as the store is, and nothing is a dead letter.
func TestRearrange_EndsAsTheStore(t *testing.T) {
	t.Parallel()
	kinds := map[string]kind{
		"ldap": ldapKind(t), "keycloak": keycloakKind(t),
		"acyclic": scimKind(t, scimserver.Quirks{NoCycles: http.StatusConflict}),
		"unique":  scimKind(t, scimserver.Quirks{NoCycles: http.StatusBadRequest, UniqueGroups: true}),
	}
	targets := "targets:\n"
	for name, k := range kinds {
		k.yaml["name"], k.yaml["removals"], k.yaml["concurrency"] = name, noLimit, 8
		if k.yaml["type"] == nil {
			k.yaml["type"] = name
		}
		text, err := json.Marshal(k.yaml)
		require.NoError(t, err)
		targets += "  - " + string(text) + "\n"
	}
	c := start(t, targets)
	first := *rearrangeSeed
	if first == 0 {
		first = rand.Uint64N(1 << 32) //nolint:gosec // printed, to be run again
	}
	for seed := first; seed < first+*rearrangeSeeds; seed++ {
		t.Logf("-rearrange.seed %d", seed)
		r := newRearrangement(t, c, seed)
		for step := range 5 {
			done := r.step()
			departments, _ := r.p.checked(r.e, fmt.Sprintf("seed %d, step %d: %s", seed, step, strings.Join(done, ", ")))
			for name, k := range kinds {
				groups, _ := k.picture(t)
				maps.DeleteFunc(groups, func(id string, _ object) bool { return !strings.HasPrefix(id, r.p.scope.ExternalID("")) })
				r.p.same(departments, groups, fmt.Sprintf("seed %d, step %d, at %s: %s", seed, step, name, strings.Join(done, ", ")))
			}
		}
	}
}

// scimKind is a SCIM server with quirks.
func scimKind(t *testing.T, quirks scimserver.Quirks) kind {
	t.Helper()
	server, err := scimserver.New(scimserver.Options{Token: "scim-token", Quirks: quirks})
	require.NoError(t, err)
	listening, plain := httptest.NewServer(server), httptest.NewServer(server.Plain())
	t.Cleanup(listening.Close)
	t.Cleanup(plain.Close)
	behind := peer{Server: scimtest.Server{URL: plain.URL, Token: "scim-token"}, name: "scim"}
	return kind{
		yaml:    map[string]any{"type": "scim", "url": listening.URL, "auth": map[string]any{"type": "bearer", "token": "scim-token"}},
		picture: func(t *testing.T) (departments, users map[string]object) { return behind.picture(t.Context(), t) },
		adapt:   asIs,
	}
}

// checked waits until all is delivered without a dead letter, and returns what a
// target is to have.
func (p *pusher) checked(e *enterprise, when string) (departments, users map[string]object) {
	p.t.Helper()
	for _, s := range p.synced().Targets {
		require.Zero(p.t, s.Pending+s.Retrying+s.Waiting+s.Dead, "%s: %+v", when, s)
	}
	return p.expected(e)
}

// rearrangement is an enterprise that re-arranges its departments. No two of
// them have one name, so that every server can have them all.
type rearrangement struct {
	p      *pusher
	e      *enterprise
	random *rand.Rand
	made   int
}

func newRearrangement(t *testing.T, c *connector, seed uint64) *rearrangement {
	r := &rearrangement{
		p: &pusher{
			t: t, c: c, clock: time.Now().Add(-time.Hour),
			scope: directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: fmt.Sprintf("t%d", seed)},
		},
		e:      &enterprise{departments: make(map[string]directory.DepartmentItem)},
		random: rand.New(rand.NewPCG(seed, 20261201)), //nolint:gosec // to be run again
	}
	for range 24 {
		r.add("")
	}
	r.p.push(directory.FlagModify, r.e.full())
	return r
}

// sorted are the codes in an order that the seed decides alone.
func (r *rearrangement) sorted() []string { return slices.Sorted(maps.Keys(r.e.departments)) }

func (r *rearrangement) any() string {
	codes := r.sorted()
	return codes[r.random.IntN(len(codes))]
}

// add makes a department of a name, which is a new one if none is given.
func (r *rearrangement) add(name string) {
	r.made++
	code := fmt.Sprintf("%s-d%03d", r.p.scope.TenantID, r.made)
	if name == "" {
		name = "部门" + code
	}
	parent := ""
	if len(r.e.departments) > 2 && r.random.IntN(5) > 0 {
		parent = r.any()
	}
	r.e.departments[code] = directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}
}

func (r *rearrangement) set(code, name, parent string) {
	r.e.departments[code] = directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}
}

// chain is the way from a department up to the root, itself first.
func (r *rearrangement) chain(code string) (up []string) {
	for code != "" {
		up = append(up, code)
		code = r.e.attached(code)
	}
	return up
}

// remove takes a department away; what is below it goes to where it hung.
func (r *rearrangement) remove(code string) (gone directory.DepartmentItem) {
	gone = r.e.departments[code]
	for _, below := range r.sorted() {
		if d := r.e.departments[below]; d.ParentCode == code {
			r.set(below, d.Name, gone.ParentCode)
		}
	}
	delete(r.e.departments, code)
	return gone
}

// step re-arranges the tree by some of its ways at once, pushes it as one list
// or department by department, and says what it did.
func (r *rearrangement) step() (done []string) {
	before := maps.Clone(r.e.departments)
	ways := map[string]func(){
		"a swap of names": func() { r.rotate(2) }, "a rotation of names": func() { r.rotate(3 + r.random.IntN(4)) },
		"a chain reversed": r.reverse, "a promotion": r.promote, "a move": r.move, "the name of one that goes": r.inherit,
		"an ancestor's name": r.ancestors,
	}
	names := slices.Sorted(maps.Keys(ways))
	count := 1
	if r.random.IntN(2) == 0 {
		count = len(names) // everything at once
	}
	for range count {
		name := names[r.random.IntN(len(names))]
		ways[name]()
		done = append(done, name)
	}
	if r.random.IntN(3) > 0 {
		r.p.push(directory.FlagModify, r.e.full())
		return append(done, "in one list")
	}
	codes := slices.Sorted(maps.Keys(before))
	for _, code := range r.sorted() {
		if _, old := before[code]; !old {
			codes = append(codes, code)
		}
	}
	r.random.Shuffle(len(codes), func(i, j int) { codes[i], codes[j] = codes[j], codes[i] })
	for now := before; len(codes) > 0; {
		// A call that would make a cycle is refused: that one comes later.
		at := slices.IndexFunc(codes, func(code string) bool { return !cyclic(now, r.e.departments[code]) })
		code := codes[at]
		codes = slices.Delete(codes, at, at+1)
		d, there := r.e.departments[code]
		switch {
		case !there:
			delete(now, code)
			r.p.push(directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: code}})
		case d != now[code]:
			now[code] = d
			r.p.push(directory.FlagModify, &directory.DepartmentPush{DepartmentItem: d})
		}
	}
	return append(done, "one by one")
}

// cyclic reports whether a department would stand below itself.
func cyclic(tree map[string]directory.DepartmentItem, d directory.DepartmentItem) bool {
	for above := d.ParentCode; above != "" && d.Code != ""; above = tree[above].ParentCode {
		if above == d.Code {
			return true
		}
	}
	return false
}

// rotate gives each of some departments the name of the next.
func (r *rearrangement) rotate(n int) {
	codes := r.sorted()
	r.random.Shuffle(len(codes), func(i, j int) { codes[i], codes[j] = codes[j], codes[i] })
	codes = codes[:min(n, len(codes))]
	last := r.e.departments[codes[len(codes)-1]].Name
	for _, code := range codes {
		d := r.e.departments[code]
		r.set(code, last, d.ParentCode)
		last = d.Name
	}
}

// reverse turns the way from a department to the root round.
func (r *rearrangement) reverse() {
	up := r.chain(r.any())
	parent := ""
	for _, code := range up {
		r.set(code, r.e.departments[code].Name, parent)
		parent = code
	}
}

// promote has a department take the place and the name of the one above it,
// which goes.
func (r *rearrangement) promote() {
	up := r.chain(r.any())
	if len(up) < 2 || len(r.e.departments) < 12 {
		r.add("")
		return
	}
	gone := r.remove(up[1])
	r.set(up[0], gone.Name, gone.ParentCode)
	r.add("")
}

// move hangs a department under another, which may be one below it: that one
// then takes its place.
func (r *rearrangement) move() {
	code, to := r.any(), r.any()
	if code == to {
		return
	}
	if up := r.chain(to); slices.Contains(up, code) {
		r.set(to, r.e.departments[to].Name, r.e.departments[code].ParentCode)
	}
	r.set(code, r.e.departments[code].Name, to)
}

// inherit gives the name of a department that goes to a new one.
func (r *rearrangement) inherit() {
	if len(r.e.departments) < 12 {
		return
	}
	r.add(r.remove(r.any()).Name)
}

// ancestors swaps the name, and at times the place, of a department with that of
// one above it.
func (r *rearrangement) ancestors() {
	up := r.chain(r.any())
	if len(up) < 2 {
		return
	}
	low, high := up[0], up[1+r.random.IntN(len(up)-1)]
	one, other := r.e.departments[low], r.e.departments[high]
	r.set(low, other.Name, one.ParentCode)
	r.set(high, one.Name, other.ParentCode)
	if r.random.IntN(2) == 0 {
		r.set(low, other.Name, other.ParentCode)
		r.set(high, one.Name, low)
	}
}
