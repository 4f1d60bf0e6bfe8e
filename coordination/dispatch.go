package coordination

import "context"

// Task names work to do: for the fan-out, one tenant's due slots at a target.
type Task struct {
	Queue string // who is to do it: the target's name
	Key   string // what: the scope
}

// Dispatcher hands tasks to whichever replica has room for them. A task is
// in the queue at most once, however often it is asked for, and is not done
// twice at the same time. That holds as long as leases do; who must be sure
// takes a lease of the store too.
type Dispatcher interface {
	// Enqueue asks for a task. Some replica begins it after the call began:
	// asked for while it is being done, it is done once more. A task may be
	// lost with the shared state; whoever still has a use for it asks again.
	Enqueue(ctx context.Context, task Task) error
	// Serve does the tasks of a queue, at most atOnce of them together, until
	// ctx ends, and returns nil when none is under way any more. A task that
	// ctx cut off goes back into the queue. The handler's context also ends
	// when another replica has taken the task over.
	Serve(ctx context.Context, queue string, atOnce int, handle func(ctx context.Context, key string)) error
}
