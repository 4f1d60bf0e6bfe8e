package mongo_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/mongo"
)

// crashURI makes the test binary a writer to be killed: the URI, the database
// and the writer's name, between spaces.
const crashURI = "ORGSYNC_TEST_CRASH_MONGO"

// crashTurn is the writers' TurnTime: how long a killed one holds others up.
const crashTurn = 2 * time.Second

// crashScopes are shared by all writers.
var crashScopes = []directory.Scope{tenant("shared"), tenant("also shared")}

// crashWriter writes for ever and prints what was acknowledged.
func crashWriter(config string) {
	parts := strings.Fields(config)
	uri, name, writer := parts[0], parts[1], parts[2]
	ctx := context.Background()
	store, err := mongo.Open(ctx, uri, name, mongo.Options{
		Owner: writer, Logger: slog.New(slog.DiscardHandler), TurnTime: crashTurn, Timeout: crashTurn, PollInterval: 200 * time.Millisecond,
	})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	lines := make(chan string)
	for worker := range 2 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%s-%d-%06d", writer, worker, i)
				record := storage.Record{ID: id, Scope: crashScopes[i%len(crashScopes)], Kind: directory.SingleOrgSync, ReceivedAt: time.Now()}
				if worker == 0 && i%3 == 0 {
					record.Kind = directory.AllOrgSync
					if err := store.Accept(ctx, record, []byte(id)); err == nil {
						lines <- "accepted " + id
					}
					continue
				}
				// Three departments each: half a push would show. A failure is not
				// acknowledged; the push may still come to pass.
				if _, err := store.ApplyAtOnce(ctx, record, nil, planned(newDepartments(id+"/1", id+"/2", id+"/3"))); err == nil {
					lines <- "applied " + id
				}
			}
		}()
	}
	for line := range lines {
		fmt.Println(line)
	}
}

// acknowledged is what writers said before they died.
type acknowledged struct {
	mu                sync.Mutex
	accepted, applied map[string]bool
}

// Writers are killed while others go on: nothing acknowledged is lost, nothing is
// there by half, and the others finish what the dead had begun.
func TestKilledWritersLoseNothingAcknowledged(t *testing.T) {
	t.Parallel()
	name := database(t)
	said := &acknowledged{accepted: make(map[string]bool), applied: make(map[string]bool)}
	var writers sync.WaitGroup
	for i, writer := range []string{"w1", "w2", "w3"} {
		writers.Go(func() { writeUntilKilled(t, name, writer, 5*(i+1), said) })
	}
	writers.Wait()
	require.NotEmpty(t, said.accepted)
	require.NotEmpty(t, said.applied)
	opts := quiet()
	opts.Now = func() time.Time { return time.Now().Add(crashTurn) } // the dead writers' turns have run out
	store := openStore(t, name, opts)
	_, err := store.Sweep(t.Context(), storage.SweepTimes{}) // settles them
	require.NoError(t, err)
	checkAfterCrash(t, store, said)
}

func writeUntilKilled(t *testing.T, name, writer string, lines int, said *acknowledged) {
	program, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), program)
	command.Env = append(os.Environ(), crashURI+"="+server().URI+" "+name+" "+writer)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	scanner := bufio.NewScanner(out)
	for seen := 0; scanner.Scan(); {
		what, id, _ := strings.Cut(scanner.Text(), " ")
		said.mu.Lock()
		switch what {
		case "accepted":
			said.accepted[id] = true
		case "applied":
			said.applied[id] = true
			seen++
		default:
			t.Error(scanner.Text())
		}
		said.mu.Unlock()
		if seen == lines {
			require.NoError(t, command.Process.Kill()) // SIGKILL: no farewell
		}
	}
	require.Error(t, command.Wait())
}

func checkAfterCrash(t *testing.T, store *mongo.Store, said *acknowledged) {
	t.Helper()
	ctx := t.Context()
	journal := make(map[string]storage.Phase)
	for page := (storage.Page{}); ; {
		records, next, err := store.Pushes(ctx, storage.PushFilter{}, page)
		require.NoError(t, err)
		for _, record := range records {
			journal[record.ID] = record.Phase
		}
		if next == "" {
			break
		}
		page.Cursor = next
	}
	for id := range said.applied {
		require.Equal(t, storage.PhaseApplied, journal[id], id)
	}
	open := make(map[string]bool)
	for push, err := range store.Unfinished(ctx) {
		require.NoError(t, err)
		require.Equal(t, push.Record.ID, string(push.Raw))
		open[push.Record.ID] = true
	}
	for id := range said.accepted {
		require.True(t, open[id], "%s was accepted", id)
	}
	// Every push that is there is there with its three departments.
	perPush := make(map[string]int)
	for _, change := range feedOf(t, store) {
		id, _, _ := strings.Cut(change.Key, "/")
		perPush[id]++
	}
	for id := range said.applied {
		require.Equal(t, 3, perPush[id], id)
	}
	for id, n := range perPush {
		require.Equal(t, 3, n, "push %s is there by half", id)
		require.Equal(t, storage.PhaseApplied, journal[id], id)
	}
	total := 0
	for _, scope := range crashScopes {
		total += len(tree(t, store, scope))
	}
	require.Equal(t, 3*len(perPush), total)
}
