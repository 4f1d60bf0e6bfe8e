package embedded

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Long writes have a commit of their own, and take turns with short ones, which
// share theirs for a moment only.
func TestWriter_TakesTurnsBetweenLongAndShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.Context(), dir, Options{})
		require.NoError(t, err)
		var order []string // of the writer's goroutine
		s.writer.announce = func() { order = append(order, "commit") }
		// queue has a job wait for the writer, or run if nothing else does.
		queue := func(name string, do func(context.Context, func(context.Context, *tx) error) error, run func()) {
			go func() {
				_ = do(t.Context(), func(_ context.Context, x *tx) error {
					order, x.changed = append(order, name), true
					run()
					return nil
				})
			}()
			synctest.Wait()
		}
		begin := make(chan struct{})
		queue("first", s.writer.do, func() { <-begin })
		for range 3 {
			queue("long", s.writer.doLong, func() {})
		}
		for range 4 {
			queue("short", s.writer.do, func() { time.Sleep(commitTime / 2) })
		}
		time.Sleep(commitTime) // the first one has taken all the time there is
		close(begin)
		time.Sleep(time.Second)
		require.NoError(t, s.Close())
		require.Equal(t, "first commit long commit short short commit long commit short short commit long commit", strings.Join(order, " "))
	})
}
