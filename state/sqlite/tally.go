package sqlite

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"

	"modernc.org/sqlite"
)

// SQLite checks how its pages hang together, not what is in the rows: a flipped bit in a text is another text. So a
// table of ours adds up, for each table, how many rows there are and their checksums; triggers keep it in step with every
// change, in the same transaction, and Open compares. The function that the triggers call is only in this program, so
// another that changes a row gets an error at once, and not a database that is refused later.
const (
	tallyTable    = "appliance_tally"
	tallyFunction = "appliance_sum"
	// tallySchema is the row for the tables themselves; its count is the schema's version.
	tallySchema = ""
)

var errTally = errors.New("what is in it is not what was written last")

func init() {
	sqlite.MustRegisterDeterministicScalarFunction(tallyFunction, -1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		return rowSum(args), nil
	})
}

// rowSum is the checksum of a row's columns. It has 32 bits, so that no sum of them overflows.
func rowSum(columns []driver.Value) int64 {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	part := func(kind byte, b []byte) {
		_, _ = sum.Write(binary.BigEndian.AppendUint64([]byte{kind}, uint64(len(b))))
		_, _ = sum.Write(b)
	}
	for _, v := range columns {
		switch v := v.(type) {
		case nil:
			part('n', nil)
		case int64:
			part('i', binary.BigEndian.AppendUint64(nil, uint64(v)))
		case float64:
			part('f', binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
		case string:
			part('t', []byte(v))
		case []byte:
			part('b', v)
		default:
			part('?', fmt.Append(nil, v))
		}
	}
	return int64(sum.Sum32())
}

// quoted is a name as SQL writes it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// tables are those of the migrations, with their columns.
func tables(tx *Tx) (map[string][]string, error) {
	rows, err := tx.Query(`SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.name != ? AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY t.name, c.cid`, tallyTable)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string][]string{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			return nil, err
		}
		all[table] = append(all[table], column)
	}
	return all, rows.Err()
}

// sumOf is the call of the function on a row's columns.
func sumOf(row string, columns []string) string {
	var args []string
	for _, c := range columns {
		args = append(args, row+quoted(c))
	}
	return tallyFunction + "(" + strings.Join(args, ", ") + ")"
}

// counted tells whether the database has a tally.
func counted(tx *Tx) (bool, error) {
	var n int
	err := tx.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?`, tallyTable).Scan(&n)
	return n > 0, err
}

// checkTally compares every table with its tally.
func checkTally(tx *Tx) error {
	all, err := tables(tx)
	if err != nil {
		return err
	}
	found, err := addUp(tx, all)
	if err != nil {
		return err
	}
	rows, err := tx.Query(`SELECT name, count, sum FROM ` + tallyTable)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var t tally
		if err := rows.Scan(&name, &t.count, &t.sum); err != nil {
			return err
		}
		if now, ok := found[name]; !ok || now != t {
			return fmt.Errorf("%w: table %q", errTally, name)
		}
		delete(found, name)
	}
	if len(found) > 0 {
		return errTally
	}
	return rows.Err()
}

type tally struct{ count, sum int64 }

// addUp makes the tally of all tables.
func addUp(tx *Tx, all map[string][]string) (map[string]tally, error) {
	found := map[string]tally{}
	for table, columns := range all {
		var t tally
		if err := tx.QueryRow(fmt.Sprintf("SELECT count(*), coalesce(sum(%s), 0) FROM %s", sumOf("", columns), quoted(table))).Scan(&t.count, &t.sum); err != nil {
			return nil, err
		}
		found[table] = t
	}
	var schema tally
	if err := tx.QueryRow("PRAGMA user_version").Scan(&schema.count); err != nil {
		return nil, err
	}
	err := tx.QueryRow("SELECT sum(" + tallyFunction + "(type, name, tbl_name, sql)) FROM sqlite_schema").Scan(&schema.sum)
	found[tallySchema] = schema
	return found, err
}

// uncount takes the triggers away, for tables that are about to change.
func uncount(tx *Tx) error {
	rows, err := tx.Query(`SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE ?`, tallyTable+"%")
	if err != nil {
		return err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		names = append(names, name)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if _, err := tx.Exec("DROP TRIGGER " + quoted(name)); err != nil {
			return err
		}
	}
	_, err = tx.Exec("DROP TABLE IF EXISTS " + tallyTable)
	return err
}

// count makes triggers and tally anew.
func count(tx *Tx) error {
	if err := uncount(tx); err != nil {
		return err
	}
	if _, err := tx.Exec("CREATE TABLE " + tallyTable + " (name TEXT PRIMARY KEY, count INTEGER NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID"); err != nil {
		return err
	}
	all, err := tables(tx)
	if err != nil {
		return err
	}
	for table, columns := range all {
		for _, t := range []struct{ when, change string }{
			{"INSERT", "count = count + 1, sum = sum + " + sumOf("NEW.", columns)},
			{"DELETE", "count = count - 1, sum = sum - " + sumOf("OLD.", columns)},
			{"UPDATE", "sum = sum - " + sumOf("OLD.", columns) + " + " + sumOf("NEW.", columns)},
		} {
			text := fmt.Sprintf("CREATE TRIGGER %s AFTER %s ON %s BEGIN UPDATE %s SET %s WHERE name = '%s'; END",
				quoted(strings.ToLower(tallyTable+"_"+table+"_"+t.when)), t.when, quoted(table), tallyTable, t.change, strings.ReplaceAll(table, "'", "''"))
			if _, err := tx.Exec(text); err != nil {
				return err
			}
		}
	}
	found, err := addUp(tx, all)
	if err != nil {
		return err
	}
	for name, t := range found {
		if _, err := tx.Exec("INSERT INTO "+tallyTable+" (name, count, sum) VALUES (?, ?, ?)", name, t.count, t.sum); err != nil {
			return err
		}
	}
	return nil
}
