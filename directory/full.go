package directory

import (
	"cmp"
	"context"
	"iter"
	"slices"
)

// FullView is what planning for all departments of a scope needs to see.
type FullView interface {
	State(ctx context.Context) (State, error)
	// Departments yields all departments by ascending code, with tombstones.
	Departments(ctx context.Context) iter.Seq2[Department, error]
	UsersIn(ctx context.Context, codes []string) (map[string]int, error)
}

// standing is a department as it will stand after a full push. It is kept
// small, since there is one for each department of the scope.
type standing struct {
	code, name, parent string
	version            int64
	since              SourceTime
	item               int32 // where it is in the list, whose word its parent is; or -1
	decision           int32 // of one that goes: where its decision is
	// written says that it differs from what is stored, goes that it is to be
	// deleted; wasMissing that it lived without its parent, missing that it
	// will, looped that it will because following the parent closes a cycle.
	written, goes, wasMissing, missing, looped bool
}

// fullPlanner merges a pushed list with the stored departments, both sorted by
// code, into the departments as they will stand.
type fullPlanner struct {
	at     SourceTime
	full   SourceTime // the newest full push's time, this one's included
	list   *FullPush
	places []int32 // where in next a department of the list is, -1 for nowhere
	plan   *Plan
	next   []standing // by ascending code
	going  int        // how many of next go
	living int        // how many lived before
	// changed says that the tree may: somebody comes, goes, moves, or stays
	// though the list does not say so.
	changed bool
}

// PlanFull diffs a full push against the stored departments
// (spec/marketplace.md §3.5). A list that Check refuses is refused. Only
// differences are planned: a repeated push plans nothing but its time.
func PlanFull(ctx context.Context, push *Push, list *FullPush, view FullView, guard Guard) (*Plan, error) {
	return planFull(ctx, push, list, view, guard.Holds)
}

func planFull(ctx context.Context, push *Push, list *FullPush, view FullView, holds func(deletes, living int) bool) (*Plan, error) {
	state, err := view.State(ctx)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Result: ResultUnchanged, Counts: Counts{}}
	if push.SourceTime < state.FullTime {
		plan.Result = ResultStale
		plan.Counts[ActionStale] = len(list.Departments)
		return plan, nil
	}
	if list.parents == nil {
		if err := list.Check(); err != nil {
			return nil, err
		}
	}
	digest := digestList(list.Departments)
	if repeats(digest, &state) {
		plan.Counts[ActionUnchanged] = len(list.Departments)
		plan.FullTime, plan.FullDigest = push.SourceTime, digest
		return plan, nil
	}
	p := newFullPlanner(push.SourceTime, push.SourceTime, list, plan, state)
	if err := p.merge(list.Departments, view.Departments(ctx)); err != nil {
		return nil, err
	}
	held := holds(p.going, p.living)
	plan.FullTime = p.at
	plan.HoldSet = held || state.Hold != nil
	if held {
		plan.Hold = &Hold{PushID: push.ID, SourceTime: p.at, Of: p.living}
		p.hold()
	}
	p.attach()
	if err := p.delete(ctx, view, "not in the list"); err != nil {
		return nil, err
	}
	p.finish()
	switch {
	case held:
		plan.Result = ResultHeld
	case !plan.Empty():
		plan.Result = ResultApplied
	}
	if !held && plan.Counts[ActionStale] == 0 {
		plan.FullDigest = digest // the departments are the list and nothing else
	}
	return plan, nil
}

func newFullPlanner(at, full SourceTime, list *FullPush, plan *Plan, state State) *fullPlanner {
	p := &fullPlanner{at: at, full: full, list: list, plan: plan}
	p.places = make([]int32, len(list.Departments))
	p.next = make([]standing, 0, max(len(list.Departments), state.Departments))
	// At least those that are new have a decision each.
	plan.Decisions = make([]Decision, 0, max(0, len(list.Departments)-state.Departments))
	return p
}

// merge walks both sides once.
func (p *fullPlanner) merge(items []DepartmentItem, stored iter.Seq2[Department, error]) error {
	i := 0
	for d, err := range stored {
		if err != nil {
			return err
		}
		for ; i < len(items) && items[i].Code < d.Code; i++ {
			p.create(int32(i))
		}
		if !d.Deleted {
			p.living++
		}
		if i < len(items) && items[i].Code == d.Code {
			p.listed(int32(i), &d)
			i++
		} else {
			p.unlisted(&d)
		}
	}
	for ; i < len(items); i++ {
		p.create(int32(i))
	}
	return nil
}

func (p *fullPlanner) create(i int32) {
	p.put(i, 1, false)
	p.changed = true
	p.plan.Delta.Departments++
	p.plan.note(KindDepartment, p.list.Departments[i].Code, ActionCreate, "")
}

// put lets a department stand as the list says.
func (p *fullPlanner) put(i int32, version int64, wasMissing bool) {
	item := &p.list.Departments[i]
	p.places[i] = int32(len(p.next))
	p.next = append(p.next, standing{
		code: item.Code, name: item.Name, parent: item.ParentCode, item: i,
		version: version, since: p.at, written: true, wasMissing: wasMissing,
	})
}

// listed handles a department that is in the list and known.
func (p *fullPlanner) listed(i int32, d *Department) {
	item := &p.list.Departments[i]
	p.places[i] = int32(len(p.next))
	if d.SourceTime > p.at {
		p.plan.note(KindDepartment, d.Code, ActionStale, newerReason(d.SourceTime))
		p.keep(d)
		if d.Deleted {
			p.places[i] = -1
		}
		return
	}
	action, reason := compareDepartment(d, item)
	if action == ActionUnchanged {
		p.plan.Counts[ActionUnchanged]++
		// The list's strings are kept, so that the stored ones can be freed.
		p.next = append(p.next, standing{
			code: item.Code, name: item.Name, parent: item.ParentCode, item: i,
			version: d.Version, since: d.SourceTime, wasMissing: d.ParentMissing,
		})
		return
	}
	p.changed = p.changed || d.Deleted || d.ParentCode != item.ParentCode
	if d.Deleted {
		p.plan.Delta.Departments++
	}
	p.put(i, d.Version+1, d.ParentMissing && !d.Deleted)
	p.plan.note(KindDepartment, d.Code, action, reason)
}

// unlisted handles a department that is known and not in the list.
func (p *fullPlanner) unlisted(d *Department) {
	switch {
	case d.Deleted:
	case d.SourceTime > p.at:
		p.plan.note(KindDepartment, d.Code, ActionStale, newerReason(d.SourceTime))
		p.keep(d)
	default:
		p.drop(d)
	}
}

// keep leaves a department as it is.
func (p *fullPlanner) keep(d *Department) {
	p.changed = true
	if !d.Deleted {
		p.next = append(p.next, standing{
			code: d.Code, name: d.Name, parent: d.ParentCode, item: -1,
			version: d.Version, since: d.SourceTime, wasMissing: d.ParentMissing,
		})
	}
}

// drop lets a department go, unless hold keeps it.
func (p *fullPlanner) drop(d *Department) {
	p.keep(d)
	s := &p.next[len(p.next)-1]
	s.goes, s.decision = true, int32(len(p.plan.Decisions))
	p.going++
	p.plan.Decisions = append(p.plan.Decisions, Decision{Kind: KindDepartment, Key: d.Code, Action: ActionDelete})
}

// hold lets the departments to be deleted stand until somebody decides.
func (p *fullPlanner) hold() {
	p.plan.Hold.Codes = make([]string, 0, p.going)
	for i := range p.next {
		s := &p.next[i]
		if !s.goes {
			continue
		}
		s.goes = false
		p.plan.Hold.Codes = append(p.plan.Hold.Codes, s.code)
		decision := &p.plan.Decisions[s.decision]
		decision.Action, decision.Reason = ActionHold, "not in the list; held by the guard"
	}
	p.plan.Counts[ActionHold] = p.going
	p.going = 0
}

// parents finds the place of each department's parent in next, -1 for none.
// Most are in the list, where Check has found them.
func (p *fullPlanner) parents() []int32 {
	unlisted := make(map[string]int32)
	for i := range p.next {
		if s := &p.next[i]; s.item < 0 && !s.goes {
			unlisted[s.code] = int32(i)
		}
	}
	parents := make([]int32, len(p.next))
	for i := range p.next {
		s := &p.next[i]
		parents[i] = -1
		if s.parent == "" || s.goes {
			continue
		}
		if at, ok := p.listedParent(s); ok {
			parents[i] = p.places[at]
		} else if at, ok := unlisted[s.parent]; ok {
			parents[i] = at
		}
	}
	return parents
}

// listedParent finds a department's parent in the list.
func (p *fullPlanner) listedParent(s *standing) (int32, bool) {
	if s.item >= 0 {
		at := p.list.parents[s.item]
		return at, at >= 0
	}
	at, ok := slices.BinarySearchFunc(p.list.Departments, s.parent, func(item DepartmentItem, code string) int { return cmp.Compare(item.Code, code) })
	return int32(at), ok
}

// attach decides which of the departments that stay hang under their parent.
func (p *fullPlanner) attach() {
	if !p.changed {
		// The list is all there is, and no parent differs: who waits is who
		// waited.
		for i := range p.next {
			p.next[i].missing = p.next[i].wasMissing
		}
		return
	}
	parents := p.parents()
	// The list has no cycle of its own, but one may run through departments
	// that are kept because something newer set them.
	for _, cycle := range findCycles(parents) {
		weakest := slices.MinFunc(cycle, p.weaker)
		parents[weakest] = -1
		p.next[weakest].looped = true
	}
	for i := range p.next {
		s := &p.next[i]
		if s.goes {
			continue
		}
		s.missing = s.parent != "" && parents[i] < 0
		p.plan.Delta.ParentMissing += count(s.missing) - count(s.wasMissing)
		if s.missing != s.wasMissing && !s.written {
			s.written = true
			s.version++
			action, reason := attachDecision(s.missing, s.looped, s.parent)
			p.plan.note(KindDepartment, s.code, action, reason)
		}
	}
}

func (p *fullPlanner) weaker(a, b int32) int {
	x, y := &p.next[a], &p.next[b]
	return cmp.Or(cmp.Compare(max(x.since, p.full), max(y.since, p.full)), cmp.Compare(x.code, y.code))
}

// delete concludes the decisions on departments that go, and reports the users
// that stay in them.
func (p *fullPlanner) delete(ctx context.Context, view FullView, why string) error {
	if p.going == 0 {
		return nil
	}
	codes := make([]string, 0, p.going)
	for i := range p.next {
		if p.next[i].goes {
			codes = append(codes, p.next[i].code)
		}
	}
	users, err := view.UsersIn(ctx, codes)
	if err != nil {
		return err
	}
	for i := range p.next {
		s := &p.next[i]
		if !s.goes {
			continue
		}
		reason := why
		if left := usersLeft(users[s.code]); left != "" {
			reason += "; " + left
		}
		p.plan.Decisions[s.decision].Reason = reason
		p.plan.Delta.ParentMissing -= count(s.wasMissing)
	}
	p.plan.Counts[ActionDelete] = p.going
	p.plan.Delta.Departments -= p.going
	return nil
}

// finish makes the after-images.
func (p *fullPlanner) finish() {
	written := 0
	for i := range p.next {
		written += count(p.next[i].written || p.next[i].goes)
	}
	if written > 0 {
		p.plan.Departments = make([]Department, 0, written)
	}
	for i := range p.next {
		s := &p.next[i]
		if !s.written && !s.goes {
			continue
		}
		d := Department{
			Code: s.code, Name: s.name, ParentCode: s.parent, ParentMissing: s.missing,
			Meta: Meta{Version: s.version, SourceTime: s.since},
		}
		if s.goes {
			d = tombstone(d, p.at)
		}
		p.plan.Departments = append(p.plan.Departments, d)
	}
	p.plan.sort()
}
