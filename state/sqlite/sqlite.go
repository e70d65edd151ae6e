// Package sqlite keeps tables in one SQLite file, for one process.
//
// Writes go through one connection, one transaction after the other; reads have
// a few connections of their own and see the last commit without waiting for
// writers. A write is durable when Update returns.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// readers is how many transactions can read at once.
const readers = 4

// Options adjusts a DB. The zero value is good for production.
type Options struct {
	// Clock is what a transaction's Now is read from; nil is the real clock.
	Clock clockwork.Clock
}

// DB is one database. Its methods are safe for concurrent use.
type DB struct {
	path  string
	clock clockwork.Clock
	write *sql.DB
	read  *sql.DB // the same as write when the database is in memory
}

// Tx is one transaction. It belongs to the function it was given to, which must
// neither commit nor roll it back, nor keep it.
type Tx struct {
	*sql.Tx
	// Now is the moment the transaction began, in UTC. Everything it writes
	// carries this one time.
	Now time.Time
}

// Open opens the database in the file path, creating it if there is none; an
// empty path keeps it in memory until Close. It applies the migrations that the
// database does not have yet: the files NNNN_name.sql at the root of migrations,
// numbered from 0001 without gaps. A file that is damaged, not writable, not
// ours or from a newer program is refused with an error that says what to do.
func Open(path string, migrations fs.FS, o Options) (*DB, error) {
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	db := &DB{path: path, clock: o.Clock}
	if err := db.open(migrations); err != nil {
		return nil, errors.Join(openError(path, err), db.Close())
	}
	return db, nil
}

func (db *DB) open(migrations fs.FS) error {
	steps, err := readMigrations(migrations)
	if err != nil {
		return err
	}
	if db.path != "" {
		if err := touch(db.path); err != nil {
			return err
		}
		if err := checkLog(db.path); err != nil {
			return err
		}
	}
	if err := db.connect(); err != nil {
		return err
	}
	if err := db.check(context.Background()); err != nil {
		return err
	}
	return db.migrate(context.Background(), steps)
}

// check has SQLite look at the file's structure and at every index.
func (db *DB) check(ctx context.Context) error {
	return db.View(ctx, func(tx *Tx) error {
		var said string
		if err := tx.QueryRow("PRAGMA integrity_check(1)").Scan(&said); err != nil {
			return err
		}
		if said != "ok" {
			return fmt.Errorf("%w: %s", errStructure, strings.Join(strings.Fields(said), " "))
		}
		return nil
	})
}

// touch creates the file for this user alone; SQLite gives the files beside it
// the same mode.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 && info.Size() < smallest {
		err = fmt.Errorf("%w: it has only %d bytes", errStructure, info.Size())
	}
	return errors.Join(err, f.Close())
}

// smallest is the size of SQLite's smallest page: what is shorter it takes for a database without anything in it.
const smallest = 512

func (db *DB) connect() (err error) {
	if db.write, err = sql.Open("sqlite", db.source("immediate", "query_only(0)")); err != nil {
		return err
	}
	db.write.SetMaxOpenConns(1)
	if db.path == "" {
		// The database lives in its one connection.
		db.read = db.write
		return nil
	}
	if db.read, err = sql.Open("sqlite", db.source("deferred", "query_only(1)")); err != nil {
		return err
	}
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers)
	return nil
}

// source is the driver's name for the database, with what every connection sets
// first. The lock of the data directory keeps other writers away; busy_timeout
// is for people with a shell.
func (db *DB) source(lock, access string) string {
	q := url.Values{
		"_txlock": {lock},
		"_pragma": {"busy_timeout(5000)", "foreign_keys(1)", "synchronous(FULL)", "fullfsync(1)", "cell_size_check(1)", "recursive_triggers(1)", access},
	}
	if db.path == "" {
		return "file::memory:?" + q.Encode()
	}
	q.Add("_pragma", "journal_mode(WAL)")
	path, err := filepath.Abs(db.path)
	if err != nil {
		path = db.path
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// Update runs fn in a transaction and commits it, unless fn returns an error or
// ctx ends: then nothing has changed. Updates run one after the other; fn must
// not start another transaction.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin update: %w", writeError(err))
	}
	defer tx.Rollback() // does nothing after a commit
	if err := fn(&Tx{Tx: tx, Now: db.clock.Now().UTC()}); err != nil {
		return writeError(err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit update: %w", writeError(err))
	}
	return nil
}

// View runs fn in a transaction that can only read and sees one state of the
// database throughout. fn must not start another transaction.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	conn, err := db.read.Conn(ctx)
	if err != nil {
		return fmt.Errorf("begin view: %w", err)
	}
	defer conn.Close()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin view: %w", err)
	}
	if db.read == db.write {
		defer writable(ctx, conn) // after the rollback
		if err := readOnly(tx); err != nil {
			return errors.Join(fmt.Errorf("begin view: %w", err), tx.Rollback())
		}
	}
	defer tx.Rollback()
	return fn(&Tx{Tx: tx, Now: db.clock.Now().UTC()})
}

// readOnly makes the connection that a database in memory shares refuse writes,
// so that a View which writes fails there as it does on disk.
func readOnly(tx *sql.Tx) error {
	_, err := tx.Exec("PRAGMA query_only = 1")
	return err
}

// writable takes readOnly back, even if the caller has given up by now. Setting
// a flag in memory does not fail.
func writable(ctx context.Context, conn *sql.Conn) {
	_, _ = conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA query_only = 0")
}

// CopyTo writes the database, as the last Update has left it, into a new file of this user's alone. Updates wait
// meanwhile.
func (db *DB) CopyTo(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // SQLite takes an empty file
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	if _, err := db.write.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return fmt.Errorf("copy database: %w", writeError(err))
	}
	return nil
}

// Close waits for the transactions in progress and closes the database.
func (db *DB) Close() error {
	var errs []error
	if db.read != nil && db.read != db.write {
		errs = append(errs, db.read.Close())
	}
	if db.write != nil { // last, because it tidies up the log
		errs = append(errs, db.write.Close())
	}
	return errors.Join(errs...)
}
