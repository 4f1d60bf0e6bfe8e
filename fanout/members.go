package fanout

import (
	"context"
	"fmt"
	"slices"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// move is one member's way from the group it is in to the one it belongs to.
// At least one of the two ends is set.
type move struct {
	task   storage.Task
	member target.Member
	from   string // orgCode of the group it is in, empty for none
	to     string // orgCode of the group it goes to, empty for none
	// wait is the orgCode of a group it belongs to that is not there yet.
	wait string
	err  error
}

// changeMembers brings placements and memberships to the target: all additions
// first, so that nobody is without a department in between, then the removals.
// Objects that got a new remote id take their membership along, due or not.
func (r *round) changeMembers(ctx context.Context, tasks []storage.Task, renewed []storage.SlotKey) error {
	tasks, err := r.withRenewed(ctx, tasks, renewed)
	if err != nil || len(tasks) == 0 {
		return err
	}
	moves, groups, err := r.planMoves(ctx, tasks)
	if err != nil {
		return err
	}
	adds := func(m *move) (string, bool) { return m.to, m.to != "" }
	removes := func(m *move) (string, bool) { return m.from, m.from != "" && m.err == nil }
	for _, direction := range []struct {
		group func(*move) (string, bool)
		add   bool
	}{{adds, true}, {removes, false}} {
		if err := r.sendMoves(ctx, moves, groups, direction.group, direction.add); err != nil {
			return err
		}
		if r.stopped() {
			break
		}
	}
	return r.settleMoves(ctx, moves, groups)
}

// withRenewed adds the membership slots of objects that got a new remote id.
func (r *round) withRenewed(ctx context.Context, tasks []storage.Task, renewed []storage.SlotKey) ([]storage.Task, error) {
	inBatch := make(map[storage.SlotKey]struct{}, len(tasks))
	for _, t := range tasks {
		inBatch[t.SlotKey] = struct{}{}
	}
	keys := make(map[storage.SlotKind][]string)
	for _, key := range renewed {
		kind := storage.SlotPlacement
		if key.Kind == storage.SlotUser {
			kind = storage.SlotMembership
		}
		keys[kind] = append(keys[kind], key.Key)
	}
	for _, kind := range []storage.SlotKind{storage.SlotPlacement, storage.SlotMembership} {
		found, err := r.lookup(ctx, kind, keys[kind])
		if err != nil {
			return nil, err
		}
		for _, key := range keys[kind] {
			t, ok := found[key]
			if _, dup := inBatch[t.SlotKey]; ok && !dup {
				tasks = append(tasks, t)
			}
		}
	}
	return tasks, nil
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
		codes = append(codes, t.Group, r.belongsTo(t))
	}
	users, err := r.lookup(ctx, storage.SlotUser, userNames)
	if err != nil {
		return nil, nil, err
	}
	groups, err = r.lookup(ctx, storage.SlotDepartment, codes)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tasks {
		member := target.Member{Kind: target.MemberUser, RemoteID: users[t.Key].RemoteID}
		if t.Kind == storage.SlotPlacement {
			member = target.Member{Kind: target.MemberDepartment, RemoteID: groups[t.Key].RemoteID}
		}
		if m := r.planMove(t, member, groups); m != nil {
			moves = append(moves, m)
		}
	}
	return moves, groups, nil
}

func (r *round) planMove(t storage.Task, member target.Member, groups map[string]storage.Task) *move {
	m := &move{task: t, member: member}
	if t.Group != "" && t.Hash != "" && t.Hash == memberHash(groups[t.Group].RemoteID, member.RemoteID) {
		m.from = t.Group
	}
	want := r.belongsTo(t)
	switch {
	case !r.capabilities.Memberships, want == "" && m.from == "":
		r.settleAlone(t.Slot)
		return nil
	case want == m.from:
		r.delivered(t.Slot, t.Hash)
		return nil
	case want != "" && member.RemoteID == "" && t.Kind == storage.SlotMembership && !r.wanted(t):
		r.settleAlone(t.Slot) // the target never gets the account
		return nil
	case want != "" && member.RemoteID == "":
		r.waiting(t.Slot, want, "the member itself is not at the target yet")
		return nil
	case want != "" && groups[want].RemoteID == "":
		m.wait = want
		if m.from == "" {
			r.settleWaiting(m)
			return nil
		}
	default:
		m.to = want
	}
	return m
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

// wanted reports whether the target is to have an account it does not have.
func (r *round) wanted(t storage.Task) bool {
	what, _ := r.decideUser(t.User, false)
	return what == fatePut
}

// sendMoves sends the additions or the removals, batched by group.
func (r *round) sendMoves(ctx context.Context, moves []*move, groups map[string]storage.Task, group func(*move) (string, bool), add bool) error {
	byGroup := make(map[string][]*move)
	var order []string
	for _, m := range moves {
		code, ok := group(m)
		if !ok {
			continue
		}
		if _, known := byGroup[code]; !known {
			order = append(order, code)
		}
		byGroup[code] = append(byGroup[code], m)
	}
	type chunk struct {
		code  string
		moves []*move
	}
	var chunks []chunk
	for _, code := range order {
		for part := range slices.Chunk(byGroup[code], max(1, r.capabilities.MembersPerChange)) {
			chunks = append(chunks, chunk{code, part})
		}
	}
	return forEach(ctx, r.Concurrency, chunks, func(ctx context.Context, c chunk) {
		r.sendChunk(ctx, groups[c.code], c.moves, add)
	})
}

// sendChunk changes the members of one group in one request. If the target
// refuses the request for good, it is halved until the member that it refuses
// stands alone: the others must not suffer for it.
func (r *round) sendChunk(ctx context.Context, group storage.Task, moves []*move, add bool) {
	if r.stopped() {
		fail(moves, errNotSent)
		return
	}
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
	switch {
	case err == nil:
	case !add && target.ClassOf(err) == target.Gone:
		// The group went, and its members with it.
	case target.ClassOf(err) == target.Permanent && len(moves) > 1:
		half := len(moves) / 2
		r.sendChunk(ctx, group, moves[:half], add)
		r.sendChunk(ctx, group, moves[half:], add)
	default:
		if class := target.ClassOf(err); class == target.Down || class == target.Disabled || class == target.RateLimited {
			r.halt()
		}
		fail(moves, err)
	}
}

func fail(moves []*move, err error) {
	for _, m := range moves {
		m.err = err
	}
}

// settleMoves settles what became of each move.
func (r *round) settleMoves(ctx context.Context, moves []*move, groups map[string]storage.Task) error {
	lost := make(map[string]struct{})
	for _, m := range moves {
		switch {
		case m.err != nil && target.ClassOf(m.err) == target.Gone && m.to != "":
			lost[m.to] = struct{}{}
			m.wait = m.to
			r.settleWaiting(m)
		case m.err != nil:
			r.failed(ctx, m.task.Slot, m.err)
		case m.wait != "":
			r.settleWaiting(m)
		default:
			slot := m.task.Slot
			slot.Group = m.to
			hash := ""
			if m.to != "" {
				hash = memberHash(groups[m.to].RemoteID, m.member.RemoteID)
			}
			r.delivered(slot, hash)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	// The members wait on disk before their group is due to be made anew, so
	// that its coming wakes them.
	if err := r.flush(ctx); err != nil {
		return err
	}
	for code := range lost {
		slot := groups[code].Slot
		slot.RemoteID, slot.Hash, slot.Uncertain = "", "", true
		slot.State, slot.DueAt = storage.SlotRetrying, r.options.Now()
		slot.LastError = "the target no longer has the department"
		r.settle(slot)
	}
	return nil
}

// settleAlone settles a member that is in no group and is to be in none.
func (r *round) settleAlone(slot storage.Slot) {
	slot.Group = ""
	r.delivered(slot, "")
}

// settleWaiting settles a member whose group is not there yet.
func (r *round) settleWaiting(m *move) {
	slot := m.task.Slot
	slot.Hash = ""
	r.waiting(slot, m.wait, fmt.Sprintf("its department %s is not at the target yet", m.wait))
}

// memberHash names a membership as the target has it. It changes when either
// end is made anew, so that a lost membership is not taken for a kept one.
func memberHash(groupID, memberID string) string {
	if groupID == "" || memberID == "" {
		return ""
	}
	return groupID + "\n" + memberID
}
