package mongo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// relayDoc is how far a target's relay has read, the fingerprint of how its
// slots were rendered, and what it lets through, in the collection relays.
type relayDoc struct {
	Target    string `bson:"relay"`
	Seq       int64  `bson:"seq"`
	Rendering string `bson:"rendering,omitempty"`
	Selection string `bson:"selection,omitempty"`
}

func relayID(targetName string) string { return "relay/" + targetName }

// relayOf reads how far a target's relay has come.
func (s *Store) relayOf(ctx context.Context, targetName string) (doc relayDoc, err error) {
	err = s.relays.FindOne(ctx, bson.D{{Key: "_id", Value: relayID(targetName)}}).Decode(&doc)
	if errors.Is(err, driver.ErrNoDocuments) {
		return doc, nil
	}
	return doc, err
}

// Select implements storage.Fanout. A relay under way with another selection
// finds its place gone.
func (s *Store) Select(ctx context.Context, targetName, selection string) (again bool, err error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	again, err = s.selectRelay(ctx, targetName, selection)
	return again, s.failed(err, "select what is relayed to %s", targetName)
}

func (s *Store) selectRelay(ctx context.Context, targetName, selection string) (again bool, err error) {
	known, err := s.relayOf(ctx, targetName)
	if err != nil || known.Selection == selection {
		return false, err
	}
	_, err = s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: relayID(targetName)}},
		set(bson.D{{Key: "relay", Value: targetName}, {Key: "seq", Value: int64(0)}, {Key: "selection", Value: selection}}), options.UpdateOne().SetUpsert(true))
	if duplicate(err) { // its relay began just now
		return s.selectRelay(ctx, targetName, selection)
	}
	return known.Seq > 0, err
}

// selecting finds a relay that lets a selection through.
func selecting(selection string) bson.E {
	if selection == "" {
		return bson.E{Key: "selection", Value: bson.D{{Key: "$in", Value: bson.A{nil, ""}}}}
	}
	return bson.E{Key: "selection", Value: selection}
}

// Relay implements storage.Fanout. The slots come first and the cursor after:
// what a crash or another replica does twice in between changes nothing.
func (s *Store) Relay(ctx context.Context, targetName string, opts storage.RelayOptions, limit int) (int, []directory.Scope, error) {
	if err := s.ready(ctx); err != nil {
		return 0, nil, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	read, scopes, err := s.relay(ctx, targetName, opts, limit)
	return read, scopes, s.failed(err, "relay to %s", targetName)
}

// relayFields are what a relay needs of an entity.
var relayFields = bson.D{
	{Key: "s", Value: 1}, {Key: "ds", Value: 1}, {Key: "ten", Value: 1}, {Key: "inst", Value: 1},
	{Key: "k", Value: 1}, {Key: "key", Value: 1}, {Key: "v", Value: 1}, {Key: "seq", Value: 1},
}

func (s *Store) relay(ctx context.Context, targetName string, opts storage.RelayOptions, limit int) (int, []directory.Scope, error) {
	feed, err := s.sequence(ctx)
	if err != nil {
		return 0, nil, err
	}
	for {
		from, err := s.relayOf(ctx, targetName)
		if err != nil || from.Selection != opts.Selection || from.Seq >= feed.Seq {
			return 0, nil, err
		}
		changes, err := s.changes(ctx, from.Seq, feed.Seq, limit, relayFields)
		if err != nil || len(changes) == 0 {
			return 0, nil, err
		}
		scopes, err := s.mark(ctx, targetName, opts, changes)
		if err != nil {
			return 0, nil, err
		}
		moved, err := s.moveCursor(ctx, targetName, from, changes[len(changes)-1].Seq)
		if err != nil {
			return 0, nil, err
		}
		if moved {
			return len(changes), scopes, nil
		}
		// Another replica relayed the same: go on from where it came to.
	}
}

// moveCursor moves a relay on from where it was found.
func (s *Store) moveCursor(ctx context.Context, targetName string, from relayDoc, to int64) (bool, error) {
	filter := bson.D{{Key: "_id", Value: relayID(targetName)}, {Key: "seq", Value: from.Seq}, selecting(from.Selection)}
	update := options.UpdateOne()
	if from.Seq == 0 {
		filter[1].Value = bson.D{{Key: "$lte", Value: int64(0)}}
		update = update.SetUpsert(true)
	}
	result, err := s.relays.UpdateOne(ctx, filter, set(bson.D{{Key: "relay", Value: targetName}, {Key: "seq", Value: to}}), update)
	if duplicate(err) {
		return false, nil
	}
	return err == nil && result.MatchedCount+result.UpsertedCount > 0, err
}

// marks gathers the slots that changes make due.
type marks struct {
	target string
	slots  map[string]*slotDoc // by _id
	order  []string
	// departments are the changed ones by scope, tenants the scopes whose tenant
	// changed: what their users look like holds their names.
	departments map[string][]string
	tenants     []string
	scopes      map[string]directory.Scope
}

func (m *marks) add(e *entityDoc, kind storage.SlotKind) {
	id := slotID(m.target, e.Scope, kind, e.Key)
	m.slots[id] = &slotDoc{
		ID: id, Scope: e.Scope, Place: e.Place, Target: m.target, Kind: int32(kind), Key: e.Key,
		State: int32(storage.SlotPending), Desired: e.Version, Dirty: never,
	}
	m.order = append(m.order, id)
}

// change notes which slots a change makes due.
func (m *marks) change(e *entityDoc, placements bool) {
	switch directory.Kind(e.Kind) {
	case directory.KindDepartment:
		m.add(e, storage.SlotDepartment)
		if placements {
			m.add(e, storage.SlotPlacement)
		}
		m.departments[e.Scope] = append(m.departments[e.Scope], e.Key)
	case directory.KindUser:
		m.add(e, storage.SlotUser)
		m.add(e, storage.SlotMembership)
	case directory.KindTenant:
		m.tenants = append(m.tenants, e.Scope)
	default:
		return
	}
	m.scopes[e.Scope] = e.scope()
}

// mark turns changes into due slots and returns the scopes that have some.
func (s *Store) mark(ctx context.Context, targetName string, opts storage.RelayOptions, changes []entityDoc) ([]directory.Scope, error) {
	m := &marks{target: targetName, slots: make(map[string]*slotDoc), departments: make(map[string][]string), scopes: make(map[string]directory.Scope)}
	for i := range changes {
		if opts.Match == nil || opts.Match(changes[i].scope()) {
			m.change(&changes[i], opts.Placements)
		}
	}
	for part := range slices.Chunk(m.order, keysAtOnce) {
		if err := s.markSlots(ctx, m, part); err != nil {
			return nil, err
		}
	}
	for scope, codes := range m.departments {
		if err := s.markUsersIn(ctx, targetName, scope, codes); err != nil {
			return nil, err
		}
	}
	for _, scope := range m.tenants {
		filter := bson.D{{Key: "t", Value: targetName}, {Key: "s", Value: scope}, {Key: "k", Value: int32(storage.SlotUser)}, unheld}
		if _, err := s.slots.UpdateMany(ctx, filter, s.due(nil)); err != nil {
			return nil, err
		}
	}
	scopes := make([]directory.Scope, 0, len(m.scopes))
	for _, scope := range m.scopes {
		scopes = append(scopes, scope)
	}
	sortScopes(scopes)
	return scopes, nil
}

// unheld slots wait for no decision.
var unheld = bson.E{Key: "state", Value: bson.D{{Key: "$ne", Value: int32(storage.SlotHeld)}}}

// due is the update that makes a slot due at once and starts its attempts anew.
// What is known of the target's side stays.
func (s *Store) due(fields bson.D) bson.D {
	now := millis(s.options.Now())
	return bson.D{
		{Key: "$set", Value: append(fields, bson.E{Key: "state", Value: int32(storage.SlotPending)}, bson.E{Key: "attempts", Value: 0},
			bson.E{Key: "due", Value: now}, bson.E{Key: "class", Value: ""}, bson.E{Key: "error", Value: ""}, bson.E{Key: "failed", Value: int64(0)})},
		{Key: "$inc", Value: bson.D{{Key: "marks", Value: int64(1)}}},
		{Key: "$min", Value: bson.D{{Key: "dirty", Value: now}}},
	}
}

// markSlots makes slots due for a version that is newer than theirs, and makes
// those that are not there.
func (s *Store) markSlots(ctx context.Context, m *marks, ids []string) error {
	there, err := s.slotVersions(ctx, ids)
	if err != nil {
		return err
	}
	now := millis(s.options.Now())
	var models []driver.WriteModel
	var fresh []any
	for _, id := range ids {
		slot := m.slots[id]
		desired, ok := there[id]
		if !ok {
			slot.Due, slot.Dirty = now, now
			fresh = append(fresh, slot)
			continue
		}
		if desired < slot.Desired {
			models = append(models, driver.NewUpdateOneModel().
				SetFilter(bson.D{{Key: "_id", Value: id}, {Key: "s", Value: slot.Scope}, {Key: "desired", Value: bson.D{{Key: "$lt", Value: slot.Desired}}}}).
				SetUpdate(s.due(bson.D{{Key: "desired", Value: slot.Desired}})))
		}
	}
	if len(fresh) > 0 {
		// A duplicate was made by another replica's relay just now: of the same
		// change, or of an older one, which the next line makes up for.
		_, err := s.slots.InsertMany(ctx, fresh, options.InsertMany().SetOrdered(false))
		if duplicate(err) {
			return s.markSlots(ctx, m, ids)
		}
		if err != nil {
			return err
		}
	}
	if len(models) == 0 {
		return nil
	}
	_, err = s.slots.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return err
}

// slotVersions reads the desired versions of the slots that are there.
func (s *Store) slotVersions(ctx context.Context, ids []string) (map[string]int64, error) {
	cursor, err := s.slots.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		options.Find().SetProjection(bson.D{{Key: "desired", Value: 1}}).SetBatchSize(int32(len(ids))+1))
	if err != nil {
		return nil, err
	}
	var docs []slotDoc
	if err := cursor.All(ctx, &docs); err != nil {
		return nil, err
	}
	versions := make(map[string]int64, len(docs))
	for i := range docs {
		versions[docs[i].ID] = docs[i].Desired
	}
	return versions, nil
}

// markUsersIn makes the slots of the departments' users due, and their
// memberships but for those that are in their group and at rest: the group may
// have come, or gone, while a round decided without it. Users not relayed yet
// have no slots; they come by themselves.
func (s *Store) markUsersIn(ctx context.Context, targetName, scope string, codes []string) error {
	unsettled := bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: "state", Value: bson.D{{Key: "$ne", Value: int32(storage.SlotDelivered)}}}},
		bson.D{{Key: "grp", Value: bson.D{{Key: "$nin", Value: codes}}}},
	}}
	after := ""
	for {
		users, err := s.entities(ctx, s.directory, bson.D{
			{Key: "s", Value: scope}, {Key: "k", Value: int32(directory.KindUser)}, {Key: "parent", Value: bson.D{{Key: "$in", Value: codes}}},
			{Key: "gone", Value: false}, {Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}},
		}, options.Find().SetProjection(bson.D{{Key: "key", Value: 1}}).SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(keysAtOnce).SetBatchSize(keysAtOnce+1))
		if err != nil || len(users) == 0 {
			return err
		}
		accounts, memberships := make(bson.A, len(users)), make(bson.A, len(users))
		for i := range users {
			accounts[i] = slotID(targetName, scope, storage.SlotUser, users[i].Key)
			memberships[i] = slotID(targetName, scope, storage.SlotMembership, users[i].Key)
		}
		of := func(ids bson.A, more ...bson.E) bson.D {
			return append(bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "s", Value: scope}}, more...)
		}
		_, err = s.slots.BulkWrite(ctx, []driver.WriteModel{
			driver.NewUpdateManyModel().SetFilter(of(accounts, unheld)).SetUpdate(s.due(nil)),
			driver.NewUpdateManyModel().SetFilter(of(memberships, unsettled, unheld)).SetUpdate(s.due(nil)),
		})
		if err != nil || len(users) < keysAtOnce {
			return err
		}
		after = users[len(users)-1].ID
	}
}

// MarkUsers implements storage.Fanout.
func (s *Store) MarkUsers(ctx context.Context, targetName string, scope directory.Scope, after string, limit int) (last string, err error) {
	if err := s.ready(ctx); err != nil {
		return "", err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	last, err = s.markSomeUsers(ctx, targetName, scope.String(), after, limit)
	if err == nil && last != "" {
		err = s.wake(ctx)
	}
	return last, s.failed(err, "mark the users of %s at %s", scope, targetName)
}

func (s *Store) markSomeUsers(ctx context.Context, targetName, scope, after string, limit int) (last string, err error) {
	// Escaped, keys may sort otherwise; any order will do.
	all := slotID(targetName, scope, storage.SlotUser, "")
	docs, err := s.findSlots(ctx, bson.D{{Key: "_id", Value: bson.D{
		{Key: "$gt", Value: all + url.PathEscape(after)}, {Key: "$lt", Value: strings.TrimSuffix(all, "/") + "0"}, // '0' follows '/'
	}}}, bson.D{{Key: "_id", Value: 1}}, limit)
	if err != nil || len(docs) == 0 {
		return "", err
	}
	ids := make(bson.A, len(docs))
	for i := range docs {
		ids[i] = docs[i].ID
	}
	_, err = s.slots.UpdateMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "s", Value: scope}, unheld}, s.due(nil))
	return docs[len(docs)-1].Key, err
}

// never is the time of what has not come: a slot that is delivered is dirty
// since never.
const never = math.MaxInt64

// slotID is the _id of a slot.
func slotID(targetName, scope string, kind storage.SlotKind, key string) string {
	return url.PathEscape(targetName) + "/" + scope + "/" + strconv.Itoa(int(kind)) + "/" + url.PathEscape(key)
}

// sortScopes orders scopes, so that results do not depend on a map.
func sortScopes(scopes []directory.Scope) {
	slices.SortFunc(scopes, func(a, b directory.Scope) int { return strings.Compare(a.String(), b.String()) })
}

// Tenant implements storage.Fanout.
func (s *Store) Tenant(ctx context.Context, scope directory.Scope) (directory.Tenant, bool, error) {
	return s.reading(scope).Tenant(ctx)
}

// reading is a view outside of a turn: what it reads may change meanwhile.
func (s *Store) reading(scope directory.Scope) *view {
	return &view{store: s, scope: scope, id: scope.String()}
}

var errNoScope = errors.New("stored scope cannot be read")

func parseScope(text string) (directory.Scope, error) {
	scope, err := directory.ParseScope(text)
	if err != nil {
		return scope, fmt.Errorf("%w: %w", errNoScope, err)
	}
	return scope, nil
}
