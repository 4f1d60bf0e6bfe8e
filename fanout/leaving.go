package fanout

import (
	"strings"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// softly reports whether an account that the target is not to have is
// deactivated, or stays so, before it is deleted.
func (r *round) softly(t storage.Task) bool {
	if r.DeleteAfter <= 0 || t.User == nil || t.RemoteID == "" {
		return false
	}
	return !strings.HasSuffix(t.Hash, inactiveMark) || r.options.Now().Before(r.deletedAt(t.Slot, t.User))
}

// deletedAt is when an account that is deactivated at the target is deleted
// there. Who was deactivated long before does not lose the grace.
func (r *round) deletedAt(slot storage.Slot, u *directory.User) time.Time {
	from := slot.DeliveredAt
	if u.ChangedAt.After(from) {
		from = u.ChangedAt
	}
	return from.Add(r.DeleteAfter)
}

// leaving settles an account that is deactivated and will be deleted. Whatever
// else is sent of it meanwhile does not put that off.
func (r *round) leaving(slot storage.Slot, u *directory.User, hash string) {
	settled := r.done(slot, hash)
	if strings.HasSuffix(slot.Hash, inactiveMark) {
		settled.DeliveredAt = slot.DeliveredAt
	}
	settled.State, settled.DueAt = storage.SlotLeaving, r.deletedAt(settled, u)
	r.settle(settled)
}
