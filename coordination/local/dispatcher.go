package local

import (
	"context"
	"errors"
	"sync"

	"github.com/openkoo/connector/coordination"
)

// Dispatcher keeps tasks in memory, first come, first served.
type Dispatcher struct {
	life   context.Context // ends with endServes
	end    context.CancelFunc
	serves sync.WaitGroup

	mu     sync.Mutex
	queues map[string]*tasks
}

// tasks is one queue.
type tasks struct {
	pending []string
	states  map[string]taskState // absent: neither waiting nor being done
	// more has a value when there may be something to begin.
	more chan struct{}
}

type taskState uint8

const (
	taskPending taskState = iota + 1
	taskRunning
	taskAgain // being done, and asked for once more
)

var _ coordination.Dispatcher = (*Dispatcher)(nil)

// errClosed means that the process is ending.
var errClosed = errors.New("coordination is closed")

// NewDispatcher makes a dispatcher without tasks.
func NewDispatcher() *Dispatcher {
	life, end := context.WithCancel(context.Background())
	return &Dispatcher{life: life, end: end, queues: make(map[string]*tasks)}
}

// Enqueue implements coordination.Dispatcher. A task whose queue nobody serves
// waits until somebody does.
func (d *Dispatcher) Enqueue(_ context.Context, task coordination.Task) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.Err() != nil {
		return errClosed
	}
	q := d.queue(task.Queue)
	switch q.states[task.Key] {
	case 0:
		q.states[task.Key] = taskPending
		q.pending = append(q.pending, task.Key)
		wake(q.more)
	case taskRunning:
		q.states[task.Key] = taskAgain
	}
	return nil
}

// Serve implements coordination.Dispatcher.
func (d *Dispatcher) Serve(ctx context.Context, queue string, atOnce int, handle func(ctx context.Context, key string)) error {
	d.mu.Lock()
	if d.life.Err() != nil {
		d.mu.Unlock()
		return errClosed
	}
	d.serves.Add(1)
	q := d.queue(queue)
	d.mu.Unlock()
	defer d.serves.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()

	var running sync.WaitGroup
	defer running.Wait()
	free := make(chan struct{}, max(1, atOnce))
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		key, ok := d.next(ctx, q)
		if !ok {
			return nil
		}
		running.Go(func() {
			defer func() { <-free }()
			defer d.finish(ctx, q, key)
			handle(ctx, key)
		})
	}
}

// next waits for a task and marks it as being done.
func (d *Dispatcher) next(ctx context.Context, q *tasks) (string, bool) {
	for {
		if key, ok := d.begin(ctx, q); ok {
			return key, true
		}
		select {
		case <-q.more:
		case <-ctx.Done():
			return "", false
		}
	}
}

func (d *Dispatcher) begin(ctx context.Context, q *tasks) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(q.pending) == 0 {
		return "", false
	}
	if ctx.Err() != nil {
		wake(q.more) // for another Serve of the queue
		return "", false
	}
	key := q.pending[0]
	q.pending[0] = ""
	q.pending = q.pending[1:]
	q.states[key] = taskRunning
	if len(q.pending) > 0 {
		wake(q.more)
	}
	return key, true
}

// finish puts a task back that is wanted again or was cut off.
func (d *Dispatcher) finish(ctx context.Context, q *tasks, key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.states[key] != taskAgain && ctx.Err() == nil {
		delete(q.states, key)
		return
	}
	q.states[key] = taskPending
	q.pending = append(q.pending, key)
	wake(q.more)
}

func (d *Dispatcher) queue(name string) *tasks {
	q, ok := d.queues[name]
	if !ok {
		q = &tasks{states: make(map[string]taskState), more: make(chan struct{}, 1)}
		d.queues[name] = q
	}
	return q
}

// endServes ends every Serve and waits for it.
func (d *Dispatcher) endServes() {
	d.mu.Lock() // no Serve begins after this
	d.end()
	d.mu.Unlock()
	d.serves.Wait()
}
