package fanout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target/targettest"
)

// resync runs a resync of the target "t" to its end.
func (b *bundle) resync(options ResyncOptions) storage.Resync {
	b.Helper()
	b.clock.advance(time.Second) // what was delivered is older than what is read now
	_, err := b.fanout.Resync(b.Context(), "t", options)
	require.NoError(b, err)
	return b.resynced()
}

// resynced waits for a resync's end.
func (b *bundle) resynced() storage.Resync {
	b.Helper()
	deadline := time.After(patience)
	for {
		select {
		case report := <-b.resyncs:
			kept, err := b.store.Resync(b.Context(), report.ID)
			require.NoError(b, err)
			require.Equal(b, report.State, kept.State)
			return kept
		case <-time.After(50 * time.Millisecond):
			b.clock.advance(busyRetry) // it may wait for a scope's turn
		case <-deadline:
			require.FailNow(b, "the resync does not end")
		}
	}
}

// repaired waits until what a resync made due is delivered.
func (b *bundle) repaired() {
	b.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		moved := b.moved
		b.mu.Unlock()
		due, _, err := b.store.DueScopes(b.Context(), "t", b.clock.now())
		require.NoError(b, err)
		if len(due) == 0 {
			return
		}
		select {
		case <-moved:
		case <-time.After(50 * time.Millisecond):
			b.clock.advance(busyRetry) // the resync had the scope's turn
		case <-deadline:
			require.FailNow(b, "what was made due is not delivered")
		}
	}
}

// found writes the differences of a report in short, sorted.
func found(report storage.Resync) []string {
	var all []string
	for _, d := range report.Drifts {
		text := fmt.Sprintf("%s %s %s", d.Finding, d.Kind, d.Key)
		if d.Group != "" {
			text += " in " + d.Group
		}
		if len(d.Attributes) > 0 {
			text += " " + strings.Join(d.Attributes, ",")
		}
		if d.Name != "" {
			text += " named " + d.Name
		}
		all = append(all, strings.TrimSpace(text))
	}
	slices.Sort(all)
	return all
}

// tamper sends a request to the server behind the connector's back.
func (p *peer) tamper(t testing.TB, method, path string, body any) string {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), method, p.url+path, bytes.NewReader(text))
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer token")
	request.Header.Set("Content-Type", "application/scim+json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	require.Less(t, response.StatusCode, 300, "%s %s", method, path)
	var made struct{ ID string }
	if method == http.MethodPost {
		require.NoError(t, json.NewDecoder(response.Body).Decode(&made))
	}
	return made.ID
}

func patch(op, path string, value any) map[string]any {
	operation := map[string]any{"op": op, "path": path}
	if value != nil {
		operation["value"] = value
	}
	return map[string]any{"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:PatchOp"}, "Operations": []any{operation}}
}

// office is an enterprise at a target, all delivered.
func office(t testing.TB) (*peer, *bundle) {
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	b.tenant(acme, "acme")
	b.tree(acme, "a", "b<a", "c<a", "d")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@b", "cid@c", "dan@d", "eve@d", "fay@d")
	b.start().settled()
	p.proxy.Forget()
	return p, b
}

func (b *bundle) remote(kind storage.SlotKind, key string) string {
	b.Helper()
	return b.slot("t", acme, kind, key).RemoteID
}

func TestAResyncOfATargetThatIsAsItShouldBeSendsNothing(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	report := b.resync(ResyncOptions{})
	require.Equal(t, storage.ResyncDone, report.State, report.Reason)
	require.Empty(t, report.Drifts)
	require.Equal(t, 10, report.InSync)
	require.Equal(t, 8, report.Memberships, "six accounts and two departments")
	require.Equal(t, 2, report.Requests, "one page of accounts, one of groups")
	require.Len(t, p.proxy.Requests(), 2)
	b.repaired()
	require.Empty(t, p.writes())
}

// TestDriftIsReportedAndRepaired tampers with everything there is, and wants a
// dry run to find just that, and a resync to repair what is ours with one
// request for each difference.
func TestDriftIsReportedAndRepaired(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	user := func(key string) string { return "/Users/" + b.remote(storage.SlotUser, key) }
	group := func(key string) string { return "/Groups/" + b.remote(storage.SlotDepartment, key) }
	members := func(ids ...string) []any {
		all := make([]any, len(ids))
		for i, id := range ids {
			all[i] = map[string]any{"value": id}
		}
		return all
	}
	p.tamper(t, "PATCH", user("ann"), patch("replace", "displayName", "Anne"))
	p.tamper(t, "PATCH", user("bob"), patch("replace", "active", false))
	p.tamper(t, "PATCH", group("b"), patch("replace", "displayName", "B"))
	p.tamper(t, "PATCH", user("cid"), patch("replace", "externalId", "somebody"))
	p.tamper(t, "DELETE", user("eve"), nil)
	p.tamper(t, "PATCH", group("d"), patch("remove", `members[value eq "`+b.remote(storage.SlotUser, "eve")+`"]`, nil))
	// fay moves from d to a, and c from a to the root.
	p.tamper(t, "PATCH", group("d"), patch("remove", `members[value eq "`+b.remote(storage.SlotUser, "fay")+`"]`, nil))
	p.tamper(t, "PATCH", group("a"), patch("add", "members", members(b.remote(storage.SlotUser, "fay"))))
	p.tamper(t, "PATCH", group("a"), patch("remove", `members[value eq "`+b.remote(storage.SlotDepartment, "c")+`"]`, nil))
	foreign := p.tamper(t, "POST", "/Users", map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": "stranger"})
	p.tamper(t, "PATCH", group("d"), patch("add", "members", members(foreign)))
	p.tamper(t, "POST", "/Groups", map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "displayName": "their own"})
	p.tamper(t, "POST", "/Groups", map[string]any{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "displayName": "again", "externalId": acme.ExternalID("c"),
	})
	want := []string{
		"changed department b displayName",
		"changed user ann displayName",
		"changed user bob active",
		"changed user cid externalId",
		"duplicate department c",
		"member-extra membership fay in a",
		"member-missing membership fay in d",
		"member-missing placement c in a",
		"member-unknown membership  in d",
		"missing user eve",
		"unknown department  named their own",
		"unknown user",
	}
	p.proxy.Forget()
	dry := b.resync(ResyncOptions{DryRun: true})
	require.Equal(t, storage.ResyncDone, dry.State, dry.Reason)
	require.Equal(t, want, found(dry))
	require.Zero(t, dry.Repaired)
	b.settled()
	require.Empty(t, p.writes())
	for state := range b.counts("t") {
		require.Equal(t, storage.SlotDelivered, state)
	}

	p.proxy.Forget()
	report := b.resync(ResyncOptions{})
	require.Equal(t, want, found(report))
	require.Equal(t, 8, report.Repaired)
	b.repaired()
	var sent []string
	for _, r := range p.writes() {
		sent = append(sent, r.Method+" "+r.Path)
	}
	slices.Sort(sent)
	wanted := []string{
		"PATCH " + group("a"),                        // c comes back
		"PATCH " + group("a"),                        // fay leaves
		"PATCH " + group("b"), "PATCH " + group("d"), // fay and eve come back
		"PATCH " + user("ann"), "PATCH " + user("bob"), "PATCH " + user("cid"), "POST /Users",
	}
	if len(sent) > len(wanted) { // a round came between the corrections of the two
		wanted = append(wanted, "PATCH "+group("d"))
	}
	slices.Sort(wanted)
	require.Equal(t, wanted, sent)
	require.Len(t, p.proxy.Requests(), 2+len(wanted)+1, "the list, what differs, and a look for what is missing")

	again := b.resync(ResyncOptions{DryRun: true})
	require.Equal(t, []string{
		"duplicate department c", "member-unknown membership  in d",
		"unknown department  named their own", "unknown user",
	}, found(again), "what is not ours is left alone")
}

func TestAnObjectThatCameBackUnderAnotherIDIsTakenOver(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	p.tamper(t, "DELETE", "/Groups/"+b.remote(storage.SlotDepartment, "d"), nil)
	id := p.tamper(t, "POST", "/Groups", map[string]any{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "displayName": "restored", "externalId": acme.ExternalID("d"),
	})
	report := b.resync(ResyncOptions{})
	require.Equal(t, []string{"moved department d"}, found(report))
	b.repaired()
	require.Equal(t, id, b.remote(storage.SlotDepartment, "d"))
	b.synced("t", p, acme)
}

func TestWhatWasDeletedAndIsStillThereIsDeleted(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	b.department(acme, directory.FlagDelete, directory.DepartmentItem{Code: "c"})
	b.users(acme, directory.FlagDelete, "cid@c")
	b.settled()
	p.tamper(t, "POST", "/Groups", map[string]any{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "displayName": "restored", "externalId": acme.ExternalID("c"),
	})
	p.tamper(t, "POST", "/Users", map[string]any{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": "cid@acme", "externalId": acme.ExternalID("cid"),
	})
	report := b.resync(ResyncOptions{})
	require.Equal(t, []string{"left-over department c", "left-over user cid"}, found(report))
	b.repaired()
	groups, users := p.Counts()
	require.Equal(t, []int{3, 5}, []int{groups, users})
}

func TestWhatChangesMeanwhileIsNotJudged(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	listed, hold := make(chan struct{}), make(chan struct{})
	p.proxy.Next(func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		forward.ServeHTTP(w, r) // the list as it was before
		close(listed)
		<-hold
	})
	b.clock.advance(time.Second)
	_, err := b.fanout.Resync(t.Context(), "t", ResyncOptions{})
	require.NoError(t, err)
	<-listed
	before := b.count("t")
	b.users(acme, directory.FlagAdd, "gus@d")
	b.users(acme, directory.FlagDelete, "fay@d")
	b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "d", Name: "another name"})
	b.settledSince("t", before)
	p.proxy.Forget()
	close(hold)
	report := b.resynced()
	require.Empty(t, report.Drifts)
	require.Zero(t, report.Repaired)
	require.Positive(t, report.Unsettled)
	b.repaired()
	require.Empty(t, p.writes())
}

func TestAListThatIsNotWholeProvesNothingMissing(t *testing.T) {
	t.Parallel()
	const head = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],`
	for name, fault := range map[string]targettest.Fault{
		"an error":            targettest.Answer(http.StatusBadRequest, `{"detail":"no"}`),
		"too few":             targettest.Answer(http.StatusOK, head+`"totalResults":6,"Resources":[]}`),
		"no list":             targettest.Answer(http.StatusOK, "<html>", "Content-Type", "text/html"),
		"an object twice":     targettest.Answer(http.StatusOK, head+`"totalResults":2,"Resources":[{"id":"x"},{"id":"x"}]}`),
		"an object of no id":  targettest.Answer(http.StatusOK, head+`"totalResults":1,"Resources":[{"userName":"x"}]}`),
		"the connection goes": targettest.Reset,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, b := office(t)
			p.tamper(t, "PATCH", "/Groups/"+b.remote(storage.SlotDepartment, "a"), patch("replace", "displayName", "A"))
			p.tamper(t, "DELETE", "/Groups/"+b.remote(storage.SlotDepartment, "d"), nil)
			p.proxy.Choose(func(r targettest.Request) targettest.Fault {
				if r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/Users") && r.Query.Get("startIndex") != "" {
					return fault
				}
				return nil
			})
			report := b.resync(ResyncOptions{AcceptMissing: true})
			require.Equal(t, storage.ResyncIncomplete, report.State, report.Reason)
			require.NotEmpty(t, report.Reason)
			require.Zero(t, report.Counts[storage.FindingMissing])
			require.Zero(t, report.Counts[storage.FindingMemberMissing])
			p.proxy.Heal()
			b.repaired()
			groups, users := p.Counts()
			require.Equal(t, []int{3, 6}, []int{groups, users})
		})
	}
}

func TestAnEmptyTargetIsNotBelieved(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	var codes []string
	for i := range 30 {
		codes = append(codes, fmt.Sprintf("d%d", i))
	}
	b.tree(acme, codes...)
	b.start().settled()
	for _, code := range codes {
		p.tamper(t, "DELETE", "/Groups/"+b.remote(storage.SlotDepartment, code), nil)
	}
	p.proxy.Forget()
	report := b.resync(ResyncOptions{})
	require.Equal(t, storage.ResyncHeld, report.State)
	require.Contains(t, report.Reason, "30 of 30 objects are missing")
	require.Equal(t, 30, report.Counts[storage.FindingMissing])
	b.settled()
	require.Empty(t, p.writes())
	report = b.resync(ResyncOptions{AcceptMissing: true})
	require.Equal(t, storage.ResyncDone, report.State, report.Reason)
	require.Equal(t, 30, report.Repaired)
	b.repaired()
	require.Len(t, p.writes(), 30, "one request for each")
	b.synced("t", p, acme)
}

func TestATargetThatShowsNoMembersIsNotSentThemForEver(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if r.Method != http.MethodGet || !strings.HasPrefix(r.Path, "/Groups") {
			return nil
		}
		return stripMembers("")
	})
	report := b.resync(ResyncOptions{})
	require.Equal(t, storage.ResyncDone, report.State)
	require.Contains(t, report.Reason, "shows no members")
	require.Empty(t, report.Drifts)
}

func TestOneResyncAtATime(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	hold, listing := make(chan struct{}), make(chan struct{})
	p.proxy.Next(func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		close(listing)
		<-hold
		forward.ServeHTTP(w, r)
	})
	_, err := b.fanout.Resync(t.Context(), "t", ResyncOptions{DryRun: true})
	require.NoError(t, err)
	<-listing
	_, err = b.fanout.Resync(t.Context(), "t", ResyncOptions{})
	require.ErrorIs(t, err, ErrResyncing)
	_, err = b.fanout.Resync(t.Context(), "other", ResyncOptions{})
	require.ErrorIs(t, err, ErrUnknownTarget)
	close(hold)
	b.resynced()
	require.NoError(t, b.fanout.Pause(t.Context(), "t", "ann", ""))
	_, err = b.fanout.Resync(t.Context(), "t", ResyncOptions{})
	require.ErrorIs(t, err, ErrUnfit)
}

func TestAResyncThatARestartCutsOffIsToldSo(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	listing := make(chan struct{})
	p.proxy.Next(func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		close(listing)
		p.proxy.Hang(w, r, forward)
	})
	_, err := b.fanout.Resync(t.Context(), "t", ResyncOptions{})
	require.NoError(t, err)
	<-listing
	b.stop()
	require.Equal(t, storage.ResyncInterrupted, b.resynced().State)

	// One that was killed had no time to say so.
	killed := storage.Resync{ID: "killed", Target: "t", State: storage.ResyncRunning, StartedAt: b.clock.now()}
	require.NoError(t, b.store.SaveResync(t.Context(), killed, keptResyncs))
	b.start().settled()
	b.resync(ResyncOptions{DryRun: true})
	kept, err := b.store.Resync(t.Context(), "killed")
	require.NoError(t, err)
	require.Equal(t, storage.ResyncInterrupted, kept.State)
}

func TestAScheduledResyncComesByItself(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	scim.ResyncEvery = 24 * time.Hour
	b := newBundle(t, scim)
	b.tree(acme, "a", "b")
	b.start().settled()
	p.tamper(t, "PATCH", "/Groups/"+b.remote(storage.SlotDepartment, "a"), patch("replace", "displayName", "A"))
	for range 2 {
		b.clock.advance(27 * time.Hour) // a day, and a tenth at most
		report := b.resynced()
		require.Equal(t, "schedule", report.By)
		require.Equal(t, storage.ResyncDone, report.State, report.Reason)
		b.repaired()
		b.synced("t", p, acme)
	}
}

func TestWhatATargetDoesNotKeepIsSentOnce(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	scim.ResyncEvery = 24 * time.Hour
	b := newBundle(t, scim)
	b.tree(acme, "a")
	b.start().settled()
	group := "/Groups/" + b.remote(storage.SlotDepartment, "a")
	rename := func(name string) { p.tamper(t, "PATCH", group, patch("replace", "displayName", name)) }
	rename("A") // as a server that spells it its own way would
	sent := func(want int) {
		b.clock.advance(27 * time.Hour)
		report := b.resynced()
		require.Len(t, report.Drifts, 1)
		require.Equal(t, []int{want, 1 - want}, []int{report.Repaired, report.Unkept})
		b.repaired()
		rename("A")
	}
	sent(1)
	sent(0)
	sent(0)
	rename("somebody's idea")
	sent(1)
	rename("somebody's idea")
	report := b.resync(ResyncOptions{})
	require.Equal(t, 1, report.Repaired, "who asks for it gets it")
	require.True(t, report.Drifts[0].Unkept)
}

// relisted answers a list of groups after a change of it.
func relisted(change func(groups []any) []any) targettest.Fault {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		answer := httptest.NewRecorder()
		forward.ServeHTTP(answer, r)
		var list map[string]any
		if json.Unmarshal(answer.Body.Bytes(), &list) == nil {
			groups, _ := list["Resources"].([]any)
			groups = change(groups)
			list["Resources"], list["totalResults"] = groups, len(groups)
		}
		w.Header().Set("Content-Type", "application/scim+json")
		_ = json.NewEncoder(w).Encode(list)
	}
}

func called(group any, name string) bool {
	attributes, _ := group.(map[string]any)
	return attributes["displayName"] == name
}

// stripMembers answers as a server that shows no members, of a group of that name
// or, without one, of any.
func stripMembers(name string) targettest.Fault {
	return relisted(func(groups []any) []any {
		for _, one := range groups {
			if group, ok := one.(map[string]any); ok && (name == "" || called(one, name)) {
				delete(group, "members")
			}
		}
		return groups
	})
}

// dropping leaves out a group, as a list does that is read while it moves from a
// page that is to come to one that was read.
func dropping(name string) targettest.Fault {
	return relisted(func(groups []any) []any {
		return slices.DeleteFunc(groups, func(one any) bool { return called(one, name) })
	})
}

func TestResync_MakesNothingTwiceThatAListMissed(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	before := b.remote(storage.SlotDepartment, "c")
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if r.Method == http.MethodGet && r.Path == "/Groups" && r.Query.Get("filter") == "" {
			return dropping("name of c")
		}
		return nil
	})
	report := b.resync(ResyncOptions{})
	require.Equal(t, 1, report.Counts[storage.FindingMissing])
	p.proxy.Heal()
	b.repaired()
	groups, users := p.Counts()
	require.Equal(t, []int{4, 6}, []int{groups, users})
	require.Equal(t, before, b.remote(storage.SlotDepartment, "c"))
	b.synced("t", p, acme)
}

// A department is renamed after the list has shown it and before it shows its
// members, under either name or none: that says nothing of them.
func TestResync_JudgesNoMembershipOfADepartmentInMotion(t *testing.T) {
	t.Parallel()
	p, b := office(t)
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if r.Method != http.MethodGet || r.Path != "/Groups" {
			return nil
		}
		return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			stripMembers("name of d")(w, r, forward)
			b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "d", Name: "another name"})
			before := b.count("t")
			b.settledSince("t", before-1)
		}
	})
	report := b.resync(ResyncOptions{})
	require.Equal(t, storage.ResyncDone, report.State, report.Reason)
	require.Zero(t, report.Counts[storage.FindingMemberMissing], report.Drifts)
	p.proxy.Heal()
	b.repaired()
	b.synced("t", p, acme)
}
