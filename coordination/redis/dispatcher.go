package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	goredis "github.com/redis/go-redis/v9"

	"github.com/openkoo/connector/coordination"
)

const (
	// taskType is the only type of task.
	taskType = "deliver"
	// taskTimeout is for asynq, which wants one: a handler ends by itself.
	taskTimeout = 24 * time.Hour
	// taskRetries and taskRetryDelay are for tasks that could not be begun
	// because Redis went away, or whose replica died.
	taskRetries    = 1000
	taskRetryDelay = time.Second
	// shutdownTimeout is how long handlers have to come to their end.
	shutdownTimeout = 15 * time.Second
	// awayPause is how long asynq's loops rest after a failure; they would try
	// again at once.
	awayPause = 200 * time.Millisecond
)

// dispatcher queues tasks with asynq: a queue for each target, so that one
// target's tasks never stand in front of another's.
//
// asynq brings a task to some replica, and once more when that one dies. That
// a task waits only once, is not done twice at a time, and is done once more
// when asked for while being done, is kept beside it in a record of the task.
// The record's generation is the queued task's id: each doing raises it, so
// asking for a task that waits is refused as a duplicate, asking for one that
// has been begun is not.
type dispatcher struct {
	*client
	queues *goredis.Client // asynq's own
	asynq  *asynq.Client

	mu     sync.Mutex // Serve against Close
	serves sync.WaitGroup
}

func newDispatcher(c *client, connection *goredis.Options) *dispatcher {
	queues := goredis.NewClient(connection)
	queues.AddHook(restOnFailure{c.life})
	return &dispatcher{client: c, queues: queues, asynq: asynq.NewClientFromRedisClient(queues)}
}

// Enqueue implements coordination.Dispatcher.
func (d *dispatcher) Enqueue(ctx context.Context, task coordination.Task) error {
	list, err := d.evalList(ctx, taskEnqueue, 1, d.keys(task))
	if err != nil || list[0] == int64(0) {
		return err
	}
	if len(list) < 2 {
		return taskEnqueue.odd(list)
	}
	id := fmt.Sprintf("%s@%s", task.Key, list[1])
	return d.bounded(ctx, "enqueue", func(ctx context.Context) error {
		_, err := d.asynq.EnqueueContext(ctx, asynq.NewTask(taskType, []byte(task.Key)), asynq.TaskID(id),
			asynq.Queue(d.queueName(task.Queue)), asynq.MaxRetry(taskRetries), asynq.Timeout(taskTimeout))
		if errors.Is(err, asynq.ErrTaskIDConflict) {
			return nil
		}
		return err
	})
}

// Serve implements coordination.Dispatcher.
func (d *dispatcher) Serve(ctx context.Context, queue string, atOnce int, handle func(ctx context.Context, key string)) error {
	d.mu.Lock()
	if d.life.Err() != nil {
		d.mu.Unlock()
		return fmt.Errorf("serve %s: %w", queue, context.Canceled)
	}
	d.serves.Add(1)
	d.mu.Unlock()
	defer d.serves.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()

	w := &worker{dispatcher: d, ctx: ctx, queue: queue, handle: handle, free: make(chan struct{}, max(1, atOnce))}
	server := asynq.NewServerFromRedisClient(d.queues, asynq.Config{
		Concurrency: cap(w.free), Queues: map[string]int{d.queueName(queue): 1},
		TaskCheckInterval: d.options.TaskPoll, DelayedTaskCheckInterval: taskRetryDelay,
		RetryDelayFunc:  retryDelay,
		ShutdownTimeout: shutdownTimeout,
		Logger:          asynqLogger{d.options.Logger.With("queue", queue)}, LogLevel: asynq.WarnLevel,
	})
	if err := server.Start(asynq.HandlerFunc(w.process)); err != nil {
		return fmt.Errorf("serve %s: %w", queue, err)
	}
	<-ctx.Done()
	server.Shutdown()
	w.running.Wait()
	return nil
}

// retryDelay is short for what Redis did, and long for what a handler did.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if asynq.IsPanicError(err) {
		return time.Minute
	}
	return taskRetryDelay
}

func (d *dispatcher) queueName(queue string) string { return d.options.Prefix + ":" + queue }

func (d *dispatcher) keys(task coordination.Task) []string {
	return []string{d.key("task", task.Queue+" "+task.Key)}
}

func (d *dispatcher) close() error { return d.queues.Close() }

// worker does the tasks of one Serve.
type worker struct {
	*dispatcher
	ctx     context.Context
	queue   string
	handle  func(ctx context.Context, key string)
	free    chan struct{}
	running sync.WaitGroup
}

// process is asynq's handler. It does not heed asynq's context: when Redis is
// away for longer than asynq's lease the work goes on, and whoever else takes
// it up meanwhile finds it leased in the store.
func (w *worker) process(_ context.Context, queued *asynq.Task) error {
	w.running.Add(1)
	defer w.running.Done()
	w.free <- struct{}{}
	defer func() { <-w.free }()
	task := coordination.Task{Queue: w.queue, Key: string(queued.Payload())}
	runner := w.holder()
	begun, err := w.evalInt(w.ctx, taskBegin, w.keys(task), runner, micros(w.options.Lease))
	if err != nil {
		return err // asynq brings it again
	}
	if begun == 0 {
		return nil // whoever is at it does it once more
	}
	for w.once(task, runner) {
	}
	return nil
}

// once does a task and reports whether it is to be done once more.
func (w *worker) once(task coordination.Task, runner string) (again bool) {
	ctx, cancel := context.WithCancel(w.ctx)
	stop := w.hold(func(ctx context.Context) (bool, error) {
		held, err := w.evalInt(ctx, taskRenew, w.keys(task), runner, micros(w.options.Lease))
		return held == 1, err
	}, false, cancel)
	finished := false
	defer func() { // also when the handler panics, which asynq catches
		stop()
		taken := ctx.Err() != nil && w.ctx.Err() == nil
		cancel()
		again = !taken && w.finish(task, runner, finished)
	}()
	w.handle(ctx, task.Key)
	finished = true
	return false
}

// finish gives a task up, or keeps it to do it once more. A worker that leaves
// puts a task that was cut off, or is wanted again, back for the others.
func (w *worker) finish(task coordination.Task, runner string, finished bool) (again bool) {
	ctx := context.WithoutCancel(w.ctx)
	cutOff := w.ctx.Err() != nil
	leaving := cutOff || !finished
	verdict, err := w.evalInt(ctx, taskFinish, w.keys(task), runner, leaving)
	if err == nil && leaving && (cutOff || verdict == 2) {
		err = w.Enqueue(ctx, task)
	}
	if err != nil {
		w.options.Logger.Warn("a task could not be given up; it is free when its lease ends",
			"queue", task.Queue, "key", task.Key, "lease", w.options.Lease, "error", err)
		return false
	}
	return verdict == 2 && !leaving
}

// restOnFailure makes a caller that would try again at once wait a little.
type restOnFailure struct{ life context.Context }

// DialHook implements goredis.Hook.
func (restOnFailure) DialHook(next goredis.DialHook) goredis.DialHook { return next }

// ProcessPipelineHook implements goredis.Hook.
func (restOnFailure) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}

// ProcessHook implements goredis.Hook.
func (r restOnFailure) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil || errors.Is(err, goredis.Nil) || goredis.HasErrorPrefix(err, "NOSCRIPT") {
			return err
		}
		timer := time.NewTimer(awayPause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-r.life.Done():
		}
		return err
	}
}

// asynqLogger lets asynq write to the connector's log. What ends a process
// there is an error here.
type asynqLogger struct{ *slog.Logger }

func (l asynqLogger) Debug(args ...any) { l.Logger.Debug(fmt.Sprint(args...)) }
func (l asynqLogger) Info(args ...any)  { l.Logger.Info(fmt.Sprint(args...)) }
func (l asynqLogger) Warn(args ...any)  { l.Logger.Warn(fmt.Sprint(args...)) }
func (l asynqLogger) Error(args ...any) { l.Logger.Error(fmt.Sprint(args...)) }
func (l asynqLogger) Fatal(args ...any) { l.Logger.Error(fmt.Sprint(args...)) }
