package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
)

// migration is one step of the schema. The database's user_version is the number
// of the last one applied.
type migration struct {
	name string
	sql  string
}

// readMigrations returns the steps in order: the first is number 1.
func readMigrations(files fs.FS) ([]migration, error) {
	entries, err := fs.ReadDir(files, ".") // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	pattern := regexp.MustCompile(`^(\d{4})_[a-z0-9_]+\.sql$`)
	var steps []migration
	for _, e := range entries {
		m := pattern.FindStringSubmatch(e.Name())
		if m == nil {
			return nil, fmt.Errorf("read migrations: %s is not named like 0001_name.sql", e.Name())
		}
		if n, _ := strconv.Atoi(m[1]); n != len(steps)+1 {
			return nil, fmt.Errorf("read migrations: %s is not number %04d", e.Name(), len(steps)+1)
		}
		text, err := fs.ReadFile(files, e.Name())
		if err != nil {
			return nil, fmt.Errorf("read migrations: %w", err)
		}
		steps = append(steps, migration{name: e.Name(), sql: string(text)})
	}
	return steps, nil
}

// migrate applies the missing steps, all in one transaction.
func (db *DB) migrate(ctx context.Context, steps []migration) error {
	return db.Update(ctx, func(tx *Tx) error {
		done, err := schemaVersion(tx)
		if err != nil {
			return err
		}
		if done > len(steps) {
			return newerError{has: done, knows: len(steps)}
		}
		has, err := counted(tx)
		if err == nil && has {
			err = checkTally(tx)
		}
		if err != nil || has && done == len(steps) {
			return err
		}
		if err := uncount(tx); err != nil { // it would not hold while tables change
			return err
		}
		for i, step := range steps[done:] {
			if _, err := tx.Exec(step.sql); err != nil {
				return fmt.Errorf("apply migration %s: %w", step.name, err)
			}
			if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", done+i+1)); err != nil {
				return fmt.Errorf("record migration %s: %w", step.name, err)
			}
		}
		return count(tx)
	})
}

// schemaVersion refuses a database that has tables but no version: it is not ours.
func schemaVersion(tx *Tx) (version int, err error) {
	var tables int
	if err := tx.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return 0, fmt.Errorf("read schema: %w", err)
	}
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	if version == 0 && tables > 0 {
		return 0, errForeign
	}
	return version, nil
}

var errForeign = errors.New("it belongs to another program")

// newerError says that the database has migrations this program does not know.
type newerError struct{ has, knows int }

func (e newerError) Error() string {
	return fmt.Sprintf("a newer version of this program wrote it (schema %d, this one knows %d)", e.has, e.knows)
}
