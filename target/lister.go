package target

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
)

// Lister is a connector whose target can be read out, for comparing it with
// the directory.
type Lister interface {
	// List yields every department and account that the target has where we
	// write to, each once, strangers' among them, in any order. It needs one
	// pass: as few requests as the target allows, each made through through. An
	// error ends it and means that the list is not whole: nothing may be
	// concluded from what is not in it. List ends without one only if the target
	// said that this was all.
	List(ctx context.Context, through Through) iter.Seq2[Found, error]

	// CompareDepartment and CompareUser compare what was found with the same
	// object as it is put, in what the target can show of it.
	CompareDepartment(found Found, want Department) Comparison
	CompareUser(found Found, want User) Comparison
}

// Through makes one request of a list: it waits until the target may be sent
// to, and may make it again after a failure that passes.
type Through func(ctx context.Context, op string, request func(context.Context) error) error

// Found is an object in a list.
type Found struct {
	Kind     MemberKind
	RemoteID string
	// ExternalID is our name for it, empty for a stranger's.
	ExternalID string
	// Illegible says that it bears a name of ours that cannot be read back, so
	// that it is known to be ours but not whose.
	Illegible bool
	// Name is what people call it there.
	Name string
	// Members are of a group, where groups name their members; Groups are the
	// remote ids of the departments an account is in, where accounts name them.
	Members []Member
	Groups  []string
	// Unplaced says that the account is in no department for now and that this
	// is right, such as one that may not sign in.
	Unplaced bool
	// Content is the connector's own, for comparing.
	Content any
}

// Comparison is how an object at the target differs from what was put.
type Comparison struct {
	// Same names the attributes with a value that are there as they were put.
	Same []string
	// Differ names those that are not.
	Differ []string
	// Print tells this very difference from others.
	Print string
}

// Comparer gathers a Comparison, attribute by attribute.
type Comparer struct {
	c     Comparison
	print strings.Builder
}

// Check notes whether an attribute is there as it was put. have is what is
// there; of an attribute that has no value and is to have none there is nothing
// to note.
func (c *Comparer) Check(name string, same bool, have any) {
	if same {
		c.c.Same = append(c.c.Same, name)
		return
	}
	c.c.Differ = append(c.c.Differ, name)
	text, err := json.Marshal(have)
	if err != nil {
		text = fmt.Append(nil, have)
	}
	_, _ = fmt.Fprintf(&c.print, "%q=%s\n", name, text)
}

// Comparison is what was gathered.
func (c *Comparer) Comparison() Comparison {
	if len(c.c.Differ) > 0 {
		sum := sha256.Sum256([]byte(c.print.String()))
		c.c.Print = base64.RawStdEncoding.EncodeToString(sum[:9])
	}
	return c.c
}
