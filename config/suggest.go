package config

import (
	"maps"
	"slices"
	"strings"
)

// maxTypos is how many letters a name may be off and still be taken for a slip.
const maxTypos = 2

// suggest names the known name that an unknown one was probably meant to be,
// as the end of a message; empty if none is near.
func suggest(name string, known []string, prefix string) string {
	best, distance := "", maxTypos+1
	for _, candidate := range known {
		if d := typos(strings.ToLower(name), strings.ToLower(candidate)); d < distance && d < len(candidate)/2 {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + prefix + best + "?"
}

// typos counts the letters to insert, remove or replace to make b of a.
func typos(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func sortedNames(values map[string]string) []string { return slices.Sorted(maps.Keys(values)) }
