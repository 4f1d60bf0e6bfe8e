package resync

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"strings"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

const (
	// batch is how many listed objects are looked up together.
	batch = 500
	// heldMost is how many objects that need a second look are kept: strangers,
	// strays, members out of place. The others are counted.
	heldMost = 10_000
	// The guard: more missing than both at once is not believed.
	guardCount, guardPercent = 10, 20
)

// run is one comparison.
type run struct {
	Options
	ours   Ours
	report *storage.Resync
	hasher hasher
	// before are the differences of the previous resync that were sent, by what
	// they are of.
	before map[string]storage.Drift

	seen     numbers // remote ids in the list
	named    numbers // remote ids that bear their slot's name
	unplaced numbers // remote ids of accounts that are in no department now
	moving   numbers // remote ids of departments that something is under way for
	members  ticked  // places that members are to be in
	shown    int     // members that the list showed at all

	strangers map[string]storage.Drift // by remote id
	strays    map[storage.SlotKey][]string
	extras    []extra
	unheld    bool // some had no room
}

// extra is a member in a group that nobody put it in.
type extra struct{ group, member string }

// Run compares, makes due what differs unless the report is of a dry run, and
// writes what it found into the report. Its error is the store's or that of a
// context that ended; a list that breaks off is no error.
func Run(ctx context.Context, ours Ours, list iter.Seq2[target.Found, error], report *storage.Resync, options Options) error {
	r := &run{
		Options: options, ours: ours, report: report, hasher: hasher{maphash.MakeSeed()},
		before: sentBefore(options.Previous), strangers: make(map[string]storage.Drift), strays: make(map[storage.SlotKey][]string),
	}
	report.Counts = make(map[storage.Finding]int)
	report.Attributes = make(map[string]storage.Tally)
	if err := r.expect(ctx); err != nil {
		return err
	}
	whole, err := r.read(ctx, list)
	if err != nil {
		return err
	}
	return r.conclude(ctx, whole)
}

// steady reports whether the target had what the slot says when the resync
// began, and nothing was under way.
func (r *run) steady(slot storage.Slot) bool {
	return slot.State == storage.SlotDelivered && !slot.Uncertain && slot.DeliveredAt.Before(r.report.StartedAt)
}

// expect notes the places that members are to be in.
func (r *run) expect(ctx context.Context) error {
	if !r.Members {
		return nil
	}
	for slots, err := range r.ours.Slots(ctx) {
		if err != nil {
			return err
		}
		for _, slot := range slots {
			if !isPlace(slot.Kind) || !r.steady(slot) {
				continue
			}
			member, in := r.ours.Places(slot)
			for _, p := range in {
				r.members.add(r.hasher.pair(p.Group, member))
			}
		}
	}
	return nil
}

func isPlace(kind storage.SlotKind) bool {
	return kind == storage.SlotPlacement || kind == storage.SlotMembership
}

// read goes through the list, as many objects at a time as are looked up
// together, and reports whether the list is whole.
func (r *run) read(ctx context.Context, list iter.Seq2[target.Found, error]) (whole bool, err error) {
	whole = true
	pending := make([]target.Found, 0, batch)
	for found, listErr := range list {
		if listErr != nil {
			whole = false
			r.report.State, r.report.Reason = storage.ResyncIncomplete, "the list broke off: "+listErr.Error()
			break
		}
		if pending = append(pending, found); len(pending) == batch {
			if err := r.compare(ctx, pending); err != nil {
				return false, err
			}
			clear(pending)
			pending = pending[:0]
		}
	}
	if err := r.compare(ctx, pending); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if n := r.seen.repeats(); n > 0 && whole {
		whole = false
		r.report.State, r.report.Reason = storage.ResyncIncomplete, fmt.Sprintf("the list has %d objects twice, so others may be left out", n)
	}
	return whole, nil
}

// lot are the listed objects of one kind and scope, by key.
type lot struct {
	kind  storage.SlotKind
	scope directory.Scope
}

// compare judges what was listed.
func (r *run) compare(ctx context.Context, listed []target.Found) error {
	lots := make(map[lot]map[string][]target.Found)
	for _, f := range listed {
		r.report.Listed++
		r.seen.add(r.hasher.name(f.RemoteID))
		if f.Unplaced {
			r.unplaced.add(r.hasher.name(f.RemoteID))
		}
		if f.Illegible {
			r.named.add(r.hasher.name(f.RemoteID))
			r.report.Unsettled++
			continue
		}
		scope, key, err := directory.ParseExternalID(f.ExternalID)
		if err != nil {
			r.stranger(f, storage.Drift{})
			continue
		}
		of := lot{kindOf(f.Kind), scope}
		if lots[of] == nil {
			lots[of] = make(map[string][]target.Found)
		}
		lots[of][key] = append(lots[of][key], f)
	}
	for of, byKey := range lots {
		if err := r.compareLot(ctx, of, byKey); err != nil {
			return err
		}
	}
	if r.Progress != nil {
		r.Progress(ctx)
	}
	return nil
}

func kindOf(kind target.MemberKind) storage.SlotKind {
	if kind == target.MemberUser {
		return storage.SlotUser
	}
	return storage.SlotDepartment
}

func (r *run) compareLot(ctx context.Context, of lot, byKey map[string][]target.Found) error {
	keys := make([]string, 0, len(byKey))
	for key := range maps.Keys(byKey) {
		keys = append(keys, key)
	}
	known, err := r.ours.Objects(ctx, of.kind, of.scope, keys)
	if err != nil {
		return err
	}
	changes := newChanges(of.scope)
	for key, found := range byKey {
		object, ok := known[key]
		for _, f := range found {
			switch {
			case !ok:
				r.stranger(f, storage.Drift{Scope: of.scope, Key: key})
			default:
				r.compareOne(object, f, changes)
			}
		}
	}
	return r.apply(ctx, changes)
}

// compareOne judges an object that bears our name.
func (r *run) compareOne(object Object, f target.Found, changes *changes) {
	slot := object.Slot
	own := slot.RemoteID == f.RemoteID
	if own {
		r.named.add(r.hasher.name(f.RemoteID))
	}
	switch {
	case !object.Settled || !r.steady(slot):
		r.report.Unsettled++
		r.named.add(r.hasher.name(f.RemoteID))
	case object.Fate == Absent:
		drift := driftOf(storage.FindingLeftOver, slot)
		drift.RemoteID = f.RemoteID
		changes.add(drift, Correction{Do: Relocate, RemoteID: f.RemoteID}, slot)
	case slot.RemoteID == "": // it was never put there, and is to be left alone
		r.stranger(f, storage.Drift{Scope: slot.Scope, Key: slot.Key})
	case !own:
		r.stray(slot.SlotKey, f.RemoteID)
	case object.Fate == Left:
		r.report.InSync++
	default:
		r.compareContent(object, f, changes)
	}
	if own {
		r.tickMembers(f)
	}
}

func (r *run) compareContent(object Object, f target.Found, changes *changes) {
	c := object.Compare(f)
	for _, name := range c.Same {
		t := r.report.Attributes[name]
		t.Same++
		r.report.Attributes[name] = t
	}
	for _, name := range c.Differ {
		t := r.report.Attributes[name]
		t.Differ++
		r.report.Attributes[name] = t
	}
	if len(c.Differ) == 0 {
		r.report.InSync++
		return
	}
	drift := driftOf(storage.FindingChanged, object.Slot)
	drift.Attributes, drift.Print = c.Differ, object.Slot.Hash+" "+c.Print
	changes.add(drift, Correction{Do: Resend}, object.Slot)
}

// tickMembers ticks off the places that members are found in.
func (r *run) tickMembers(f target.Found) {
	if !r.Members {
		return
	}
	place := func(group, member string) {
		r.shown++
		switch {
		case r.members.tick(r.hasher.pair(group, member)):
		case len(r.extras) < heldMost:
			r.extras = append(r.extras, extra{group, member})
		default:
			r.unheld = true
		}
	}
	for _, m := range f.Members {
		place(f.RemoteID, m.RemoteID)
	}
	for _, group := range f.Groups {
		place(group, f.RemoteID)
	}
}

// stranger notes an object that is not ours, until it is known whether it is
// one of ours that has lost its name.
func (r *run) stranger(f target.Found, drift storage.Drift) {
	drift.Finding, drift.Kind, drift.RemoteID = storage.FindingUnknown, kindOf(f.Kind), f.RemoteID
	if f.Kind == target.MemberDepartment { // an account's name may be a person's mail address
		drift.Name = f.Name
	}
	r.report.Counts[storage.FindingUnknown]++
	if len(r.strangers) < heldMost {
		r.strangers[f.RemoteID] = drift
		return
	}
	r.report.Left++
}

// stray notes an object that bears our name under another id than it got.
func (r *run) stray(key storage.SlotKey, remoteID string) {
	if len(r.strays) < heldMost {
		r.strays[key] = append(r.strays[key], remoteID)
		return
	}
	r.unheld = true
}

func driftOf(finding storage.Finding, slot storage.Slot) storage.Drift {
	return storage.Drift{Finding: finding, Kind: slot.Kind, Scope: slot.Scope, Key: slot.Key, RemoteID: slot.RemoteID}
}

// sentBefore are the differences that a resync sent, or left because an earlier
// one had.
func sentBefore(previous *storage.Resync) map[string]storage.Drift {
	sent := make(map[string]storage.Drift)
	if previous == nil {
		return sent
	}
	for _, d := range previous.Drifts {
		if d.Print != "" && (d.Repaired || d.Unkept) {
			sent[nameOf(d)] = d
		}
	}
	return sent
}

// nameOf tells what a difference is of.
func nameOf(d storage.Drift) string {
	return strings.Join([]string{string(d.Finding), d.Kind.String(), d.Scope.ExternalID(d.Key), d.Group}, "\n")
}
