package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Replay makes a scope's departments again from its journaled pushes, told in
// the order in which they were applied. It decides as planning did then, and
// checks each push against what the journal says became of it: a journal that
// lacks something does not go unnoticed.
//
// It begins with nothing, or with a full push that left nothing else standing
// (Told.Whole). It is for one goroutine.
type Replay struct {
	state       State
	departments map[string]Department
	children    map[string]map[string]struct{} // by parentCode
}

// Told is what the journal says became of a push.
type Told struct {
	Result Result
	Counts Counts
}

// Whole reports whether a full push left the departments of its list and no
// others: nothing was newer than it, and nothing was held.
func (t Told) Whole() bool {
	return t.Result != ResultStale && t.Counts[ActionStale] == 0 && t.Counts[ActionHold] == 0
}

// ErrReplay means that the journal does not lead to what it says came of a
// push: something from before is missing in it.
var ErrReplay = errors.New("the journal does not explain what the push did")

// NewReplay begins with nothing.
func NewReplay() *Replay {
	return &Replay{departments: make(map[string]Department), children: make(map[string]map[string]struct{})}
}

// Begin begins with a full push whose outcome was Whole.
func (r *Replay) Begin(ctx context.Context, push *Push) error {
	list, ok := push.Payload.(*FullPush)
	if !ok {
		return fmt.Errorf("begin a replay with %s: want %s", push.Kind(), AllOrgSync)
	}
	plan, err := planFull(ctx, push, list, replayView{r}, func(int, int) bool { return false })
	if err != nil {
		return err
	}
	r.apply(plan)
	return nil
}

// Push takes the next push about departments. ErrReplay if it comes to
// something else than it did.
func (r *Replay) Push(ctx context.Context, push *Push, told Told) error {
	if told.Result == ResultStale {
		return nil // it changed nothing; what was newer may be no longer known
	}
	var plan *Plan
	var err error
	switch payload := push.Payload.(type) {
	case *FullPush:
		held := func(int, int) bool { return told.Counts[ActionHold] > 0 }
		plan, err = planFull(ctx, push, payload, replayView{r}, held)
	case *DepartmentPush:
		plan, err = PlanDepartment(ctx, push, payload.DepartmentItem, replayView{r})
	default:
		return fmt.Errorf("replay %s: it is not about departments", push.Kind())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReplay, err)
	}
	if made, was := alike(plan.Counts), alike(told.Counts); !maps.Equal(made, was) {
		return fmt.Errorf("%w: it did %v, and would do %v", ErrReplay, was, made)
	}
	r.apply(plan)
	return nil
}

// alike leaves apart what a replay cannot tell: whether a department that
// came had been there before the replay begins.
func alike(counts Counts) Counts {
	c := maps.Clone(counts)
	if n := c[ActionRestore]; n > 0 {
		c[ActionCreate] += n
		delete(c, ActionRestore)
	}
	maps.DeleteFunc(c, func(_ Action, n int) bool { return n == 0 })
	return c
}

// Approve carries out what the push holds, as its approval did. ErrReplay if
// it holds nothing.
func (r *Replay) Approve(ctx context.Context, pushID string) error {
	if r.state.Hold == nil || r.state.Hold.PushID != pushID {
		return fmt.Errorf("%w: push %s was approved and holds nothing", ErrReplay, pushID)
	}
	plan, err := ApproveHold(ctx, *r.state.Hold, replayView{r})
	if err != nil {
		return err
	}
	r.apply(plan)
	r.state.Hold = nil
	return nil
}

// Same reports whether the stored departments are what the replay has made,
// change by change: then no push is missing. What is stored may lack tombstones.
func (r *Replay) Same(stored iter.Seq2[Department, error]) (bool, error) {
	living := 0
	for d, err := range stored {
		if err != nil {
			return false, err
		}
		made := r.departments[d.Code]
		if made.Version != d.Version || made.Deleted != d.Deleted || made.Name != d.Name || made.ParentCode != d.ParentCode {
			return false, nil
		}
		living += count(!d.Deleted)
	}
	return living == r.state.Departments, nil
}

// List is the living departments as a full push would tell them, by ascending
// code. One that hangs at the root only because its parent hangs under it is
// told to be there: no list may contain a cycle.
func (r *Replay) List() []DepartmentItem {
	items := make([]DepartmentItem, 0, r.state.Departments)
	for _, code := range slices.Sorted(maps.Keys(r.departments)) {
		d := r.departments[code]
		if d.Deleted {
			continue
		}
		item := DepartmentItem{Code: d.Code, Name: d.Name, ParentCode: d.ParentCode}
		if d.ParentMissing && r.lives(d.ParentCode) {
			item.ParentCode = ""
		}
		items = append(items, item)
	}
	return items
}

func (r *Replay) lives(code string) bool {
	d, ok := r.departments[code]
	return ok && !d.Deleted
}

func (r *Replay) apply(plan *Plan) {
	for _, d := range plan.Departments {
		delete(r.children[r.departments[d.Code].ParentCode], d.Code)
		if r.children[d.ParentCode] == nil {
			r.children[d.ParentCode] = make(map[string]struct{})
		}
		r.children[d.ParentCode][d.Code] = struct{}{}
		r.departments[d.Code] = d
	}
	for _, touch := range plan.Touched {
		d := r.departments[touch.Key]
		d.SourceTime = touch.SourceTime
		r.departments[touch.Key] = d
	}
	r.state.Departments += plan.Delta.Departments
	r.state.ParentMissing += plan.Delta.ParentMissing
	r.state.FullTime = max(r.state.FullTime, plan.FullTime)
	if plan.FullTime != 0 || len(plan.Departments) > 0 {
		r.state.FullDigest = plan.FullDigest
	}
	if plan.HoldSet {
		r.state.Hold = plan.Hold
	}
}

// replayView is what planning sees of a replay.
type replayView struct{ *Replay }

// State implements FullView and DepartmentView.
func (v replayView) State(context.Context) (State, error) { return v.state, nil }

// Departments implements FullView.
func (v replayView) Departments(context.Context) iter.Seq2[Department, error] {
	return func(yield func(Department, error) bool) {
		for _, code := range slices.Sorted(maps.Keys(v.departments)) {
			if !yield(v.departments[code], nil) {
				return
			}
		}
	}
}

// Department implements DepartmentView.
func (v replayView) Department(_ context.Context, code string) (Department, bool, error) {
	d, ok := v.departments[code]
	return d, ok, nil
}

// Around implements DepartmentView.
func (v replayView) Around(_ context.Context, code, parentCode string) (Surroundings, error) {
	around := Surroundings{ParentLives: v.lives(parentCode)}
	around.Self, around.Known = v.departments[code]
	for child := range v.children[code] {
		if d := v.departments[child]; !d.Deleted {
			around.Children = append(around.Children, d)
		}
	}
	slices.SortFunc(around.Children, func(a, b Department) int { return cmp.Compare(a.Code, b.Code) })
	return around, nil
}

// UsersIn implements FullView and DepartmentView: a replay knows no users, and
// reports none.
func (replayView) UsersIn(context.Context, []string) (map[string]int, error) { return nil, nil }
