package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/alb-appliance/appliance/state/sqlite"
	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func files(texts ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i, text := range texts {
		fsys[fmt.Sprintf("%04d_step.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

const (
	zones   = `CREATE TABLE zone (id TEXT PRIMARY KEY); CREATE TABLE vswitch (id TEXT PRIMARY KEY, zone TEXT NOT NULL REFERENCES zone(id));`
	columns = `ALTER TABLE zone ADD COLUMN name TEXT NOT NULL DEFAULT '';`
)

// open opens a database for the length of the test.
func open(t *testing.T, path string, o sqlite.Options, texts ...string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(path, files(texts...), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// everywhere runs a test on a database in memory and on one in a file.
func everywhere(t *testing.T, test func(*testing.T, *sqlite.DB)) {
	t.Parallel()
	for name, path := range map[string]string{"memory": "", "file": filepath.Join(t.TempDir(), "a b?#%.db")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t, path, sqlite.Options{}, zones, columns))
		})
	}
}

func insert(t *testing.T, db *sqlite.DB, id string) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("INSERT INTO zone (id) VALUES (?)", id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, db *sqlite.DB) (n int) {
	t.Helper()
	err := db.View(t.Context(), func(tx *sqlite.Tx) error {
		return tx.QueryRow("SELECT count(*) FROM zone").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUpdateCommits(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sqlite.DB) {
		insert(t, db, "a")
		if got := count(t, db); got != 1 {
			t.Errorf("%d rows, want 1", got)
		}
	})
}

func TestUpdateRollsBack(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sqlite.DB) {
		refused := errors.New("refused")
		write := func(tx *sqlite.Tx) error {
			_, err := tx.Exec("INSERT INTO zone (id) VALUES ('x')")
			return err
		}
		err := db.Update(t.Context(), func(tx *sqlite.Tx) error { return errors.Join(write(tx), refused) })
		if !errors.Is(err, refused) {
			t.Errorf("error is %v, want the function's own", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = db.Update(t.Context(), func(tx *sqlite.Tx) error {
				if err := write(tx); err != nil {
					return err
				}
				panic("half way")
			})
		}()
		ctx, cancel := context.WithCancel(t.Context())
		err = db.Update(ctx, func(tx *sqlite.Tx) error {
			defer cancel()
			return write(tx)
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v, want canceled", err)
		}
		if got := count(t, db); got != 0 {
			t.Errorf("%d rows, want none", got)
		}
		insert(t, db, "x") // the connection is still good
	})
}

func TestViewCannotWrite(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sqlite.DB) {
		err := db.View(t.Context(), func(tx *sqlite.Tx) error {
			_, err := tx.Exec("INSERT INTO zone (id) VALUES ('x')")
			return err
		})
		if err == nil {
			t.Error("a view wrote")
		}
		ctx, cancel := context.WithCancel(t.Context())
		_ = db.View(ctx, func(*sqlite.Tx) error {
			cancel()
			return nil
		})
		insert(t, db, "x")
	})
}

func TestForeignKeysHold(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sqlite.DB) {
		err := db.Update(t.Context(), func(tx *sqlite.Tx) error {
			_, err := tx.Exec("INSERT INTO vswitch (id, zone) VALUES ('v', 'none')")
			return err
		})
		if err == nil {
			t.Error("a reference to nothing was accepted")
		}
	})
}

func TestUpdatesRunOneAfterTheOther(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sqlite.DB) {
		insert(t, db, "0")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					err := db.Update(t.Context(), func(tx *sqlite.Tx) error {
						var n int
						if err := tx.QueryRow("SELECT max(CAST(id AS INTEGER)) FROM zone").Scan(&n); err != nil {
							return err
						}
						_, err := tx.Exec("INSERT INTO zone (id) VALUES (?)", fmt.Sprint(n+1))
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
			wg.Go(func() {
				for range 10 {
					count(t, db)
				}
			})
		}
		wg.Wait()
		if got := count(t, db); got != 81 {
			t.Errorf("%d rows, want 81", got)
		}
	})
}

func TestViewSeesOneState(t *testing.T) {
	t.Parallel()
	db := open(t, filepath.Join(t.TempDir(), "x.db"), sqlite.Options{}, zones)
	err := db.View(t.Context(), func(tx *sqlite.Tx) error {
		var before, after int
		if err := tx.QueryRow("SELECT count(*) FROM zone").Scan(&before); err != nil {
			return err
		}
		insert(t, db, "meanwhile") // does not wait for the reader
		if err := tx.QueryRow("SELECT count(*) FROM zone").Scan(&after); err != nil {
			return err
		}
		if before != after {
			t.Errorf("the view saw %d rows, then %d", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := count(t, db); got != 1 {
		t.Errorf("%d rows, want 1", got)
	}
}

func TestNowIsTheClocksAndFrozen(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	clock := clockwork.NewFakeClockAt(start)
	db := open(t, "", sqlite.Options{Clock: clock}, zones)
	check := func(tx *sqlite.Tx) error {
		now := tx.Now
		clock.Advance(time.Hour)
		if tx.Now != now {
			t.Error("Now moved")
		}
		if now.Location() != time.UTC {
			t.Errorf("Now is in %s, want UTC", now.Location())
		}
		return nil
	}
	for i, run := range []func(context.Context, func(*sqlite.Tx) error) error{db.Update, db.View} {
		want := clock.Now()
		err := run(t.Context(), func(tx *sqlite.Tx) error {
			if !tx.Now.Equal(want) {
				t.Errorf("run %d: Now is %s, want %s", i, tx.Now, want)
			}
			return check(tx)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPragmas(t *testing.T) {
	t.Parallel()
	db := open(t, filepath.Join(t.TempDir(), "x.db"), sqlite.Options{}, zones)
	for name, run := range map[string]func(context.Context, func(*sqlite.Tx) error) error{"update": db.Update, "view": db.View} {
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
			var got string
			err := run(t.Context(), func(tx *sqlite.Tx) error { return tx.QueryRow("PRAGMA " + pragma).Scan(&got) })
			if err != nil || got != want {
				t.Errorf("%s: %s is %q (%v), want %q", name, pragma, got, err, want)
			}
		}
	}
}

func TestMigrationsApplyOnceAndInOrder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	for i, steps := range [][]string{{zones}, {zones}, {zones, columns}} {
		db, err := sqlite.Open(path, files(steps...), sqlite.Options{})
		if err != nil {
			t.Fatalf("open %d: %v", i, err)
		}
		insert(t, db, fmt.Sprint(i))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db := open(t, path, sqlite.Options{}, zones, columns)
	if got := count(t, db); got != 3 {
		t.Errorf("%d rows, want 3", got)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v (%v), want 600", info.Mode(), err)
	}
}

func TestFailedMigrationLeavesDatabaseAsItWas(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	if _, err := sqlite.Open(path, files(zones, "CREATE TABLE more (x); CREATE nonsense"), sqlite.Options{}); err == nil || !strings.Contains(err.Error(), "0002_step.sql") {
		t.Fatalf("error is %v, want the step's name", err)
	}
	open(t, path, sqlite.Options{}, zones, "CREATE TABLE more (x)")
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		files   fstest.MapFS
		want    string
	}{
		{"newer", func(t *testing.T, path string) {
			db, err := sqlite.Open(path, files(zones, columns), sqlite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}, files(zones), "newer version of this program wrote it (schema 2, this one knows 1); upgrade"},
		{"foreign", func(t *testing.T, path string) {
			other, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			if _, err := other.Exec("CREATE TABLE t (x)"); err != nil {
				t.Fatal(err)
			}
		}, files(zones), "belongs to another program"},
		{"not a database", write(strings.Repeat("no database ", 100)), files(zones), "the file is damaged: restore it"},
		{"truncated", func(t *testing.T, path string) {
			db, err := sqlite.Open(path, files(zones), sqlite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		}, files(zones, columns), "the file is damaged: restore it"},
		{"directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, files(zones), "is a directory"},
		{"gap", nil, fstest.MapFS{"0002_x.sql": {}}, "0002_x.sql is not number 0001"},
		{"name", nil, fstest.MapFS{"first.sql": {}}, "first.sql is not named like 0001_name.sql"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.db")
			if c.prepare != nil {
				c.prepare(t, path)
			}
			_, err := sqlite.Open(path, c.files, sqlite.Options{})
			if err == nil {
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q\nwant one line with %q and the path", err, c.want)
			}
		})
	}
	t.Run("no directory", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "none", "x.db")
		_, err := sqlite.Open(path, files(zones), sqlite.Options{})
		if err == nil || !strings.Contains(err.Error(), "create the directory "+filepath.Dir(path)) {
			t.Errorf("error is %v", err)
		}
	})
}
