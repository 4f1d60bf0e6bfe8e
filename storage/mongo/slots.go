package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// slotDoc is a slot in the collection slots.
type slotDoc struct {
	ID          string `bson:"_id"`
	Scope       string `bson:"s"` // the shard key
	Place       `bson:",inline"`
	Target      string `bson:"t"`
	Kind        int32  `bson:"k"`
	Key         string `bson:"key"`
	State       int32  `bson:"state"`
	Desired     int64  `bson:"desired"`
	Delivered   int64  `bson:"delivered"`
	Hash        string `bson:"hash"`
	RemoteID    string `bson:"remote"`
	Group       string `bson:"grp"`
	Uncertain   bool   `bson:"uncertain"`
	Marks       int64  `bson:"marks"`
	Attempts    int    `bson:"attempts"`
	Dirty       int64  `bson:"dirty"` // never while delivered
	Due         int64  `bson:"due"`
	Failed      int64  `bson:"failed"` // when Error came, 0 for none
	Class       string `bson:"class"`
	Error       string `bson:"error"`
	DeliveredAt int64  `bson:"deliveredAt"`
	Cleared     int64  `bson:"cleared,omitempty"`
	Kept        int64  `bson:"kept,omitempty"`
	// Fence is that of the newest lease the slot was claimed under.
	Fence int64 `bson:"fence"`
}

func (d *slotDoc) slot() storage.Slot {
	slot := storage.Slot{
		SlotKey: storage.SlotKey{Target: d.Target, Scope: d.scope(), Kind: storage.SlotKind(d.Kind), Key: d.Key},
		State:   storage.SlotState(d.State), Desired: d.Desired, Delivered: d.Delivered, Hash: d.Hash, RemoteID: d.RemoteID, Group: d.Group,
		Uncertain: d.Uncertain, Marks: d.Marks, Cleared: d.Cleared, Kept: d.Kept, Attempts: d.Attempts, DueAt: fromMillis(d.Due),
		ErrorClass: d.Class, LastError: d.Error, DeliveredAt: fromMillis(d.DeliveredAt),
	}
	if d.Dirty != never {
		slot.DirtySince = fromMillis(d.Dirty)
	}
	return slot
}

// dueStates are the states in which a slot is tried when its time comes.
var dueStates = bson.D{{Key: "$in", Value: bson.A{int32(storage.SlotPending), int32(storage.SlotRetrying), int32(storage.SlotLeaving)}}}

// DueScopes implements storage.Fanout.
func (s *Store) DueScopes(ctx context.Context, targetName string, now time.Time) (due []directory.Scope, next time.Time, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, next, err
	}
	open := bson.D{{Key: "t", Value: targetName}, {Key: "state", Value: dueStates}}
	cursor, err := s.slots.Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: append(open, bson.E{Key: "due", Value: bson.D{{Key: "$lte", Value: millis(now)}}})}},
		bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$s"}}}},
	})
	var found []struct {
		Scope string `bson:"_id"`
	}
	if err == nil {
		err = cursor.All(ctx, &found)
	}
	if err != nil {
		return nil, next, s.failed(err, "find due scopes of %s", targetName)
	}
	for _, f := range found {
		scope, err := parseScope(f.Scope)
		if err != nil {
			return nil, next, err
		}
		due = append(due, scope)
	}
	sortScopes(due)
	var first slotDoc
	err = s.slots.FindOne(ctx, append(open, bson.E{Key: "due", Value: bson.D{{Key: "$gt", Value: millis(now)}}}),
		options.FindOne().SetSort(bson.D{{Key: "due", Value: 1}}).SetProjection(bson.D{{Key: "due", Value: 1}, {Key: "s", Value: 1}})).Decode(&first)
	if errors.Is(err, driver.ErrNoDocuments) {
		return due, next, nil
	}
	return due, fromMillis(first.Due), s.failed(err, "find due scopes of %s", targetName)
}

// Claim implements storage.Fanout.
func (s *Store) Claim(ctx context.Context, lease storage.Lease, now time.Time, limit int, wanted func(storage.Task) bool) ([]storage.Task, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	tasks, err := s.claim(ctx, lease, now, limit, wanted)
	return tasks, s.failed(err, "claim slots of %s at %s", lease.Scope, lease.Target)
}

func (s *Store) claim(ctx context.Context, lease storage.Lease, now time.Time, limit int, wanted func(storage.Task) bool) ([]storage.Task, error) {
	if err := s.checkLease(ctx, lease); err != nil {
		return nil, err
	}
	tasks, unread, err := s.dueTasks(ctx, lease, now, limit, wanted)
	if err != nil || len(tasks) == 0 {
		return nil, err
	}
	scope, ids := lease.Scope.String(), make(bson.A, len(tasks))
	for i := range tasks {
		ids[i] = slotID(lease.Target, scope, tasks[i].Kind, tasks[i].Key)
	}
	marked, err := s.slots.UpdateMany(ctx,
		bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "s", Value: scope}, {Key: "fence", Value: bson.D{{Key: "$lte", Value: lease.Fence}}}},
		set(bson.D{{Key: "uncertain", Value: true}, {Key: "fence", Value: lease.Fence}}))
	if err != nil {
		return nil, err
	}
	if marked.MatchedCount < int64(len(ids)) {
		return nil, fmt.Errorf("%s at %s: another claimed the same: %w", lease.Scope, lease.Target, storage.ErrLeaseLost)
	}
	if !slices.ContainsFunc(tasks, func(t storage.Task) bool { return unread[t.SlotKey] }) {
		return tasks, nil
	}
	return s.bury(ctx, lease, tasks, unread)
}

// dueTasks reads due slots that are wanted, page by page, and says whose entity
// cannot be read.
func (s *Store) dueTasks(ctx context.Context, lease storage.Lease, now time.Time, limit int, wanted func(storage.Task) bool) (tasks []storage.Task, unread map[storage.SlotKey]bool, err error) {
	unread = make(map[storage.SlotKey]bool)
	for skip := 0; ; skip += limit {
		docs, err := s.pageOfSlots(ctx, bson.D{
			{Key: "t", Value: lease.Target}, {Key: "s", Value: lease.Scope.String()}, {Key: "state", Value: dueStates},
			{Key: "due", Value: bson.D{{Key: "$lte", Value: millis(now)}}},
		}, bson.D{{Key: "k", Value: 1}, {Key: "due", Value: 1}, {Key: "key", Value: 1}}, skip, limit)
		if err != nil {
			return nil, nil, err
		}
		page, bad, err := s.tasks(ctx, lease.Scope.String(), docs)
		if err != nil || wanted == nil {
			return page, bad, err
		}
		for _, t := range page {
			if len(tasks) < limit && (bad[t.SlotKey] || wanted(t)) {
				tasks, unread[t.SlotKey] = append(tasks, t), bad[t.SlotKey]
			}
		}
		if len(tasks) == limit || len(docs) < limit {
			return tasks, unread, nil
		}
	}
}

// bury makes claimed slots dead letters whose entity cannot be read, and returns
// the others: half of it is not to be delivered. The push that writes it anew
// makes them due again.
func (s *Store) bury(ctx context.Context, lease storage.Lease, tasks []storage.Task, unread map[storage.SlotKey]bool) ([]storage.Task, error) {
	var good []storage.Task
	var bad []storage.Slot
	for _, task := range tasks {
		if !unread[task.SlotKey] {
			good = append(good, task)
			continue
		}
		slot := task.Slot
		slot.State, slot.ErrorClass, slot.LastError = storage.SlotDead, storage.ErrorClassUnreadable, storage.UnreadableEntity
		bad = append(bad, slot)
	}
	s.options.Logger.Error("what is stored of some accounts cannot be read; they are dead letters until they are pushed again",
		"target", lease.Target, "scope", lease.Scope.String(), "count", len(bad), "first", bad[0].Key)
	return good, s.settle(ctx, lease, bad)
}

// findSlots reads slots in an order.
func (s *Store) findSlots(ctx context.Context, filter, sort bson.D, limit int) ([]slotDoc, error) {
	return s.pageOfSlots(ctx, filter, sort, 0, limit)
}

func (s *Store) pageOfSlots(ctx context.Context, filter, sort bson.D, skip, limit int) ([]slotDoc, error) {
	cursor, err := s.slots.Find(ctx, filter, options.Find().SetSort(sort).SetSkip(int64(skip)).SetLimit(int64(limit)).SetBatchSize(int32(limit)+1))
	if err != nil {
		return nil, err
	}
	var docs []slotDoc
	err = cursor.All(ctx, &docs)
	return docs, err
}

// tasks joins slots of one scope with the entities they deliver. It returns
// those apart whose user cannot be read; of a tombstone that is not needed.
func (s *Store) tasks(ctx context.Context, scope string, docs []slotDoc) (tasks []storage.Task, unread map[storage.SlotKey]bool, err error) {
	found := make(map[string]*entityDoc, len(docs))
	for from := 0; from < len(docs); from += keysAtOnce {
		part := docs[from:min(from+keysAtOnce, len(docs))]
		ids := make(bson.A, len(part))
		for i := range part {
			ids[i] = entityID(scope, storage.SlotKind(part[i].Kind).Entity(), part[i].Key)
		}
		entities, err := s.entities(ctx, s.directory, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "s", Value: scope}},
			options.Find().SetBatchSize(keysAtOnce+1))
		if err != nil {
			return nil, nil, err
		}
		for i := range entities {
			found[entities[i].ID] = &entities[i]
		}
	}
	tasks, unread = make([]storage.Task, len(docs)), make(map[storage.SlotKey]bool)
	for i := range docs {
		tasks[i].Slot = docs[i].slot()
		kind := tasks[i].Kind.Entity()
		entity, ok := found[entityID(scope, kind, docs[i].Key)]
		switch {
		case !ok:
		case kind == directory.KindDepartment:
			d, _ := entity.department()
			tasks[i].Department = &d
		default:
			u, err := entity.user()
			tasks[i].User = &u
			if err != nil && !u.Deleted {
				unread[tasks[i].SlotKey] = true
			}
		}
	}
	return tasks, unread, nil
}

// Lookup implements storage.Fanout.
func (s *Store) Lookup(ctx context.Context, targetName string, scope directory.Scope, kind storage.SlotKind, keys []string) (map[string]storage.Task, error) {
	name := scope.String()
	found := make(map[string]storage.Task, len(keys))
	err := s.eachPart(ctx, targetName, name, kind, keys, func(docs []slotDoc) error {
		tasks, _, err := s.tasks(ctx, name, docs)
		for _, task := range tasks {
			found[task.Key] = task
		}
		return err
	})
	return found, err
}

// Slots implements storage.Fanout.
func (s *Store) Slots(ctx context.Context, targetName string, scope directory.Scope, kind storage.SlotKind, keys []string) (map[string]storage.Slot, error) {
	found := make(map[string]storage.Slot, len(keys))
	err := s.eachPart(ctx, targetName, scope.String(), kind, keys, func(docs []slotDoc) error {
		for i := range docs {
			found[docs[i].Key] = docs[i].slot()
		}
		return nil
	})
	return found, err
}

// eachPart calls do with the slots of some keys at a time.
func (s *Store) eachPart(ctx context.Context, targetName, scope string, kind storage.SlotKind, keys []string, do func([]slotDoc) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	for from := 0; from < len(keys); from += keysAtOnce {
		part := keys[from:min(from+keysAtOnce, len(keys))]
		ids := make(bson.A, len(part))
		for i, key := range part {
			ids[i] = slotID(targetName, scope, kind, key)
		}
		docs, err := s.findSlots(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "s", Value: scope}}, bson.D{{Key: "_id", Value: 1}}, len(part))
		if err == nil {
			err = do(docs)
		}
		if err != nil {
			return s.failed(err, "look slots of %s up", targetName)
		}
	}
	return nil
}
