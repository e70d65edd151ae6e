package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// openError says what keeps the database from being opened, and what to do.
func openError(path string, err error) error {
	if path == "" {
		return fmt.Errorf("open database in memory: %w", err)
	}
	return fmt.Errorf("open database %s: %w; %s", path, err, advice(path, err))
}

func advice(path string, err error) string {
	var newer newerError
	switch code := resultCode(err); {
	case errors.As(err, &newer):
		return "upgrade the program or use another directory"
	case code == lib.SQLITE_NOTADB, code == lib.SQLITE_CORRUPT, errors.Is(err, errStructure), errors.Is(err, errTally):
		return "the file is damaged: restore it from a backup, or move it away to start empty"
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("create the directory %s first", filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS),
		code == lib.SQLITE_READONLY, code == lib.SQLITE_CANTOPEN:
		return "make the file and its directory writable or use another directory"
	case code == lib.SQLITE_BUSY:
		return "another process is writing to it: stop that process or use another directory"
	case code == lib.SQLITE_FULL, errors.Is(err, syscall.ENOSPC):
		return "free some space"
	case errors.Is(err, errForeign):
		return "move it away or use another directory"
	}
	return "use another directory"
}

// writeError adds what to do when the disk has kept a transaction from being written. Nothing has changed then.
func writeError(err error) error {
	switch resultCode(err) {
	case lib.SQLITE_FULL:
		return fmt.Errorf("there is no room for it on the disk (%w); free some space and write again", err)
	case lib.SQLITE_IOERR, lib.SQLITE_READONLY:
		return fmt.Errorf("the disk does not take it (%w); free some space or look after the disk and write again", err)
	}
	return err
}

var errStructure = errors.New("its structure is damaged")

// resultCode is SQLite's primary result code in err, or 0.
func resultCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}
