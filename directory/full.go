package directory

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
)

// standing is a department as it will stand after a full push.
type standing struct {
	Department
	// written says that it differs from what is stored, listed that its
	// parent is the push's word, wasMissing that it lived without its parent.
	written, listed, wasMissing bool
}

// fullPlanner merges a pushed list with the stored departments, both sorted by
// code, into the departments as they will stand.
type fullPlanner struct {
	at      SourceTime
	plan    *Plan
	next    []standing
	deletes []Department // living, not listed, not newer
	living  int
}

// PlanFull diffs a full push against the stored departments, which come by
// ascending code and with tombstones (spec/marketplace.md §3.5). The list must
// have passed CheckList. Only differences are planned: a repeated push plans
// nothing but its time.
func PlanFull(push *Push, list *FullPush, state State, stored iter.Seq2[Department, error], guard Guard) (*Plan, error) {
	plan := &Plan{Result: ResultUnchanged, Counts: Counts{}}
	if push.SourceTime < state.FullTime {
		plan.Result = ResultStale
		plan.Counts[ActionStale] = len(list.Departments)
		return plan, nil
	}
	digest := digestList(list.Departments)
	if repeats(digest, &state) {
		plan.Counts[ActionUnchanged] = len(list.Departments)
		plan.FullTime, plan.FullDigest = push.SourceTime, digest
		return plan, nil
	}
	p := &fullPlanner{at: push.SourceTime, plan: plan, next: make([]standing, 0, len(list.Departments))}
	if err := p.merge(list.Departments, stored); err != nil {
		return nil, err
	}
	held := guard.Holds(len(p.deletes), p.living)
	if held {
		p.keepHeld()
	}
	p.attach()
	if !held {
		p.delete()
	}
	p.finish(push, state, held)
	if !held && plan.Counts[ActionStale] == 0 {
		plan.FullDigest = digest // the departments are the list and nothing else
	}
	return plan, nil
}

// merge walks both sides once.
func (p *fullPlanner) merge(items []DepartmentItem, stored iter.Seq2[Department, error]) error {
	i := 0
	for d, err := range stored {
		if err != nil {
			return err
		}
		for ; i < len(items) && items[i].Code < d.Code; i++ {
			p.create(&items[i])
		}
		if !d.Deleted {
			p.living++
		}
		if i < len(items) && items[i].Code == d.Code {
			p.listed(&items[i], &d)
			i++
		} else {
			p.unlisted(&d)
		}
	}
	for ; i < len(items); i++ {
		p.create(&items[i])
	}
	return nil
}

func (p *fullPlanner) decide(code string, action Action, reason string) {
	p.plan.Counts[action]++
	p.plan.Decisions = append(p.plan.Decisions, Decision{Kind: KindDepartment, Key: code, Action: action, Reason: reason})
}

func (p *fullPlanner) create(item *DepartmentItem) {
	p.next = append(p.next, standing{
		Department: Department{
			Code: item.Code, Name: item.Name, ParentCode: item.ParentCode,
			Meta: Meta{Version: 1, SourceTime: p.at},
		},
		written: true, listed: true,
	})
	p.plan.Delta.Departments++
	p.decide(item.Code, ActionCreate, "")
}

// listed handles a department that is in the list and known.
func (p *fullPlanner) listed(item *DepartmentItem, d *Department) {
	if d.SourceTime > p.at {
		p.decide(d.Code, ActionStale, newerReason(d.SourceTime))
		p.keep(d)
		return
	}
	action, reason := compareDepartment(d, item)
	if action == ActionUnchanged {
		p.plan.Counts[ActionUnchanged]++
		p.next = append(p.next, standing{Department: *d, listed: true, wasMissing: d.ParentMissing})
		return
	}
	if d.Deleted {
		p.plan.Delta.Departments++
	}
	p.next = append(p.next, standing{
		Department: Department{
			Code: d.Code, Name: item.Name, ParentCode: item.ParentCode,
			Meta: Meta{Version: d.Version + 1, SourceTime: p.at},
		},
		written: true, listed: true, wasMissing: d.ParentMissing && !d.Deleted,
	})
	p.decide(d.Code, action, reason)
}

// unlisted handles a department that is known and not in the list.
func (p *fullPlanner) unlisted(d *Department) {
	switch {
	case d.Deleted:
	case d.SourceTime > p.at:
		p.decide(d.Code, ActionStale, newerReason(d.SourceTime))
		p.keep(d)
	default:
		p.deletes = append(p.deletes, *d)
	}
}

// keep leaves a department as it is.
func (p *fullPlanner) keep(d *Department) {
	if !d.Deleted {
		p.next = append(p.next, standing{Department: *d, wasMissing: d.ParentMissing})
	}
}

// keepHeld lets the departments to be deleted stand until somebody decides.
func (p *fullPlanner) keepHeld() {
	for i := range p.deletes {
		p.keep(&p.deletes[i])
		p.decide(p.deletes[i].Code, ActionHold, "not in the list; held by the guard")
	}
}

// attach decides which of the departments hang under their parent.
func (p *fullPlanner) attach() {
	index := make(map[string]int32, len(p.next))
	for i := range p.next {
		index[p.next[i].Code] = int32(i)
	}
	parents := make([]int32, len(p.next))
	for i := range p.next {
		parents[i] = -1
		if code := p.next[i].ParentCode; code != "" {
			if at, ok := index[code]; ok {
				parents[i] = at
			}
		}
	}
	// The list has no cycle of its own, but one may run through departments
	// that are kept because something newer set them. The list gives way.
	for _, cycle := range findCycles(parents) {
		parents[p.weakest(cycle)] = -1
	}
	for i := range p.next {
		s := &p.next[i]
		missing := s.ParentCode != "" && parents[i] < 0
		switch {
		case missing == s.ParentMissing:
		case s.written:
			s.ParentMissing = missing
		default:
			s.ParentMissing, s.written = missing, true
			s.Version++
			action, reason := attachDecision(missing, s.ParentCode)
			p.decide(s.Code, action, reason)
		}
		p.plan.Delta.ParentMissing += count(s.ParentMissing) - count(s.wasMissing)
	}
}

// weakest is the member of a cycle to hang at the root: of those whose parent
// is the list's word, the one of the smallest code.
func (p *fullPlanner) weakest(cycle []int32) int32 {
	return slices.MinFunc(cycle, func(a, b int32) int {
		x, y := &p.next[a], &p.next[b]
		if x.listed != y.listed {
			return count(y.listed) - count(x.listed)
		}
		return cmp.Compare(x.Code, y.Code)
	})
}

func (p *fullPlanner) delete() {
	for i := range p.deletes {
		d := p.deletes[i]
		p.plan.Delta.Departments--
		p.plan.Delta.ParentMissing -= count(d.ParentMissing)
		p.next = append(p.next, standing{Department: tombstone(d, p.at), written: true})
		p.decide(d.Code, ActionDelete, "not in the list")
	}
}

func (p *fullPlanner) finish(push *Push, state State, held bool) {
	plan := p.plan
	for i := range p.next {
		if p.next[i].written {
			plan.Departments = append(plan.Departments, p.next[i].Department)
		}
	}
	byCode := func(a, b Department) int { return cmp.Compare(a.Code, b.Code) }
	if !slices.IsSortedFunc(plan.Departments, byCode) {
		slices.SortFunc(plan.Departments, byCode)
	}
	sortDecisions(plan.Decisions)
	if !plan.Empty() {
		plan.Result = ResultApplied
	}
	plan.FullTime = p.at
	plan.HoldSet = held || state.Hold != nil
	if held {
		plan.Result = ResultHeld
		plan.Hold = &Hold{PushID: push.ID, SourceTime: p.at, Of: p.living}
		for i := range p.deletes {
			plan.Hold.Codes = append(plan.Hold.Codes, p.deletes[i].Code)
		}
	}
}

func sortDecisions(decisions []Decision) {
	byKey := func(a, b Decision) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Action, b.Action)) }
	if !slices.IsSortedFunc(decisions, byKey) {
		slices.SortFunc(decisions, byKey)
	}
}

// compareDepartment says what a listed department's item changes.
func compareDepartment(d *Department, item *DepartmentItem) (Action, string) {
	renamed, moved := d.Name != item.Name, d.ParentCode != item.ParentCode
	switch {
	case d.Deleted:
		return ActionRestore, "was deleted"
	case renamed && moved:
		return ActionUpdate, fmt.Sprintf("renamed from %q; moved from %s", d.Name, place(d.ParentCode))
	case renamed:
		return ActionUpdate, fmt.Sprintf("renamed from %q", d.Name)
	case moved:
		return ActionMove, "moved from " + place(d.ParentCode)
	default:
		return ActionUnchanged, ""
	}
}

func place(code string) string {
	if code == "" {
		return "the root"
	}
	return code
}

func attachDecision(missing bool, parent string) (Action, string) {
	if missing {
		return ActionDetach, "its parent " + parent + " is not there"
	}
	return ActionAttach, "its parent " + parent + " came"
}

func newerReason(stored SourceTime) string {
	return "stored since " + stored.Wire() + ", which is newer"
}

// tombstone is what stays of a deleted department. It keeps its parent, so that
// targets delete children first.
func tombstone(d Department, at SourceTime) Department {
	d.Deleted, d.ParentMissing = true, false
	d.Version++
	d.SourceTime = max(d.SourceTime, at)
	return d
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}
