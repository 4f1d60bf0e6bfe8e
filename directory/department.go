package directory

import "context"

// DepartmentView is what planning one department needs to see of its scope.
type DepartmentView interface {
	State(ctx context.Context) (State, error)
	Department(ctx context.Context, code string) (Department, bool, error)
	Children(ctx context.Context, code string) ([]Department, error)
}

// PlanDepartment plans singleOrgSync (spec/marketplace.md §3.4): flags 1 and 2
// put the department, flag 0 deletes it. A push older than what is stored, or
// than the newest full push, changes nothing.
func PlanDepartment(ctx context.Context, push *Push, item DepartmentItem, view DepartmentView) (*Plan, error) {
	state, err := view.State(ctx)
	if err != nil {
		return nil, err
	}
	stored, known, err := view.Department(ctx, item.Code)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Counts: Counts{}}
	if newest := max(stored.SourceTime, state.FullTime); push.SourceTime < newest {
		plan.Result = ResultStale
		plan.note(KindDepartment, item.Code, ActionStale, newerReason(newest))
		return plan, nil
	}
	if push.Flag == FlagDelete {
		return plan, deleteDepartment(ctx, plan, push, item, stored, known, view)
	}
	return plan, putDepartment(ctx, plan, push, item, stored, known, view)
}

func (p *Plan) note(kind Kind, key string, action Action, reason string) {
	p.Counts[action]++
	p.Decisions = append(p.Decisions, Decision{Kind: kind, Key: key, Action: action, Reason: reason})
}

func putDepartment(ctx context.Context, plan *Plan, push *Push, item DepartmentItem, stored Department, known bool, view DepartmentView) error {
	if item.ParentCode == item.Code {
		return Invalid("parentCode", "orgCode %s is its own parent", shown(item.Code))
	}
	missing, err := climb(ctx, item, view)
	if err != nil {
		return err
	}
	action, reason := ActionCreate, ""
	if known {
		action, reason = compareDepartment(&stored, &item)
	}
	if action == ActionUnchanged && stored.ParentMissing == missing {
		plan.Result = ResultUnchanged
		plan.note(KindDepartment, item.Code, ActionUnchanged, "")
		plan.touch(KindDepartment, item.Code, stored.SourceTime, push.SourceTime)
		return nil
	}
	if action == ActionUnchanged {
		action, reason = attachDecision(missing, item.ParentCode)
	}
	plan.Result = ResultApplied
	plan.note(KindDepartment, item.Code, action, reason)
	plan.Departments = append(plan.Departments, Department{
		Code: item.Code, Name: item.Name, ParentCode: item.ParentCode, ParentMissing: missing,
		Meta: Meta{Version: stored.Version + 1, SourceTime: push.SourceTime},
	})
	lived := known && !stored.Deleted
	plan.Delta.ParentMissing += count(missing) - count(lived && stored.ParentMissing)
	if lived {
		return nil
	}
	plan.Delta.Departments++
	return reattach(ctx, plan, item.Code, false, view)
}

// climb follows the parents of a department to the root. It reports whether
// the parent is missing, and refuses a way that leads back to the department.
func climb(ctx context.Context, item DepartmentItem, view DepartmentView) (missing bool, err error) {
	way := []string{item.Code}
	for code := item.ParentCode; code != ""; {
		if code == item.Code {
			return false, cycleError("parentCode", way)
		}
		above, ok, err := view.Department(ctx, code)
		if err != nil {
			return false, err
		}
		if !ok || above.Deleted {
			return len(way) == 1, nil
		}
		way = append(way, code)
		code = above.AttachedTo()
	}
	return false, nil
}

func deleteDepartment(ctx context.Context, plan *Plan, push *Push, item DepartmentItem, stored Department, known bool, view DepartmentView) error {
	if known && stored.Deleted {
		plan.Result = ResultUnchanged
		plan.note(KindDepartment, item.Code, ActionUnchanged, "is deleted already")
		plan.touch(KindDepartment, item.Code, stored.SourceTime, push.SourceTime)
		return nil
	}
	if !known {
		// Kept so that a late add of before cannot create it.
		plan.Result = ResultUnchanged
		plan.note(KindDepartment, item.Code, ActionUnchanged, "was never known")
		plan.Departments = append(plan.Departments, Department{
			Code: item.Code, Meta: Meta{Version: 1, SourceTime: push.SourceTime, Deleted: true},
		})
		return nil
	}
	plan.Result = ResultApplied
	plan.note(KindDepartment, item.Code, ActionDelete, "")
	plan.Departments = append(plan.Departments, tombstone(stored, push.SourceTime))
	plan.Delta.Departments--
	plan.Delta.ParentMissing -= count(stored.ParentMissing)
	return reattach(ctx, plan, item.Code, true, view)
}

// reattach makes the children of a department that went (or came) wait for it
// (or hang under it). Their own time stays: the push was not about them.
func reattach(ctx context.Context, plan *Plan, code string, missing bool, view DepartmentView) error {
	children, err := view.Children(ctx, code)
	if err != nil {
		return err
	}
	for _, child := range children {
		if child.Deleted || child.ParentMissing == missing || child.Code == code {
			continue
		}
		child.ParentMissing = missing
		child.Version++
		plan.Departments = append(plan.Departments, child)
		plan.Delta.ParentMissing += 2*count(missing) - 1
		action, reason := attachDecision(missing, code)
		plan.note(KindDepartment, child.Code, action, reason)
	}
	return nil
}

// touch notes that only the time of an entity moves on.
func (p *Plan) touch(kind Kind, key string, stored, at SourceTime) {
	if at > stored {
		p.Touched = append(p.Touched, Touch{Kind: kind, Key: key, SourceTime: at})
	}
}

// ApproveHold plans the deletions that were held: of the departments that
// still live and that nothing newer has touched (spec of the guard: Guard).
func ApproveHold(ctx context.Context, hold Hold, view DepartmentView) (*Plan, error) {
	plan := &Plan{Result: ResultApproved, Counts: Counts{}}
	going := make(map[string]struct{}, len(hold.Codes))
	var deletes []Department
	for _, code := range hold.Codes {
		stored, ok, err := view.Department(ctx, code)
		switch {
		case err != nil:
			return nil, err
		case !ok || stored.Deleted:
			plan.note(KindDepartment, code, ActionUnchanged, "is deleted already")
		case stored.SourceTime > hold.SourceTime:
			plan.note(KindDepartment, code, ActionStale, newerReason(stored.SourceTime))
		default:
			going[code] = struct{}{}
			deletes = append(deletes, stored)
		}
	}
	for _, d := range deletes {
		plan.note(KindDepartment, d.Code, ActionDelete, "approved")
		plan.Departments = append(plan.Departments, tombstone(d, hold.SourceTime))
		plan.Delta.Departments--
		plan.Delta.ParentMissing -= count(d.ParentMissing)
	}
	for _, d := range deletes {
		children, err := view.Children(ctx, d.Code)
		if err != nil {
			return nil, err
		}
		for _, child := range children {
			if _, goes := going[child.Code]; goes || child.ParentMissing {
				continue
			}
			child.ParentMissing = true
			child.Version++
			plan.Departments = append(plan.Departments, child)
			plan.Delta.ParentMissing++
			plan.note(KindDepartment, child.Code, ActionDetach, "its parent "+d.Code+" is not there")
		}
	}
	sortDecisions(plan.Decisions)
	return plan, nil
}

// RejectHold plans nothing: the departments stay.
func RejectHold() *Plan { return &Plan{Result: ResultRejected, Counts: Counts{}} }
