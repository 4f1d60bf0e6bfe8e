package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// move is a member's way from the groups it is in to the one it belongs to.
type move struct {
	task   storage.Task
	member target.Member
	want   string   // orgCode of the group it belongs to, empty for none
	in     []place  // where it is or may be; kept true as answers come
	add    bool     // it is yet to be added to want
	remove []string // orgCodes it is yet to be removed from
	wait   bool     // the group it belongs to is not at the target yet
	sent   bool     // an answer came: in may differ from what is stored
	err    error
}

// changeMembers brings placements and memberships to the target: all additions
// first, so that nobody is without a department in between, then the removals.
// A placement that is refused may have been a cycle until those were made.
func (r *round) changeMembers(ctx context.Context, tasks []storage.Task) error {
	if len(tasks) == 0 {
		return nil
	}
	moves, groups, err := r.planMoves(ctx, tasks)
	if err != nil {
		return err
	}
	if err := r.noteIntent(ctx, moves, groups); err != nil {
		return err
	}
	for {
		r.sendAdditions(ctx, moves, groups)
		ended := r.sendRemovals(ctx, moves, groups)
		refused := refusedPlacements(moves)
		if ended == 0 || len(refused) == 0 || r.stopped() || ctx.Err() != nil {
			break
		}
		for _, m := range refused {
			m.err = nil
		}
	}
	return r.settleMoves(ctx, moves, groups)
}

func (r *round) sendAdditions(ctx context.Context, moves []*move, groups map[string]storage.Task) {
	additions := make(map[string][]*move)
	for _, m := range moves {
		if m.add && m.err == nil {
			additions[m.want] = append(additions[m.want], m)
		}
	}
	r.sendMoves(ctx, additions, groups, true)
}

// sendRemovals returns how many placements were ended.
func (r *round) sendRemovals(ctx context.Context, moves []*move, groups map[string]storage.Task) (ended int) {
	removals := make(map[string][]*move)
	for _, m := range moves {
		if m.add || m.err != nil {
			continue // better in the old department than in none
		}
		for _, code := range m.remove {
			removals[code] = append(removals[code], m)
		}
	}
	before := placementsLeft(moves)
	r.sendMoves(ctx, removals, groups, false)
	if ended = before - placementsLeft(moves); ended > 0 {
		r.changed() // what was refused for a cycle may be taken now
	}
	return ended
}

// placementsLeft counts the placements that are yet to be ended.
func placementsLeft(moves []*move) (n int) {
	for _, m := range moves {
		if m.member.Kind == target.MemberDepartment {
			n += len(m.remove)
		}
	}
	return n
}

// refusedPlacements are the placements that were refused.
func refusedPlacements(moves []*move) (refused []*move) {
	for _, m := range moves {
		class := target.ClassOf(m.err)
		if m.err != nil && m.add && m.member.Kind == target.MemberDepartment && (class == target.Permanent || class == target.Conflict) {
			refused = append(refused, m)
		}
	}
	return refused
}

// planMoves decides where each member goes. Members that need no request, or
// have to wait, are settled here.
func (r *round) planMoves(ctx context.Context, tasks []storage.Task) (moves []*move, groups map[string]storage.Task, err error) {
	var userNames, codes []string
	for _, t := range tasks {
		if t.Kind == storage.SlotMembership {
			userNames = append(userNames, t.Key)
		} else {
			codes = append(codes, t.Key)
		}
		codes = append(codes, r.belongsTo(t))
		for _, p := range parsePlaces(t.Hash).In {
			codes = append(codes, p.Code)
		}
	}
	users, err := r.slots(ctx, storage.SlotUser, userNames)
	if err != nil {
		return nil, nil, err
	}
	groups, err = r.lookup(ctx, storage.SlotDepartment, codes)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tasks {
		object, member := storage.Task{Slot: users[t.Key], User: t.User}, target.Member{Kind: target.MemberUser}
		if t.Kind == storage.SlotPlacement {
			object, member.Kind = groups[t.Key], target.MemberDepartment
		}
		member.RemoteID = object.RemoteID
		if t.Hash != "" && stays(object.Slot) && r.removal(object) && r.belongsTo(t) == "" {
			r.stay(t.Slot, object.Slot)
			continue
		}
		if m := r.planMove(ctx, t, member, groups); m != nil {
			moves = append(moves, m)
		}
	}
	return moves, groups, nil
}

// planMove plans one member's move; nil if it is settled without a request.
func (r *round) planMove(ctx context.Context, t storage.Task, member target.Member, groups map[string]storage.Task) *move {
	m := &move{task: t, member: member, want: r.belongsTo(t), in: parsePlaces(t.Hash).valid(member, groups)}
	if d := groups[m.want].Department; d == nil || d.Deleted && !stays(groups[m.want].Slot) {
		m.want = "" // no such department; the store marks the slot when it comes
	}
	switch {
	case !r.capabilities.Memberships, m.want == "" && len(m.in) == 0, member.RemoteID == "" && !r.comes(t):
		r.settleAlone(t.Slot)
		return nil
	case member.RemoteID == "":
		slot := t.Slot
		slot.Hash = ""
		r.waiting(slot, m.want, "the member itself is not at the target yet")
		return nil
	}
	m.wait = m.want != "" && groups[m.want].RemoteID == ""
	m.add = m.want != "" && !m.wait && (t.Uncertain || t.Delivered == 0 || !slices.ContainsFunc(m.in, m.wanted))
	for _, p := range m.in {
		if !m.wanted(p) {
			m.remove = append(m.remove, p.Code)
		}
	}
	if !m.add && len(m.remove) == 0 {
		r.settleMove(ctx, m)
		return nil
	}
	return m
}

func (m *move) wanted(p place) bool { return p.Code == m.want }

// withLeaving adds the places of departments and accounts that are about to be
// deleted, due or not: a group must not be left with a member that is gone.
func (r *round) withLeaving(ctx context.Context, b batch, absent []storage.Task) ([]storage.Task, error) {
	tasks := b.members
	claimed := make(map[slotName]struct{}, len(tasks))
	if len(b.deleteDepartments)+len(absent) > 0 {
		for i := range tasks {
			claimed[nameOf(&tasks[i].Slot)] = struct{}{}
		}
	}
	for kind, leaving := range map[storage.SlotKind][]storage.Task{storage.SlotPlacement: b.deleteDepartments, storage.SlotMembership: absent} {
		keys := make([]string, 0, len(leaving))
		for _, t := range leaving {
			keys = append(keys, t.Key)
		}
		found, err := r.slots(ctx, kind, keys)
		if err != nil {
			return nil, err
		}
		for _, one := range leaving {
			slot, there := found[one.Key]
			if _, dup := claimed[nameOf(&slot)]; there && !dup && slot.Hash != "" {
				tasks = append(tasks, storage.Task{Slot: slot, Department: one.Department, User: one.User})
			}
		}
	}
	return tasks, nil
}

// belongsTo is the orgCode of the department the member is to be in.
func (r *round) belongsTo(t storage.Task) string {
	switch {
	case t.Kind == storage.SlotPlacement && t.Department != nil && !t.Department.Deleted:
		return t.Department.AttachedTo()
	case t.Kind == storage.SlotMembership && t.User != nil && !t.User.Deleted:
		if what, _ := r.decideUser(t.User, true); what == fateAbsent {
			return ""
		}
		return t.User.OrgCode
	default:
		return ""
	}
}

// comes reports whether a member that is not at the target yet will be.
func (r *round) comes(t storage.Task) bool {
	if t.Kind == storage.SlotPlacement {
		return t.Department != nil && !t.Department.Deleted
	}
	what, _ := r.decideUser(t.User, false)
	return what == fatePut
}

// noteIntent writes down where members are about to be added, so that after a
// crash they are removed from there should they belong elsewhere by then.
func (r *round) noteIntent(ctx context.Context, moves []*move, groups map[string]storage.Task) error {
	intents := make([]storage.Slot, 0, len(moves))
	for _, m := range moves {
		if !m.add {
			continue
		}
		in := placed(m.in, place{m.want, groups[m.want].RemoteID})
		slot := m.task.Slot
		slot.Hash, slot.Uncertain = encodePlaces(m.member.RemoteID, in), true
		if slot.Hash != m.task.Hash || !m.task.Uncertain {
			intents = append(intents, slot)
		}
	}
	if len(intents) == 0 {
		return nil
	}
	if err := r.store.Note(ctx, r.lease, intents); err != nil {
		return fmt.Errorf("note %d memberships of %s: %w", len(intents), r.scope, err)
	}
	return nil
}

// sendMoves sends the additions or the removals, several groups at once. The
// changes of one group go one after the other: many servers read a group,
// change it and write it back, and would lose one of two at once.
func (r *round) sendMoves(ctx context.Context, byGroup map[string][]*move, groups map[string]storage.Task, add bool) {
	codes := make([]string, 0, len(byGroup))
	for code := range byGroup {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	forEach(ctx, r.limit(), codes, func(ctx context.Context, code string) {
		for part := range slices.Chunk(byGroup[code], max(1, r.capabilities.MembersPerChange)) {
			r.sendChunk(ctx, groups[code], part, add)
		}
	})
}

// sendChunk changes the members of one group in one request. If the target
// refuses it for the sake of some member, it is halved until that member
// stands alone: the others must not suffer for it.
func (r *round) sendChunk(ctx context.Context, group storage.Task, moves []*move, add bool) {
	object := target.Object{ExternalID: r.scope.ExternalID(group.Key), RemoteID: group.RemoteID}
	var change target.MemberChange
	op := "remove members"
	for _, m := range moves {
		if add {
			change.Add = append(change.Add, m.member)
		} else {
			change.Remove = append(change.Remove, m.member)
		}
	}
	if add {
		op = "add members"
	}
	err := r.call(ctx, op, func(ctx context.Context) error {
		return r.Connector.ChangeMembers(ctx, object, change)
	})
	class := target.ClassOf(err)
	if err != nil && len(moves) > 1 && (class == target.Permanent || class == target.NeedsParent || class == target.Conflict) {
		half := len(moves) / 2
		r.sendChunk(ctx, group, moves[:half], add)
		r.sendChunk(ctx, group, moves[half:], add)
		return
	}
	if !add && (class == target.Gone || class == target.NeedsParent) {
		err = nil // the group or the member went, and the membership with it
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range moves {
		m.answered(place{group.Key, group.RemoteID}, add, err)
	}
}

// answered notes what became of one change of a move.
func (m *move) answered(p place, add bool, err error) {
	if errors.Is(err, errNotSent) {
		return
	}
	m.sent = true
	details, _ := errors.AsType[*target.Error](err)
	unknown := err != nil && (details == nil || details.UnknownOutcome)
	switch {
	case add && (err == nil || unknown):
		m.in = placed(m.in, p)
		m.add = err != nil
	case !add && err == nil:
		m.in = slices.DeleteFunc(slices.Clone(m.in), func(one place) bool { return one == p })
		m.remove = slices.DeleteFunc(slices.Clone(m.remove), func(code string) bool { return code == p.Code })
	}
	if err != nil {
		m.err = err
	}
}

// settleMoves settles what became of each move, and has what turned out to be
// missing at the target looked after.
func (r *round) settleMoves(ctx context.Context, moves []*move, groups map[string]storage.Task) error {
	lost := make(map[string]struct{})
	suspects := make(map[storage.SlotKind][]string)
	for _, m := range moves {
		switch class := target.ClassOf(m.err); {
		case m.err != nil && class == target.Gone && m.add:
			lost[m.want] = struct{}{}
			if m.task.Attempts == 0 { // else it comes and is gone again: no hurry
				m.wait, m.err, m.add = true, nil, false
				m.task.Attempts++
			}
		case m.err != nil && class == target.NeedsParent:
			kind := storage.SlotUser
			if m.member.Kind == target.MemberDepartment {
				kind = storage.SlotDepartment
			}
			suspects[kind] = append(suspects[kind], m.task.Key)
		}
		r.settleMove(ctx, m)
	}
	for code := range lost {
		slot := groups[code].Slot
		slot.RemoteID, slot.Hash, slot.Uncertain = "", "", true
		slot.State, slot.DueAt = storage.SlotRetrying, r.options.Now()
		slot.ErrorClass, slot.LastError = string(target.Gone), "the target no longer has the department"
		r.settle(slot)
	}
	for kind, keys := range suspects {
		if err := r.sendAgain(ctx, kind, keys); err != nil {
			return err
		}
	}
	return nil
}

// settleMove settles one move. A move that was not begun stays as it was
// claimed, one that was cut short keeps what came of it.
func (r *round) settleMove(ctx context.Context, m *move) {
	slot := m.task.Slot
	slot.Hash = encodePlaces(m.member.RemoteID, m.in)
	switch {
	case m.err != nil:
		r.failed(ctx, slot, m.err)
	case m.add || len(m.remove) > 0:
		if m.sent {
			r.settle(slot)
		}
	case m.wait:
		r.waiting(slot, m.want, fmt.Sprintf("its department %s is not at the target yet", m.want))
	default:
		slot.Group = m.want
		r.delivered(slot, slot.Hash)
	}
}

// settleAlone settles a member that is in no group and is to be in none.
func (r *round) settleAlone(slot storage.Slot) {
	slot.Group = ""
	r.delivered(slot, "")
}
