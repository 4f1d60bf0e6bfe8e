package directory

import (
	"cmp"
	"slices"
	"strings"
)

// maxNamed bounds the departments an error message lists.
const maxNamed = 10

// Check refuses a list that contradicts itself: a code twice, a department that
// is its own parent, a cycle (spec/marketplace.md §2, 000002). It sorts the
// list by code, so that nothing later depends on its order, and finds each
// department's parent in it. A list that is checked must not be changed.
func (f *FullPush) Check() error {
	items := f.Departments
	slices.SortFunc(items, func(a, b DepartmentItem) int { return cmp.Compare(a.Code, b.Code) })
	index := make(map[string]int32, len(items))
	for i := range items {
		if i > 0 && items[i].Code == items[i-1].Code {
			return Invalid("orgInfoList", "orgCode %s appears twice", shown(items[i].Code))
		}
		if items[i].ParentCode == items[i].Code {
			return Invalid("orgInfoList", "orgCode %s is its own parent", shown(items[i].Code))
		}
		index[items[i].Code] = int32(i)
	}
	parents := make([]int32, len(items))
	for i := range items {
		parents[i] = -1
		if code := items[i].ParentCode; code != "" {
			if at, ok := index[code]; ok {
				parents[i] = at
			}
		}
	}
	if cycles := findCycles(parents); len(cycles) > 0 {
		names := make([]string, 0, len(cycles[0]))
		for _, at := range cycles[0] {
			names = append(names, items[at].Code)
		}
		return cycleError("orgInfoList", names)
	}
	f.parents = parents
	return nil
}

// cycleError names a cycle, the first member again at its end.
func cycleError(member string, codes []string) error {
	named := make([]string, 0, maxNamed+2)
	for i, code := range codes {
		if i == maxNamed {
			named = append(named, "…")
			break
		}
		named = append(named, shown(code))
	}
	named = append(named, shown(codes[0]))
	return Invalid(member, "cycle: %s", strings.Join(named, " → "))
}

// shown shortens a code for a message.
func shown(code string) string {
	const most = 16
	runes := []rune(code)
	if len(runes) <= most {
		return code
	}
	return string(runes[:most-1]) + "…"
}

// findCycles returns the cycles of a parent relation given by index (-1:
// none). They share no node, since each has one parent. Every node is walked
// over at most twice.
func findCycles(parents []int32) [][]int32 {
	const unseen, done = 0, -1
	var cycles [][]int32
	walk := make([]int32, len(parents)) // the walk that saw the node
	for i := range parents {
		id, at := int32(i+1), int32(i)
		for at >= 0 && walk[at] == unseen {
			walk[at] = id
			at = parents[at]
		}
		if at >= 0 && walk[at] == id {
			cycle := []int32{at}
			for next := parents[at]; next != at; next = parents[next] {
				cycle = append(cycle, next)
			}
			cycles = append(cycles, cycle)
		}
		for at := int32(i); at >= 0 && walk[at] == id; at = parents[at] {
			walk[at] = done
		}
	}
	return cycles
}

// Node is a department with what hangs under it.
type Node struct {
	Department
	Children []*Node
}

// Tree hangs living departments under their parents and returns the roots.
// Siblings are sorted by code. A department whose parent is missing is a root.
// Depth is no matter: nothing here recurses.
func Tree(departments []Department) []*Node {
	nodes := make(map[string]*Node, len(departments))
	order := make([]*Node, 0, len(departments))
	for i := range departments {
		if departments[i].Deleted {
			continue
		}
		node := &Node{Department: departments[i]}
		nodes[node.Code] = node
		order = append(order, node)
	}
	slices.SortFunc(order, func(a, b *Node) int { return cmp.Compare(a.Code, b.Code) })
	var roots []*Node
	for _, node := range order {
		parent, ok := nodes[node.AttachedTo()]
		if !ok || node.AttachedTo() == "" {
			roots = append(roots, node)
			continue
		}
		parent.Children = append(parent.Children, node)
	}
	return roots
}
