package mongo

import (
	"encoding/binary"
	"slices"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage/blob"
)

// NewID makes names for tests.
func NewID() string { return newID() }

// EntityID is the _id of an entity.
func EntityID(scope string, kind directory.Kind, key string) string {
	return entityID(scope, kind, key)
}

// OrderOf is the number of a change in its scope.
func OrderOf(turn int64, place int) int64 { return orderOf(turn, place) }

func redoFor(plan *directory.Plan) (*redo, error) {
	scope := directory.Scope{Dataset: directory.Prod, TenantID: "t"}
	t := &turn{store: &Store{options: Options{}.withDefaults()}, scope: scope, doc: scopeDoc{ID: scope.String(), Turn: 7}}
	return t.redoOf(plan, nil)
}

// PackRedo is what the journal keeps of a plan, packed, and what it says.
func PackRedo(plan *directory.Plan) ([]byte, any, error) {
	r, err := redoFor(plan)
	if err != nil {
		return nil, nil, err
	}
	packed, err := r.pack()
	return packed, says(r), err
}

// says is what a redo says, comparable.
func says(r *redo) any {
	docs := make([]string, len(r.writes))
	for i := range r.writes {
		docs[i] = r.writes[i].id + " " + r.writes[i].raw.String()
		if r.writes[i].created {
			docs[i] += " created"
		}
	}
	touches := append([]touchDoc{}, r.Touches...)
	return []any{r.At, r.State.FullTime, r.State.Departments, len(r.Effects), touches, docs}
}

// UnpackRedo reads what PackRedo packed.
func UnpackRedo(packed []byte) (any, error) {
	plain, err := blob.Unpack(packed)
	if err != nil {
		return nil, err
	}
	return ParseRedo(plain)
}

// ParseRedo reads it unpacked.
func ParseRedo(plain []byte) (any, error) {
	r, err := unpackRedo(plain)
	if err != nil {
		return nil, err
	}
	return says(r), nil
}

// CheckRedo reads it and says only whether that went well.
func CheckRedo(plain []byte) error {
	_, err := unpackRedo(plain)
	return err
}

// PlainRedo is what PackRedo packs.
func PlainRedo(plan *directory.Plan) ([]byte, error) {
	packed, _, err := PackRedo(plan)
	if err != nil {
		return nil, err
	}
	return blob.Unpack(packed)
}

// WholeDocuments reports whether plain ends where a document does.
func WholeDocuments(plain []byte) bool {
	for len(plain) >= 4 {
		n := int(binary.LittleEndian.Uint32(plain))
		if n > len(plain) {
			return false
		}
		plain = plain[n:]
	}
	return len(plain) == 0
}

// Redact takes a URI's password out of an error that holds the URI, as written
// and as decoded.
func Redact(uri string, err error) error { return redact(err, passwordOf(uri)) }

// CutParts makes a store cut what it journals into parts of n bytes.
func (s *Store) CutParts(n int) { s.partSize = n }

// Needed are the rights that the store needs.
func Needed() []string { return slices.Clone(needed) }

// Granted is what a server tells of a role.
func Granted(database, collection string, actions ...string) privilege {
	p := privilege{Actions: actions}
	p.Resource.DB, p.Resource.Collection = database, collection
	return p
}

// MissingRights are those that privileges leave out.
func MissingRights(database string, privileges ...privilege) []string {
	return missingRights(privileges, database)
}
