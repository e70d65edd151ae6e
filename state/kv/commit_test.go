package kv

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func openTest(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *Store) all(t *testing.T) string {
	t.Helper()
	resp, err := s.read(context.Background(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, kv := range resp.Kvs {
		fmt.Fprintf(&out, "%s@%d ", kv.Key, kv.ModRevision)
	}
	return out.String()
}

// TestFailedCommitChangesNothing lets the file reach its limit, as a full disk
// would: writers are told, readers go on, and so do writers once there is room.
func TestFailedCommitChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	s := openTest(t, path)
	c := s.Client()
	ctx := t.Context()
	if _, err := c.Put(ctx, "a", "1"); err != nil {
		t.Fatal(err)
	}
	watch := c.Watch(ctx, "", clientv3.WithPrefix())
	s.disk.db.MaxSize = 1
	big := strings.Repeat("v", 1<<20)
	for range 2 {
		_, err := c.Put(ctx, "b", big)
		if err == nil || !strings.Contains(err.Error(), "commit revision 3: ") {
			t.Fatalf("error is %v, want that of the commit", err)
		}
		if resp, err := c.Put(ctx, "a", big); err == nil {
			t.Fatalf("the second write succeeded: %v", resp)
		}
	}
	if s.unsure.empty() {
		t.Error("the next commit does not know what this one may have left in the file")
	}
	if got := s.all(t); got != "a@2 " || s.Revision() != 2 {
		t.Errorf("the store has %q at revision %d, want a@2 at 2", got, s.Revision())
	}
	s.disk.db.MaxSize = 0
	if _, err := c.Put(ctx, "c", "1"); err != nil {
		t.Fatal(err)
	}
	if r := <-watch; len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "c" {
		t.Errorf("the watch saw %v, want c alone", r.Events)
	}
	want := s.all(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := openTest(t, path).all(t); got != want || got != "a@2 c@3 " {
		t.Errorf("after a restart the store has %q, want %q", got, want)
	}
}

// TestRefusedWriteDoesNotComeBack: a commit can fail after it has reached the
// file. What it wrote is taken back by the next one.
func TestRefusedWriteDoesNotComeBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	s := openTest(t, path)
	ctx := t.Context()
	for _, key := range []string{"a", "b"} {
		if _, err := s.Client().Put(ctx, key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	b := newBatch(s.view.Load(), s.clock.Now())
	b.put("ghost", []byte("1"), 0)
	b.put("a", []byte("2"), 0)
	b.delete("b", b.current("b"))
	b.renew(&lease{id: 7, ttl: 60})
	if err := s.disk.write(b.view, b.changes); err != nil {
		t.Fatal(err)
	}
	s.unsure = b.changes // what save does when that write reports an error
	if _, err := s.Client().Put(ctx, "c", "1"); err != nil {
		t.Fatal(err)
	}
	if !s.unsure.empty() {
		t.Error("the repair is not over")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openTest(t, path)
	if got := again.all(t); got != "a@2 b@3 c@4 " || again.view.Load().lease(7) != nil {
		t.Errorf("after a restart the store has %q, want a@2 b@3 c@4, and no lease", got)
	}
}

// TestWaitingWritersShareACommit holds up one commit and finds that all who came
// meanwhile are in the next.
func TestWaitingWritersShareACommit(t *testing.T) {
	t.Parallel()
	s := openTest(t, filepath.Join(t.TempDir(), "x.db"))
	hold, held := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- s.submit(context.Background(), func(b *batch) error {
			close(held)
			<-hold
			b.put("first", nil, 0)
			return nil
		})
	}()
	<-held
	const writers = 20
	for i := range writers {
		go func() {
			_, err := s.Client().Put(context.Background(), fmt.Sprint(i), "v")
			done <- err
		}()
	}
	for waiting := 0; waiting < writers; {
		s.queue.mu.Lock()
		waiting = len(s.queue.waiting)
		s.queue.mu.Unlock()
	}
	before := txid(t, s)
	close(hold)
	for range writers + 1 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := txid(t, s) - before; got != 2 {
		t.Errorf("%d writes took %d commits, want 2", writers+1, got)
	}
	if s.Revision() != 2+writers {
		t.Errorf("the store is at revision %d, want %d", s.Revision(), 2+writers)
	}
}

// TestCommitsAreSynced guards the promise that no test can break a disk to check.
func TestCommitsAreSynced(t *testing.T) {
	t.Parallel()
	db := openTest(t, filepath.Join(t.TempDir(), "x.db")).disk.db
	if db.NoSync || db.NoGrowSync {
		t.Error("commits return before the disk has them")
	}
}

// TestCompactionForgetsDeletedKeys: nothing of a deleted key stays in memory.
func TestCompactionForgetsDeletedKeys(t *testing.T) {
	t.Parallel()
	s := openTest(t, "")
	c := s.Client()
	for i := range 100 {
		key := fmt.Sprint(i)
		if _, err := c.Put(t.Context(), key, "v"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Compact(t.Context(), s.Revision()); err != nil {
		t.Fatal(err)
	}
	if v := s.view.Load(); v.keys.Len() != 0 || len(v.history) != 0 || v.historyBytes != 0 {
		t.Errorf("left are %d keys and %d events of %d bytes", v.keys.Len(), len(v.history), v.historyBytes)
	}
}

// txid is bbolt's count of commits.
func txid(t *testing.T, s *Store) int {
	t.Helper()
	tx, err := s.disk.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	return tx.ID()
}
