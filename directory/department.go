package directory

import (
	"cmp"
	"context"
	"slices"
	"strconv"
)

// DepartmentView is what planning one department needs to see of its scope.
// A leaf, a rename and a new department cost State and Around; only what could
// close a cycle, or end one, climbs the tree with Department.
type DepartmentView interface {
	State(ctx context.Context) (State, error)
	Around(ctx context.Context, code, parentCode string) (Surroundings, error)
	Department(ctx context.Context, code string) (Department, bool, error)
	UsersIn(ctx context.Context, codes []string) (map[string]int, error)
}

// Surroundings is what stands around one department, in one read.
type Surroundings struct {
	// Self is the department as stored, be it a tombstone; Known says that
	// there is one.
	Self  Department
	Known bool
	// ParentLives says that the parent asked for is a living department.
	ParentLives bool
	// Children are the living departments whose ParentCode is the department's
	// code, by ascending code: those that wait for it too.
	Children []Department
}

// departmentPlanner plans one department.
type departmentPlanner struct {
	push   *Push
	item   DepartmentItem
	state  State
	around Surroundings
	view   DepartmentView
	plan   *Plan
}

// PlanDepartment plans singleOrgSync (spec/marketplace.md §3.4): flags 1 and 2
// put the department, flag 0 deletes it. A push older than what is stored, or
// than the newest full push, changes nothing.
func PlanDepartment(ctx context.Context, push *Push, item DepartmentItem, view DepartmentView) (*Plan, error) {
	if push.Flag != FlagDelete && item.ParentCode == item.Code {
		return nil, Invalid("parentCode", "orgCode %s is its own parent", shown(item.Code))
	}
	state, err := view.State(ctx)
	if err != nil {
		return nil, err
	}
	around, err := view.Around(ctx, item.Code, item.ParentCode)
	if err != nil {
		return nil, err
	}
	p := &departmentPlanner{push: push, item: item, state: state, around: around, view: view, plan: &Plan{Counts: Counts{}}}
	if newest := max(around.Self.SourceTime, state.FullTime); push.SourceTime < newest {
		return p.plan.stale(KindDepartment, item.Code, newest), nil
	}
	if push.Flag == FlagDelete {
		err = p.delete(ctx)
	} else {
		err = p.put(ctx)
	}
	if err != nil {
		return nil, err
	}
	p.plan.sort()
	return p.plan, nil
}

// lived reports whether the department was there before the push.
func (p *departmentPlanner) lived() bool { return p.around.Known && !p.around.Self.Deleted }

func (p *departmentPlanner) put(ctx context.Context) error {
	stored := &p.around.Self
	missing, err := p.hang(ctx)
	if err != nil {
		return err
	}
	action, reason := ActionCreate, ""
	if p.around.Known {
		action, reason = compareDepartment(stored, &p.item)
	}
	if action == ActionUnchanged && stored.ParentMissing == missing {
		p.plan.unchanged(KindDepartment, p.item.Code, "")
		p.plan.touch(KindDepartment, p.item.Code, stored.SourceTime, p.push.SourceTime)
		return nil
	}
	if action == ActionUnchanged {
		action, reason = attachDecision(missing, false, p.item.ParentCode)
	}
	p.plan.Result = ResultApplied
	p.plan.note(KindDepartment, p.item.Code, action, reason)
	p.plan.Departments = append(p.plan.Departments, Department{
		Code: p.item.Code, Name: p.item.Name, ParentCode: p.item.ParentCode, ParentMissing: missing,
		Meta: Meta{Version: stored.Version + 1, SourceTime: p.push.SourceTime},
	})
	p.plan.Delta.ParentMissing += count(missing) - count(p.lived() && stored.ParentMissing)
	if !p.lived() {
		p.plan.Delta.Departments++
		p.reattach(false)
	}
	return nil
}

// hang decides whether the department hangs under the parent the push names or
// waits for it. It refuses a parent that hangs under the department itself, and
// sees to the cycle the department was part of, if there was one (see weaker).
func (p *departmentPlanner) hang(ctx context.Context) (missing bool, err error) {
	stored := &p.around.Self
	moves := !p.lived() || stored.ParentCode != p.item.ParentCode
	missing = p.item.ParentCode != "" && !p.around.ParentLives
	if !moves {
		if stored.ParentMissing && p.around.ParentLives {
			return p.renew(ctx)
		}
		return missing, nil
	}
	// Nothing hangs under a department without children: no way leads back.
	if len(p.around.Children) == 0 {
		return missing, nil
	}
	if !missing {
		way, back, err := p.climb(ctx, p.item.ParentCode)
		if err != nil {
			return false, err
		}
		if back {
			return false, cycleError("parentCode", append([]string{p.item.Code}, codesOf(way)...))
		}
	}
	return missing, p.leave(ctx)
}

// climb follows the parents from code as long as they live, whether what is
// met waits or not, and reports whether that leads back to the department.
func (p *departmentPlanner) climb(ctx context.Context, code string) (way []Department, back bool, err error) {
	seen := make(map[string]struct{})
	for code != "" {
		if code == p.item.Code {
			return way, true, nil
		}
		if _, again := seen[code]; again {
			return way, false, nil // a cycle of others
		}
		seen[code] = struct{}{}
		above, ok, err := p.view.Department(ctx, code)
		if err != nil {
			return nil, false, err
		}
		if !ok || above.Deleted {
			return way, false, nil
		}
		way = append(way, above)
		code = above.ParentCode
	}
	return way, false, nil
}

// leave attaches the department that waited only because following its parent
// led through this one, which moves or goes. Where nothing waits, there is no
// such department.
func (p *departmentPlanner) leave(ctx context.Context) error {
	stored := &p.around.Self
	if !p.lived() || stored.ParentMissing || stored.ParentCode == "" || p.state.ParentMissing == 0 {
		return nil
	}
	way, back, err := p.climb(ctx, stored.ParentCode)
	if err != nil || !back {
		return err
	}
	for _, d := range way {
		if d.ParentMissing && (p.push.Flag != FlagDelete || d.ParentCode != stored.Code) {
			p.attach(d, false, false)
		}
	}
	return nil
}

// renew places a department that gave way in a cycle and is now put under the
// same parent again. It is newer now: another may have to give way in its place.
func (p *departmentPlanner) renew(ctx context.Context) (missing bool, err error) {
	way, back, err := p.climb(ctx, p.item.ParentCode)
	if err != nil {
		return false, err
	}
	if !back {
		return false, nil
	}
	self := p.around.Self
	self.SourceTime = p.push.SourceTime
	weakest := slices.MinFunc(append(way, self), func(a, b Department) int { return weaker(&a, &b, p.state.FullTime) })
	if weakest.Code == self.Code {
		return true, nil
	}
	p.attach(weakest, true, true)
	return false, nil
}

// weaker orders the members of a cycle: the one whose place was told longest
// ago comes first, of equals the one of the smaller code. The newest full push
// told all places that nothing newer did.
func weaker(a, b *Department, full SourceTime) int {
	return cmp.Or(cmp.Compare(max(a.SourceTime, full), max(b.SourceTime, full)), cmp.Compare(a.Code, b.Code))
}

func (p *departmentPlanner) delete(ctx context.Context) error {
	stored := &p.around.Self
	switch {
	case !p.around.Known:
		// Kept so that a late add of before cannot create it.
		p.plan.unchanged(KindDepartment, p.item.Code, "was never known")
		p.plan.Departments = append(p.plan.Departments, Department{
			Code: p.item.Code, Meta: Meta{Version: 1, SourceTime: p.push.SourceTime, Deleted: true},
		})
		return nil
	case stored.Deleted:
		p.plan.unchanged(KindDepartment, p.item.Code, "is deleted already")
		p.plan.touch(KindDepartment, p.item.Code, stored.SourceTime, p.push.SourceTime)
		return nil
	}
	users, err := p.view.UsersIn(ctx, []string{p.item.Code})
	if err != nil {
		return err
	}
	p.plan.Result = ResultApplied
	p.plan.note(KindDepartment, p.item.Code, ActionDelete, usersLeft(users[p.item.Code]))
	p.plan.Departments = append(p.plan.Departments, tombstone(*stored, p.push.SourceTime))
	p.plan.Delta.Departments--
	p.plan.Delta.ParentMissing -= count(stored.ParentMissing)
	p.reattach(true)
	if len(p.around.Children) == 0 {
		return nil
	}
	return p.leave(ctx)
}

// reattach makes the children of a department that went (or came) wait for it
// (or hang under it).
func (p *departmentPlanner) reattach(missing bool) {
	for _, child := range p.around.Children {
		if child.ParentMissing != missing {
			p.attach(child, missing, false)
		}
	}
}

// attach makes another department wait for its parent or hang under it. Its
// own time stays: the push was not about it.
func (p *departmentPlanner) attach(d Department, missing, looped bool) {
	d.ParentMissing = missing
	d.Version++
	p.plan.Departments = append(p.plan.Departments, d)
	p.plan.Delta.ParentMissing += 2*count(missing) - 1
	action, reason := attachDecision(missing, looped, d.ParentCode)
	p.plan.note(KindDepartment, d.Code, action, reason)
}

func codesOf(departments []Department) []string {
	codes := make([]string, len(departments))
	for i := range departments {
		codes[i] = departments[i].Code
	}
	return codes
}

// usersLeft reports the users of a department that goes: they keep its code.
func usersLeft(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 user is still in it"
	default:
		return strconv.Itoa(n) + " users are still in it"
	}
}
