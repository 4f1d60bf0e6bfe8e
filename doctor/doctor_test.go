package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/doctor"
)

func TestChecksRunSideBySideAndTellInOrder(t *testing.T) {
	t.Parallel()
	second := make(chan struct{})
	findings := doctor.Examine(t.Context(), []doctor.Check{
		{Name: "first", Run: func(ctx context.Context, notes *doctor.Notes) {
			select {
			case <-second: // it runs only if the other does meanwhile
				notes.OKf("heard")
			case <-ctx.Done():
			}
		}},
		{Name: "second", Run: func(_ context.Context, notes *doctor.Notes) {
			notes.Warnf("do this", "odd")
			close(second)
		}},
	}, time.Minute)
	require.Equal(t, []doctor.Finding{
		{Check: "first", Level: doctor.OK, Message: "heard"},
		{Check: "second", Level: doctor.Warning, Message: "odd", Next: "do this"},
	}, findings)
	require.Equal(t, doctor.Warning, doctor.Worst(findings))
	require.Equal(t, doctor.OK, doctor.Worst(nil))
}

// A disk that hangs keeps nobody from the findings of the others.
func TestACheckThatHangsIsLeftBehind(t *testing.T) {
	t.Parallel()
	wakes := make(chan struct{})
	ended := make(chan struct{})
	findings := doctor.Examine(t.Context(), []doctor.Check{
		{Name: "hangs", Run: func(_ context.Context, notes *doctor.Notes) {
			defer close(ended)
			notes.OKf("begun")
			<-wakes
			notes.OKf("too late to be heard")
		}},
		{Name: "obeys", Run: func(ctx context.Context, notes *doctor.Notes) {
			<-ctx.Done()
			notes.Problemf("x", "no answer")
		}},
	}, time.Millisecond)
	close(wakes)
	<-ended
	require.Len(t, findings, 3)
	require.Equal(t, doctor.Problem, findings[1].Level)
	require.Contains(t, findings[1].Message, "did not end within 1ms")
	require.Equal(t, "no answer", findings[2].Message)
}

func TestFaultsOfTheConfigurationAreToldEach(t *testing.T) {
	t.Parallel()
	finds(t, doctor.CheckConfiguration([]error{errors.New("listen: x"), errors.New("log: y")}, ""),
		want{doctor.Problem, "listen: x"}, want{doctor.Problem, "log: y"})
	finds(t, doctor.CheckConfiguration(nil, "two targets"), want{doctor.OK, "two targets"})
}

func TestKeysAreLookedAt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private, open, none := filepath.Join(dir, "private"), filepath.Join(dir, "open"), filepath.Join(dir, "none")
	require.NoError(t, os.WriteFile(private, []byte("x"), 0o600))
	require.NoError(t, os.WriteFile(open, []byte("x"), 0o600))
	require.NoError(t, os.Chmod(open, 0o644))
	required := func(paths ...string) (files []doctor.KeyFile) {
		for _, path := range paths {
			files = append(files, doctor.KeyFile{Path: path, Required: true})
		}
		return files
	}

	finds(t, doctor.CheckKeys(doctor.Keys{Files: append(required(private), doctor.KeyFile{Path: none}), AccessKeys: []string{"a-good-access-key-of-20"}}),
		want{doctor.OK, "well formed"})
	finds(t, doctor.CheckKeys(doctor.Keys{Files: required(open)}), want{doctor.Warning, "may be read by others (mode 0644)"})
	finds(t, doctor.CheckKeys(doctor.Keys{Files: required(private, none), Fresh: true}), want{doctor.Warning, "not there yet: " + none})
	finds(t, doctor.CheckKeys(doctor.Keys{Files: required(none)}), want{doctor.Problem, "missing, and the store is there: " + none})
	finds(t, doctor.CheckKeys(doctor.Keys{Faults: []error{errors.New("encryption-key: want Base64 of 32 bytes")}}), want{doctor.Problem, "32 bytes"})
	for _, key := range []string{`"quoted-key"`, "with space", "钥匙", "line\nbreak"} {
		findings := finds(t, doctor.CheckKeys(doctor.Keys{AccessKeys: []string{"a-good-access-key-of-20", key}}), want{doctor.Warning, "access key 2 holds"})
		keepsSecret(t, findings, key, "a-good-access-key-of-20")
	}
	finds(t, doctor.CheckKeys(doctor.Keys{AccessKeys: []string{"a-good-access-key-of-20", "short-access-key"}}), want{doctor.Warning, "access key 2 has 16 characters"})
}

func TestTheDataDirectoryIsMeasured(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := func(free uint64, sync time.Duration, err error) func(string) (doctor.Disk, error) {
		return func(string) (doctor.Disk, error) { return doctor.Disk{Free: free, Sync: sync}, err }
	}
	finds(t, doctor.CheckDirectory(dir, disk(5<<30, time.Millisecond, nil)), want{doctor.OK, "5 GiB left, a write is on the disk in 1ms"})
	finds(t, doctor.CheckDirectory(dir, disk(500<<20, time.Millisecond, nil)), want{doctor.Warning, "500 MiB left"})
	finds(t, doctor.CheckDirectory(dir, disk(20<<20, time.Millisecond, nil)), want{doctor.Problem, "20 MiB left"})
	finds(t, doctor.CheckDirectory(dir, disk(5<<30, 80*time.Millisecond, nil)), want{doctor.Warning, "takes 80ms"})
	finds(t, doctor.CheckDirectory(dir, disk(20<<20, time.Second, nil)), want{doctor.Problem, "20 MiB left"}, want{doctor.Problem, "takes 1s"})
	finds(t, doctor.CheckDirectory(dir, disk(0, 0, os.ErrPermission)), want{doctor.Problem, dir + " cannot be written: permission denied"})
	finds(t, doctor.CheckDirectory(filepath.Join(dir, "none"), nil), want{doctor.OK, "not there yet"})
	finds(t, doctor.CheckDirectory(filepath.Join(dir, "none", "below"), disk(0, 0, os.ErrPermission)), want{doctor.Problem, "is not there, and " + dir + " cannot be written: permission denied"})
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	finds(t, doctor.CheckDirectory(file, nil), want{doctor.Problem, "is no directory"})
	finds(t, doctor.CheckDirectory(filepath.Join(file, "below"), nil), want{doctor.Problem, "not a directory"})
}

// What is measured is real, and leaves nothing behind.
func TestADiskIsMeasuredWithoutATrace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk, err := doctor.MeasureDisk(dir)
	require.NoError(t, err)
	require.Positive(t, disk.Free)
	require.Positive(t, disk.Sync)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	// Nobody writes there, not even root.
	_, err = doctor.MeasureDisk("/proc/self")
	require.Error(t, err)
}
