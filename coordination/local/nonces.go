// Package local coordinates within one process.
package local

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/openkoo/connector/coordination"
)

// DefaultMaxNonces bounds the answers remembered at once: at two minutes each,
// more than eight thousand pushes a second.
const DefaultMaxNonces = 1 << 20

// Nonces remembers answers in memory. A restart forgets them; a repeat then
// has its effect again, which is none: pushes are idempotent.
type Nonces struct {
	max int
	now func() time.Time

	mu      sync.Mutex
	entries map[string]*entry
	// kept holds the remembered entries, the next to expire first.
	kept byExpiry
}

type entry struct {
	nonce, signature string
	expires          time.Time
	done             chan struct{} // closed when answer is set, or given up
	answer           coordination.Answer
	kept             bool
}

var _ coordination.Nonces = (*Nonces)(nil)

// NewNonces makes a memory of at most limit answers (0: DefaultMaxNonces).
func NewNonces(limit int, now func() time.Time) *Nonces {
	if limit <= 0 {
		limit = DefaultMaxNonces
	}
	if now == nil {
		now = time.Now
	}
	return &Nonces{max: limit, now: now, entries: make(map[string]*entry)}
}

// Once implements coordination.Nonces.
func (n *Nonces) Once(ctx context.Context, nonce, signature string, ttl time.Duration, serve func() (coordination.Answer, bool)) (coordination.Answer, error) {
	for {
		mine, theirs, err := n.enter(nonce, signature)
		if err != nil {
			return coordination.Answer{}, err
		}
		if mine != nil {
			return n.first(mine, ttl, serve)
		}
		select {
		case <-theirs.done:
			if theirs.kept {
				return theirs.answer, nil
			}
			// The first one failed and was forgotten: try to be the first.
		case <-ctx.Done():
			return coordination.Answer{}, ctx.Err()
		}
	}
}

// enter returns a new entry for the first of a nonce, or the one that is there.
func (n *Nonces) enter(nonce, signature string) (mine, theirs *entry, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expire()
	if e, ok := n.entries[nonce]; ok {
		if e.signature != signature {
			return nil, nil, coordination.ErrNonceReused
		}
		return nil, e, nil
	}
	if len(n.entries) >= n.max {
		return nil, nil, coordination.ErrNonceMemoryFull
	}
	e := &entry{nonce: nonce, signature: signature, done: make(chan struct{})}
	n.entries[nonce] = e
	return e, nil, nil
}

func (n *Nonces) first(e *entry, ttl time.Duration, serve func() (coordination.Answer, bool)) (answer coordination.Answer, err error) {
	keep := false
	defer func() { // also when serve panics: nobody may wait for ever
		n.mu.Lock()
		defer n.mu.Unlock()
		if keep {
			e.answer, e.kept, e.expires = answer, true, n.now().Add(ttl)
			heap.Push(&n.kept, e)
		} else {
			delete(n.entries, e.nonce)
		}
		close(e.done)
	}()
	answer, keep = serve()
	return answer, nil
}

// expire forgets what is past its time.
func (n *Nonces) expire() {
	now := n.now()
	for len(n.kept) > 0 && !now.Before(n.kept[0].expires) {
		delete(n.entries, heap.Pop(&n.kept).(*entry).nonce) //nolint:forcetypeassert // nothing else is pushed
	}
}

// byExpiry is a heap.Interface.
type byExpiry []*entry

func (h byExpiry) Len() int           { return len(h) }
func (h byExpiry) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h byExpiry) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

func (h *byExpiry) Push(e any) { *h = append(*h, e.(*entry)) } //nolint:forcetypeassert // nothing else is pushed

func (h *byExpiry) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
