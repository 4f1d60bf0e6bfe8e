package storagetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/storage"
	usersync "github.com/openkoo/connector/userSync"
)

// meaningLaw runs the real planners on the store's view: after any pushes in
// any order the store holds what the accepted ones mean.
func meaningLaw(t *testing.T, factory Factory) {
	b := newBundle(t, factory)
	orgs := orgsync.New(directory.Guard{MaxDeletes: 1 << 30, MaxPercent: 100})
	auths := authsync.New(usersync.Planner{}, nil)
	scopes := 0
	rapid.Check(t, func(r *rapid.T) {
		scopes++
		scope := directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: fmt.Sprintf("t%d", scopes)}
		enterprise := rapid.SampledFrom([]directorytest.Enterprise{directorytest.Small, directorytest.Knotted}).Draw(r, "enterprise")
		var accepted []*directory.Push
		for _, push := range enterprise.Pushes(r, rapid.IntRange(3, 7).Draw(r, "pushes")) {
			record := b.record(scope, push.Kind())
			plan, err := b.store.ApplyAtOnce(b.ctx, record, nil, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
				if push.Kind() == directory.AuthSync {
					return auths.Plan(ctx, view, push)
				}
				return orgs.Plan(ctx, view, push)
			})
			if err != nil {
				require.ErrorAs(r, err, new(*directory.InvalidError))
				continue
			}
			accepted = append(accepted, push)
			if plan.Hold != nil {
				b.approve(r, scope, *plan.Hold)
			}
		}
		truth := directorytest.Truth(accepted)
		b.view(scope, func(view storage.View) {
			snapshot := enterprise.Read(b.ctx, r, view)
			require.Equal(r, truth, snapshot.Meaning(truth))
			snapshot.Check(r)
		})
	})
}

// approve carries out what a full push of this law holds: it would delete all.
func (b *bundle) approve(r *rapid.T, scope directory.Scope, hold directory.Hold) {
	_, err := b.store.ApplyAtOnce(b.ctx, b.record(scope, directory.SingleOrgSync), nil, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
		plan, err := directory.ApproveHold(ctx, hold, view)
		if err == nil {
			plan.HoldSet = true
		}
		return plan, err
	})
	require.NoError(r, err)
}
