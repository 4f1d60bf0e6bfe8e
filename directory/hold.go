package directory

import (
	"context"
	"iter"
	"time"
)

// Hold is the deletions of a full push that the guard kept back.
type Hold struct {
	PushID     string     `json:"pushId"`
	SourceTime SourceTime `json:"sourceTime"`
	// Codes are the departments that would be deleted, sorted.
	Codes []string  `json:"codes"`
	Since time.Time `json:"since"`
	// Of is how many departments the scope had when the guard decided.
	Of int `json:"of"`
}

// ApproveHold plans the deletions that were held: of the departments that
// still live and that nothing newer has touched.
func ApproveHold(ctx context.Context, hold Hold, view FullView) (*Plan, error) {
	state, err := view.State(ctx)
	if err != nil {
		return nil, err
	}
	p := newFullPlanner(hold.SourceTime, state.FullTime, &FullPush{}, &Plan{Result: ResultApproved, Counts: Counts{}}, state)
	if err := p.approve(hold.Codes, view.Departments(ctx)); err != nil {
		return nil, err
	}
	p.attach()
	if err := p.delete(ctx, view, "approved"); err != nil {
		return nil, err
	}
	p.finish()
	return p.plan, nil
}

// approve lets the held departments go and leaves the others as they are.
func (p *fullPlanner) approve(codes []string, stored iter.Seq2[Department, error]) error {
	held := make(map[string]struct{}, len(codes))
	for _, code := range codes {
		held[code] = struct{}{}
	}
	for d, err := range stored {
		if err != nil {
			return err
		}
		_, named := held[d.Code]
		if named && !d.Deleted {
			delete(held, d.Code)
		}
		switch {
		case d.Deleted:
		case named && d.SourceTime > p.at:
			p.plan.note(KindDepartment, d.Code, ActionStale, newerReason(d.SourceTime))
			p.keep(&d)
		case named:
			p.drop(&d)
		default:
			p.keep(&d)
		}
	}
	for code := range held {
		p.plan.note(KindDepartment, code, ActionUnchanged, "is deleted already")
	}
	return nil
}

// RejectHold plans nothing: the departments stay.
func RejectHold() *Plan { return &Plan{Result: ResultRejected, Counts: Counts{}} }
