// Package orgsync plans the pushes that shape an organisation: the tenant
// itself, its whole department list, and single departments.
package orgsync

import (
	"context"
	"fmt"

	"github.com/openkoo/connector/directory"
)

// View is what planning needs to see of a scope.
type View interface {
	directory.DepartmentView
	directory.FullView
	Tenant(ctx context.Context) (directory.Tenant, bool, error)
}

// Planner plans tenantSync, singleOrgSync and allOrgSync.
type Planner struct {
	guard directory.Guard
}

// New makes a planner with a guard for full pushes.
func New(guard directory.Guard) *Planner { return &Planner{guard: guard} }

// Prepare refuses a list that contradicts itself, before anything is journaled.
func (*Planner) Prepare(_ context.Context, push *directory.Push) error {
	if full, ok := push.Payload.(*directory.FullPush); ok {
		return full.Check()
	}
	return nil
}

// Plan decides what a push changes.
func (p *Planner) Plan(ctx context.Context, view View, push *directory.Push) (*directory.Plan, error) {
	switch payload := push.Payload.(type) {
	case *directory.TenantPush:
		stored, known, err := view.Tenant(ctx)
		if err != nil {
			return nil, err
		}
		return directory.PlanTenant(push, payload, stored, known), nil
	case *directory.DepartmentPush:
		return directory.PlanDepartment(ctx, push, payload.DepartmentItem, view)
	case *directory.FullPush:
		return directory.PlanFull(ctx, push, payload, view, p.guard)
	default:
		return nil, fmt.Errorf("orgsync: does not plan %s", push.Kind())
	}
}
