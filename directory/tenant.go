package directory

import "bytes"

// PlanTenant plans tenantSync (spec/marketplace.md §3.1). Deleting a tenant
// deletes its own record only: departments and accounts stay until they are
// deleted themselves, for nothing is deleted in bulk by one call.
func PlanTenant(push *Push, item *TenantPush, stored Tenant, known bool) *Plan {
	plan := &Plan{Counts: Counts{}}
	if push.SourceTime < stored.SourceTime {
		return plan.stale(KindTenant, push.Scope.TenantID, stored.SourceTime)
	}
	next := Tenant{OrderID: item.OrderID, Code: item.Code, Name: item.Name, DomainName: item.DomainName}
	if push.Flag == FlagDelete {
		next = Tenant{Meta: Meta{Deleted: true}}
	}
	next.Meta = Meta{Version: stored.Version + 1, SourceTime: push.SourceTime, Deleted: next.Deleted}
	was := stored
	was.Meta = Meta{Version: next.Version, SourceTime: next.SourceTime, Deleted: stored.Deleted}
	if known && was == next {
		plan.unchanged(KindTenant, push.Scope.TenantID, "")
		plan.touch(KindTenant, "", stored.SourceTime, push.SourceTime)
		return plan
	}
	plan.Tenant = &next
	plan.settle(KindTenant, push.Scope.TenantID, known, stored.Deleted, next.Deleted)
	return plan
}

// PlanApplication plans applicationSync (spec/marketplace.md §3.2). sealed
// holds the new secret as it is to be stored; it is not looked at for a delete.
func PlanApplication(push *Push, next Application, stored Application, known bool) *Plan {
	plan := &Plan{Counts: Counts{}}
	if push.SourceTime < stored.SourceTime {
		return plan.stale(KindApplication, next.AppID, stored.SourceTime)
	}
	next.Meta = Meta{Version: stored.Version + 1, SourceTime: push.SourceTime, Deleted: push.Flag == FlagDelete}
	if next.Deleted {
		next = Application{AppID: next.AppID, Meta: next.Meta} // no secret outlives its application
	}
	if known && stored.Deleted == next.Deleted && stored.ClientID == next.ClientID &&
		bytes.Equal(stored.SecretFingerprint, next.SecretFingerprint) {
		plan.unchanged(KindApplication, next.AppID, "")
		plan.touch(KindApplication, next.AppID, stored.SourceTime, push.SourceTime)
		return plan
	}
	plan.Applications = append(plan.Applications, next)
	plan.Delta.Applications = count(!next.Deleted) - count(known && !stored.Deleted)
	plan.settle(KindApplication, next.AppID, known, stored.Deleted, next.Deleted)
	return plan
}
