package kv_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/state/kv"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// filled writes a store of 200 keys and returns its file.
func filled(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := kv.Open(path, kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ops := make([]clientv3.Op, 100)
	for round := range 2 {
		for i := range ops {
			ops[i] = clientv3.OpPut(fmt.Sprintf("k/%d/%03d", round, i), strings.Repeat("v", 500))
		}
		if _, err := s.Client().Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := kv.Open(path, kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := s.Client()
	put(t, c, "a", "1")    // 2
	put(t, c, "a", "2")    // 3
	put(t, c, "b", "1")    // 4
	put(t, c, "gone", "1") // 5
	remove(t, c, "gone")   // 6
	before := get(t, c, "", clientv3.WithPrefix())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = runStore(t, path, kv.Options{})
	c = s.Client()
	after := get(t, c, "", clientv3.WithPrefix(), clientv3.WithRev(6))
	if fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("got  %v\nwant %v", after, before)
	}
	if _, err := c.KV.Get(t.Context(), "a", clientv3.WithRev(5)); err != rpctypes.ErrCompacted {
		t.Errorf("an older revision: %v, want compacted", err)
	}
	if r := next(t, c.Watch(t.Context(), "a", clientv3.WithRev(6))); r.CompactRevision != 6 {
		t.Errorf("watch from 6: %+v, want compacted at 6", r)
	}
	ch := c.Watch(t.Context(), "a", clientv3.WithRev(7), clientv3.WithPrevKV())
	put(t, c, "a", "3")
	if got := events(next(t, ch)); got != "PUT a=3@7 was 2@3; " {
		t.Errorf("got %s", got)
	}
	status, err := c.Status(t.Context(), "")
	if err != nil || status.DbSize == 0 || status.Header.Revision != 7 {
		t.Errorf("status is %v, %v", status, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	damage := func(change func(data []byte) []byte) func(testing.TB) string {
		return func(t testing.TB) string {
			path := filled(t)
			data, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, change(data), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	bolted := func(change func(*bolt.Tx) error) func(testing.TB) string {
		return func(t testing.TB) string {
			path := filled(t)
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Update(change); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	const damaged = "the file is damaged ("
	for _, tc := range []struct {
		name string
		path func(testing.TB) string
		want string
	}{
		{"garbage", damage(func(b []byte) []byte { return bytes.Repeat([]byte("garbage "), len(b)/8) }), damaged},
		{"cut within a page", damage(func(b []byte) []byte { return b[:100] }), damaged},
		{"cut after the meta pages", damage(func(b []byte) []byte { return b[:2*os.Getpagesize()] }), damaged},
		{"cut in the middle", damage(func(b []byte) []byte { return b[:len(b)/4] }), damaged},
		{"a bit flipped in a value", damage(func(b []byte) []byte {
			for at := 0; ; {
				i := bytes.Index(b[at:], []byte("vvvv"))
				if i < 0 {
					return b
				}
				b[at+i] ^= 1
				at += i + 4
			}
		}), "checksum does not match"},
		{"data pages zeroed", damage(func(b []byte) []byte {
			clear(b[2*os.Getpagesize():])
			return b
		}), damaged},
		{"data pages set", damage(func(b []byte) []byte {
			for i := 2 * os.Getpagesize(); i < len(b); i++ {
				b[i] = 0xff
			}
			return b
		}), damaged},
		{"no revision", bolted(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("state")) }), "the store's own record: record is cut short"},
		{"no bucket", bolted(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("leases")) }), "a bucket is missing"},
		{"a key is lost", bolted(func(tx *bolt.Tx) error { return tx.Bucket([]byte("keys")).Delete([]byte("k/0/007")) }), "199 keys are there, 200 were written"},
		{"newer", bolted(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte{99}) }), "newer version of this program wrote it; upgrade"},
		{"foreign", func(t testing.TB) string {
			path := filepath.Join(t.TempDir(), "x.db")
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }); err != nil {
				t.Fatal(err)
			}
			return path
		}, "belongs to another program; move it away"},
		{"directory", func(t testing.TB) string { return t.TempDir() }, "not a regular file"},
		{"no directory", func(t testing.TB) string { return filepath.Join(t.TempDir(), "none", "x.db") }, "create the directory"},
		{"open elsewhere", func(t testing.TB) string {
			path := filled(t)
			runStore(t, path, kv.Options{})
			return path
		}, "another process has it open; stop that process"},
		{"no file system for it", func(testing.TB) string { return "/proc/x.db" }, "open store /proc/x.db"},
		{"not writable", func(t testing.TB) string {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o500); err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() == 0 {
				t.Skip("root may write anywhere")
			}
			return filepath.Join(dir, "x.db")
		}, "make the file and its directory writable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := tc.path(t)
			s, err := kv.Open(path, kv.Options{})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q\nwant one line with %q and the path", err, tc.want)
			}
		})
	}
}

// TestEmptyFileIsAStore: a process killed while it created the file leaves that.
func TestEmptyFileIsAStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, runStore(t, path, kv.Options{}).Client(), "a", "1")
}
