package fanout

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/scim/scimserver"
)

// recoded is a bundle whose tree has just got other codes for the same names, at
// a target that takes no name twice.
func recoded(t *testing.T, departments int, limit RemovalLimit) (*bundle, *peer) {
	p, corp := peerOf(t, "t", scimserver.Options{Quirks: scimserver.Quirks{UniqueGroups: true}})
	corp.Removals = &limit
	b := newBundle(t, corp)
	push := func(prefix string) {
		full := &directory.FullPush{Departments: []directory.DepartmentItem{item("stays")}} // a list that deletes all is held before
		for i := range departments {
			full.Departments = append(full.Departments, directory.DepartmentItem{Code: fmt.Sprint(prefix, i), Name: fmt.Sprint("dept ", i)})
		}
		b.push(acme, directory.FlagModify, full)
	}
	push("old")
	b.users(acme, directory.FlagAdd, "ann@old0")
	b.start().settled()
	b.synced("t", p, acme)
	push("new")
	b.settled()
	return b, p
}

// What has another code and the old name collides with its own tombstone, which
// goes last in the round: it is tried again when that has gone, and the target
// is not taken to be at fault.
func TestANameIsTakenWhenItsTombstoneHasGone(t *testing.T) {
	t.Parallel()
	b, p := recoded(t, 2*defaultQuarantineAfter, RemovalLimit{PerHour: 1000})
	b.advance(time.Second)
	b.synced("t", p, acme)
	require.Equal(t, Up, b.fanout.Targets()[0].State)
}

// The tombstone may be long in going, if its deletion has to be approved. Until
// then what collides with it is a dead letter, and then nobody has to replay it.
func TestANameIsTakenWhenTheDeletionBeforeItIsApproved(t *testing.T) {
	t.Parallel()
	const many = 2 * defaultQuarantineAfter
	b, p := recoded(t, many, RemovalLimit{PerHour: 1})
	b.advance(time.Second)
	require.Equal(t, many, b.counts("t")[storage.SlotDead])
	dead := b.slot("t", acme, storage.SlotDepartment, "new0")
	require.Equal(t, storage.SlotDead, dead.State)
	require.Equal(t, string(target.Conflict), dead.ErrorClass)
	require.Equal(t, Up, b.fanout.Targets()[0].State)
	p.proxy.Forget()
	b.clock.advance(time.Hour)
	b.tree(other, "wakes")
	b.settled()
	require.Len(t, p.writes(), 1, "as long as nothing leaves nothing is tried again")
	require.Equal(t, many, b.decide(true))
	require.Equal(t, Up, b.fanout.Targets()[0].State)
	b.advance(time.Second)
	b.synced("t", p, acme, other)
}

// An account may come back under the same name in other letters, which are not
// another name at the target.
func TestAnAccountOfOtherLettersFollowsItself(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "zhang@a")
	b.settled()
	b.users(acme, directory.FlagAdd, "Zhang@a")
	b.settled()
	b.advance(time.Second)
	require.Equal(t, storage.SlotDead, b.slot("t", acme, storage.SlotUser, "Zhang").State, "there are two of them")
	b.users(acme, directory.FlagDelete, "zhang")
	b.settled()
	b.advance(time.Second)
	b.synced("t", p, acme)
}

func renamed(code, name string) directory.DepartmentItem {
	return directory.DepartmentItem{Code: code, Name: name}
}

// Names that change hands come in one list, or in calls of which each is too
// early: whichever way, nobody has to replay anything.
func TestNames_ChangeHandsAtATargetThatTakesNoneTwice(t *testing.T) {
	t.Parallel()
	names := map[string]string{"a": "name of b", "b": "name of c", "c": "name of a", "d": "name of e", "e": "new"}
	for _, way := range []string{"one list", "one by one", "one by one, after a pause"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			p, corp := peerOf(t, "t", scimserver.Options{Quirks: scimserver.Quirks{UniqueGroups: true}})
			b := newBundle(t, corp)
			full := &directory.FullPush{}
			for code := range names {
				full.Departments = append(full.Departments, renamed(code, "name of "+code))
			}
			b.push(acme, directory.FlagModify, full)
			b.start().settled()
			b.synced("t", p, acme)
			for i := range full.Departments {
				d := &full.Departments[i]
				d.Name = names[d.Code]
				if way != "one list" {
					b.department(acme, directory.FlagModify, *d)
				}
				if way == "one by one, after a pause" {
					b.settled()
					b.advance(time.Hour)
				}
			}
			if way == "one list" {
				b.push(acme, directory.FlagModify, full)
			}
			b.settled()
			for range 5 {
				b.advance(time.Hour)
			}
			b.synced("t", p, acme)
		})
	}
}

// A server that refuses cycles refuses the new place until the old one is left.
func TestPlacements_AreTakenWhereCyclesAreRefused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusConflict, http.StatusBadRequest} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			p, corp := peerOf(t, "t", scimserver.Options{Quirks: scimserver.Quirks{NoCycles: status}})
			b := newBundle(t, corp)
			b.tree(acme, "a", "b<a", "c<b", "d<c")
			b.start().settled()
			b.synced("t", p, acme)
			b.tree(acme, "d", "c<d", "b<c", "a<b")
			b.settled()
			require.Zero(t, b.counts("t")[storage.SlotRetrying], "in one pass")
			b.synced("t", p, acme)
			b.tree(acme, "a<d", "b<a", "c<b", "d")
			b.settled()
			b.synced("t", p, acme)
		})
	}
}
