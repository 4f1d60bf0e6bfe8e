package mongo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// settleBatch bounds the outcomes written in one request.
const settleBatch = 500

// Settle implements storage.Fanout. What an outcome means for others, members
// that lose or get their group, is written before the outcome itself: cut off
// in between, the attempt is made and settled once more.
func (s *Store) Settle(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	return s.failed(s.underLease(ctx, lease, slots, s.settle), "settle")
}

// Note implements storage.Fanout.
func (s *Store) Note(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	return s.failed(s.underLease(ctx, lease, slots, s.note), "note")
}

// underLease writes slots of a lease, a part at a time.
func (s *Store) underLease(ctx context.Context, lease storage.Lease, slots []storage.Slot, write func(context.Context, storage.Lease, []storage.Slot) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	for i := range slots {
		if slots[i].Target != lease.Target || slots[i].Scope != lease.Scope {
			return fmt.Errorf("%s %q of %s at %s: the lease is for %s at %s",
				slots[i].Kind, slots[i].Key, slots[i].Scope, slots[i].Target, lease.Scope, lease.Target)
		}
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	if err := s.checkLease(ctx, lease); err != nil {
		return err
	}
	for part := range slices.Chunk(slots, settleBatch) {
		if err := write(ctx, lease, part); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) note(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	models := make([]driver.WriteModel, len(slots))
	for i := range slots {
		models[i] = driver.NewUpdateOneModel().SetFilter(bson.D{
			{Key: "_id", Value: slotID(slots[i].Target, slots[i].Scope.String(), slots[i].Kind, slots[i].Key)}, {Key: "s", Value: slots[i].Scope.String()},
			{Key: "fence", Value: bson.D{{Key: "$lte", Value: lease.Fence}}},
		}).SetUpdate(set(bson.D{{Key: "hash", Value: slots[i].Hash}, {Key: "uncertain", Value: true}}))
	}
	_, err := s.slots.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return err
}

func (s *Store) settle(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	remotes, err := s.remoteIDs(ctx, slots)
	if err != nil {
		return err
	}
	now := millis(s.options.Now())
	var models []driver.WriteModel
	moved := false
	for i := range slots {
		slot := &slots[i]
		if before, object := remotes[slot.SlotKey]; object && before != slot.RemoteID {
			remotes[slot.SlotKey] = slot.RemoteID
			models = append(models, wakeDependents(slot, now)...)
			moved = true
		}
		models = append(models, outcome(lease, slot, now)...)
	}
	if _, err := s.slots.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(true)); err != nil {
		return err
	}
	if moved {
		s.tell(ctx)
	}
	return nil
}

// remoteIDs reads the remote ids of the objects among slots, departments and
// users, as they are before the outcomes.
func (s *Store) remoteIDs(ctx context.Context, slots []storage.Slot) (map[storage.SlotKey]string, error) {
	remotes := make(map[storage.SlotKey]string)
	var ids bson.A
	for i := range slots {
		if kind := slots[i].Kind; kind == storage.SlotDepartment || kind == storage.SlotUser {
			remotes[slots[i].SlotKey] = ""
			ids = append(ids, slotID(slots[i].Target, slots[i].Scope.String(), kind, slots[i].Key))
		}
	}
	if len(ids) == 0 {
		return remotes, nil
	}
	docs, err := s.findSlots(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "s", Value: slots[0].Scope.String()}},
		bson.D{{Key: "_id", Value: 1}}, len(ids))
	for i := range docs {
		remotes[docs[i].slot().SlotKey] = docs[i].RemoteID
	}
	return remotes, err
}

// wakeDependents makes due what depends on an object whose remote id changes:
// its own place in a group, and, of a department, its members and what waits
// for it. A group that left the target has no members any more; what else is
// known of where they are stays.
func wakeDependents(slot *storage.Slot, now int64) []driver.WriteModel {
	of := func(more ...bson.E) bson.D {
		return append(bson.D{{Key: "t", Value: slot.Target}, {Key: "s", Value: slot.Scope.String()}}, more...)
	}
	in := func(states ...storage.SlotState) bson.E {
		values := make(bson.A, len(states))
		for i, state := range states {
			values[i] = int32(state)
		}
		return bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: values}}}
	}
	wake := bson.D{
		{Key: "$set", Value: bson.D{
			{Key: "state", Value: int32(storage.SlotPending)}, {Key: "due", Value: now},
			{Key: "class", Value: ""}, {Key: "error", Value: ""}, {Key: "failed", Value: int64(0)},
		}},
		{Key: "$min", Value: bson.D{{Key: "dirty", Value: now}}},
	}
	member := storage.SlotPlacement
	if slot.Kind == storage.SlotUser {
		member = storage.SlotMembership
	}
	own := bson.E{Key: "_id", Value: slotID(slot.Target, slot.Scope.String(), member, slot.Key)}
	models := []driver.WriteModel{driver.NewUpdateOneModel().SetUpdate(wake).
		SetFilter(of(own, in(storage.SlotWaiting, storage.SlotDelivered, storage.SlotDead)))}
	if slot.Kind != storage.SlotDepartment {
		return models
	}
	group := bson.E{Key: "grp", Value: slot.Key}
	models = append(models, driver.NewUpdateManyModel().SetUpdate(wake).
		SetFilter(of(group, in(storage.SlotWaiting, storage.SlotDelivered))))
	if slot.RemoteID == "" {
		members := bson.E{Key: "k", Value: bson.D{{Key: "$in", Value: bson.A{int32(storage.SlotPlacement), int32(storage.SlotMembership)}}}}
		models = append(models, driver.NewUpdateManyModel().SetFilter(of(group, members)).SetUpdate(set(bson.D{{Key: "delivered", Value: int64(0)}})))
	}
	return models
}

// outcome writes one slot. If it was made due again meanwhile (a new version,
// or a department or tenant its look depends on) it stays pending, due at once,
// with what is known of the target's side: just one of the two updates applies.
func outcome(lease storage.Lease, slot *storage.Slot, now int64) []driver.WriteModel {
	id := slotID(slot.Target, slot.Scope.String(), slot.Kind, slot.Key)
	of := func(more ...bson.E) bson.D {
		return append(bson.D{
			{Key: "_id", Value: id}, {Key: "s", Value: slot.Scope.String()}, {Key: "fence", Value: bson.D{{Key: "$lte", Value: lease.Fence}}},
		}, more...)
	}
	failed := int64(0)
	if slot.LastError != "" && slot.State != storage.SlotWaiting {
		failed = now
	}
	remote := bson.D{
		{Key: "delivered", Value: slot.Delivered}, {Key: "hash", Value: slot.Hash}, {Key: "remote", Value: slot.RemoteID},
		{Key: "grp", Value: slot.Group}, {Key: "uncertain", Value: slot.Uncertain}, {Key: "deliveredAt", Value: millis(slot.DeliveredAt)},
		{Key: "cleared", Value: slot.Cleared},
	}
	settled := append(slices.Clone(remote),
		bson.E{Key: "state", Value: int32(slot.State)}, bson.E{Key: "attempts", Value: slot.Attempts}, bson.E{Key: "due", Value: millis(slot.DueAt)},
		bson.E{Key: "class", Value: slot.ErrorClass}, bson.E{Key: "error", Value: slot.LastError}, bson.E{Key: "failed", Value: failed})
	update := bson.D{{Key: "$set", Value: settled}, {Key: "$min", Value: bson.D{{Key: "dirty", Value: now}}}}
	if slot.State == storage.SlotDelivered || slot.State == storage.SlotKept || slot.State == storage.SlotLeaving {
		update = set(append(settled, bson.E{Key: "dirty", Value: int64(never)}))
	}
	overtaken := append(slices.Clone(remote), bson.E{Key: "state", Value: int32(storage.SlotPending)}, bson.E{Key: "attempts", Value: 0},
		bson.E{Key: "class", Value: ""}, bson.E{Key: "error", Value: ""}, bson.E{Key: "failed", Value: int64(0)})
	return []driver.WriteModel{
		driver.NewUpdateOneModel().SetUpdate(update).SetFilter(of(
			bson.E{Key: "desired", Value: bson.D{{Key: "$lte", Value: slot.Desired}}}, bson.E{Key: "marks", Value: bson.D{{Key: "$lte", Value: slot.Marks}}})),
		driver.NewUpdateOneModel().SetUpdate(set(overtaken)).SetFilter(of(bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "desired", Value: bson.D{{Key: "$gt", Value: slot.Desired}}}}, bson.D{{Key: "marks", Value: bson.D{{Key: "$gt", Value: slot.Marks}}}},
		}})),
	}
}

// Replay implements storage.Fanout. It goes by key in small writes, so that a
// slot that dies again meanwhile is not replayed for ever.
func (s *Store) Replay(ctx context.Context, filter storage.DeliveryFilter) (int, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	states := []storage.SlotState{storage.SlotRetrying, storage.SlotDead}
	if filter.State != 0 {
		if !slices.Contains(append(states, storage.SlotKept, storage.SlotPending), filter.State) {
			return 0, nil
		}
		states = []storage.SlotState{filter.State}
	}
	in := make(bson.A, len(states))
	for i, state := range states {
		in[i] = int32(state)
	}
	total := 0
	err := s.eachSlot(ctx, filter, in, func(docs []slotDoc) error {
		n, err := s.replay(ctx, docs, in)
		total += n
		return err
	})
	if err != nil || total == 0 {
		return total, s.failed(err, "replay")
	}
	return total, s.failed(s.wake(ctx), "tell of a replay")
}

// Hasten implements storage.Fanout.
func (s *Store) Hasten(ctx context.Context, latest time.Time) (int, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	now := millis(s.options.Now())
	result, err := s.slots.UpdateMany(ctx, bson.D{
		{Key: "state", Value: bson.D{{Key: "$in", Value: bson.A{int32(storage.SlotPending), int32(storage.SlotRetrying)}}}},
		{Key: "due", Value: bson.D{{Key: "$gt", Value: millis(latest)}}},
	}, bson.D{{Key: "$set", Value: bson.D{{Key: "due", Value: now}}}, {Key: "$min", Value: bson.D{{Key: "dirty", Value: now}}}})
	if err != nil || result.ModifiedCount == 0 {
		return 0, s.failed(err, "make slots due that a wrong clock has put off")
	}
	return int(result.ModifiedCount), s.failed(s.wake(ctx), "tell of slots made due")
}

// eachSlot runs do for the slots that match and are in some states, a few at a
// time. do must check that they are still.
func (s *Store) eachSlot(ctx context.Context, filter storage.DeliveryFilter, states bson.A, do func([]slotDoc) error) error {
	filter.State = 0
	after := ""
	for {
		where := append(deliveryFilter(filter), bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: states}}}, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}})
		docs, err := s.findSlots(ctx, where, bson.D{{Key: "_id", Value: 1}}, keysAtOnce)
		if err == nil && len(docs) > 0 {
			after = docs[len(docs)-1].ID
			err = do(docs)
		}
		if err != nil || len(docs) < keysAtOnce {
			return err
		}
	}
}

func (s *Store) replay(ctx context.Context, docs []slotDoc, states bson.A) (int, error) {
	ids := make(bson.A, len(docs))
	for i := range docs {
		ids[i] = docs[i].ID
	}
	now := millis(s.options.Now())
	result, err := s.slots.UpdateMany(ctx,
		bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "state", Value: bson.D{{Key: "$in", Value: states}}}},
		bson.D{
			{Key: "$set", Value: bson.D{
				{Key: "state", Value: int32(storage.SlotPending)}, {Key: "attempts", Value: 0}, {Key: "due", Value: now}, {Key: "kept", Value: int64(0)},
				{Key: "class", Value: ""}, {Key: "error", Value: ""}, {Key: "failed", Value: int64(0)},
			}},
			{Key: "$min", Value: bson.D{{Key: "dirty", Value: now}}},
		})
	if err != nil {
		return 0, err
	}
	return int(result.MatchedCount), nil
}

// deliveryFilter selects slots; empty members match all.
func deliveryFilter(f storage.DeliveryFilter) bson.D {
	where := placeFilter(f.Dataset, f.InstanceID, f.TenantID)
	if f.Target != "" {
		where = append(where, bson.E{Key: "t", Value: f.Target})
	}
	if f.State != 0 {
		where = append(where, bson.E{Key: "state", Value: int32(f.State)})
	}
	if f.Kind != 0 {
		where = append(where, bson.E{Key: "k", Value: int32(f.Kind)})
	}
	if f.Key != "" {
		where = append(where, bson.E{Key: "key", Value: f.Key})
	}
	return where
}

// placeFilter selects scopes; empty members match all.
func placeFilter(dataset directory.Dataset, instanceID *string, tenantID string) bson.D {
	where := bson.D{}
	if dataset != "" {
		where = append(where, bson.E{Key: "ds", Value: string(dataset)})
	}
	if tenantID != "" {
		where = append(where, bson.E{Key: "ten", Value: tenantID})
	}
	if instanceID != nil {
		where = append(where, bson.E{Key: "inst", Value: *instanceID})
	}
	return where
}
