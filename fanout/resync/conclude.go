package resync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/openkoo/connector/storage"
)

// verdict says what may be concluded from what is not in the list.
type verdict struct {
	objects, members bool // whether it is judged at all
	hold             bool // whether it is not repaired
}

// conclude judges what can only be judged when the list has been read: what is
// not in it, and what stood out of place in it.
func (r *run) conclude(ctx context.Context, whole bool) error {
	wanted := make(map[string]storage.SlotKey, 2*len(r.extras))
	for _, e := range r.extras {
		wanted[e.group], wanted[e.member] = storage.SlotKey{}, storage.SlotKey{}
	}
	var a absences
	err := r.walk(ctx, func(slots []storage.Slot) error {
		r.survey(slots, wanted, &a)
		return nil
	})
	if err != nil {
		return err
	}
	v := r.weigh(a, whole)
	outOfPlace := r.resolve(wanted)
	if a.suspects > 0 || a.memberMissing > 0 || len(outOfPlace) > 0 {
		if err := r.walk(ctx, func(slots []storage.Slot) error { return r.judge(ctx, slots, v, outOfPlace) }); err != nil {
			return err
		}
	}
	for key, in := range outOfPlace { // of no slot: such as a department where groups are not nested
		for _, p := range in {
			r.record(storage.Drift{Finding: storage.FindingMemberUnknown, Kind: key.Kind, Scope: key.Scope, Key: key.Key, RemoteID: p.member, Group: p.Code})
		}
	}
	r.report.Memberships = r.members.count
	for _, id := range slices.Sorted(maps.Keys(r.strangers)) {
		r.keep(r.strangers[id])
	}
	return nil
}

// walk shows all slots, those of one scope and kind at a time.
func (r *run) walk(ctx context.Context, visit func(slots []storage.Slot) error) error {
	for page, err := range r.ours.Slots(ctx) {
		if err != nil {
			return err
		}
		for len(page) > 0 {
			n := slices.IndexFunc(page, func(s storage.Slot) bool { return s.Kind != page[0].Kind || s.Scope != page[0].Scope })
			if n < 0 {
				n = len(page)
			}
			if err := visit(page[:n]); err != nil {
				return err
			}
			page = page[n:]
		}
	}
	return nil
}

// absences counts what is not in the list, of all that should be.
type absences struct {
	objects, missing      int
	suspects              int // missing, or there without their name, or strays
	places, memberMissing int
}

// survey counts absences, and finds out whose the wanted remote ids are.
func (r *run) survey(slots []storage.Slot, wanted map[string]storage.SlotKey, a *absences) {
	for _, slot := range slots {
		if isPlace(slot.Kind) {
			a.places += len(r.places(slot))
			a.memberMissing += len(r.unticked(slot))
			continue
		}
		if _, ok := wanted[slot.RemoteID]; ok && slot.RemoteID != "" {
			wanted[slot.RemoteID] = slot.SlotKey
		}
		if slot.Kind == storage.SlotDepartment && slot.RemoteID != "" && !r.steady(slot) {
			r.moving.add(r.hasher.name(slot.RemoteID))
		}
		if slot.RemoteID == "" || !r.steady(slot) || !r.listed(slot.Kind) {
			continue
		}
		a.objects++
		if !r.seen.has(r.hasher.name(slot.RemoteID)) {
			a.missing++
		}
		if r.suspect(slot) {
			a.suspects++
		}
	}
}

// suspect reports an object that is to be judged after the list.
func (r *run) suspect(slot storage.Slot) bool {
	if slot.RemoteID == "" || !r.steady(slot) || !r.listed(slot.Kind) {
		return false
	}
	return !r.named.has(r.hasher.name(slot.RemoteID)) || len(r.strays[slot.SlotKey]) > 0
}

// listed reports whether objects of a kind are in lists at all.
func (r *run) listed(kind storage.SlotKind) bool {
	return kind != storage.SlotDepartment || !r.NoDepartments
}

func (r *run) places(slot storage.Slot) []Place {
	if !r.Members || !r.steady(slot) {
		return nil
	}
	_, in := r.ours.Places(slot)
	return in
}

// unticked are the places of a slot in which its member was not found, though
// both group and member were. Of a department that is renamed or moved while the
// list is read nothing is concluded: its members may be listed under either name.
func (r *run) unticked(slot storage.Slot) []Place {
	if !r.Members || !r.steady(slot) {
		return nil
	}
	member, in := r.ours.Places(slot)
	number := r.hasher.name(member)
	if len(in) == 0 || !r.seen.has(number) || r.unplaced.has(number) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(in), func(p Place) bool {
		group := r.hasher.name(p.Group)
		return !r.named.has(group) || r.moving.has(group) || r.members.isTicked(r.hasher.pair(p.Group, member))
	})
}

// weigh decides what is concluded from absence.
func (r *run) weigh(a absences, whole bool) verdict {
	v := verdict{objects: whole, members: whole}
	switch {
	case !whole:
		return v
	case r.unheld:
		r.explain(storage.ResyncIncomplete, fmt.Sprintf("more than %d objects or members are out of place; what is missing was not judged", heldMost))
		return verdict{}
	}
	if a.places > 0 && r.shown == 0 && a.missing < a.objects {
		v.members = false
		r.explain("", "the target shows no members; memberships were not compared")
	}
	for _, part := range []struct {
		what       string
		missing, n int
	}{{"objects", a.missing, a.objects}, {"memberships", a.memberMissing, a.places}} {
		if part.what == "memberships" && !v.members || r.AcceptMissing || !tooMany(part.missing, part.n) {
			continue
		}
		v.hold = true
		r.explain(storage.ResyncHeld, fmt.Sprintf("%d of %d %s are missing, which was not repaired: is this the right target, and is it whole? If so, resync with acceptMissing", part.missing, part.n, part.what))
	}
	return v
}

// tooMany is the guard on what is not believed.
func tooMany(missing, all int) bool { return missing > guardCount && missing*100 > all*guardPercent }

// explain adds a reason to the report.
func (r *run) explain(state storage.ResyncState, reason string) {
	if state != "" {
		r.report.State = state
	}
	r.report.Reason = strings.TrimPrefix(r.report.Reason+"; "+reason, "; ")
}

// judge judges the slots of one scope and kind that the list left open.
func (r *run) judge(ctx context.Context, slots []storage.Slot, v verdict, outOfPlace map[storage.SlotKey][]stay) error {
	found := newChanges(slots[0].Scope)
	if isPlace(slots[0].Kind) {
		for _, slot := range slots {
			r.judgePlaces(slot, v, outOfPlace[slot.SlotKey], found)
			delete(outOfPlace, slot.SlotKey)
		}
		return r.apply(ctx, found)
	}
	var keys []string
	for _, slot := range slots {
		if r.suspect(slot) {
			keys = append(keys, slot.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	known, err := r.ours.Objects(ctx, slots[0].Kind, slots[0].Scope, keys)
	if err != nil {
		return err
	}
	for _, key := range keys {
		object, ok := known[key]
		switch {
		case !ok || !object.Settled || !r.suspect(object.Slot):
			r.report.Unsettled++
		case object.Fate != Present:
		case r.seen.has(r.hasher.name(object.Slot.RemoteID)):
			r.judgeName(object.Slot, found)
		case v.objects:
			r.judgeMissing(object.Slot, v, found)
		}
	}
	return r.apply(ctx, found)
}

// judgeName judges an object that is there: that it lost its name, and that
// others bear it.
func (r *run) judgeName(slot storage.Slot, found *changes) {
	for _, id := range r.strays[slot.SlotKey] {
		drift := driftOf(storage.FindingDuplicate, slot)
		drift.RemoteID = id
		r.record(drift)
	}
	if r.named.has(r.hasher.name(slot.RemoteID)) {
		return
	}
	// It is no stranger after all.
	if _, kept := r.strangers[slot.RemoteID]; kept {
		delete(r.strangers, slot.RemoteID)
	} else {
		r.report.Left--
	}
	r.report.Counts[storage.FindingUnknown]--
	drift := driftOf(storage.FindingChanged, slot)
	drift.Attributes, drift.Print = []string{"externalId"}, slot.Hash+" externalId"
	t := r.report.Attributes["externalId"]
	t.Differ++
	r.report.Attributes["externalId"] = t
	found.add(drift, Correction{Do: Resend}, slot)
}

func (r *run) judgeMissing(slot storage.Slot, v verdict, found *changes) {
	strays := r.strays[slot.SlotKey]
	switch {
	case len(strays) == 1:
		drift := driftOf(storage.FindingMoved, slot)
		drift.RemoteID = strays[0]
		found.add(drift, Correction{Do: Relocate, RemoteID: strays[0]}, slot)
	case len(strays) > 1:
		for _, id := range strays {
			drift := driftOf(storage.FindingDuplicate, slot)
			drift.RemoteID = id
			r.record(drift)
		}
	case v.hold:
		r.record(driftOf(storage.FindingMissing, slot))
	default:
		found.add(driftOf(storage.FindingMissing, slot), Correction{Do: Recreate}, slot)
	}
}

// judgePlaces judges the groups that a member is not in, and those that it is
// in out of place.
func (r *run) judgePlaces(slot storage.Slot, v verdict, outOfPlace []stay, found *changes) {
	if !r.steady(slot) {
		r.report.Unsettled += len(outOfPlace)
		return
	}
	drift := driftOf(storage.FindingMemberExtra, slot)
	for _, s := range outOfPlace {
		drift.RemoteID, drift.Group, drift.Print = s.member, s.Code, s.Group+" "+s.member
		found.add(drift, Correction{Do: AddPlace, Place: s.Place, RemoteID: s.member}, slot)
	}
	if !v.members {
		return
	}
	member, _ := r.ours.Places(slot)
	drift.Finding = storage.FindingMemberMissing
	for _, p := range r.unticked(slot) {
		drift.RemoteID, drift.Group, drift.Print = member, p.Code, p.Group+" "+member
		if v.hold {
			r.record(drift)
			continue
		}
		found.add(drift, Correction{Do: DropPlace, Place: p}, slot)
	}
}

// stay is a member's stay in a group that nobody put it in.
type stay struct {
	Place
	member string // its remote id
}

// resolve finds the slots of the members that are out of place. whose says
// which of our objects the remote ids are.
func (r *run) resolve(whose map[string]storage.SlotKey) map[storage.SlotKey][]stay {
	outOfPlace := make(map[storage.SlotKey][]stay)
	for _, e := range r.extras {
		group, member := whose[e.group], whose[e.member]
		switch {
		case group.Kind != storage.SlotDepartment, r.moving.has(r.hasher.name(e.group)): // of no department of ours, or of one in motion
		case member.Kind == 0 || member.Scope != group.Scope:
			r.record(storage.Drift{
				Finding: storage.FindingMemberUnknown, Kind: storage.SlotMembership, Scope: group.Scope, Group: group.Key, RemoteID: e.member,
			})
		default:
			key := member
			key.Kind = storage.SlotMembership
			if member.Kind == storage.SlotDepartment {
				key.Kind = storage.SlotPlacement
			}
			outOfPlace[key] = append(outOfPlace[key], stay{Place{group.Key, e.group}, e.member})
		}
	}
	return outOfPlace
}
