package mongo

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// Deliveries implements storage.Reader.
func (s *Store) Deliveries(ctx context.Context, f storage.DeliveryFilter, page storage.Page) ([]storage.Slot, string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", err
	}
	where := deliveryFilter(f)
	// Pages are in order of _id, which begins with the target.
	id := bson.D{}
	if f.Target != "" {
		of := url.PathEscape(f.Target)
		id = bson.D{{Key: "$gt", Value: of + "/"}, {Key: "$lt", Value: of + "0"}}
	}
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 1)
		if err != nil {
			return nil, "", err
		}
		id = append(bson.D{{Key: "$gt", Value: parts[0]}}, id[min(1, len(id)):]...)
	}
	if len(id) > 0 {
		where = append(where, bson.E{Key: "_id", Value: id})
	}
	limit := page.Size()
	docs, err := s.findSlots(ctx, where, bson.D{{Key: "_id", Value: 1}}, limit+1)
	if err != nil {
		return nil, "", s.failed(err, "list deliveries")
	}
	next := ""
	if len(docs) > limit {
		docs = docs[:limit]
		next = storage.EncodeCursor(docs[limit-1].ID)
	}
	slots := make([]storage.Slot, len(docs))
	for i := range docs {
		slots[i] = docs[i].slot()
	}
	return slots, next, nil
}

// Counts implements storage.Reader.
func (s *Store) Counts(ctx context.Context, targetName string, scope *directory.Scope) (storage.TargetCounts, error) {
	counts := storage.TargetCounts{Slots: make(storage.SlotCounts)}
	if err := s.ready(ctx); err != nil {
		return counts, err
	}
	where := bson.D{{Key: "t", Value: targetName}}
	changes := bson.D{}
	if scope != nil {
		where = append(where, bson.E{Key: "s", Value: scope.String()})
		changes = append(changes, bson.E{Key: "s", Value: scope.String()})
	}
	// The feed first: a change that becomes a slot in between is then counted
	// twice, never not at all, so that nothing looks synced that is not.
	feed, err := s.sequence(ctx)
	if err != nil {
		return counts, err
	}
	relay, err := s.relayOf(ctx, targetName)
	if err != nil {
		return counts, s.failed(err, "count unrelayed changes of %s", targetName)
	}
	if relay.Seq < feed.Seq {
		n, err := s.directory.CountDocuments(ctx, append(changes, bson.E{Key: "seq", Value: bson.D{{Key: "$gt", Value: relay.Seq}, {Key: "$lte", Value: feed.Seq}}}))
		if err != nil {
			return counts, s.failed(err, "count unrelayed changes of %s", targetName)
		}
		counts.Unrelayed = int(n)
	}
	if err := s.countSlots(ctx, where, counts.Slots); err != nil {
		return counts, s.failed(err, "count slots of %s", targetName)
	}
	return counts, s.failed(s.troubles(ctx, where, &counts), "find troubles of %s", targetName)
}

// CountsOf implements storage.Reader. It asks once for each target that is
// behind, twice for all, and twice more for each that has something open in a
// scope: not every server we run on has the accumulators that would tell it.
func (s *Store) CountsOf(ctx context.Context, targetNames []string, scopes []directory.Scope) (map[storage.CountsKey]storage.TargetCounts, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	g := grouped{named: make(map[string]directory.Scope, len(scopes)), found: make(map[storage.CountsKey]storage.TargetCounts)}
	for _, scope := range scopes {
		g.named[scope.String()] = scope
		g.scopes = append(g.scopes, scope.String())
	}
	// The feed first, as in Counts.
	feed, err := s.sequence(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range targetNames {
		g.targets = append(g.targets, name)
	}
	if err := s.groupUnrelayed(ctx, &g, targetNames, feed.Seq); err != nil {
		return nil, s.failed(err, "count unrelayed changes")
	}
	return g.found, s.failed(s.groupSlots(ctx, &g), "count slots")
}

// grouped gathers the counts of many targets in many scopes.
type grouped struct {
	targets, scopes bson.A
	named           map[string]directory.Scope
	found           map[storage.CountsKey]storage.TargetCounts
}

func (s *Store) groupUnrelayed(ctx context.Context, g *grouped, targetNames []string, last int64) error {
	ids := make(bson.A, len(targetNames))
	for i, name := range targetNames {
		ids[i] = relayID(name)
	}
	cursor, err := s.relays.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
	if err != nil {
		return err
	}
	var relays []relayDoc
	if err := cursor.All(ctx, &relays); err != nil {
		return err
	}
	read := make(map[string]int64, len(relays))
	for i := range relays {
		read[relays[i].Target] = relays[i].Seq
	}
	for _, name := range targetNames {
		if read[name] >= last {
			continue
		}
		cursor, err := s.directory.Aggregate(ctx, bson.A{
			bson.D{{Key: "$match", Value: bson.D{{Key: "s", Value: bson.D{{Key: "$in", Value: g.scopes}}},
				{Key: "seq", Value: bson.D{{Key: "$gt", Value: read[name]}, {Key: "$lte", Value: last}}}}}},
			bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$s"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
		})
		if err != nil {
			return err
		}
		var groups []struct {
			Scope string `bson:"_id"`
			N     int    `bson:"n"`
		}
		if err := cursor.All(ctx, &groups); err != nil {
			return err
		}
		for _, group := range groups {
			g.found[storage.CountsKey{Target: name, Scope: g.named[group.Scope]}] = storage.TargetCounts{Unrelayed: group.N}
		}
	}
	return nil
}

func (s *Store) groupSlots(ctx context.Context, g *grouped) error {
	of := bson.D{{Key: "t", Value: bson.D{{Key: "$in", Value: g.targets}}}, {Key: "s", Value: bson.D{{Key: "$in", Value: g.scopes}}}}
	cursor, err := s.slots.Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: of}},
		bson.D{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: bson.D{{Key: "t", Value: "$t"}, {Key: "s", Value: "$s"}, {Key: "state", Value: "$state"}}},
			{Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}},
		}}},
	})
	if err != nil {
		return err
	}
	var groups []struct {
		ID struct {
			Target string `bson:"t"`
			Scope  string `bson:"s"`
			State  int32  `bson:"state"`
		} `bson:"_id"`
		N int `bson:"n"`
	}
	if err := cursor.All(ctx, &groups); err != nil {
		return err
	}
	for _, group := range groups {
		key := storage.CountsKey{Target: group.ID.Target, Scope: g.named[group.ID.Scope]}
		counts := g.found[key]
		if counts.Slots == nil {
			counts.Slots = make(storage.SlotCounts)
		}
		counts.Slots[storage.SlotState(group.ID.State)] = group.N
		g.found[key] = counts
	}
	for key, counts := range g.found {
		n := counts.Slots
		if n[storage.SlotPending]+n[storage.SlotRetrying]+n[storage.SlotWaiting]+n[storage.SlotDead] == 0 {
			continue
		}
		if err := s.troubles(ctx, bson.D{{Key: "t", Value: key.Target}, {Key: "s", Value: key.Scope.String()}}, &counts); err != nil {
			return err
		}
		g.found[key] = counts
	}
	return nil
}

func (s *Store) countSlots(ctx context.Context, where bson.D, into storage.SlotCounts) error {
	cursor, err := s.slots.Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: where}},
		bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$state"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
	})
	if err != nil {
		return err
	}
	var groups []struct {
		State int32 `bson:"_id"`
		N     int   `bson:"n"`
	}
	if err := cursor.All(ctx, &groups); err != nil {
		return err
	}
	for _, g := range groups {
		into[storage.SlotState(g.State)] = g.N
	}
	return nil
}

// troubles finds the oldest open slot and the newest error.
func (s *Store) troubles(ctx context.Context, where bson.D, counts *storage.TargetCounts) error {
	open := bson.A{int32(storage.SlotPending), int32(storage.SlotRetrying), int32(storage.SlotWaiting)}
	var oldest, failed slotDoc
	err := s.slots.FindOne(ctx, append(slices.Clip(where),
		bson.E{Key: "dirty", Value: bson.D{{Key: "$lt", Value: int64(never)}}}, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: open}}}),
		options.FindOne().SetSort(bson.D{{Key: "dirty", Value: 1}})).Decode(&oldest)
	if err != nil && !errors.Is(err, driver.ErrNoDocuments) {
		return err
	}
	counts.Oldest = fromMillis(oldest.Dirty)
	err = s.slots.FindOne(ctx, append(slices.Clip(where), bson.E{Key: "failed", Value: bson.D{{Key: "$gt", Value: int64(0)}}}),
		options.FindOne().SetSort(bson.D{{Key: "failed", Value: -1}})).Decode(&failed)
	if err != nil && !errors.Is(err, driver.ErrNoDocuments) {
		return err
	}
	counts.LastError = failed.Error
	return nil
}
