package mongo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/openkoo/connector/storage"
)

// Store is the store in MongoDB. Its methods may be called from many goroutines.
type Store struct {
	options Options
	client  *driver.Client

	directory *driver.Collection // scopes and entities
	feed      *driver.Collection // the directory as a majority has it
	journal   *driver.Collection // pushes and the parts of long ones
	slots     *driver.Collection
	relays    *driver.Collection // cursors, leases, the feed's document
	resyncs   *driver.Collection // reports
	instances *driver.Collection // as a majority has them
	orders    *driver.Collection // which instance each is bound to, likewise

	partSize  int // see the constant
	turns     localTurns
	accepted  acceptedPushes
	sequencer chan struct{} // one at a time in this process; others need no lock
	epoch     string        // of the feed, from the first change that this process numbers
	numbered  bool          // it has; guarded by sequencer

	changed storage.Signal // to this process's listeners

	background sync.WaitGroup
	life       context.Context // ends with Close
	end        context.CancelFunc
	closed     atomic.Bool
	closing    sync.Once
	closeErr   error
}

var _ storage.Store = (*Store)(nil)

// newID makes a name that sorts by time and that nobody else makes.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// bounded gives ctx the store's time, unless it ends earlier already.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.options.Timeout)
}

// perOperation ends when ctx does and has no deadline of its own: the driver
// takes a deadline for the bound of each operation, in place of the store's, and
// a server that hangs would use up all of a long one.
func perOperation(ctx context.Context) (context.Context, context.CancelFunc) {
	operation, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	return operation, func() {
		stop()
		cancel()
	}
}

// ready reports a store that is closed and a caller that has gone.
func (s *Store) ready(ctx context.Context) error {
	if s.closed.Load() {
		return storage.ErrClosed
	}
	return ctx.Err()
}

// failed says what could not be done and, where the server is at fault, what to
// look at.
func (s *Store) failed(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, driver.ErrClientDisconnected), s.closed.Load():
		return fmt.Errorf("%s: %w", what, storage.ErrClosed)
	case errors.Is(err, context.Canceled), errors.Is(err, errScopeTaken):
		return fmt.Errorf("%s: %w", what, err)
	case driver.IsTimeout(err) || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: MongoDB did not answer within %s: %w", what, s.options.Timeout, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// Close ends what runs in the background and closes the connections.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		s.end()
		s.background.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), s.options.Timeout)
		defer cancel()
		if err := s.client.Disconnect(ctx); err != nil {
			s.closeErr = fmt.Errorf("close MongoDB: %w", err)
		}
	})
	return s.closeErr
}

// Ping reports whether the server can be read and written. It writes: a full
// disk, or an account that may only read, shows by nothing less.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: "schema"}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "pings", Value: int64(1)}}}})
	return s.failed(err, "ping")
}

// Changed implements storage.Wakeups.
func (s *Store) Changed() <-chan struct{} { return s.changed.Changed() }

// tell tells the listeners of all replicas.
func (s *Store) tell(ctx context.Context) {
	s.changed.Announce()
	if s.options.Notifier != nil {
		s.options.Notifier.Notify(ctx)
	}
}

// loop finds what other replicas did and left undone.
func (s *Store) loop() {
	defer s.background.Done()
	ticker := time.NewTicker(s.options.PollInterval)
	defer ticker.Stop()
	var notified <-chan struct{}
	if s.options.Notifier != nil {
		notified = s.options.Notifier.Notified()
	}
	ctx := s.life
	var seen feedDoc
	resolved := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-notified:
			s.changed.Announce()
		case <-ticker.C:
			seen = s.look(ctx, seen)
			if time.Since(resolved) >= s.options.TurnTime {
				resolved = time.Now()
				if err := s.settleStale(ctx); err != nil && ctx.Err() == nil {
					s.options.Logger.Warn("cannot settle turns left open; trying again", "error", err)
				}
			}
		}
	}
}

// look announces what has changed since it was last seen.
func (s *Store) look(ctx context.Context, seen feedDoc) feedDoc {
	now, err := s.sequence(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.options.Logger.Warn("cannot read the change feed; trying again", "error", err)
		}
		return seen
	}
	if now.Seq != seen.Seq || now.Wakes != seen.Wakes {
		s.changed.Announce()
	}
	return now
}

// duplicate reports that a document of that _id is there already.
func duplicate(err error) bool { return driver.IsDuplicateKeyError(err) }

// majority opens a collection for reading what can no longer be rolled back.
func majority(db *driver.Database, name string) *driver.Collection {
	return db.Collection(name, options.Collection().SetReadConcern(readconcern.Majority()))
}

// set is the update that sets fields.
func set(fields bson.D) bson.D { return bson.D{{Key: "$set", Value: fields}} }
