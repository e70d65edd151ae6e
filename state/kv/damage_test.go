package kv

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// grown writes a file as it is after some life: branches, values over several pages, leases, free pages.
func grown(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, ctx := s.Client(), t.Context()
	lease, err := c.Grant(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		for i := range 4 {
			ops := make([]clientv3.Op, 50)
			for n := range ops {
				ops[n] = clientv3.OpPut(fmt.Sprintf("/registry/kind-%d/name-%03d", i, n), strings.Repeat(strconv.Itoa(round), 100+n))
			}
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("/large/%d", i), strings.Repeat("l", 6000)), clientv3.OpPut(fmt.Sprintf("/leased/%d", i), "v", clientv3.WithLease(lease.ID)))
			if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Delete(ctx, fmt.Sprintf("/registry/kind-%d/", round), clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// content is everything that a file holds, or its error.
func content(path string) (string, error) {
	s, err := Open(path, Options{})
	if err != nil {
		return "", err
	}
	defer s.Close()
	v := s.view.Load()
	text := fmt.Sprintln(v.revision)
	v.keys.Ascend(func(k *key) bool {
		text += fmt.Sprintln(k.versions)
		return true
	})
	v.leases.Ascend(func(l *lease) bool {
		text += fmt.Sprintln(*l, v.attachedTo(l.id))
		return true
	})
	return text, nil
}

// TestFlippedBitsAreSeen flips one bit of a file after the other: either it is refused in one line that says what to do,
// or nothing of what it holds has changed, and nothing does when it is written to.
func TestFlippedBitsAreSeen(t *testing.T) {
	t.Parallel()
	path := grown(t)
	want, err := content(path)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	const flips = 300
	refused := 0
	for n := range flips {
		at, bit := random.IntN(len(whole)), byte(1)<<random.IntN(8)
		if n%2 == 0 { // where structure is
			at = at&^0xfff | random.IntN(200)
		}
		damaged := append([]byte(nil), whole...)
		damaged[at] ^= bit
		copied := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(copied, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := content(copied)
		if err == nil {
			got, err = writtenTo(t, copied, got, want)
		}
		switch {
		case err == nil && got != want:
			t.Fatalf("bit %#x of byte %d (page %d, byte %d) is flipped, and nobody sees that the content differs", bit, at, at>>12, at&0xfff)
		case err == nil:
		case strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), copied) || !strings.Contains(err.Error(), "; "):
			t.Fatalf("byte %d: not one line with path and advice: %v", at, err)
		default:
			refused++
		}
		_ = os.Remove(copied)
	}
	if refused < flips/10 { // the others are in free pages
		t.Errorf("only %d of %d flips were refused", refused, flips)
	}
}

// writtenTo writes to a file that is taken for whole, and reads it again.
func writtenTo(t *testing.T, path, got, want string) (string, error) {
	t.Helper()
	if got != want {
		return got, nil
	}
	s, err := Open(path, Options{})
	if err != nil {
		return "", err
	}
	for i := range 3 {
		if _, err := s.Client().Put(t.Context(), "/new", strings.Repeat("n", 3000*i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := content(path)
	if err != nil {
		return "", err
	}
	// All but the new key and the revision.
	_, again, _ = strings.Cut(again, "\n")
	revision, _, _ := strings.Cut(want, "\n")
	lines := strings.SplitAfter(again, "\n")
	kept := lines[:0]
	for _, line := range lines {
		if !strings.Contains(line, `key:"/new"`) {
			kept = append(kept, line)
		}
	}
	return revision + "\n" + strings.Join(kept, ""), nil
}

func TestTruncatedFilesAreSeen(t *testing.T) {
	t.Parallel()
	path := grown(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := content(path)
	if err != nil {
		t.Fatal(err)
	}
	for length := 1; length < len(whole); length += 1537 {
		copied := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(copied, whole[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		// What lies beyond the last page that was ever used may go.
		if got, err := content(copied); err == nil && got != want {
			t.Errorf("cut to %d of %d bytes it opens, with other content", length, len(whole))
		} else if err != nil && !strings.Contains(err.Error(), "the file is damaged (") {
			t.Errorf("cut to %d of %d bytes: %v", length, len(whole), err)
		}
	}
}

// TestOlderParts exchanges parts of a file for what they were: each part is whole, together they are not.
func TestOlderParts(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(tx *bolt.Tx) error{
		"the keys are not those that were written last": func(tx *bolt.Tx) error {
			kv := &mvccpb.KeyValue{Key: []byte("/large/1"), Value: []byte("old"), CreateRevision: 2, ModRevision: 2, Version: 1}
			return tx.Bucket([]byte(keyBucket)).Put(kv.Key, encodeKey(kv))
		},
		"keys are there": func(tx *bolt.Tx) error { return tx.Bucket([]byte(keyBucket)).Delete([]byte("/large/1")) },
		"the store at 5": func(tx *bolt.Tx) error {
			return tx.Bucket([]byte(metaBucket)).Put([]byte(stateEntry), state{revision: 5}.encode())
		},
		"0 leases are there, 1 were written": func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte(leaseBucket))
			name, _ := b.Cursor().First()
			return b.Delete(name)
		},
	} {
		path := grown(t)
		edit(t, path, change)
		if _, err := content(path); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %s", err, what)
		}
	}
}

func edit(t *testing.T, path string, change func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
}

// TestFirstFormat opens a file as the first version of this program wrote it.
func TestFirstFormat(t *testing.T) {
	t.Parallel()
	path := grown(t)
	want, err := content(path)
	if err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte(metaBucket))
		s, err := decodeState(meta.Get([]byte(stateEntry)))
		if err != nil {
			return err
		}
		if err := meta.Delete([]byte(stateEntry)); err != nil {
			return err
		}
		if err := meta.Put([]byte(formatEntry), []byte{firstFormat}); err != nil {
			return err
		}
		return meta.Put([]byte(revisionEntry), binary.BigEndian.AppendUint64(nil, uint64(s.revision)))
	})
	for range 2 { // brought up to date, then as it is
		if got, err := content(path); err != nil || got != want {
			t.Fatalf("got %v\n%s\nwant\n%s", err, got, want)
		}
	}
	edit(t, path, func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte(metaBucket))
		if f := meta.Get([]byte(formatEntry)); len(f) != 1 || f[0] != format || meta.Get([]byte(revisionEntry)) != nil {
			t.Errorf("the file is of format %v, want %d", f, format)
		}
		return nil
	})
}
