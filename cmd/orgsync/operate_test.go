package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target/scim/scimserver"
)

// departments is a CSV of n departments below one root.
func departments(n int) string {
	var b strings.Builder
	b.WriteString("orgCode,orgName,parentCode\n0,总部,\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "%d,部门%d,0\n", i, i)
	}
	return b.String()
}

func TestStatusAnswersWithItsExitCode(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.operate(t, "status")
	require.Equal(t, 1, r.code())
	require.Equal(t, "Nothing has been pushed yet. Register the production address in the seller console (`orgsync keys`), or try it: `orgsync push --help`\n", r.out)

	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(30)).err)
	r = s.operate(t, "status")
	require.Zero(t, r.code(), "no target wants it, so all is synced")
	require.Contains(t, r.out, "State: synced")
	require.Contains(t, s.operate(t, "status", "--tenant", "t1").out, "State: synced")
	require.Equal(t, 1, s.operate(t, "status", "--tenant", "nobody").code())

	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(1)).err)
	r = s.operate(t, "status", "--tenant", "t1", "--instance", "i1")
	require.Equal(t, 2, r.code())
	require.Contains(t, r.out, "held (29 deletions wait)")
	require.Regexp(t, "decide with `orgsync holds approve [0-9a-f-]{36}` or `reject`", r.out)
}

func TestStatusOfATargetThatIsDownIsDegraded(t *testing.T) {
	t.Parallel()
	server, err := scimserver.New(scimserver.Options{Token: "scim-token"})
	require.NoError(t, err)
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	s := serve(t, "--config", write(t, "orgsync.yaml", "targets:\n  - {name: corp, type: scim, url: "+listening.URL+", auth: {type: bearer, token: a-wrong-token}}\n"))
	require.Contains(t, s.out.String(), "Target              corp (scim) "+listening.URL)
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(3)).err)
	s.out.await(t, "target is down", nil)
	r := s.operate(t, "status")
	require.Equal(t, 3, r.code(), r.out)
	require.Contains(t, r.out, "State: degraded")
	require.Contains(t, r.out, "corp (down)")
	require.NotContains(t, r.out+s.out.String(), "a-wrong-token")
}

// A summary of more tenants than a page holds is of all of them.
func TestStatusReadsEveryPage(t *testing.T) {
	t.Parallel()
	s := serve(t)
	file := write(t, "d.csv", "orgCode,orgName\n1,a\n")
	for i := range 102 {
		require.NoError(t, s.push(t, "org", file, "--tenant", fmt.Sprintf("t%03d", i)).err)
	}
	r := s.operate(t, "status")
	require.Zero(t, r.code())
	require.Len(t, regexp.MustCompile(`│ t\d{3} `).FindAllString(r.out, -1), 102)
}

func TestStatusWatchesUntilStopped(t *testing.T) {
	t.Parallel()
	s := serve(t)
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(3)).err)
	ctx, cancel := context.WithCancel(t.Context())
	out := newLockedBuffer()
	root := rootCommand(nil)
	root.SetOut(out)
	root.SetArgs([]string{"status", "--watch", "--url", s.base, "--data-dir", s.dir})
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	out.await(t, "State: synced", nil)
	cancel()
	require.NoError(t, <-ended)
}

func TestHoldsAreListedAndDecided(t *testing.T) {
	t.Parallel()
	s := serve(t)
	require.Equal(t, "Nothing is held.\n", s.operate(t, "holds", "list").out)
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(30)).err)
	hold := func() string {
		require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(2)).err)
		r := s.operate(t, "holds", "list")
		require.NoError(t, r.err)
		require.Contains(t, r.out, " t1 ")
		require.Contains(t, r.out, " 28 ")
		return regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).FindString(r.out)
	}
	r := s.operate(t, "holds", "reject", hold(), "--reason", "a wrong export")
	require.NoError(t, r.err)
	require.Equal(t, "Rejected: the departments stay.\n", r.out)
	require.Len(t, listed[any](t, s, "/departments"), 30)

	id := hold()
	r = s.operate(t, "holds", "approve", id, "--reason", "they closed")
	require.NoError(t, r.err)
	require.Equal(t, "Approved: 28 departments are deleted.\n", r.out)
	require.Len(t, listed[any](t, s, "/departments"), 2)
	require.ErrorContains(t, s.operate(t, "holds", "approve", id).err, "Conflict: ")

	type record struct{ Note string }
	notes := listed[record](t, s, "/pushes")
	require.Regexp(t, `^approved by \S+ at \S+: they closed$`, notes[0].Note)
}

func TestHoldsOfATargetAreListedAndDecided(t *testing.T) {
	t.Parallel()
	server, err := scimserver.New(scimserver.Options{Token: "scim-token"})
	require.NoError(t, err)
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	s := serve(t, "--config", write(t, "orgsync.yaml", "guard: {maxPercent: 100}\ntargets:\n  - {name: corp, type: scim, url: "+listening.URL+
		", auth: {type: bearer, token: scim-token}, removals: {maxPerHour: 2, maxPercent: 10}}\n"))
	synced := func(code int) string {
		var out string
		require.Eventually(t, func() bool {
			r := s.operate(t, "status")
			out = r.out
			return r.code() == code && !strings.Contains(r.out, "State: syncing")
		}, 2*time.Minute, 20*time.Millisecond)
		return out
	}
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(30)).err)
	synced(0)
	hold := func(left int) string {
		require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(left)).err)
		out := synced(2)
		require.Contains(t, out, "State: held")
		require.Contains(t, out, "t1 at corp: deletions wait; decide with `orgsync holds approve --target corp` or `reject`")
		r := s.operate(t, "holds", "list")
		require.NoError(t, r.err)
		return r.out
	}
	require.Regexp(t, `corp +│ t1 +│ i1 +│ .+ │ +10 │`, hold(20))
	r := s.operate(t, "holds", "reject", "--target", "corp", "--reason", "a wrong export")
	require.NoError(t, r.err)
	require.Equal(t, "Rejected: what 10 deletions and deactivations were to take away stays at corp.\n", r.out)
	require.Equal(t, "Nothing is held.\n", s.operate(t, "holds", "list").out)
	groups, _ := server.Counts()
	require.Equal(t, 30, groups)

	hold(5)
	r = s.operate(t, "holds", "approve", "--target", "corp", "--tenant", "t1", "--instance", "i1")
	require.NoError(t, r.err)
	require.Equal(t, "Approved: 15 deletions and deactivations go to corp.\n", r.out)
	synced(0)
	groups, _ = server.Counts()
	require.Equal(t, 15, groups, "and what was rejected stays")
	require.ErrorContains(t, s.operate(t, "holds", "approve", "--target", "corp").err, "nothing is held")
	require.ErrorContains(t, s.operate(t, "holds", "approve", "--target", "corp", "x").err, "takes no argument")
	require.ErrorContains(t, s.operate(t, "holds", "approve", "--tenant", "t1", "x").err, "go with --target")
	require.ErrorContains(t, s.operate(t, "holds", "approve", "--target", "corp", "--tenant", "").err, "--tenant is empty")
	require.ErrorContains(t, s.operate(t, "holds", "approve").err, "want one PUSH (or --target)")
}

// A wrong list is undone: first looked at, then done, then there is nothing
// left to do; what would delete too much is held like any push.
func TestAPushIsUndone(t *testing.T) {
	t.Parallel()
	s := serve(t)
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(30)).err)
	type record struct{ ID, Note string }
	good := listed[record](t, s, "/pushes")[0].ID
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(25)).err)
	require.Len(t, listed[any](t, s, "/departments"), 25)

	r := s.operate(t, "journal", "--kind", "allOrgSync", "--last", "1")
	require.NoError(t, r.err)
	require.Regexp(t, `[0-9a-f-]{36} │ .* │ allOrgSync │ applied │ delete 5, unchanged 25`, r.out)
	require.NotContains(t, r.out, good)
	require.Contains(t, r.out, "There are older ones")
	r = s.operate(t, "journal", good)
	require.NoError(t, r.err)
	require.Regexp(t, `^allOrgSync of prod/i1/t1, received .*: applied \(create 30\)\.\n`, r.out)
	require.Contains(t, r.out, "  create   department 1\n")
	require.Contains(t, s.operate(t, "journal", "--result", "stale").out, "No such push")
	require.ErrorContains(t, s.operate(t, "journal", "--last", "0").err, "want 1 to 1000")
	require.ErrorContains(t, s.operate(t, "journal", "--result", "lost").err, "want applied, unchanged")
	require.ErrorContains(t, s.operate(t, "journal", "no-such-push").err, "not found")

	r = s.operate(t, "restore", "--push", good, "--dry-run")
	require.NoError(t, r.err)
	require.Regexp(t, `^As of .* there were 30 departments: restore 5, unchanged 25\.\n`, r.out)
	require.Contains(t, r.out, "  restore  25  was deleted\n")
	require.Contains(t, r.out, "A dry run: nothing is changed.\n")
	require.Len(t, listed[any](t, s, "/departments"), 25)

	r = s.operate(t, "restore", "--push", good, "--reason", "a wrong export")
	require.NoError(t, r.err)
	require.Regexp(t, `Restored by push [0-9a-f-]{36}\.\n$`, r.out)
	require.Len(t, listed[any](t, s, "/departments"), 30)
	require.Regexp(t, "^restored to push "+good+` by \S+: a wrong export$`, listed[record](t, s, "/pushes")[0].Note)
	require.Contains(t, s.operate(t, "restore", "--push", good).out, "They stand so already")

	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(60)).err)
	r = s.operate(t, "restore", "--push", good)
	require.NoError(t, r.err)
	require.Contains(t, r.out, "except for 30 deletions.\nThe guard holds them: orgsync holds approve ")
	require.Len(t, listed[any](t, s, "/departments"), 60)
}

// What a push did is shown whole, however many pages of the API that takes.
func TestJournal_PagesThroughALongPush(t *testing.T) {
	t.Parallel()
	s := serve(t)
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(maxJournal+5)).err)
	id := listed[struct{ ID string }](t, s, "/pushes")[0].ID
	r := s.operate(t, "journal", id)
	require.NoError(t, r.err)
	require.Equal(t, 1, strings.Count(r.out, "allOrgSync of"))
	require.Equal(t, maxJournal+5, strings.Count(r.out, "  create   department "))
}
