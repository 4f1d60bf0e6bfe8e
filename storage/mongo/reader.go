package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// State implements storage.Reader.
func (s *Store) State(ctx context.Context, scope directory.Scope) (directory.State, error) {
	if err := s.ready(ctx); err != nil {
		return directory.State{}, err
	}
	doc, err := s.scopeDoc(ctx, scope)
	if errors.Is(err, driver.ErrNoDocuments) || err == nil && !doc.Seen {
		return directory.State{}, fmt.Errorf("scope %s: %w", scope, storage.ErrNotFound)
	}
	if err != nil {
		return directory.State{}, s.failed(err, "read scope %s", scope)
	}
	state, _ := doc.state()
	return state, nil
}

// byPlace is the order of lists: by tenant, instance and key.
var byPlace = bson.D{{Key: "ten", Value: 1}, {Key: "inst", Value: 1}, {Key: "key", Value: 1}}

// behindPlace selects what follows a place in the order of lists.
func behindPlace(tenantID, instanceID, key string) bson.E {
	greater := func(text string) bson.D { return bson.D{{Key: "$gt", Value: text}} }
	return bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: "ten", Value: greater(tenantID)}},
		bson.D{{Key: "ten", Value: tenantID}, {Key: "inst", Value: greater(instanceID)}},
		bson.D{{Key: "ten", Value: tenantID}, {Key: "inst", Value: instanceID}, {Key: "key", Value: greater(key)}},
	}}
}

// States implements storage.Reader.
func (s *Store) States(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]directory.State, string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", err
	}
	where := append(placeFilter(f.Dataset, f.InstanceID, f.TenantID), bson.E{Key: "k", Value: int32(0)}, bson.E{Key: "seen", Value: true})
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 2)
		if err != nil {
			return nil, "", err
		}
		where = append(where, behindPlace(parts[0], parts[1], ""))
	}
	limit := page.Size()
	cursor, err := s.directory.Find(ctx, where, options.Find().SetSort(byPlace).SetLimit(int64(limit)+1))
	var docs []scopeDoc
	if err == nil {
		err = cursor.All(ctx, &docs)
	}
	if err != nil {
		return nil, "", s.failed(err, "list states")
	}
	next := ""
	if len(docs) > limit {
		docs = docs[:limit]
		next = storage.EncodeCursor(docs[limit-1].TenantID, docs[limit-1].InstanceID)
	}
	states := make([]directory.State, len(docs))
	var unreadable storage.Unreadable
	for i := range docs {
		var part error
		if states[i], part = docs[i].state(); part != nil {
			unreadable.Add("state of "+docs[i].scope().String(), part)
		}
	}
	return states, next, unreadable.Err()
}

// list reads a page of one kind of entity, by tenant, instance and key.
func list[T any](ctx context.Context, s *Store, kind directory.Kind, f storage.EntityFilter, page storage.Page, decode func(*entityDoc) (T, error)) ([]storage.Scoped[T], string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", err
	}
	where := append(placeFilter(f.Dataset, f.InstanceID, f.TenantID), bson.E{Key: "k", Value: int32(kind)})
	if !f.Deleted {
		where = append(where, bson.E{Key: "gone", Value: false})
	}
	if f.Key != "" {
		where = append(where, bson.E{Key: "key", Value: f.Key})
	}
	if f.Parent != nil {
		where = append(where, bson.E{Key: "parent", Value: *f.Parent})
	}
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 3)
		if err != nil {
			return nil, "", err
		}
		where = append(where, behindPlace(parts[0], parts[1], parts[2]))
	}
	limit := page.Size()
	docs, err := s.entities(ctx, s.directory, where, options.Find().SetSort(byPlace).SetLimit(int64(limit)+1))
	if err != nil {
		return nil, "", s.failed(err, "list entities")
	}
	next := ""
	if len(docs) > limit {
		docs = docs[:limit]
		last := &docs[limit-1]
		next = storage.EncodeCursor(last.TenantID, last.InstanceID, last.Key)
	}
	found := make([]storage.Scoped[T], 0, len(docs))
	var unreadable storage.Unreadable
	for i := range docs {
		entity, err := decode(&docs[i])
		if err != nil {
			unreadable.Add(fmt.Sprintf("%q of %s", docs[i].Key, docs[i].scope()), err)
			continue
		}
		found = append(found, storage.Scoped[T]{Scope: docs[i].scope(), Entity: entity})
	}
	return found, next, unreadable.Err()
}

// Tenants implements storage.Reader.
func (s *Store) Tenants(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]storage.Scoped[directory.Tenant], string, error) {
	return list(ctx, s, directory.KindTenant, f, page, (*entityDoc).tenant)
}

// Departments implements storage.Reader.
func (s *Store) Departments(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]storage.Scoped[directory.Department], string, error) {
	return list(ctx, s, directory.KindDepartment, f, page, (*entityDoc).department)
}

// Users implements storage.Reader.
func (s *Store) Users(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]storage.Scoped[directory.User], string, error) {
	return list(ctx, s, directory.KindUser, f, page, (*entityDoc).user)
}

// Applications implements storage.Reader.
func (s *Store) Applications(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]storage.Scoped[directory.Application], string, error) {
	return list(ctx, s, directory.KindApplication, f, page, (*entityDoc).application)
}

// Pushes implements storage.Reader.
func (s *Store) Pushes(ctx context.Context, f storage.PushFilter, page storage.Page) ([]storage.Record, string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", err
	}
	where := append(placeFilter(f.Dataset, f.InstanceID, f.TenantID), bson.E{Key: "phase", Value: realPhases})
	if f.Kind != "" {
		where = append(where, bson.E{Key: "kind", Value: string(f.Kind)})
	}
	if f.Result != "" {
		where = append(where, bson.E{Key: "result", Value: string(f.Result)})
	}
	docs, next, err := newest(ctx, s, s.journal, where, page, withoutBodies, "list pushes", func(d *recordDoc) string { return d.ID })
	if err != nil {
		return nil, "", err
	}
	records := make([]storage.Record, len(docs))
	for i := range docs {
		if records[i], err = docs[i].record(); err != nil {
			return nil, "", err
		}
	}
	return records, next, nil
}

// newest is a page of the documents that match, by descending _id, and the next
// page's cursor. op names what it is for in errors.
func newest[D any](ctx context.Context, s *Store, from *driver.Collection, where bson.D, page storage.Page, projection any, op string, id func(*D) string) ([]D, string, error) {
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 1)
		if err != nil {
			return nil, "", err
		}
		where = append(where, bson.E{Key: "_id", Value: bson.D{{Key: "$lt", Value: parts[0]}}})
	}
	limit := page.Size()
	cursor, err := from.Find(ctx, where, options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}).SetLimit(int64(limit)+1).SetProjection(projection))
	var docs []D
	if err == nil {
		err = cursor.All(ctx, &docs)
	}
	if err != nil {
		return nil, "", s.failed(err, "%s", op)
	}
	if len(docs) <= limit {
		return docs, "", nil
	}
	return docs[:limit], storage.EncodeCursor(id(&docs[limit-1])), nil
}

// Push implements storage.Reader.
func (s *Store) Push(ctx context.Context, id string) (storage.Record, []directory.Decision, error) {
	record, text, err := s.decided(ctx, id)
	if err != nil {
		return record, nil, err
	}
	var decisions []directory.Decision
	if len(text) > 0 {
		if err := json.Unmarshal(text, &decisions); err != nil {
			return record, nil, fmt.Errorf("stored decisions of push %s: %w", id, err)
		}
	}
	return record, decisions, nil
}

// PushPage implements storage.Reader.
func (s *Store) PushPage(ctx context.Context, id string, page storage.Page) (storage.Record, []directory.Decision, string, error) {
	record, text, err := s.decided(ctx, id)
	if err != nil {
		return record, nil, "", err
	}
	decisions, next, err := storage.DecodeDecisions(text, page)
	if err != nil {
		return record, nil, "", fmt.Errorf("decisions of push %s: %w", id, err)
	}
	return record, decisions, next, nil
}

// decided reads a push and its decisions, as JSON.
func (s *Store) decided(ctx context.Context, id string) (record storage.Record, text []byte, err error) {
	if err := s.ready(ctx); err != nil {
		return record, nil, err
	}
	doc, err := s.find(ctx, id, bson.D{{Key: "raw", Value: 0}, {Key: "redo", Value: 0}})
	if err != nil {
		return record, nil, err
	}
	if record, err = doc.record(); err != nil {
		return record, nil, err
	}
	if text, err = s.join(ctx, id, decisionsRole(doc.Turn), doc.Decisions); err != nil {
		return record, nil, s.failed(err, "read decisions of push %s", id)
	}
	return record, text, nil
}

// Body implements storage.Reader.
func (s *Store) Body(ctx context.Context, id string) ([]byte, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	doc, err := s.find(ctx, id, bson.D{{Key: "decisions", Value: 0}, {Key: "redo", Value: 0}})
	if err != nil {
		return nil, err
	}
	raw, err := s.join(ctx, id, "raw", doc.Raw)
	return raw, s.failed(err, "read body of push %s", id)
}
