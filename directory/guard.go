package directory

// Guard says how many departments a full push may delete at once. A push that
// would delete more than both bounds, or all there are, has its deletions held
// for a person to decide: an empty list upstream must not delete a company.
type Guard struct {
	// MaxDeletes departments may always go, unless they are all there are.
	MaxDeletes int
	// MaxPercent of the living departments may always go, likewise.
	MaxPercent int
}

// DefaultGuard is the guard where none is configured.
var DefaultGuard = Guard{MaxDeletes: 10, MaxPercent: 20}

// Holds reports whether deleting so many of the living has to be held.
func (g Guard) Holds(deletes, living int) bool {
	if deletes == 0 {
		return false
	}
	if deletes >= living {
		return true
	}
	return deletes > g.MaxDeletes && deletes*100 > g.MaxPercent*living
}
