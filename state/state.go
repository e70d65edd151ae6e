// Package state owns everything the program keeps on disk: the data directory
// and, in its subpackages, the two kinds of store in it. One process at a time
// uses a directory.
package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockName is the file whose lock means that the directory is in use. It is
// never removed: a process that waits for it must not hold the lock of a file
// that nobody else can find.
const lockName = "appliance.lock"

// Dir is a data directory, held by this process until Close.
type Dir struct {
	path string
	lock *os.File
}

// OpenDir takes the data directory dir, creating it for this user alone if it
// does not exist. It fails at once if another process has it; the lock goes with
// the process that holds it, however that ends.
func OpenDir(dir string) (*Dir, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", dir, err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, openError(path, err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, openError(path, err)
	}
	if err := take(lock); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = inUse(path, lock)
		} else {
			err = openError(path, err)
		}
		_ = lock.Close() // the error to report is the other one
		return nil, err
	}
	return &Dir{path: path, lock: lock}, nil
}

// take locks the file and writes this process's id into it.
func take(lock *os.File) error {
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// inUse names the process in the lock file; for a moment after locking it is not
// there yet.
func inUse(path string, lock io.ReaderAt) error {
	who := "another process"
	text := make([]byte, 20)
	n, _ := lock.ReadAt(text, 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n]))); err == nil {
		who = fmt.Sprintf("process %d", pid)
	}
	return fmt.Errorf("data directory %s is in use by %s; stop it or choose another with --data-dir", path, who)
}

func openError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("data directory %s is not writable (%w); make it writable or choose another with --data-dir", path, err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("data directory %s is not a directory (%w); choose another with --data-dir", path, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("data directory %s has no space left (%w); free some or choose another with --data-dir", path, err)
	}
	return fmt.Errorf("open data directory %s: %w; choose another with --data-dir", path, err)
}

// Path returns the path of the file name in the directory.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Close gives the directory back. The stores in it must be closed before.
//
// It unlocks, and does not only close: a process that is just being started holds
// a copy of the open file for a moment.
func (d *Dir) Close() error {
	err := unix.Flock(int(d.lock.Fd()), unix.LOCK_UN)
	if err := errors.Join(err, d.lock.Close()); err != nil {
		return fmt.Errorf("release data directory %s: %w", d.path, err)
	}
	return nil
}
