package resync

import (
	"hash/maphash"
	"slices"
)

// numbers is a set of names, each kept as a number.
type numbers struct {
	all    []uint64
	sorted bool
}

func (n *numbers) add(number uint64) {
	n.all = append(n.all, number)
	n.sorted = false
}

func (n *numbers) has(number uint64) bool {
	_, ok := n.find(number)
	return ok
}

func (n *numbers) find(number uint64) (at int, ok bool) {
	n.sort()
	return slices.BinarySearch(n.all, number)
}

func (n *numbers) sort() {
	if !n.sorted {
		slices.Sort(n.all)
		n.sorted = true
	}
}

// repeats counts the numbers that were added before.
func (n *numbers) repeats() int {
	n.sort()
	repeats := 0
	for i := 1; i < len(n.all); i++ {
		if n.all[i] == n.all[i-1] {
			repeats++
		}
	}
	return repeats
}

// ticked is a set of names that can be ticked off, which is filled before the
// first is.
type ticked struct {
	numbers
	ticks []bool
	count int
}

// tick ticks a number off and reports whether it is in the set.
func (t *ticked) tick(number uint64) bool {
	at, ok := t.find(number)
	if !ok {
		return false
	}
	if t.ticks == nil {
		t.ticks = make([]bool, len(t.all))
	}
	if !t.ticks[at] {
		t.ticks[at] = true
		t.count++
	}
	return true
}

func (t *ticked) isTicked(number uint64) bool {
	at, ok := t.find(number)
	return ok && t.ticks != nil && t.ticks[at]
}

// hasher makes numbers of names.
type hasher struct{ seed maphash.Seed }

func (h hasher) name(text string) uint64 { return maphash.String(h.seed, text) }

// pair is the number of a member's place in a group.
func (h hasher) pair(group, member string) uint64 {
	return maphash.Comparable(h.seed, [2]string{group, member})
}
