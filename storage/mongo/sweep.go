package mongo

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

const (
	// sweepStep bounds what one step of a sweep removes.
	sweepStep = 500
	// innerKept is how long the store keeps its own commits and bars: longer by
	// far than a write can be under way.
	innerKept = time.Hour
)

// Sweep implements storage.Sweeper.
func (s *Store) Sweep(ctx context.Context, before storage.SweepTimes) (swept storage.Swept, err error) {
	if err := s.ready(ctx); err != nil {
		return swept, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	// First of all: what an open turn still needs must not be swept.
	if err := s.settleStale(ctx); err != nil {
		return swept, err
	}
	if err := s.sweepInner(ctx); err != nil {
		return swept, s.failed(err, "sweep what was begun")
	}
	for _, step := range []struct {
		what   string
		before time.Time
		count  *int
		sweep  func(context.Context, int64) (int, error)
	}{
		{"journal", before.Journal, &swept.Journal, s.sweepJournal},
		{"test data", before.TestData, &swept.TestData, s.sweepTestData},
		{"tombstones", before.Tombstones, &swept.Tombstones, s.sweepTombstones},
	} {
		if step.before.IsZero() {
			continue
		}
		if *step.count, err = step.sweep(ctx, millis(step.before)); err != nil {
			return swept, s.failed(err, "sweep %s", step.what)
		}
	}
	return swept, nil
}

// sweepInner removes what the journal holds beside pushes, and what creations of
// instances have left.
func (s *Store) sweepInner(ctx context.Context) error {
	_, err := s.removeRecords(ctx, bson.D{
		{Key: "phase", Value: bson.D{{Key: "$in", Value: bson.A{phaseBarred, phaseInner}}}},
		{Key: "applied", Value: bson.D{{Key: "$lt", Value: millis(s.options.Now().Add(-innerKept))}}},
	})
	if err != nil {
		return err
	}
	return s.sweepUnmade(ctx, s.options.Now().Add(-innerKept))
}

// sweepJournal keeps what waits for a decision, however old.
func (s *Store) sweepJournal(ctx context.Context, before int64) (int, error) {
	return s.removeRecords(ctx, bson.D{
		{Key: "phase", Value: string(storage.PhaseApplied)}, {Key: "applied", Value: bson.D{{Key: "$lt", Value: before}}},
		{Key: "result", Value: bson.D{{Key: "$ne", Value: string(directory.ResultHeld)}}},
	})
}

// removeRecords removes documents of the journal with their parts.
func (s *Store) removeRecords(ctx context.Context, where bson.D) (total int, err error) {
	for {
		var docs []struct {
			ID        string `bson:"_id"`
			Raw       piece  `bson:"raw"`
			Decisions piece  `bson:"decisions"`
			Redo      piece  `bson:"redo"`
		}
		cursor, err := s.journal.Find(ctx, where, options.Find().SetLimit(sweepStep).SetBatchSize(sweepStep+1).SetProjection(bson.D{
			{Key: "raw.parts", Value: 1}, {Key: "decisions.parts", Value: 1}, {Key: "redo.parts", Value: 1},
		}))
		if err == nil {
			err = cursor.All(ctx, &docs)
		}
		if err != nil || len(docs) == 0 {
			return total, err
		}
		ids := make(bson.A, len(docs))
		for i, doc := range docs {
			ids[i] = doc.ID
			if doc.Raw.Parts+doc.Decisions.Parts+doc.Redo.Parts == 0 {
				continue
			}
			if _, err := s.journal.DeleteMany(ctx, partsOf(doc.ID)); err != nil {
				return total, err
			}
		}
		result, err := s.journal.DeleteMany(ctx, append(slices.Clip(where), bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}))
		if err != nil {
			return total, err
		}
		total += int(result.DeletedCount)
		if len(docs) < sweepStep {
			return total, nil
		}
	}
}

// relayed are the targets that read the feed, and the place all have read up to.
func (s *Store) relayed(ctx context.Context) (targets []string, upTo int64, err error) {
	cursor, err := s.relays.Find(ctx, bson.D{{Key: "relay", Value: bson.D{{Key: "$gt", Value: ""}}}})
	if err != nil {
		return nil, 0, err
	}
	var docs []relayDoc
	if err := cursor.All(ctx, &docs); err != nil {
		return nil, 0, err
	}
	upTo = math.MaxInt64
	for _, doc := range docs {
		targets = append(targets, doc.Target)
		upTo = min(upTo, doc.Seq)
	}
	return targets, upTo, nil
}

// sweepTombstones keeps a tombstone until every target has been told of it: it
// is relayed, and none of its slots is open, or was passed over because the
// target does not want the tenant (any more). Its slots go with it.
func (s *Store) sweepTombstones(ctx context.Context, before int64) (total int, err error) {
	targets, upTo, err := s.relayed(ctx)
	if err != nil {
		return 0, err
	}
	after := int64(0)
	for {
		dead, err := s.entities(ctx, s.directory, bson.D{
			{Key: "seq", Value: bson.D{{Key: "$gt", Value: after}, {Key: "$lte", Value: upTo}}},
			{Key: "gone", Value: true}, {Key: "at", Value: bson.D{{Key: "$lt", Value: before}}},
		}, options.Find().SetSort(bson.D{{Key: "seq", Value: 1}}).SetLimit(sweepStep).SetBatchSize(sweepStep+1).SetProjection(bson.D{{Key: "data", Value: 0}}))
		if err != nil || len(dead) == 0 {
			return total, err
		}
		n, err := s.removeTold(ctx, targets, dead)
		total += n
		if err != nil || len(dead) < sweepStep {
			return total, err
		}
		after = dead[len(dead)-1].Seq
	}
}

// slotsOf are the slots of an entity at some targets.
func slotsOf(targets []string, e *entityDoc) []string {
	kinds := []storage.SlotKind{storage.SlotDepartment, storage.SlotPlacement}
	if directory.Kind(e.Kind) == directory.KindUser {
		kinds = []storage.SlotKind{storage.SlotUser, storage.SlotMembership}
	}
	var ids []string
	for _, target := range targets {
		for _, kind := range kinds {
			ids = append(ids, slotID(target, e.Scope, kind, e.Key))
		}
	}
	return ids
}

// removeTold removes the tombstones whose slots are all delivered. The slots go
// first: what a crash leaves of them is removed with the tombstone next time.
func (s *Store) removeTold(ctx context.Context, targets []string, dead []entityDoc) (int, error) {
	removed := 0
	for i := range dead {
		slots := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: slotsOf(targets, &dead[i])}}}, {Key: "s", Value: dead[i].Scope}}
		if len(targets) > 0 {
			open, err := s.slots.CountDocuments(ctx, append(slices.Clip(slots), bson.E{Key: "$or", Value: bson.A{
				bson.D{{Key: "state", Value: bson.D{{Key: "$ne", Value: int32(storage.SlotDelivered)}}}},
				bson.D{{Key: "k", Value: bson.D{{Key: "$lte", Value: int32(storage.SlotUser)}}}, {Key: "desired", Value: bson.D{{Key: "$lt", Value: dead[i].Version}}}},
			}}))
			if err != nil {
				return removed, err
			}
			if open > 0 {
				continue
			}
			if _, err := s.slots.DeleteMany(ctx, slots); err != nil {
				return removed, err
			}
		}
		// Not if it has come back meanwhile.
		result, err := s.directory.DeleteOne(ctx, bson.D{{Key: "_id", Value: dead[i].ID}, {Key: "s", Value: dead[i].Scope}, {Key: "n", Value: dead[i].N}})
		if err != nil {
			return removed, err
		}
		removed += int(result.DeletedCount)
	}
	return removed, nil
}

// sweepTestData turns test entities that nobody changed for long into
// tombstones, in turns of their scopes.
func (s *Store) sweepTestData(ctx context.Context, before int64) (total int, err error) {
	cursor, err := s.directory.Find(ctx, bson.D{{Key: "ds", Value: string(directory.Test)}, {Key: "k", Value: int32(0)}, {Key: "seen", Value: true}})
	if err != nil {
		return 0, err
	}
	var scopes []scopeDoc
	if err := cursor.All(ctx, &scopes); err != nil {
		return 0, err
	}
	for i := range scopes {
		for {
			n, err := s.expireSome(ctx, scopes[i].scope(), before)
			total += n
			if err != nil {
				return total, err
			}
			if n < sweepStep {
				break
			}
		}
	}
	return total, nil
}

// expireSome expires at most sweepStep entities of a scope and returns how many.
func (s *Store) expireSome(ctx context.Context, scope directory.Scope, before int64) (n int, err error) {
	old := bson.D{
		{Key: "s", Value: scope.String()}, {Key: "k", Value: bson.D{{Key: "$gt", Value: int32(0)}}},
		{Key: "gone", Value: false}, {Key: "at", Value: bson.D{{Key: "$lt", Value: before}}},
	}
	// Looked for outside of a turn first: most scopes have nothing to expire.
	switch some, err := s.entities(ctx, s.directory, old, options.Find().SetLimit(1)); {
	case err != nil:
		return 0, err
	case len(some) == 0:
		return 0, nil
	}
	_, err = s.applyInner(ctx, scope, "expire", func(ctx context.Context, _ storage.View) (*directory.Plan, error) {
		docs, err := s.entities(ctx, s.directory, old, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(sweepStep).SetBatchSize(sweepStep+1))
		if err != nil {
			return nil, err
		}
		n = len(docs)
		return s.expiry(ctx, scope, docs, before)
	}, nil)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// expiry plans the expiry of entities. Departments that stay lose a parent that
// goes.
func (s *Store) expiry(ctx context.Context, scope directory.Scope, docs []entityDoc, before int64) (*directory.Plan, error) {
	plan := &directory.Plan{}
	going := make(map[string]bool)
	for i := range docs {
		if err := expire(plan, &docs[i]); err != nil {
			return nil, err
		}
		if directory.Kind(docs[i].Kind) == directory.KindDepartment {
			going[docs[i].Key] = true
		}
	}
	for code := range going {
		children, err := s.reading(scope).children(ctx, code)
		if err != nil {
			return nil, err
		}
		for _, child := range children {
			if child.ParentMissing || going[child.Code] || millis(child.ChangedAt) < before {
				continue
			}
			child.ParentMissing = true
			child.Version++
			plan.Departments = append(plan.Departments, child)
			plan.Delta.ParentMissing++
		}
	}
	return plan, nil
}

// expire adds an entity's tombstone to a plan.
func expire(plan *directory.Plan, e *entityDoc) error {
	switch directory.Kind(e.Kind) {
	case directory.KindTenant:
		plan.ExpireTenant(directory.Tenant{Meta: e.meta()})
	case directory.KindDepartment:
		d, _ := e.department()
		plan.ExpireDepartment(d)
	case directory.KindUser:
		u, _ := e.user() // its name is enough
		plan.ExpireUser(u)
	case directory.KindApplication:
		plan.ExpireApplication(directory.Application{AppID: strings.Clone(e.Key), Meta: e.meta()})
	}
	return nil
}
