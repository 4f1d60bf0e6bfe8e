package embedded

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

const (
	// readers bounds the connections that read at once, apiReaders those of the
	// API: whatever the deliveries of many targets read, it has them to itself, and
	// no more.
	readers    = 4
	apiReaders = 2
	// maxPrepared bounds the statements that they keep. The program has fewer,
	// but for combinations of filters.
	maxPrepared = 200
)

// pool is the connections that read. It prepares each statement once for each
// of them: that takes longer than most look-ups.
type pool struct {
	*sql.DB
	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

func openPool(driver, dsn string, connections int) (*pool, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return &pool{DB: db, prepared: make(map[string]*sql.Stmt)}, nil
}

// stmt is the prepared statement, nil if it is not to be kept or fails: asked
// without, the error is the same.
func (p *pool) stmt(ctx context.Context, query string) *sql.Stmt {
	p.mu.RLock()
	stmt, full := p.prepared[query], len(p.prepared) >= maxPrepared
	p.mu.RUnlock()
	if stmt != nil || full {
		return stmt
	}
	fresh, err := p.PrepareContext(ctx, query)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if stmt := p.prepared[query]; stmt != nil {
		_ = fresh.Close() // another was first
		return stmt
	}
	p.prepared[query] = fresh
	return fresh
}

// QueryContext implements querier.
func (p *pool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := p.query(ctx, query, args...)
	return rows, advised(err)
}

func (p *pool) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := p.stmt(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return p.DB.QueryContext(ctx, query, args...)
}

// QueryRowContext implements querier.
func (p *pool) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := p.stmt(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return p.DB.QueryRowContext(ctx, query, args...)
}

func (p *pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, stmt := range p.prepared {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, p.DB.Close())...)
}
