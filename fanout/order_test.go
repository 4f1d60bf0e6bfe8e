package fanout

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/targettest"
)

func TestTheTargetEndsAsTheStore(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "c<b", "b<a", "a", "x<unknown")
	b.users(acme, directory.FlagAdd, "ann@c", "bob@a", "cid@nowhere")
	b.tree(other, "a")
	b.users(other, directory.FlagAdd, "ann@a")
	b.settled()
	b.synced("t", p, acme, other)

	b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "b", Name: "renamed"}) // and moved to the root
	b.department(acme, directory.FlagAdd, item("unknown<a"))                                       // the late parent
	b.users(acme, directory.FlagModify, "ann@b")
	b.users(acme, directory.FlagDelete, "bob")
	b.settled()
	b.synced("t", p, acme, other)

	b.department(acme, directory.FlagDelete, item("a"))
	b.settled()
	b.synced("t", p, acme, other)
	b.department(acme, directory.FlagAdd, item("a<b"))
	b.users(acme, directory.FlagAdd, "bob@a")
	b.settled()
	b.synced("t", p, acme, other)
}

func TestUnchangedPushesSendNothing(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	push := func() {
		b.tree(acme, "a", "b<a")
		b.users(acme, directory.FlagAdd, "ann@b")
	}
	push()
	b.settled()
	p.proxy.Forget()
	push()
	b.settled()
	require.Empty(t, p.proxy.Requests())
	b.stop()
	b.start()
	b.settledSince("t", 0)
	require.Empty(t, p.writes(), "nor does a restart")
}

func TestOneRequestForEachChangedEntity(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a", "b<a", "c<a")
	b.users(acme, directory.FlagAdd, "ann@b", "bob@b", "cid@b")
	b.settled()
	require.Len(t, p.sent(http.MethodPost, "/Groups"), 3)
	require.Len(t, p.sent(http.MethodPost, "/Users"), 3)
	require.Len(t, p.sent(http.MethodPatch, "/Groups"), 2, "one for each group with members")
	require.Len(t, p.writes(), 8)

	p.proxy.Forget()
	b.users(acme, directory.FlagModify, "ann@c", "bob@c", "cid@c")
	b.settled()
	require.Len(t, p.sent(http.MethodPatch, "/Groups"), 2, "into the one, out of the other")
	require.Len(t, p.writes(), 5)
}

func TestAHundredEditsBeforeDeliveryCostOneRequest(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a")
	b.settled()
	count := b.count("t")
	require.NoError(t, b.fanout.Pause(t.Context(), "t", "ann", "maintenance"))
	b.settledSince("t", count)
	p.proxy.Forget()
	for range 100 {
		b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "a", Name: "passing"})
		b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "a", Name: "newest"})
	}
	b.settled()
	require.Empty(t, p.proxy.Requests(), "a paused target is sent nothing")
	count = b.count("t")
	require.NoError(t, b.fanout.Resume(t.Context(), "t"))
	b.settledSince("t", count)
	require.Len(t, p.writes(), 1)
	b.synced("t", p, acme)
}

func TestPhasesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	b.tree(acme, "a", "b<a")
	b.users(acme, directory.FlagAdd, "ann@b", "bob@b")
	b.start().settled()
	require.Equal(t, "POST /Groups,POST /Users,PATCH /Groups", phasesOf(p))

	b.stop()
	p.proxy.Forget()
	b.tree(acme, "c", "a<c")
	b.users(acme, directory.FlagModify, "ann@c")
	b.users(acme, directory.FlagDelete, "bob")
	b.start().settled()
	require.Equal(t, "POST /Groups,PATCH /Users,PATCH /Groups,DELETE /Users,DELETE /Groups", phasesOf(p))
	b.synced("t", p, acme)
}

// phasesOf names the runs of like requests.
func phasesOf(p *peer) string {
	var phases []string
	for _, r := range p.writes() {
		phase := r.Method + " /" + strings.SplitN(r.Path, "/", 3)[1]
		if len(phases) == 0 || phases[len(phases)-1] != phase {
			phases = append(phases, phase)
		}
	}
	return strings.Join(phases, ",")
}

func TestMembersAreAddedBeforeTheyAreRemoved(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	p.proxy.Forget()
	b.users(acme, directory.FlagModify, "ann@b")
	b.settled()
	changes := p.sent(http.MethodPatch, "/Groups")
	require.Len(t, changes, 2)
	require.Contains(t, changes[0].Body, `"add"`)
	require.Contains(t, changes[1].Body, `"remove"`)
}

func TestLargeGroupsAreFilledInBatches(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t") // at most 5 members a change
	b := newBundle(t, scim)
	b.tree(acme, "a")
	users := make([]string, 12)
	for i := range users {
		users[i] = "user" + string(rune('a'+i)) + "@a"
	}
	b.users(acme, directory.FlagAdd, users...)
	b.start().settled()
	require.Len(t, p.sent(http.MethodPatch, "/Groups"), 3)
	b.synced("t", p, acme)
}

func TestWhereTheTargetKeepsTheTreeParentsComeFirstAndGoLast(t *testing.T) {
	t.Parallel()
	tree := newTreeTarget()
	b := newBundle(t, Target{Name: "tree", Connector: tree}).start()
	b.tree(acme, "d<c", "c<b", "b<a", "a", "x<unknown", "y<x")
	b.users(acme, directory.FlagAdd, "ann@d")
	b.settled()
	require.Equal(t, map[string]string{"a": "", "b": "a", "c": "b", "d": "c", "x": "", "y": "x"}, tree.shape())

	b.tree(acme, "a", "d<a", "unknown<d", "x<unknown")
	b.settled()
	require.Equal(t, map[string]string{"a": "", "d": "a", "unknown": "d", "x": "unknown"}, tree.shape())
	require.Equal(t, storage.SlotCounts{storage.SlotDelivered: b.counts("tree")[storage.SlotDelivered]}, b.counts("tree"))
	require.Empty(t, tree.refusals, "nothing was sent in an order that the target refuses")
}

func TestAChildWaitsForItsParentAndForNobodyElse(t *testing.T) {
	t.Parallel()
	tree := newTreeTarget()
	tree.refuse = map[string]bool{"b": true}
	b := newBundle(t, Target{Name: "tree", Connector: tree}).start()
	b.tree(acme, "c<b", "b<a", "a", "e<a")
	b.settled()
	require.Equal(t, map[string]string{"a": "", "e": "a"}, tree.shape())
	require.Equal(t, storage.SlotDead, b.slot("tree", acme, storage.SlotDepartment, "b").State)
	waiting := b.slot("tree", acme, storage.SlotDepartment, "c")
	require.Equal(t, storage.SlotWaiting, waiting.State)
	require.Equal(t, string(target.NeedsParent), waiting.ErrorClass)

	tree.allow()
	count := b.count("tree")
	n, err := b.store.Replay(t.Context(), storage.DeliveryFilter{Target: "tree", State: storage.SlotDead})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	b.settledSince("tree", count)
	require.Equal(t, map[string]string{"a": "", "e": "a", "b": "a", "c": "b"}, tree.shape())
}

func TestAMembershipOfADepartmentThatNeverComesDoesNotWait(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	b.synced("t", p, acme)
	b.tree(acme, "a")
	b.settled()
	b.synced("t", p, acme)
	b.department(acme, directory.FlagDelete, item("a"))
	b.settled()
	b.synced("t", p, acme)
	require.Equal(t, storage.SlotDelivered, b.slot("t", acme, storage.SlotMembership, "ann").State)
}

func TestADepartmentThatIsDeletedBeforeItCameLetsItsWaitersGo(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if r.Method == http.MethodPost && r.Path == "/Groups" {
			return targettest.Answer(http.StatusBadRequest, "")
		}
		return nil
	})
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.start().settled()
	require.Equal(t, storage.SlotWaiting, b.slot("t", acme, storage.SlotMembership, "ann").State)
	b.department(acme, directory.FlagDelete, item("a"))
	b.settled()
	b.synced("t", p, acme)
}

func TestATenantWhoseRequestsHangHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	release, passed := make(chan struct{}), make(chan struct{}, 1)
	hang := func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		<-release
		forward.ServeHTTP(w, r)
	}
	tell := func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		forward.ServeHTTP(w, r)
		passed <- struct{}{}
	}
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		switch {
		case strings.Contains(r.Body, "/acme/"):
			return hang
		case strings.Contains(r.Body, "/other/"):
			return tell
		}
		return nil
	})
	b.tree(acme, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
	b.tree(other, "a")
	b.start()
	select {
	case <-passed:
	case <-time.After(patience):
		require.Fail(t, "the other tenant waits")
	}
	close(release)
	b.settled()
	b.synced("t", p, acme, other)
}
