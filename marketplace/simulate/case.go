package simulate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/openkoo/connector/marketplace/client"
)

// Case is one thing that the marketplace does.
type Case struct {
	ID      string // e.g. kit-v2-04; it stays what it is when cases are added
	Title   string // what happens, and what is wanted
	Section string // of spec/marketplace.md

	generation client.Generation
	play       func(*scene)
	daily      bool // reports every day of the life as a step
}

// chapter is a list of cases in both generations, numbered as written.
type chapter struct {
	name  string // %s is the generation
	cases []entry
}

// entry is a case before it has a generation; none means both.
type entry struct {
	number         int
	only           client.Generation
	title, section string
	play           func(*scene)
}

// Catalogue lists all cases, in the order in which they are played.
func Catalogue() []Case {
	var all []Case
	for _, generation := range []client.Generation{client.V2, client.V1} {
		for _, c := range []chapter{
			kitCases(), kitBinding(), kitSignatures(), kitInput(), baseCases(), baseSignatures(), baseInput(), onDemand(), licenses(), lives(),
		} {
			for _, e := range c.cases {
				if e.only != 0 && e.only != generation {
					continue
				}
				all = append(all, Case{
					ID:    fmt.Sprintf(c.name+"-%02d", generation, e.number),
					Title: e.title, Section: e.section, generation: generation, play: e.play, daily: c.name == lifeName && e.number == daysOfLife,
				})
			}
		}
	}
	return all
}

// Default are the names of what a new SaaS product with the kit registers:
// everything of V2 but the License and what is sold on demand.
func Default() []string { return []string{"kit-v2", "base-v2", "life-v2"} }

// Select chooses the cases that one of the names stands for. A name is an id,
// or parts of ids in a row: kit-v2, base, v1, signature, kit-v2-04.
func Select(all []Case, names []string) ([]Case, error) {
	chosen := make([]bool, len(all))
	for _, name := range names {
		found := false
		for i := range all {
			if within(strings.Split(name, "-"), strings.Split(all[i].ID, "-")) {
				chosen[i], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no case is called %q; `orgsync simulate --list` shows all, and any part of their ids serves: kit-v2, base, v1, signature", name)
		}
	}
	var cases []Case
	for i := range all {
		if chosen[i] {
			cases = append(cases, all[i])
		}
	}
	return cases, nil
}

// within reports whether parts come in a row in the parts of an id.
func within(parts, id []string) bool {
	for i := range id {
		if len(id)-i >= len(parts) && slices.Equal(id[i:i+len(parts)], parts) {
			return true
		}
	}
	return false
}

// Without takes away the cases that one of the names stands for.
func Without(all []Case, names []string) ([]Case, error) {
	gone, err := Select(all, names)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(all), func(c Case) bool {
		return slices.ContainsFunc(gone, func(g Case) bool { return g.ID == c.ID })
	}), nil
}
