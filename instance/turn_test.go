package instance_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/storage"
)

type kept = storage.Instances // has a method of its own name

// queue is a store in which a change of an instance waits for its turn, as it
// does behind another writer.
type queue struct {
	kept
	waits chan struct{} // one for each change that came
	turn  chan struct{} // one for each change that may go on
}

func (q *queue) ChangeInstance(ctx context.Context, dataset directory.Dataset, id, order string, change func(*directory.Instance, bool) (bool, error)) (directory.Instance, error) {
	q.waits <- struct{}{}
	<-q.turn
	return q.kept.ChangeInstance(ctx, dataset, id, order, change)
}

// A change is planned at the time of its turn. A repeat that came first and has
// its turn last must not see what it repeats as yet to come: an expiry said twice
// at once ended the instance twice, and the seller was told twice.
func TestAChangeIsPlannedAtTheTimeOfItsTurn(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusOK, ready)
	b := newBundle(t, s.provisioner(nil))
	b.serve(b.buy("o", "b-1"))
	call := b.call(directory.ExpireInstance)

	q := &queue{kept: b.store, waits: make(chan struct{}), turn: make(chan struct{})}
	slow := instance.New(q, s.provisioner(nil), b.box, instance.Options{Now: b.clock.now, Logger: slog.New(slog.DiscardHandler)})
	came := make(chan error, 1)
	go func() {
		repeat := *call
		_, err := slow.Serve(b.ctx, &repeat)
		came <- err
	}()
	<-q.waits
	b.clock.advance(time.Second)
	b.serve(call)
	ended := b.stored("b-1").ExpireTime
	require.Equal(t, b.clock.now(), ended)
	close(q.turn)
	require.NoError(t, <-came)

	require.Equal(t, ended, b.stored("b-1").ExpireTime, "it ended once")
	b.due()
	types, _ := s.told()
	require.Equal(t, []string{"instance.created", "instance.expired"}, types)
}
