package sqlite_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/state/sqlite"
	"testing/fstest"
)

const things = `
CREATE TABLE things (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, port INTEGER NOT NULL, body TEXT NOT NULL, note BLOB);
CREATE TABLE parts (id TEXT PRIMARY KEY, thing TEXT NOT NULL REFERENCES things (id) ON DELETE CASCADE) WITHOUT ROWID;`

// grown writes a database as it is after some life.
func grown(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := sqlite.Open(path, files(things), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *sqlite.Tx) error {
		for n := range 120 {
			if _, err := tx.Exec(`INSERT INTO things (id, port, body, note) VALUES (?, ?, ?, ?)`, fmt.Sprintf("thing-%03d", n), n, strings.Repeat("b", 30*n%900), []byte{byte(n)}); err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO parts (id, thing) VALUES (?, ?)`, fmt.Sprintf("part-%03d", n), fmt.Sprintf("thing-%03d", n)); err != nil {
				return err
			}
		}
		for _, change := range []string{`DELETE FROM things WHERE port % 5 = 0`, `UPDATE things SET port = port + 1 WHERE port % 5 = 1`, `REPLACE INTO things (id, port, body) SELECT id, port, 'new' FROM things WHERE port = 7`} {
			if _, err := tx.Exec(change); err != nil {
				return err
			}
		}
		return nil
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// content is everything that a file holds, or its error.
func content(t *testing.T, path string, more ...string) (string, error) {
	db, err := sqlite.Open(path, files(things), sqlite.Options{})
	if err != nil {
		return "", err
	}
	defer db.Close()
	text := ""
	err = db.Update(t.Context(), func(tx *sqlite.Tx) error {
		for _, change := range more {
			if _, err := tx.Exec(change); err != nil {
				return err
			}
		}
		rows, err := tx.Query(`SELECT seq, id, port, body, note FROM things ORDER BY seq`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var seq, port int
			var id, body string
			var note sql.RawBytes
			if err := rows.Scan(&seq, &id, &port, &body, &note); err != nil {
				return err
			}
			text += fmt.Sprintln(seq, id, port, body, note)
		}
		var parts string
		if err := tx.QueryRow(`SELECT coalesce(group_concat(id || thing), '') FROM parts`).Scan(&parts); err != nil {
			return err
		}
		text += parts
		return rows.Err()
	})
	return text, err
}

// TestFlippedBitsAreSeen flips one bit of a file after the other: either it is refused in one line that says what to do,
// or nothing of what it holds has changed.
func TestFlippedBitsAreSeen(t *testing.T) {
	t.Parallel()
	path := grown(t)
	want, err := content(t, path)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	const flips = 400
	refused := 0
	for n := range flips {
		at, bit := random.IntN(len(whole)), byte(1)<<random.IntN(8)
		if n%4 == 0 { // where structure is
			at = at&^0xfff | random.IntN(100)
		}
		damaged := append([]byte(nil), whole...)
		damaged[at] ^= bit
		copied := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(copied, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := content(t, copied)
		switch {
		case err == nil && got != want:
			t.Errorf("bit %#x of byte %d (page %d, byte %d) is flipped, and nobody sees that the content differs", bit, at, at>>12, at&0xfff)
		case err == nil:
		case strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), copied) || !strings.Contains(err.Error(), "; "):
			t.Errorf("byte %d: not one line with path and advice: %v", at, err)
		default:
			refused++
		}
	}
	if refused < flips/3 {
		t.Errorf("only %d of %d flips were refused", refused, flips)
	}
}

// TestFlippedBitsInTheLogAreSeen takes a database and its log as kill -9 leaves them. Only in the last commit a flipped
// bit looks like a write that was cut off: then what was before it is there.
func TestFlippedBitsInTheLogAreSeen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, path, sqlite.Options{}, things)
	const commits = 20
	var ends []int64 // of the log after each commit
	for n := range commits {
		if err := db.Update(t.Context(), func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO things (id, port, body) VALUES (?, ?, '')`, fmt.Sprint(n), n)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, info.Size())
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	refused := 0
	for range 200 {
		damaged, at := append([]byte(nil), log...), random.IntN(len(log))
		damaged[at] ^= 1 << random.IntN(8)
		copied := filepath.Join(t.TempDir(), "x.db")
		for name, content := range map[string][]byte{copied: file, copied + "-wal": damaged} {
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := content(t, copied)
		least := commits
		if int64(at) >= ends[commits-2] {
			least--
		}
		switch rows := strings.Count(got, "\n"); {
		case err != nil && (strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "restore it")):
			t.Errorf("byte %d: not one line with advice: %v", at, err)
		case err != nil:
			refused++
		case rows < least:
			t.Errorf("byte %d of the log is flipped, and %d of %d commits are lost without a word", at, commits-rows, commits)
		}
	}
	if refused < 100 {
		t.Errorf("only %d of 200 flips were refused", refused)
	}
}

// TestTruncatedFilesAreSeen cuts a file at every page and in between.
func TestTruncatedFilesAreSeen(t *testing.T) {
	t.Parallel()
	path := grown(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for length := 1; length < len(whole); length += 1537 {
		copied := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(copied, whole[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := content(t, copied); err == nil || !strings.Contains(err.Error(), "; ") {
			t.Errorf("cut to %d of %d bytes: %v", length, len(whole), err)
		}
	}
}

// TestTallySurvivesMigration adds a column to tables that are counted, and takes a database from before there was a tally.
func TestTallySurvivesMigration(t *testing.T) {
	t.Parallel()
	path := grown(t)
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Exec(`UPDATE things SET port = 1`); err == nil { // the function is known in this process
		t.Log("changed by hand, in step")
	}
	if _, err := raw.Exec(`DROP TABLE appliance_tally; DROP TRIGGER appliance_tally_things_insert; DROP TRIGGER appliance_tally_things_delete; DROP TRIGGER appliance_tally_things_update;
		DROP TRIGGER appliance_tally_parts_insert; DROP TRIGGER appliance_tally_parts_delete; DROP TRIGGER appliance_tally_parts_update`); err != nil {
		t.Fatal(err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	steps := []fstest.MapFS{files(things), files(things, `ALTER TABLE things ADD COLUMN more TEXT NOT NULL DEFAULT 'x'`), files(things, `ALTER TABLE things ADD COLUMN more TEXT NOT NULL DEFAULT 'x'`)}
	for n, step := range steps {
		db, err := sqlite.Open(path, step, sqlite.Options{})
		if err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
		err = db.Update(t.Context(), func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`UPDATE things SET body = body || '.'; DELETE FROM things WHERE seq = (SELECT min(seq) FROM things)`)
			return err
		})
		if err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
