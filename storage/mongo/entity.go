package mongo

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// Place is a scope, member by member, as queries and lists need it.
type Place struct {
	Dataset    string `bson:"ds"`
	TenantID   string `bson:"ten"`
	InstanceID string `bson:"inst"`
}

func placeOf(s directory.Scope) Place {
	return Place{Dataset: string(s.Dataset), TenantID: s.TenantID, InstanceID: s.InstanceID}
}

func (p Place) scope() directory.Scope {
	return directory.Scope{Dataset: directory.Dataset(p.Dataset), InstanceID: p.InstanceID, TenantID: p.TenantID}
}

// entityDoc is an entity in the collection directory.
type entityDoc struct {
	ID    string `bson:"_id"`
	Scope string `bson:"s"` // directory.Scope.String: the shard key
	Place `bson:",inline"`
	Kind  int32  `bson:"k"`
	Key   string `bson:"key"`
	// Name and Parent serve departments and users alike; the rest of users,
	// tenants and applications is in Data.
	Name    string `bson:"name"`
	Parent  string `bson:"parent"`
	Deleted bool   `bson:"gone"`
	Missing bool   `bson:"miss"`
	Version int64  `bson:"v"`
	// Seq is the place in the feed, 0 while the change has none yet.
	Seq        int64 `bson:"seq"`
	SourceTime int64 `bson:"st"`
	ChangedAt  int64 `bson:"at"`
	// N orders the changes of the scope: the turn that wrote the entity and
	// the entity's position in it. See orderOf.
	N    int64  `bson:"n"`
	Data string `bson:"data,omitempty"`
}

// turnShift leaves room for 16 million entities in a turn.
const turnShift = 24

// orderOf joins a turn and a position in it to one ascending number. All
// positions of a turn are not below orderOf(turn, 0).
func orderOf(turn int64, position int) int64 { return turn<<turnShift | int64(position) }

// entityID is the _id of an entity. No other scope, kind or key has the same.
func entityID(scope string, kind directory.Kind, key string) string {
	return scope + "/" + strconv.Itoa(int(kind)) + "/" + url.PathEscape(key)
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func (e *entityDoc) meta() directory.Meta {
	return directory.Meta{
		Version: e.Version, Seq: e.Seq, SourceTime: directory.SourceTime(e.SourceTime),
		Deleted: e.Deleted, ChangedAt: fromMillis(e.ChangedAt),
	}
}

func (e *entityDoc) decode(into any) error {
	if err := json.Unmarshal([]byte(e.Data), into); err != nil {
		return fmt.Errorf("stored %s %q: %w", directory.Kind(e.Kind), e.Key, err)
	}
	return nil
}

func (e *entityDoc) department() (directory.Department, error) {
	return directory.Department{Code: e.Key, Name: e.Name, ParentCode: e.Parent, ParentMissing: e.Missing, Meta: e.meta()}, nil
}

// user is what the document's own members say alone if it fails, as tenant and
// application are.
func (e *entityDoc) user() (u directory.User, err error) {
	if err = e.decode(&u); err != nil {
		u = directory.User{}
	}
	u.UserName, u.Name, u.OrgCode, u.Meta = e.Key, e.Name, e.Parent, e.meta()
	return u, err
}

func (e *entityDoc) tenant() (t directory.Tenant, err error) {
	if err = e.decode(&t); err != nil {
		t = directory.Tenant{}
	}
	t.Name, t.Meta = e.Name, e.meta()
	return t, err
}

func (e *entityDoc) application() (directory.Application, error) {
	var kept storage.KeptApplication
	err := e.decode(&kept)
	if err != nil {
		kept = storage.KeptApplication{}
	}
	a := kept.Whole()
	a.AppID, a.Meta = e.Key, e.meta()
	return a, err
}

// entityWriter turns a plan's after-images into documents, in key order.
type entityWriter struct {
	scope string
	place Place
	turn  int64
	at    time.Time
	docs  []entityWrite
}

// entityWrite is an entity's document, encoded once for the journal and for the
// directory.
type entityWrite struct {
	id      string
	created bool // its first version
	raw     bson.Raw
}

func (w *entityWriter) put(kind directory.Kind, key, name, parent string, missing bool, m *directory.Meta, data any) error {
	m.Seq, m.ChangedAt = 0, w.at
	doc := entityDoc{
		ID: entityID(w.scope, kind, key), Scope: w.scope, Place: w.place, Kind: int32(kind), Key: key, Name: name, Parent: parent,
		Deleted: m.Deleted, Missing: missing, Version: m.Version, SourceTime: int64(m.SourceTime),
		ChangedAt: millis(w.at), N: orderOf(w.turn, len(w.docs)),
	}
	if data != nil {
		text, err := json.Marshal(data)
		if err != nil {
			return fmt.Errorf("encode %s %q: %w", kind, key, err)
		}
		doc.Data = string(text)
	}
	raw, err := bson.Marshal(&doc)
	if err != nil {
		return fmt.Errorf("encode %s %q: %w", kind, key, err)
	}
	w.docs = append(w.docs, entityWrite{id: doc.ID, created: m.Version == 1, raw: raw})
	return nil
}

// all encodes what a plan writes and sets the store's members of each Meta.
func (w *entityWriter) all(plan *directory.Plan) error {
	w.docs = make([]entityWrite, 0, 1+len(plan.Departments)+len(plan.Users)+len(plan.Applications))
	if t := plan.Tenant; t != nil {
		if err := w.put(directory.KindTenant, "", t.Name, "", false, &t.Meta, t); err != nil {
			return err
		}
	}
	for i := range plan.Departments {
		d := &plan.Departments[i]
		if err := w.put(directory.KindDepartment, d.Code, d.Name, d.ParentCode, d.ParentMissing, &d.Meta, nil); err != nil {
			return err
		}
	}
	for i := range plan.Users {
		u := &plan.Users[i]
		if err := w.put(directory.KindUser, u.UserName, u.Name, u.OrgCode, false, &u.Meta, u); err != nil {
			return err
		}
	}
	for i := range plan.Applications {
		a := &plan.Applications[i]
		data := storage.Keep(a)
		if err := w.put(directory.KindApplication, a.AppID, a.ClientID, "", false, &a.Meta, data); err != nil {
			return err
		}
	}
	return nil
}
