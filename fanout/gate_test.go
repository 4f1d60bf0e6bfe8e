package fanout

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

func newTestGate() (*gate, *clock) {
	c := &clock{at: epoch, waiters: make(map[chan time.Time]time.Time)}
	return newGate(Target{Name: "t"}, c.now, newMetrics(prometheus.NewRegistry())), c
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func isOpen(g *gate) bool {
	ok, _, _ := g.open()
	return ok
}

func TestRequestsUnderWayCountOneClosing(t *testing.T) {
	t.Parallel()
	g, c := newTestGate()
	for range 8 {
		g.down(errors.New("down"), 0, seconds)
	}
	require.Equal(t, epoch.Add(time.Second), g.status().NextProbe)
	c.advance(time.Second)
	_, probe, _ := g.open()
	require.True(t, probe)
	g.down(errors.New("still"), 0, seconds)
	require.Equal(t, epoch.Add(3*time.Second), g.status().NextProbe, "each failed probe waits longer")
	require.Equal(t, "still", g.status().LastError)
}

func TestTheGateWaitsAsLongAsAsked(t *testing.T) {
	t.Parallel()
	g, _ := newTestGate()
	g.down(errors.New("down"), time.Minute, seconds)
	require.Equal(t, epoch.Add(time.Minute), g.status().NextProbe)
}

func TestPauseOutlastsFailuresAndProbes(t *testing.T) {
	t.Parallel()
	g, _ := newTestGate()
	g.follow(&storage.Stop{State: storage.StopPaused, By: "ann", Reason: "why", Since: epoch})
	g.down(errors.New("down"), 0, seconds)
	g.up()
	require.Equal(t, Paused, g.status().State)
	require.Equal(t, []string{"ann", "why"}, []string{g.status().By, g.status().Reason})
	require.False(t, isOpen(g))
	g.follow(nil)
	require.Equal(t, Up, g.status().State)
	require.True(t, isOpen(g))
}

func TestOnlyFailuresInARowCloseTheGate(t *testing.T) {
	t.Parallel()
	transient := func() error { return &target.Error{Class: target.Transient} }
	for name, relief := range map[string]error{
		"a success":               nil,
		"a refusal of one object": &target.Error{Class: target.Permanent, Status: 400},
		"a conflict":              &target.Error{Class: target.Conflict},
	} {
		g, _ := newTestGate()
		for range 5 * breakAfter {
			for range breakAfter - 1 {
				require.False(t, g.answered(transient()), name)
			}
			require.False(t, g.answered(relief), name)
		}
	}
	for name, failure := range map[string]func() error{
		"transient": transient,
		"unclassed": func() error { return errors.New("?") },
		"forbidden": func() error { return &target.Error{Class: target.Permanent, Status: 403} },
	} {
		g, _ := newTestGate()
		for range breakAfter - 1 {
			require.False(t, g.answered(failure()), name)
		}
		require.True(t, g.answered(failure()), name)
	}
}

func TestDeliveriesThatFailInOneRequestCountAsOne(t *testing.T) {
	t.Parallel()
	g, _ := newTestGate()
	for range breakAfter - 1 {
		lost := &target.Error{Class: target.Transient}
		for range 100 {
			require.False(t, g.answered(lost))
		}
	}
	require.True(t, g.answered(&target.Error{Class: target.Transient}))
}

func TestALimitIsNotShortened(t *testing.T) {
	t.Parallel()
	g, c := newTestGate()
	require.Equal(t, epoch.Add(time.Minute), g.limited(time.Minute, seconds))
	require.Equal(t, epoch.Add(time.Minute), g.limited(time.Second, seconds))
	require.Equal(t, epoch.Add(time.Minute), g.limited(0, seconds))
	require.False(t, isOpen(g))
	c.advance(time.Minute)
	require.True(t, isOpen(g))
}

func TestBackoffGrowsWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := Backoff{
			Base: time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "base")),
			Max:  time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "max")),
		}
		share := rapid.Float64Range(0, 0.999).Draw(t, "jitter")
		n := rapid.IntRange(-1, 100).Draw(t, "failures")
		wait := b.after(n, func(n time.Duration) time.Duration { return time.Duration(share * float64(n)) })
		ceiling := time.Duration(min(float64(b.Max), float64(b.Base)*math.Pow(2, float64(max(n, 1)-1))))
		require.GreaterOrEqual(t, wait, ceiling/10-1)
		require.LessOrEqual(t, wait, ceiling)
	})
}

func TestPlacesReadWhatTheyWrote(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		member := rapid.String().Draw(t, "member")
		in := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) place {
			return place{rapid.String().Draw(t, "code"), rapid.String().Draw(t, "group")}
		}), 1, 4).Draw(t, "in")
		read := parsePlaces(encodePlaces(member, in))
		require.Equal(t, places{member, in}, read)
	})
	require.Empty(t, encodePlaces("m", nil))
	require.Equal(t, places{}, parsePlaces("an older form"))
}

func TestAPlaceEndsWithEitherOfItsEnds(t *testing.T) {
	t.Parallel()
	groups := map[string]storage.Task{
		"a": {Slot: storage.Slot{RemoteID: "ga"}}, "b": {Slot: storage.Slot{RemoteID: "new"}}, "c": {},
	}
	in := []place{{"a", "ga"}, {"b", "old"}, {"c", "gc"}, {"gone", "gd"}, {"c", ""}}
	require.Equal(t, []place{{"a", "ga"}}, places{"m", append([]place(nil), in...)}.valid(target.Member{RemoteID: "m"}, groups))
	require.Empty(t, places{"m", in}.valid(target.Member{RemoteID: "another"}, groups))
	require.Empty(t, places{"", in}.valid(target.Member{}, groups))
}

func TestTopDownPutsParentsBeforeChildren(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 30).Draw(t, "departments")
		tasks := make([]storage.Task, n)
		for i := range tasks {
			d := department(string(rune('A'+i)), "")
			if i > 0 {
				d.ParentCode = string(rune('A' + rapid.IntRange(-1, i-1).Draw(t, "parent")))
			}
			tasks[i] = storage.Task{Slot: storage.Slot{SlotKey: storage.SlotKey{Key: d.Code}}, Department: d}
		}
		tasks = rapid.Permutation(tasks).Draw(t, "order")
		seen := make(map[string]bool)
		known := make(map[string]bool)
		for _, task := range tasks {
			known[task.Key] = true
		}
		total := 0
		for _, level := range topDown(tasks) {
			for _, task := range level {
				parent := task.Department.ParentCode
				require.True(t, !known[parent] || seen[parent], "%s before its parent %s", task.Key, parent)
			}
			for _, task := range level {
				seen[task.Key] = true
				total++
			}
		}
		require.Equal(t, n, total)
	})
	ring := []storage.Task{
		{Slot: storage.Slot{SlotKey: storage.SlotKey{Key: "a"}}, Department: department("a", "b")},
		{Slot: storage.Slot{SlotKey: storage.SlotKey{Key: "b"}}, Department: department("b", "a")},
	}
	total := 0
	for _, level := range topDown(ring) {
		total += len(level)
	}
	require.Equal(t, 2, total, "a ring ends")
}
