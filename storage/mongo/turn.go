package mongo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// localTurns queue this process's pushes of one scope, so that they do not
// wait for each other at the server.
type localTurns struct {
	mu    sync.Mutex
	taken map[string]*localTurn
}

type localTurn struct {
	free  chan struct{} // holds one token while free
	users int
}

// take waits for the scope's turn in this process.
func (t *localTurns) take(ctx context.Context, scope string) (release func(), err error) {
	t.mu.Lock()
	if t.taken == nil {
		t.taken = make(map[string]*localTurn)
	}
	turn, ok := t.taken[scope]
	if !ok {
		turn = &localTurn{free: make(chan struct{}, 1)}
		turn.free <- struct{}{}
		t.taken[scope] = turn
	}
	turn.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if turn.users--; turn.users == 0 {
			delete(t.taken, scope)
		}
	}
	select {
	case <-turn.free:
		return func() {
			turn.free <- struct{}{}
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, fmt.Errorf("%w: %w", errScopeTaken, ctx.Err())
	}
}

// turn is a scope opened for one push. doc is the scope as it was found.
type turn struct {
	store *Store
	scope directory.Scope
	doc   scopeDoc
	push  string
	// fresh says that the scope has never had a turn: it has no entities.
	fresh bool
	local func()
}

// number is the turn's number.
func (t *turn) number() int64 { return t.doc.Turn }

// errScopeTaken means that a push waited for its turn in vain. What to look at
// is the earlier push, not whether the server answers.
var errScopeTaken = errors.New("an earlier push is not done yet, or its replica died a moment ago")

// open waits until the scope is free and opens it for a push.
func (s *Store) open(ctx context.Context, scope directory.Scope, push string) (*turn, error) {
	name := scope.String()
	local, err := s.turns.take(ctx, name)
	if err != nil {
		return nil, s.failed(err, "wait for earlier pushes of %s", name)
	}
	if s.options.Locker != nil {
		unlock, err := s.options.Locker.Lock(ctx, name)
		switch {
		case ctx.Err() != nil:
			local()
			return nil, s.failed(fmt.Errorf("%w: %w", errScopeTaken, ctx.Err()), "wait for earlier pushes of %s", name)
		case err != nil:
			s.options.Logger.Warn("no queue for writers; asking the store instead", "scope", name, "error", err)
		default:
			inner := local
			local = func() {
				unlock()
				inner()
			}
		}
	}
	doc, err := s.openScope(ctx, scope, push)
	if err != nil {
		local()
		return nil, s.failed(err, "open %s for push %s", name, push)
	}
	return &turn{store: s, scope: scope, doc: doc, push: push, fresh: doc.Turn == 1, local: local}, nil
}

// The bounds of the wait between two tries at what another has.
const (
	openRetryFirst = 5 * time.Millisecond
	openRetryLast  = 250 * time.Millisecond
)

// openScope opens a scope, settling what another has left open too long.
func (s *Store) openScope(ctx context.Context, scope directory.Scope, push string) (doc scopeDoc, err error) {
	var held scopeDoc
	defer func() {
		if err != nil && held.Open != "" {
			if ctx.Err() != nil || driver.IsTimeout(err) { // all of it went by waiting
				err = fmt.Errorf("%w: %w", errScopeTaken, err)
			}
			err = fmt.Errorf("push %s of %s has the scope: %w", held.Open, held.Owner, err)
		}
	}()
	wait := openRetryFirst
	for {
		if doc, err = s.tryOpen(ctx, scope, push); err == nil || !duplicate(err) {
			return doc, err
		}
		now, err := s.scopeDoc(ctx, scope)
		if err != nil {
			return doc, err
		}
		held = now
		switch {
		case held.Open == "": // it was closed just now
			continue
		case held.Owner == s.options.Owner || held.Until <= millis(s.options.Now()):
			if err := s.settleTurn(ctx, &held); err != nil {
				return doc, fmt.Errorf("settle it: %w", err)
			}
			continue
		}
		if err := rest(ctx, &wait); err != nil {
			return doc, err
		}
	}
}

// rest waits a little before the next try, and longer each time.
func rest(ctx context.Context, wait *time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(*wait + rand.N(*wait)):
		*wait = min(2**wait, openRetryLast)
		return nil
	}
}

// tryOpen opens a scope that is free. A duplicate key means that it is not.
func (s *Store) tryOpen(ctx context.Context, scope directory.Scope, push string) (doc scopeDoc, err error) {
	name, place := scope.String(), placeOf(scope)
	err = s.directory.FindOneAndUpdate(ctx,
		bson.D{{Key: "_id", Value: name}, {Key: "s", Value: name}, {Key: "open", Value: ""}},
		bson.D{
			{Key: "$inc", Value: bson.D{{Key: "turn", Value: int64(1)}}},
			{Key: "$set", Value: bson.D{
				{Key: "open", Value: push}, {Key: "owner", Value: s.options.Owner},
				{Key: "until", Value: millis(s.options.Now().Add(s.options.TurnTime))},
			}},
			{Key: "$setOnInsert", Value: bson.D{
				{Key: "ds", Value: place.Dataset}, {Key: "ten", Value: place.TenantID}, {Key: "inst", Value: place.InstanceID},
				{Key: "k", Value: int32(0)}, {Key: "key", Value: ""}, {Key: "top", Value: int64(0)}, {Key: "at", Value: int64(0)},
				{Key: "seen", Value: false}, {Key: "state", Value: stateDoc{}},
			}},
		},
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&doc)
	return doc, err
}

func (s *Store) scopeDoc(ctx context.Context, scope directory.Scope) (doc scopeDoc, err error) {
	err = s.directory.FindOne(ctx, bson.D{{Key: "_id", Value: scope.String()}}).Decode(&doc)
	return doc, err
}

// ofTurn selects the scope while it is open for the turn.
func ofTurn(doc *scopeDoc) bson.D {
	return bson.D{{Key: "_id", Value: doc.ID}, {Key: "s", Value: doc.ID}, {Key: "turn", Value: doc.Turn}, {Key: "open", Value: doc.Open}}
}

// abandon closes a turn in which nothing was committed. If the server cannot be
// told, the turn is settled by whoever comes next.
func (t *turn) abandon(ctx context.Context) {
	s := t.store
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Timeout/4)
	defer cancel()
	if _, err := s.directory.UpdateOne(ctx, ofTurn(&t.doc), set(bson.D{{Key: "open", Value: ""}})); err != nil {
		s.options.Logger.Warn("a scope stays taken until its turn runs out", "scope", t.doc.ID, "push", t.push, "error", err)
	}
}

// keep extends the turn until stop is called; the context it returns ends when
// the turn is lost.
func (t *turn) keep(ctx context.Context) (held context.Context, stop func()) {
	s := t.store
	held, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(s.options.TurnTime / 3)
		defer ticker.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-ticker.C:
				result, err := s.directory.UpdateOne(held, ofTurn(&t.doc),
					set(bson.D{{Key: "until", Value: millis(s.options.Now().Add(s.options.TurnTime))}}))
				if err == nil && result.MatchedCount == 0 {
					cancel(errTurnLost)
				}
			}
		}
	})
	return held, func() {
		cancel(nil)
		running.Wait()
	}
}

// errTurnLost means that another has settled the turn: it took too long.
var errTurnLost = errors.New("the scope's turn took too long and was ended by another replica")

// settleTurn ends a turn whose holder is gone: what was committed is carried
// out, what was not can no longer be.
func (s *Store) settleTurn(ctx context.Context, doc *scopeDoc) error {
	barred, err := s.bar(ctx, doc)
	if err != nil {
		return err
	}
	if !barred {
		record, err := s.committed(ctx, doc)
		if err != nil {
			return err
		}
		if record != nil {
			redo, err := s.readRedo(ctx, record)
			if err != nil {
				return err
			}
			s.options.Logger.Info("finishing a push another left open", "push", doc.Open, "scope", doc.ID, "left by", doc.Owner)
			return s.carryOut(ctx, doc, redo)
		}
	}
	_, err = s.directory.UpdateOne(ctx, ofTurn(doc), set(bson.D{{Key: "open", Value: ""}}))
	return err
}

// bar keeps a turn's push from being committed in that turn any more. It
// reports false if the push is committed already.
func (s *Store) bar(ctx context.Context, doc *scopeDoc) (bool, error) {
	_, err := s.journal.UpdateOne(ctx,
		bson.D{
			{Key: "_id", Value: doc.Open}, {Key: "s", Value: doc.ID},
			{Key: "phase", Value: bson.D{{Key: "$in", Value: bson.A{string(storage.PhaseReceived), phaseBarred}}}},
		},
		bson.D{
			{Key: "$max", Value: bson.D{{Key: "bar", Value: doc.Turn}}},
			{Key: "$setOnInsert", Value: bson.D{{Key: "phase", Value: phaseBarred}, {Key: "applied", Value: millis(s.options.Now())}}},
		}, options.UpdateOne().SetUpsert(true))
	if duplicate(err) {
		return false, nil
	}
	return err == nil, err
}

// committed reads the record that was committed in a turn, nil if it was
// committed in another.
func (s *Store) committed(ctx context.Context, doc *scopeDoc) (*recordDoc, error) {
	var record recordDoc
	err := s.journal.FindOne(ctx, bson.D{{Key: "_id", Value: doc.Open}}).Decode(&record)
	if err != nil {
		return nil, fmt.Errorf("read push %s: %w", doc.Open, err)
	}
	if record.Turn != doc.Turn {
		return nil, nil
	}
	return &record, nil
}

// settleStale settles the turns whose time has run out.
func (s *Store) settleStale(ctx context.Context) error {
	cursor, err := s.directory.Find(ctx, bson.D{
		{Key: "ds", Value: bson.D{{Key: "$in", Value: bson.A{string(directory.Prod), string(directory.Test)}}}},
		{Key: "k", Value: int32(0)},
		{Key: "open", Value: bson.D{{Key: "$gt", Value: ""}}},
		{Key: "until", Value: bson.D{{Key: "$lte", Value: millis(s.options.Now())}}},
	})
	if err != nil {
		return s.failed(err, "find turns left open")
	}
	var stale []scopeDoc
	if err := cursor.All(ctx, &stale); err != nil {
		return s.failed(err, "find turns left open")
	}
	var errs []error
	for i := range stale {
		if err := s.settleTurn(ctx, &stale[i]); err != nil {
			errs = append(errs, s.failed(err, "settle turn of %s", stale[i].ID))
		}
	}
	return errors.Join(errs...)
}
