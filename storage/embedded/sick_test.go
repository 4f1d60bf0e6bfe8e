package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

// applyDepartments applies a push of n departments.
func applyDepartments(ctx context.Context, store *embedded.Store, scope directory.Scope, id string, n int) error {
	record := storage.Record{ID: id, Scope: scope, Kind: directory.SingleOrgSync, ReceivedAt: time.Now()}
	_, err := store.ApplyAtOnce(ctx, record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
		return fullPlan(n, id), nil
	})
	return err
}

// Another program that has locked the database makes all writes wait once, not
// one after the other: each push is answered in bounded time.
func TestAnotherProgramsLockIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const patience, writers = time.Second, 40
	store, err := embedded.Open(t.Context(), dir, embedded.Options{}.WithPatience(patience))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	other := openRaw(t, filepath.Join(dir, embedded.FileName))
	other.SetMaxOpenConns(1)
	_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)

	began := time.Now()
	errs := make([]error, writers)
	var running sync.WaitGroup
	for i := range writers {
		running.Go(func() { errs[i] = applyDepartments(t.Context(), store, benchScope, fmt.Sprint(i), 1) })
	}
	running.Wait()
	require.Less(t, time.Since(began), writers*patience/2)
	for _, err := range errs {
		require.ErrorContains(t, err, "another program has locked the database")
	}
	require.ErrorContains(t, store.Ping(t.Context()), "another program has locked the database")

	_, err = other.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, other.Close())
	require.NoError(t, store.Ping(t.Context()))
	require.NoError(t, applyDepartments(t.Context(), store, benchScope, "after", 1))
}

// fullDisk makes the test binary a store on a disk without room.
const fullDisk = "ORGSYNC_TEST_FULL_DISK"

// onFullDisk opens a store and takes the room from it: no file may grow. What
// it prints is wrong.
func onFullDisk(dir string) {
	ctx := context.Background()
	store, err := embedded.Open(ctx, dir, embedded.Options{})
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	var room syscall.Rlimit
	err = errors.Join(store.Ping(ctx), syscall.Getrlimit(syscall.RLIMIT_FSIZE, &room),
		syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 0, Max: room.Max}))
	if err != nil {
		fmt.Println("take the room:", err)
	}
	if err := store.Ping(ctx); err == nil {
		fmt.Println("ping: no error without room")
	}
	if err := errors.Join(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &room), store.Ping(ctx), store.Close()); err != nil {
		fmt.Println("with room again:", err)
	}
}

// A store that can be read and no longer be written is not ready.
func TestPingFailsWhereNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), program)
	command.Env = append(os.Environ(), fullDisk+"="+t.TempDir())
	said, err := command.CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(said))
}

// The log of a long push does not stay on the disk for ever.
func TestTheLogIsCutDownAfterALongPush(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, embedded.FileName+"-wal"))
		require.NoError(t, err)
		return info.Size()
	}
	record := storage.Record{ID: "long", Scope: benchScope, Kind: directory.AllOrgSync, ReceivedAt: time.Now()}
	_, err = store.ApplyAtOnce(t.Context(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
		plan := fullPlan(3000, "long")
		for i := range plan.Departments {
			plan.Departments[i].Name = strings.Repeat("n", 8<<10)
		}
		return plan, nil
	})
	require.NoError(t, err)
	require.Greater(t, size(), int64(embedded.MaxIdleLog))
	require.NoError(t, applyDepartments(t.Context(), store, benchScope, "short", 1))
	require.LessOrEqual(t, size(), int64(embedded.MaxIdleLog))
}

// What a long push is planned from stays as it is until it is applied: debugging
// data that is due then expires at a later sweep.
func TestASweepLeavesAScopeThatIsBeingPlanned(t *testing.T) {
	t.Parallel()
	now := time.Now()
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{Now: func() time.Time { return now }})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	scope := directory.Scope{Dataset: directory.Test, TenantID: "t"}
	require.NoError(t, applyDepartments(t.Context(), store, scope, "old", 3))
	now = now.Add(time.Hour)
	due := storage.SweepTimes{TestData: now}

	record := storage.Record{ID: "full", Scope: scope, Kind: directory.AllOrgSync, ReceivedAt: now}
	require.NoError(t, store.Accept(t.Context(), record, nil))
	_, err = store.ApplyAccepted(t.Context(), record.ID, func(context.Context, storage.View) (*directory.Plan, error) {
		swept, err := store.Sweep(t.Context(), due)
		require.NoError(t, err)
		require.Zero(t, swept)
		// A repeat: the departments are the list's, as they were.
		return &directory.Plan{Result: directory.ResultUnchanged, FullTime: 1, FullDigest: []byte("digest")}, nil
	})
	require.NoError(t, err)
	state, err := store.State(t.Context(), scope)
	require.NoError(t, err)
	require.Equal(t, 3, state.Departments)
	require.NotEmpty(t, state.FullDigest)

	swept, err := store.Sweep(t.Context(), due)
	require.NoError(t, err)
	require.Equal(t, storage.Swept{TestData: 3}, swept)
	state, err = store.State(t.Context(), scope)
	require.NoError(t, err)
	require.Zero(t, state.Departments)
	require.Empty(t, state.FullDigest, "the same list is planned anew")
}

// A page may still fit where no push does: the store is not ready from the first
// push that found no room until there is some again.
func TestPing_FailsOnceAPushFoundNoRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{MaxPages: 200})
	require.NoError(t, err)
	for i := 0; err == nil; i++ {
		require.NoError(t, store.Ping(t.Context()))
		err = applyDepartments(t.Context(), store, benchScope, fmt.Sprint(i), 500)
	}
	require.ErrorContains(t, err, "make room on the disk")
	for range 2 {
		require.ErrorContains(t, store.Ping(t.Context()), "make room on the disk")
	}
	require.NoError(t, store.Close())

	store, err = embedded.Open(t.Context(), dir, embedded.Options{MaxPages: 400})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	record := storage.Record{ID: "large", Scope: benchScope, Kind: directory.SingleOrgSync, ReceivedAt: time.Now()}
	_, err = store.ApplyAtOnce(t.Context(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
		return fullPlan(20_000, "large"), nil
	})
	require.ErrorContains(t, err, "make room on the disk")
	require.NoError(t, store.Ping(t.Context()), "there is room for another push")
	pushes, _, err := store.Pushes(t.Context(), storage.PushFilter{}, storage.Page{})
	require.NoError(t, err)
	for _, push := range pushes {
		require.Equal(t, benchScope, push.Scope)
	}
	require.NoError(t, applyDepartments(t.Context(), store, benchScope, "after", 1))
}

// Whatever else reads takes no connection from the API.
func TestReader_HasConnectionsOfItsOwn(t *testing.T) {
	t.Parallel()
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.NoError(t, applyDepartments(t.Context(), store, benchScope, "p", 1))
	// Previews of as many tenants as there are connections, or more, that end when
	// the API was answered.
	answered := make(chan struct{})
	reading := make(chan struct{}, 20)
	var previews sync.WaitGroup
	for range cap(reading) {
		previews.Go(func() {
			_, err := store.Preview(t.Context(), benchScope, func(context.Context, storage.View) (*directory.Plan, error) {
				reading <- struct{}{}
				<-answered
				return &directory.Plan{}, nil
			})
			assert.NoError(t, err)
		})
	}
	for range 4 {
		<-reading
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = store.CountsOf(ctx, []string{"t"}, []directory.Scope{benchScope})
	require.NoError(t, err)
	_, _, err = store.Departments(ctx, storage.EntityFilter{Dataset: benchScope.Dataset}, storage.Page{})
	require.NoError(t, err)
	_, _, _, err = store.PushPage(ctx, "p", storage.Page{})
	require.NoError(t, err)
	close(answered)
	previews.Wait()
}
