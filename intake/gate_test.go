package intake

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// Full pushes of many tenants are planned a few at a time, and one tenant takes
// one of the places only, however many it sends.
func TestGate_BoundsFullPushesAndLetsNoTenantTakeAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2)
		entered := make(chan string, 10)
		ctx, hangUp := context.WithCancel(t.Context())
		leaves := make(map[string]chan struct{})
		push := func(tenant string) {
			leaves[tenant] = make(chan struct{})
			end := leaves[tenant]
			go func() {
				leave, err := g.enter(ctx, directory.Scope{TenantID: tenant})
				if err != nil {
					entered <- "given up"
					return
				}
				entered <- tenant
				<-end
				leave()
			}()
			synctest.Wait()
		}
		inside := func() (names []string) {
			synctest.Wait()
			for len(entered) > 0 {
				names = append(names, <-entered)
			}
			slices.Sort(names)
			return names
		}
		push("greedy")
		first := leaves["greedy"]
		push("greedy")
		second := leaves["greedy"]
		push("modest")
		require.Equal(t, []string{"greedy", "modest"}, inside())
		push("third")
		require.Empty(t, inside(), "there are two places")
		close(leaves["modest"])
		require.Equal(t, []string{"third"}, inside())
		close(first)
		require.Equal(t, []string{"greedy"}, inside())
		push("greedy")
		push("fourth")
		hangUp()
		require.Equal(t, []string{"given up", "given up"}, inside())
		close(second)
		close(leaves["third"])
		require.Empty(t, inside())
		require.Empty(t, g.scopes)
		require.Empty(t, g.places)
	})
}
