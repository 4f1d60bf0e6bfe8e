package resync

import (
	"hash/maphash"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestNumbersAreASet holds the sets to a map.
func TestNumbersAreASet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		added := rapid.SliceOf(rapid.Uint64Range(0, 50)).Draw(r, "added")
		asked := rapid.SliceOf(rapid.Uint64Range(0, 60)).Draw(r, "asked")
		var set ticked
		model, repeats := make(map[uint64]bool), 0
		for _, n := range added {
			if _, ok := model[n]; ok {
				repeats++
			}
			model[n] = false
			set.add(n)
		}
		require.Equal(r, repeats, set.repeats())
		for _, n := range asked {
			_, in := model[n]
			require.Equal(r, in, set.has(n))
			require.Equal(r, in, set.tick(n))
			if in {
				model[n] = true
			}
		}
		for n := range uint64(61) {
			require.Equal(r, model[n], set.isTicked(n))
		}
		count := 0
		for _, on := range model {
			if on {
				count++
			}
		}
		require.Equal(r, count, set.count)
	})
}

func TestPairsAreToldApart(t *testing.T) {
	t.Parallel()
	h := hasher{maphash.MakeSeed()}
	first := h.pair("g", "m")
	require.Equal(t, first, h.pair("g", "m"))
	require.NotEqual(t, h.pair("g", "m"), h.pair("m", "g"))
	require.NotEqual(t, h.pair("gm", ""), h.pair("g", "m"))
}

func TestTheGuardWantsManyAndMuch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		missing, all int
		want         bool
	}{{10, 10, false}, {11, 11, true}, {11, 1000, false}, {200, 1000, false}, {201, 1000, true}, {0, 0, false}} {
		require.Equal(t, c.want, tooMany(c.missing, c.all), "%d of %d", c.missing, c.all)
	}
}
