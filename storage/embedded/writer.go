package embedded

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/openkoo/connector/storage"
)

// Jobs share a commit, so many of them and for so long: nobody is answered before.
const (
	commitBatch = 256
	commitTime  = 50 * time.Millisecond
)

// largeRaw is how large a body is whose writing takes long, in bytes.
const largeRaw = 1 << 20

// writer owns the connection that writes.
type writer struct {
	conn     *sql.Conn
	options  Options
	announce func()
	short    chan *job
	long     chan *job // each with a commit of its own
	closing  chan struct{}
	closed   chan struct{}
	once     sync.Once

	// Only the writer's goroutine touches these.
	prepared   map[string]*sql.Stmt // that read
	changing   map[string]writing   // that write
	values     []driver.NamedValue  // of the write under way
	found      int64                // the newest number of the feed that earlier processes gave
	epochBegun bool                 // an epoch of the feed, by this process

	// full says that a write found no room, and none as large has since passed.
	full atomic.Bool

	// seq is the newest number of the feed, on disk or about to be. Others read it.
	seq atomic.Int64
}

// writing is a prepared statement that writes.
type writing interface {
	driver.Stmt
	driver.StmtExecContext
}

// job is one atomic write.
type job struct {
	ctx  context.Context
	run  func(context.Context, *tx) error
	done chan error
	err  error
}

// tx is the transaction a job writes in.
type tx struct {
	w *writer
	// now is the time of the commit, the same for the whole job.
	now time.Time
	// changed says that listeners have to be told after the commit.
	changed bool
}

func startWriter(conn *sql.Conn, seq int64, options Options, announce func()) *writer {
	w := &writer{
		conn: conn, options: options, announce: announce, found: seq,
		short:    make(chan *job),
		long:     make(chan *job),
		closing:  make(chan struct{}),
		closed:   make(chan struct{}),
		prepared: make(map[string]*sql.Stmt),
		changing: make(map[string]writing),
	}
	w.seq.Store(seq)
	go w.loop()
	return w
}

// do runs a write and returns when it is on disk. A context that ends before
// the write has begun drops it; once begun it is carried through.
func (w *writer) do(ctx context.Context, run func(context.Context, *tx) error) error {
	return w.pass(ctx, w.short, run)
}

// doLong is do for a write that may take long: short ones wait for one of these
// at the most, and their senders for none that shares their commit.
func (w *writer) doLong(ctx context.Context, run func(context.Context, *tx) error) error {
	return w.pass(ctx, w.long, run)
}

func (w *writer) pass(ctx context.Context, jobs chan<- *job, run func(context.Context, *tx) error) error {
	j := &job{ctx: ctx, run: run, done: make(chan error, 1)}
	select {
	case jobs <- j:
		return <-j.done
	case <-w.closing:
		return storage.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) close() {
	w.once.Do(func() { close(w.closing) })
	<-w.closed
}

func (w *writer) loop() {
	defer close(w.closed)
	defer func() {
		for _, stmt := range w.prepared {
			_ = stmt.Close()
		}
		_ = w.conn.Raw(func(any) error {
			for _, stmt := range w.changing {
				_ = stmt.Close()
			}
			return nil
		})
		_ = w.conn.Close()
	}()
	for turn := w.long; ; {
		first, long := w.next(turn)
		if first == nil {
			return
		}
		w.batch(first, long)
		if turn = w.long; long {
			turn = w.short
		}
	}
}

// next waits for a job, nil when the writer closes. If both sorts wait it is the
// turn's: neither keeps the other waiting for ever.
func (w *writer) next(turn chan *job) (first *job, long bool) {
	select {
	case first = <-turn:
		return first, turn == w.long
	default:
	}
	select {
	case <-w.closing:
		return nil, false
	case first = <-w.short:
		return first, false
	case first = <-w.long:
		return first, true
	}
}

// batch commits the first job, and the short ones that come while it runs, if it
// is one, together.
func (w *writer) batch(first *job, long bool) {
	began := time.Now()
	ctx := context.Background()
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		w.refuse(first, fmt.Errorf("begin write: %w", advised(err)))
		return
	}
	var done []*job
	changed, lost := false, error(nil)
	for j := first; j != nil; {
		var told bool
		told, lost = w.one(j)
		changed = changed || told
		done = append(done, j)
		j = nil
		if !long && len(done) < commitBatch && time.Since(began) < commitTime && lost == nil {
			select {
			case j = <-w.short:
			default:
			}
		}
	}
	err := lost
	if err == nil {
		err = w.beginEpoch(ctx)
	}
	if err == nil {
		_, err = w.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		w.noteRoom(err)
		// Nothing of the batch is on disk. A rollback may have happened already.
		_, _ = w.conn.ExecContext(ctx, "ROLLBACK")
		// The numbers it took from the feed stay unused.
		for _, j := range done {
			if j.err == nil {
				j.err = fmt.Errorf("commit: %w", advised(err))
			}
		}
		changed = false
	}
	w.epochBegun = w.epochBegun || err == nil && w.seq.Load() > w.found
	if changed {
		w.announce() // before a writer goes on: who has seen its write has heard of it
	}
	for _, j := range done {
		j.done <- j.err
	}
}

// noteRoom remembers that there was no room.
func (w *writer) noteRoom(err error) {
	if isCode(err, sqlite3.SQLITE_FULL) {
		w.full.Store(true)
	}
}

// refuse fails a job, and those that came while it waited: they have waited for
// the same. Nobody is told before all of them are there, for who comes after
// that may have put it right.
func (w *writer) refuse(first *job, err error) {
	refused := []*job{first}
	for waiting := true; waiting; {
		select {
		case j := <-w.short:
			refused = append(refused, j)
		case j := <-w.long:
			refused = append(refused, j)
		default:
			waiting = false
		}
	}
	for _, j := range refused {
		j.done <- err
	}
}

// one runs a job in a savepoint of its own, so that its failure is its alone.
//
// SQLite gives the whole transaction up on some errors (a full disk). Its
// savepoint is gone then, which is returned as lost: what follows must not run
// outside the transaction.
func (w *writer) one(j *job) (changed bool, lost error) {
	if j.err = j.ctx.Err(); j.err != nil {
		return false, nil
	}
	ctx := context.WithoutCancel(j.ctx)
	if _, err := w.conn.ExecContext(ctx, "SAVEPOINT job"); err != nil {
		j.err = fmt.Errorf("begin write: %w", err)
		return false, err
	}
	t := &tx{w: w, now: w.options.Now()}
	j.err = advised(w.guarded(ctx, j, t))
	w.noteRoom(j.err)
	end := "RELEASE job"
	if j.err != nil {
		end = "ROLLBACK TO job; RELEASE job"
	}
	if _, err := w.conn.ExecContext(ctx, end); err != nil {
		if j.err == nil {
			j.err = fmt.Errorf("end write: %w", err)
		}
		return false, fmt.Errorf("a write that shared the commit failed: %w", j.err)
	}
	return j.err == nil && t.changed, nil
}

func (w *writer) guarded(ctx context.Context, j *job, t *tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.options.Logger.Error("panic in a write; it is rolled back", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error: panic in a write: %v", p)
		}
	}()
	return j.run(ctx, t)
}

// stmt prepares a statement that reads once for the life of the connection.
func (t *tx) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := t.w.prepared[query]; ok {
		return stmt, nil
	}
	stmt, err := t.w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", query, err)
	}
	t.w.prepared[query] = stmt
	return stmt, nil
}

// exec runs a statement that writes. It asks the driver itself: database/sql
// would take a fifth of the time of a small write, and allocate most of what it
// takes.
func (t *tx) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = t.w.conn.Raw(func(conn any) error {
		stmt, err := t.change(ctx, conn, query)
		if err != nil {
			return err
		}
		values := t.w.values[:0]
		for i, arg := range args {
			value, err := driver.DefaultParameterConverter.ConvertValue(arg)
			if err != nil {
				return fmt.Errorf("%.60q: argument %d: %w", query, i+1, err)
			}
			values = append(values, driver.NamedValue{Ordinal: i + 1, Value: value})
		}
		t.w.values = values
		defer clear(values)
		result, err := stmt.ExecContext(ctx, values)
		if err != nil {
			return fmt.Errorf("%.60q: %w", query, err)
		}
		n, err = result.RowsAffected()
		return err
	})
	return n, err
}

// change prepares a statement that writes once for the life of the connection.
func (t *tx) change(ctx context.Context, conn any, query string) (writing, error) {
	if stmt, ok := t.w.changing[query]; ok {
		return stmt, nil
	}
	preparing, ok := conn.(driver.ConnPrepareContext)
	if !ok {
		return nil, fmt.Errorf("prepare %.60q: %T cannot", query, conn)
	}
	stmt, err := preparing.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", query, err)
	}
	changing, ok := stmt.(writing)
	if !ok {
		return nil, errors.Join(fmt.Errorf("prepare %.60q: %T cannot be executed", query, stmt), stmt.Close())
	}
	t.w.changing[query] = changing
	return changing, nil
}

// QueryContext makes a tx a querier over its prepared statements.
func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := t.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// QueryRowContext makes a tx a querier over its prepared statements.
func (t *tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	stmt, err := t.stmt(ctx, query)
	if err != nil {
		return t.w.conn.QueryRowContext(ctx, query, args...) // fails the same way
	}
	return stmt.QueryRowContext(ctx, args...)
}

// loaded makes the numbers go on behind one that another store gave.
func (w *writer) loaded(seq int64) {
	w.found = max(w.found, seq)
	w.seq.Store(max(w.seq.Load(), seq))
}

func (t *tx) nextSeq() int64 {
	return t.w.seq.Add(1)
}
