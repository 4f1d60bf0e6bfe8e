package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Bounds of what a data directory's disk should offer.
const (
	littleSpace   = 1 << 30   // bytes; a warning
	noSpace       = 100 << 20 // bytes; a problem
	slowSync      = 50 * time.Millisecond
	verySlowSync  = 500 * time.Millisecond
	syncs         = 5
	bytesPerWrite = 4096
)

// Disk is what is measured of a directory's disk.
type Disk struct {
	Free uint64 // bytes that an ordinary user may still write
	// Sync is how long a small write takes that is on the disk when it returns,
	// the quickest of a few: what the disk can do, whatever else it does now.
	Sync time.Duration
}

// CheckDirectory looks whether the data directory can be written, how much
// space is left and how quick its disk is. measure is MeasureDisk, if nil.
func CheckDirectory(dir string, measure func(dir string) (Disk, error)) Check {
	if measure == nil {
		measure = MeasureDisk
	}
	return Check{Name: "data directory", Run: func(_ context.Context, notes *Notes) {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			above := existing(dir)
			if _, err := measure(above); err != nil {
				notes.Problemf("Make it and give it to the user that runs orgsync, or set dataDir (ORGSYNC_DATA_DIR) to a directory that can be written.", "%s is not there, and %s cannot be written: %s", dir, above, err)
				return
			}
			notes.OKf("%s is not there yet; `orgsync serve` makes it", dir)
			return
		case err != nil:
			notes.Problemf("Correct dataDir (ORGSYNC_DATA_DIR), or let the user that runs orgsync in.", "%s", err)
			return
		case !info.IsDir():
			notes.Problemf("Set dataDir (ORGSYNC_DATA_DIR) to a directory.", "%s is no directory", dir)
			return
		}
		disk, err := measure(dir)
		if err != nil {
			notes.Problemf("Mount it writable, give it to the user that runs orgsync, or set dataDir (ORGSYNC_DATA_DIR) to a directory that can be written.", "%s cannot be written: %s", dir, err)
			return
		}
		disk.judge(dir, notes)
	}}
}

// existing is the nearest directory above that is there.
func existing(dir string) string {
	for {
		above := filepath.Dir(dir)
		if _, err := os.Stat(above); err == nil || above == dir {
			return above
		}
		dir = above
	}
}

func (d Disk) judge(dir string, notes *Notes) {
	const space = "Make room, or have less kept (retention.journal, retention.testData); when the disk is full, every push is answered 000005."
	const quicker = "Use a local SSD; a network file system is neither quick nor safe for the embedded store."
	switch {
	case d.Free < noSpace:
		notes.Problemf(space, "%s has %s left", dir, size(d.Free))
	case d.Free < littleSpace:
		notes.Warnf(space, "%s has %s left", dir, size(d.Free))
	}
	took := d.Sync.Round(100 * time.Microsecond)
	switch {
	case d.Sync > verySlowSync:
		notes.Problemf(quicker, "a write that must be on the disk takes %s, and every push waits for one", took)
	case d.Sync > slowSync:
		notes.Warnf(quicker, "a write that must be on the disk takes %s, and every push waits for one", took)
	}
	if !notes.unwell() {
		notes.OKf("%s can be written, %s left, a write is on the disk in %s", dir, size(d.Free), took)
	}
}

func size(bytes uint64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d GiB", bytes>>30)
}

// MeasureDisk writes a few blocks into a file that it removes.
func MeasureDisk(dir string) (disk Disk, err error) {
	if disk.Free, err = freeSpace(dir); err != nil {
		return disk, fmt.Errorf("free space: %w", err)
	}
	file, err := os.CreateTemp(dir, ".orgsync-doctor-*")
	if err != nil {
		return disk, bare(err)
	}
	defer func() { err = errors.Join(err, bare(file.Close()), bare(os.Remove(file.Name()))) }()
	block := make([]byte, bytesPerWrite)
	for i := range syncs {
		began := time.Now()
		if _, err := file.WriteAt(block, 0); err != nil {
			return disk, bare(err)
		}
		if err := file.Sync(); err != nil {
			return disk, bare(err)
		}
		if took := time.Since(began); i == 0 || took < disk.Sync {
			disk.Sync = took
		}
	}
	return disk, nil
}

// bare is a file's error without the name of a file that nobody knows.
func bare(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s %s: %w", path.Op, filepath.Base(filepath.Dir(path.Path)), path.Err)
	}
	return err
}
