package fanout

import (
	"fmt"
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
