package directory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

func TestTenant(t *testing.T) {
	t.Parallel()
	acme := directory.TenantPush{OrderID: "o", Code: "acme", Name: "Acme", DomainName: "acme.example.com"}
	sync := func(at directory.SourceTime, flag directory.Flag, change ...func(*directory.TenantPush)) *directory.Push {
		payload := acme
		for _, do := range change {
			do(&payload)
		}
		return push(at, flag, &payload)
	}
	named := func(p *directory.TenantPush) { p.Name = "ACME" }
	for name, test := range map[string]struct {
		before pushes
		push   *directory.Push
		action directory.Action
		result directory.Result
		lives  bool
	}{
		"add":                       {nil, sync(1, add), directory.ActionCreate, directory.ResultApplied, true},
		"modify of the unknown":     {nil, sync(1, modify), directory.ActionCreate, directory.ResultApplied, true},
		"modify":                    {pushes{sync(1, add)}, sync(2, modify, named), directory.ActionUpdate, directory.ResultApplied, true},
		"another domain":            {pushes{sync(1, add)}, sync(2, modify, func(p *directory.TenantPush) { p.DomainName = "x" }), directory.ActionUpdate, directory.ResultApplied, true},
		"another order":             {pushes{sync(1, add)}, sync(2, modify, func(p *directory.TenantPush) { p.OrderID = "x" }), directory.ActionUpdate, directory.ResultApplied, true},
		"another code":              {pushes{sync(1, add)}, sync(2, modify, func(p *directory.TenantPush) { p.Code = "x" }), directory.ActionUpdate, directory.ResultApplied, true},
		"repeat":                    {pushes{sync(1, add)}, sync(2, add), directory.ActionUnchanged, directory.ResultUnchanged, true},
		"older":                     {pushes{sync(9, add)}, sync(8, modify, named), directory.ActionStale, directory.ResultStale, true},
		"between a repeat":          {pushes{sync(1, add), sync(9, add)}, sync(5, modify, named), directory.ActionStale, directory.ResultStale, true},
		"equal times, last counts":  {pushes{sync(9, add)}, sync(9, modify, named), directory.ActionUpdate, directory.ResultApplied, true},
		"delete":                    {pushes{sync(1, add)}, sync(2, del), directory.ActionDelete, directory.ResultApplied, false},
		"delete again":              {pushes{sync(1, add), sync(2, del)}, sync(3, del), directory.ActionUnchanged, directory.ResultUnchanged, false},
		"delete of the unknown":     {nil, sync(3, del), directory.ActionUnchanged, directory.ResultUnchanged, false},
		"a late delete":             {pushes{sync(9, add)}, sync(3, del), directory.ActionStale, directory.ResultStale, true},
		"a late add":                {pushes{sync(1, add), sync(9, del)}, sync(3, add), directory.ActionStale, directory.ResultStale, false},
		"a late add of the unknown": {pushes{sync(9, del)}, sync(3, add), directory.ActionStale, directory.ResultStale, false},
		"add after delete":          {pushes{sync(1, add), sync(2, del)}, sync(3, add), directory.ActionRestore, directory.ResultApplied, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(unguarded, nil)
			for _, push := range test.before {
				_, err := w.receive(push)
				require.NoError(t, err)
			}
			plan, err := w.receive(test.push)
			require.NoError(t, err)
			require.Equal(t, test.result, plan.Result)
			require.Len(t, plan.Decisions, 1)
			require.Equal(t, test.action, plan.Decisions[0].Action)
			tenant := w.Snapshot().Tenant
			require.Equal(t, test.lives, !tenant.Deleted)
			if tenant.Deleted {
				require.Equal(t, directory.Tenant{Meta: tenant.Meta}, *tenant, "nothing of it is kept")
			}
			w.requireTruth(t, w.accepted)
		})
	}
}

// Deleting the tenant deletes its own record: nothing is deleted in bulk.
func TestDeletingATenantLeavesItsDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(unguarded, nil)
	for _, push := range []*directory.Push{
		push(1, add, &directory.TenantPush{Name: "Acme"}), full(2, "a"), ann(3, add, "crm"), push(4, del, &directory.TenantPush{}),
	} {
		_, err := w.receive(push)
		require.NoError(t, err)
	}
	snapshot := w.Snapshot()
	require.True(t, snapshot.Tenant.Deleted)
	require.Equal(t, []string{"a"}, living(snapshot))
	require.False(t, snapshot.Users["ann"].Deleted)
}

// A secret is compared by what it is, not by how it was encrypted: RSA-OAEP
// gives another ciphertext each time.
func TestApplication(t *testing.T) {
	t.Parallel()
	keys, enterprise := keyring(t)
	sent := enterprise.Secrets // 0 and 2 hold the same secret, 1 another one
	require.NotEqual(t, sent[0], sent[2])
	app := func(at directory.SourceTime, flag directory.Flag, client, secret string) *directory.Push {
		return push(at, flag, &directory.ApplicationPush{AppID: "crm", ClientID: client, ClientSecret: secret})
	}
	for name, test := range map[string]struct {
		before pushes
		push   *directory.Push
		action directory.Action
		lives  bool
	}{
		"add":                     {nil, app(1, add, "c", sent[0]), directory.ActionCreate, true},
		"modify of the unknown":   {nil, app(1, modify, "c", sent[0]), directory.ActionCreate, true},
		"the same, word for word": {pushes{app(1, add, "c", sent[0])}, app(2, add, "c", sent[0]), directory.ActionUnchanged, true},
		"encrypted anew":          {pushes{app(1, add, "c", sent[0])}, app(2, modify, "c", sent[2]), directory.ActionUnchanged, true},
		"another secret":          {pushes{app(1, add, "c", sent[0])}, app(2, modify, "c", sent[1]), directory.ActionUpdate, true},
		"another client":          {pushes{app(1, add, "c", sent[0])}, app(2, modify, "d", sent[0]), directory.ActionUpdate, true},
		"older":                   {pushes{app(9, add, "c", sent[0])}, app(2, modify, "d", sent[1]), directory.ActionStale, true},
		"between a repeat":        {pushes{app(1, add, "c", sent[0]), app(9, add, "c", sent[2])}, app(5, modify, "d", sent[1]), directory.ActionStale, true},
		"delete":                  {pushes{app(1, add, "c", sent[0])}, app(2, del, "", ""), directory.ActionDelete, false},
		"delete again":            {pushes{app(1, add, "c", sent[0]), app(2, del, "", "")}, app(3, del, "", ""), directory.ActionUnchanged, false},
		"delete of the unknown":   {nil, app(3, del, "", ""), directory.ActionUnchanged, false},
		"a late add":              {pushes{app(9, del, "", "")}, app(3, add, "c", sent[0]), directory.ActionStale, false},
		"add after delete":        {pushes{app(1, add, "c", sent[0]), app(2, del, "", "")}, app(3, add, "c", sent[0]), directory.ActionRestore, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(unguarded, keys)
			for _, push := range append(test.before, test.push) {
				plan, err := w.receive(push)
				require.NoError(t, err)
				if push == test.push {
					require.Len(t, plan.Decisions, 1)
					require.Equal(t, test.action, plan.Decisions[0].Action)
				}
			}
			stored := w.Snapshot().Applications["crm"]
			require.Equal(t, test.lives, !stored.Deleted)
			if stored.Deleted {
				require.Equal(t, directory.Application{AppID: "crm", Meta: stored.Meta}, stored, "no secret outlives its application")
			} else {
				require.NotContains(t, string(stored.SealedSecret), "secret")
			}
			w.requireTruth(t, w.accepted)
		})
	}
	_, err := newWorld(unguarded, keys).receive(app(1, add, "c", "bm90IG91cnM="))
	require.ErrorIs(t, err, directory.ErrClientSecret)
}
