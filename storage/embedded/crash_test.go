package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

// crashDir makes the test binary a writer to be killed.
const crashDir = "ORGSYNC_TEST_CRASH_DIR"

// crashWriter writes for ever and prints what was acknowledged.
func crashWriter(dir string) {
	ctx := context.Background()
	store, err := embedded.Open(ctx, dir, embedded.Options{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	lines := make(chan string)
	for worker := range 4 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%06d", worker, i)
				record := storage.Record{ID: id, Scope: benchScope, Kind: directory.SingleOrgSync, ReceivedAt: time.Now()}
				if worker == 0 {
					record.Kind = directory.AllOrgSync
					if err = store.Accept(ctx, record, []byte(id)); err == nil {
						lines <- "accepted " + id
					}
					continue
				}
				// Three departments each: half a push would show.
				_, err := store.ApplyAtOnce(ctx, record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
					return fullPlan(3, id), nil
				})
				if err == nil {
					lines <- "applied " + id
				}
			}
		}()
	}
	for line := range lines {
		fmt.Println(line)
	}
}

func TestKilledWriterLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	accepted, applied := make(map[string]bool), make(map[string]bool)
	for range 2 {
		writeUntilKilled(t, dir, accepted, applied)
		checkAfterCrash(t, dir, accepted, applied)
		if t.Failed() {
			return
		}
		dir = t.TempDir()
		clear(accepted)
		clear(applied)
	}
}

func writeUntilKilled(t *testing.T, dir string, accepted, applied map[string]bool) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), program)
	command.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	lines := bufio.NewScanner(out)
	for seen := 0; lines.Scan(); seen++ {
		what, id, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "accepted":
			accepted[id] = true
		case "applied":
			applied[id] = true
		default:
			require.Fail(t, lines.Text())
		}
		if seen == 300 {
			require.NoError(t, command.Process.Kill()) // SIGKILL: no farewell
		}
	}
	require.Error(t, command.Wait())
	require.NotEmpty(t, accepted)
	require.NotEmpty(t, applied)
}

func checkAfterCrash(t *testing.T, dir string, accepted, applied map[string]bool) {
	t.Helper()
	ctx := t.Context()
	store, err := embedded.Open(ctx, dir, embedded.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	for id := range applied {
		record, _, err := store.Push(ctx, id)
		require.NoError(t, err)
		require.Equal(t, storage.PhaseApplied, record.Phase)
	}
	open := make(map[string]bool)
	for push, err := range store.Unfinished(ctx) {
		require.NoError(t, err)
		require.Equal(t, push.Record.ID, string(push.Raw))
		open[push.Record.ID] = true
	}
	for id := range accepted {
		require.True(t, open[id], "%s was accepted", id)
	}
	// Every push that is there is there with its three departments.
	perPush := make(map[string]int)
	total, after := 0, storage.Place{}
	for {
		changes, next, err := store.Changes(ctx, after, 1000)
		require.NoError(t, err)
		if len(changes) == 0 {
			break
		}
		for _, change := range changes {
			id, _, _ := strings.Cut(change.Key, "/")
			perPush[id]++
			total++
			require.Greater(t, change.Seq, after.Seq)
			after.Seq = change.Seq
		}
		require.Equal(t, after.Seq, next.Seq)
		after = next
	}
	for id := range applied {
		require.Equal(t, 3, perPush[id])
	}
	for id, n := range perPush {
		require.Equal(t, 3, n, "push %s is there by half", id)
		_, _, err := store.Push(ctx, id)
		require.NoError(t, err)
	}
	state, err := store.State(ctx, benchScope)
	require.NoError(t, err)
	require.Equal(t, total, state.Departments)
}
