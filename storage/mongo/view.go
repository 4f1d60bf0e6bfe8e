package mongo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// view is a scope as its collection has it. In a turn nobody else changes it.
type view struct {
	store *Store
	scope directory.Scope
	id    string
	// turn is the turn the view belongs to, nil outside of one.
	turn *turn
	// usersIn and parents remember what Around met on the way.
	usersIn map[string]int
	parents map[string]directory.Department
}

var _ storage.View = (*view)(nil)

func (t *turn) view() *view {
	return &view{store: t.store, scope: t.scope, id: t.doc.ID, turn: t, usersIn: make(map[string]int), parents: make(map[string]directory.Department)}
}

// fresh reports a scope that has no entity, which spares looking for one.
func (v *view) fresh() bool { return v.turn != nil && v.turn.fresh }

// State implements storage.View: it came with the turn.
func (v *view) State(context.Context) (directory.State, error) {
	if !v.turn.doc.Seen {
		return directory.State{Scope: v.scope}, nil
	}
	state, _ := v.turn.doc.state()
	return state, nil
}

// Tenant implements storage.View.
func (v *view) Tenant(ctx context.Context) (directory.Tenant, bool, error) {
	return oneEntity(ctx, v, directory.KindTenant, "", (*entityDoc).tenant)
}

// Application implements storage.View.
func (v *view) Application(ctx context.Context, appID string) (directory.Application, bool, error) {
	return oneEntity(ctx, v, directory.KindApplication, appID, (*entityDoc).application)
}

// Department implements storage.View.
func (v *view) Department(ctx context.Context, code string) (directory.Department, bool, error) {
	if d, ok := v.parents[code]; ok {
		return d, true, nil
	}
	return oneEntity(ctx, v, directory.KindDepartment, code, (*entityDoc).department)
}

func oneEntity[T any](ctx context.Context, v *view, kind directory.Kind, key string, decode func(*entityDoc) (T, error)) (entity T, ok bool, err error) {
	if v.fresh() {
		return entity, false, nil
	}
	var doc entityDoc
	err = v.store.directory.FindOne(ctx, bson.D{{Key: "_id", Value: entityID(v.id, kind, key)}, {Key: "s", Value: v.id}}).Decode(&doc)
	if errors.Is(err, driver.ErrNoDocuments) {
		return entity, false, nil
	}
	if err != nil {
		return entity, false, v.store.failed(err, "read %s %q of %s", kind, key, v.scope)
	}
	// What the document's own members say is enough to plan with, and the push
	// writes the rest anew: one that cannot be read refuses no push.
	entity, _ = decode(&doc)
	return entity, true, nil
}

// each reads entities of the scope.
func (v *view) each(ctx context.Context, filter bson.D, find *options.FindOptionsBuilder, do func(*entityDoc) error) error {
	if v.fresh() {
		return nil
	}
	docs, err := v.store.entities(ctx, v.store.directory, append(bson.D{{Key: "s", Value: v.id}}, filter...), find)
	if err != nil {
		return v.store.failed(err, "read entities of %s", v.scope)
	}
	for i := range docs {
		if err := do(&docs[i]); err != nil {
			return err
		}
	}
	return nil
}

// entities reads all entities that match.
func (s *Store) entities(ctx context.Context, from *driver.Collection, filter bson.D, find *options.FindOptionsBuilder) ([]entityDoc, error) {
	cursor, err := from.Find(ctx, filter, find)
	if err != nil {
		return nil, err
	}
	var docs []entityDoc
	err = cursor.All(ctx, &docs)
	return docs, err
}

// departmentsPage is how many departments one request reads.
const departmentsPage = 2000

// Departments implements storage.View.
func (v *view) Departments(ctx context.Context) iter.Seq2[directory.Department, error] {
	return func(yield func(directory.Department, error) bool) {
		if v.fresh() {
			return
		}
		after, first := "", true
		for {
			filter := v.within(directory.KindDepartment)
			if !first {
				filter = append(filter, bson.E{Key: "key", Value: bson.D{{Key: "$gt", Value: after}}})
			}
			docs, err := v.store.entities(ctx, v.store.directory, filter, options.Find().
				SetSort(bson.D{{Key: "key", Value: 1}}).SetLimit(departmentsPage).SetBatchSize(departmentsPage+1))
			if err != nil {
				yield(directory.Department{}, v.store.failed(err, "read departments of %s", v.scope))
				return
			}
			for i := range docs {
				d, _ := docs[i].department()
				if !yield(d, nil) {
					return
				}
			}
			if len(docs) < departmentsPage {
				return
			}
			after, first = docs[len(docs)-1].Key, false
		}
	}
}

// within selects one kind of the scope in the words of the index tenant.
func (v *view) within(kind directory.Kind) bson.D {
	p := placeOf(v.scope)
	return bson.D{
		{Key: "s", Value: v.id}, {Key: "ds", Value: p.Dataset}, {Key: "k", Value: int32(kind)},
		{Key: "ten", Value: p.TenantID}, {Key: "inst", Value: p.InstanceID},
	}
}

// aroundLimit bounds what Around reads in its one request.
const aroundLimit = 500

// Around implements storage.View: one request for the department, its parent,
// its children and its users, who are counted if they are few.
func (v *view) Around(ctx context.Context, code, parentCode string) (directory.Surroundings, error) {
	var around directory.Surroundings
	self := entityID(v.id, directory.KindDepartment, code)
	read, users := 0, 0
	take := func(doc *entityDoc) error {
		read++
		d, err := doc.department()
		switch {
		case directory.Kind(doc.Kind) == directory.KindUser:
			users++
			return nil
		case doc.ID == self:
			around.Self, around.Known = d, true
		}
		if doc.Key == parentCode && parentCode != "" {
			around.ParentLives = !doc.Deleted
			if v.turn != nil {
				v.parents[parentCode] = d
			}
		}
		if doc.Parent == code && !doc.Deleted {
			around.Children = append(around.Children, d)
		}
		return err
	}
	keys := bson.A{self, entityID(v.id, directory.KindDepartment, parentCode)}
	below := bson.D{{Key: "k", Value: int32(directory.KindDepartment)}, {Key: "parent", Value: code}, {Key: "gone", Value: false}}
	both := bson.D{{Key: "k", Value: bson.D{{Key: "$in", Value: bson.A{int32(directory.KindDepartment), int32(directory.KindUser)}}}}, below[1], below[2]}
	err := v.each(ctx, bson.D{{Key: "$or", Value: bson.A{bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: keys}}}}, both}}},
		options.Find().SetProjection(bson.D{{Key: "data", Value: 0}}).SetSort(bson.D{{Key: "k", Value: 1}}).
			SetLimit(aroundLimit).SetBatchSize(aroundLimit+1), take)
	if err != nil {
		return around, err
	}
	switch {
	case read < aroundLimit:
		v.usersIn[code] = users
	case users == 0: // perhaps not even all children
		around = directory.Surroundings{}
		err = v.each(ctx, bson.D{{Key: "$or", Value: bson.A{bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: keys}}}}, below}}}, nil, take)
	}
	slices.SortFunc(around.Children, func(a, b directory.Department) int { return cmp.Compare(a.Code, b.Code) })
	return around, err
}

// children are the living departments whose parent is code.
func (v *view) children(ctx context.Context, code string) ([]directory.Department, error) {
	var children []directory.Department
	err := v.each(ctx, bson.D{{Key: "k", Value: int32(directory.KindDepartment)}, {Key: "parent", Value: code}, {Key: "gone", Value: false}}, nil,
		func(doc *entityDoc) error {
			d, err := doc.department()
			children = append(children, d)
			return err
		})
	return children, err
}

// keysAtOnce bounds the keys of one request.
const keysAtOnce = 1000

// UsersIn implements storage.View.
func (v *view) UsersIn(ctx context.Context, codes []string) (map[string]int, error) {
	users := make(map[string]int, len(codes))
	var asked []string
	for _, code := range codes {
		if n, ok := v.usersIn[code]; ok {
			users[code] = n
		} else {
			asked = append(asked, code)
		}
	}
	if v.fresh() {
		return users, nil
	}
	for chunk := range slices.Chunk(asked, keysAtOnce) {
		cursor, err := v.store.directory.Aggregate(ctx, bson.A{
			bson.D{{Key: "$match", Value: bson.D{
				{Key: "s", Value: v.id}, {Key: "k", Value: int32(directory.KindUser)},
				{Key: "parent", Value: bson.D{{Key: "$in", Value: chunk}}}, {Key: "gone", Value: false},
			}}},
			bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$parent"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
		})
		if err != nil {
			return nil, v.store.failed(err, "count users of %s", v.scope)
		}
		var counts []struct {
			Code string `bson:"_id"`
			N    int    `bson:"n"`
		}
		if err := cursor.All(ctx, &counts); err != nil {
			return nil, v.store.failed(err, "count users of %s", v.scope)
		}
		for _, c := range counts {
			users[c.Code] = c.N
		}
	}
	return users, nil
}

// Users implements storage.View.
func (v *view) Users(ctx context.Context, names []string) (map[string]directory.User, error) {
	users := make(map[string]directory.User, len(names))
	for chunk := range slices.Chunk(names, keysAtOnce) {
		ids := make(bson.A, len(chunk))
		for i, name := range chunk {
			ids[i] = entityID(v.id, directory.KindUser, name)
		}
		err := v.each(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
			options.Find().SetBatchSize(keysAtOnce+1), func(doc *entityDoc) error {
				u, _ := doc.user() // as oneEntity does
				users[u.UserName] = u
				return nil
			})
		if err != nil {
			return nil, fmt.Errorf("read users: %w", err)
		}
	}
	return users, nil
}
