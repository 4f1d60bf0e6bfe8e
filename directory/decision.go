package directory

import (
	"fmt"
)

// compareDepartment says what a listed department's item changes.
func compareDepartment(d *Department, item *DepartmentItem) (Action, string) {
	renamed, moved := d.Name != item.Name, d.ParentCode != item.ParentCode
	switch {
	case d.Deleted:
		return ActionRestore, "was deleted"
	case renamed && moved:
		return ActionUpdate, fmt.Sprintf("renamed from %q; moved from %s", d.Name, place(d.ParentCode))
	case renamed:
		return ActionUpdate, fmt.Sprintf("renamed from %q", d.Name)
	case moved:
		return ActionMove, "moved from " + place(d.ParentCode)
	default:
		return ActionUnchanged, ""
	}
}

func place(code string) string {
	if code == "" {
		return "the root"
	}
	return code
}

func attachDecision(missing, looped bool, parent string) (Action, string) {
	switch {
	case looped:
		return ActionDetach, "its parent " + parent + " hangs under it; the other word is newer"
	case missing:
		return ActionDetach, "its parent " + parent + " is not there"
	default:
		return ActionAttach, "its parent " + parent + " is there to hang under"
	}
}

// tombstone is what stays of a deleted department. It keeps its parent, so that
// targets delete children first.
func tombstone(d Department, at SourceTime) Department {
	d.Deleted, d.ParentMissing = true, false
	d.Version++
	d.SourceTime = max(d.SourceTime, at)
	return d
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}
