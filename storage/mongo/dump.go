package mongo

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

var _ storage.Dumper = (*Store)(nil)

// relayDocs selects the relays' documents in their collection.
var relayDocs = bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: "relay/"}, {Key: "$lt", Value: "relay0"}}}} // '0' follows '/'

// targetDocs selects the targets' records there.
var targetDocs = bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: "target/"}, {Key: "$lt", Value: "target0"}}}}

// epochDocs selects the epochs of the feed there: those that have ended, and
// the feed's own document with the present one.
var epochDocs = bson.D{{Key: "epoch", Value: bson.D{{Key: "$gt", Value: ""}}}}

// Dump implements storage.Dumper. It first finishes what was begun: turns left
// open, changes without a place in the feed, and instances that are not made yet.
func (s *Store) Dump(ctx context.Context) iter.Seq2[storage.Dumped, error] {
	return func(yield func(storage.Dumped, error) bool) {
		if err := s.settleAll(ctx); err != nil {
			yield(storage.Dumped{}, err)
			return
		}
		for _, part := range []struct {
			collection *driver.Collection
			filter     bson.D
			read       func(context.Context, *driver.Cursor) (storage.Dumped, error)
		}{
			{s.directory, bson.D{{Key: "k", Value: int32(0)}, {Key: "seen", Value: true}}, dumpState},
			{s.directory, bson.D{{Key: "k", Value: bson.D{{Key: "$gt", Value: int32(0)}}}}, dumpEntity},
			{s.journal, bson.D{{Key: "phase", Value: realPhases}}, s.dumpPush},
			{s.slots, bson.D{}, dumpSlot},
			{s.relays, relayDocs, dumpRelay},
			{s.relays, epochDocs, dumpEpoch},
			{s.relays, targetDocs, dumpTarget},
			{s.instances, bson.D{}, dumpInstance},
		} {
			if !s.dumpPart(ctx, part.collection, part.filter, part.read, yield) {
				return
			}
		}
	}
}

func (s *Store) settleAll(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.settleStale(ctx); err != nil {
		return err
	}
	open, err := s.directory.CountDocuments(ctx, bson.D{{Key: "k", Value: int32(0)}, {Key: "open", Value: bson.D{{Key: "$gt", Value: ""}}}})
	if err != nil {
		return s.failed(err, "look for pushes under way")
	}
	if open > 0 {
		return fmt.Errorf("%d pushes are under way: stop every replica, wait %s, and try again: %w", open, s.options.TurnTime, storage.ErrBusy)
	}
	if _, err := s.sequence(ctx); err != nil {
		return err
	}
	return s.failed(s.settleInstances(ctx), "finish instances")
}

func (s *Store) dumpPart(ctx context.Context, c *driver.Collection, filter bson.D, read func(context.Context, *driver.Cursor) (storage.Dumped, error), yield func(storage.Dumped, error) bool) bool {
	cursor, err := c.Find(ctx, filter)
	if err != nil {
		yield(storage.Dumped{}, s.failed(err, "dump %s", c.Name()))
		return false
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	for cursor.Next(ctx) {
		record, err := read(ctx, cursor)
		if err != nil {
			yield(storage.Dumped{}, s.failed(err, "dump %s", c.Name()))
			return false
		}
		if !yield(record, nil) {
			return false
		}
	}
	if err := cursor.Err(); err != nil {
		yield(storage.Dumped{}, s.failed(err, "dump %s", c.Name()))
		return false
	}
	return true
}

func dumpState(_ context.Context, cursor *driver.Cursor) (d storage.Dumped, err error) {
	var doc scopeDoc
	if err := cursor.Decode(&doc); err != nil {
		return d, err
	}
	state, _ := doc.state()
	return storage.Dumped{State: &storage.DumpedState{State: state, FullDigest: state.FullDigest}}, err
}

func dumpEntity(_ context.Context, cursor *driver.Cursor) (d storage.Dumped, err error) {
	var doc entityDoc
	err = cursor.Decode(&doc)
	d.Entity = &storage.DumpedEntity{
		Scope: doc.scope(), Kind: directory.Kind(doc.Kind), Key: doc.Key, Name: doc.Name, Parent: doc.Parent, ParentMissing: doc.Missing,
		Deleted: doc.Deleted, Version: doc.Version, Seq: doc.Seq, SourceTime: directory.SourceTime(doc.SourceTime), ChangedAt: fromMillis(doc.ChangedAt), Data: doc.Data,
	}
	return d, err
}

func (s *Store) dumpPush(ctx context.Context, cursor *driver.Cursor) (d storage.Dumped, err error) {
	var doc recordDoc
	if err := cursor.Decode(&doc); err != nil {
		return d, err
	}
	d.Push = &storage.DumpedPush{}
	if d.Push.Record, err = doc.record(); err != nil {
		return d, err
	}
	if d.Push.Raw, err = s.join(ctx, doc.ID, "raw", doc.Raw); err != nil {
		return d, fmt.Errorf("push %s: %w", doc.ID, err)
	}
	if d.Push.Decisions, err = s.join(ctx, doc.ID, decisionsRole(doc.Turn), doc.Decisions); err != nil {
		return d, fmt.Errorf("push %s: %w", doc.ID, err)
	}
	return d, nil
}

func dumpSlot(_ context.Context, cursor *driver.Cursor) (d storage.Dumped, err error) {
	var doc slotDoc
	err = cursor.Decode(&doc)
	slot := doc.slot()
	d.Slot = &storage.DumpedSlot{Slot: slot, Hash: slot.Hash, Marks: slot.Marks, Cleared: slot.Cleared, Kept: slot.Kept, FailedAt: fromMillis(doc.Failed)}
	return d, err
}

func dumpRelay(_ context.Context, cursor *driver.Cursor) (d storage.Dumped, err error) {
	var doc relayDoc
	err = cursor.Decode(&doc)
	d.Relay = &storage.DumpedRelay{Target: doc.Target, Seq: doc.Seq, Rendering: doc.Rendering, Selection: doc.Selection}
	return d, err
}

func dumpEpoch(_ context.Context, cursor *driver.Cursor) (d storage.Dumped, err error) {
	var doc epochDoc
	err = cursor.Decode(&doc)
	d.Epoch = &storage.DumpedEpoch{ID: doc.Epoch, Until: doc.Until}
	return d, err
}

func dumpTarget(_ context.Context, cursor *driver.Cursor) (d storage.Dumped, err error) {
	var doc targetDoc
	if err := cursor.Decode(&doc); err != nil {
		return d, err
	}
	record, err := doc.record()
	return storage.Dumped{Target: &record}, err
}

func dumpInstance(_ context.Context, cursor *driver.Cursor) (d storage.Dumped, err error) {
	var doc instanceDoc
	if err := cursor.Decode(&doc); err != nil {
		return d, err
	}
	d.Instance = &storage.DumpedInstance{Orders: slices.Sorted(slices.Values(doc.Orders))}
	d.Instance.Instance, err = doc.instance()
	return d, err
}
