package intake_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
)

// The real store ends where the accepted pushes say, in whatever order they
// arrive and however often, restarts and interruptions in between.
func TestTheStoreEndsWhereThePushesSay(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	scopes := 0
	rapid.Check(t, func(r *rapid.T) {
		scopes++
		scope := directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: fmt.Sprintf("t%d", scopes)}
		enterprise := rapid.SampledFrom([]directorytest.Enterprise{directorytest.Small, directorytest.Knotted}).Draw(r, "enterprise")
		pushes := enterprise.Pushes(r, rapid.IntRange(3, 8).Draw(r, "pushes"))
		pushes = append(pushes, rapid.SliceOfN(rapid.SampledFrom(pushes), 0, 3).Draw(r, "repeats")...)
		var accepted []*directory.Push
		for _, drawn := range pushes {
			push, err := decoded(scope, drawn.Flag, drawn.SourceTime, drawn.Payload)
			if err != nil {
				require.ErrorAs(r, err, new(*directory.InvalidError))
				continue
			}
			if push.Kind() == directory.AllOrgSync && rapid.Bool().Draw(r, "crash") {
				b.accept(push)
				_, err := b.service.Recover(t.Context(), 0)
				require.NoError(r, err)
			} else if _, err := b.service.Receive(t.Context(), push); err != nil {
				require.ErrorAs(r, err, new(*directory.InvalidError))
				continue
			}
			accepted = append(accepted, push)
			state, err := b.store.State(t.Context(), scope)
			require.NoError(r, err)
			if state.Hold != nil {
				_, err := b.service.Approve(t.Context(), state.Hold.PushID, "the test", "")
				require.NoError(r, err)
			}
		}
		truth := directorytest.Truth(accepted)
		snapshot := read(r, b.store, scope)
		require.Equal(r, truth, snapshot.Meaning(truth))
		snapshot.Check(r)
	})
	b.reopen()
	require.Empty(t, b.unfinished())
}
