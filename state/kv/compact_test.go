package kv_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/state/kv"
	"github.com/jonboulle/clockwork"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestCompact(t *testing.T) {
	t.Parallel()
	c := memory(t)
	put(t, c, "a", "1") // 2
	put(t, c, "b", "1") // 3
	put(t, c, "a", "2") // 4
	remove(t, c, "b")   // 5
	put(t, c, "a", "3") // 6
	for _, step := range []struct {
		revision int64
		want     error
	}{{7, rpctypes.ErrFutureRev}, {4, nil}, {4, rpctypes.ErrCompacted}, {3, rpctypes.ErrCompacted}} {
		if _, err := c.Compact(t.Context(), step.revision, clientv3.WithCompactPhysical()); !errors.Is(err, step.want) {
			t.Errorf("compact %d: %v, want %v", step.revision, err, step.want)
		}
	}
	for revision, want := range map[int64]string{
		4: "a=2 b=1 more=false count=2",
		5: "a=2 more=false count=1",
		6: "a=3 more=false count=1",
	} {
		if got := text(get(t, c, "", clientv3.WithPrefix(), clientv3.WithRev(revision))); got != want {
			t.Errorf("at %d: %s, want %s", revision, got, want)
		}
	}
	if _, err := c.KV.Get(t.Context(), "a", clientv3.WithRev(3)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("at 3: %v, want compacted", err)
	}
	if _, err := c.Txn(t.Context()).Then(clientv3.OpGet("a", clientv3.WithRev(3))).Commit(); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("txn at 3: %v, want compacted", err)
	}
	if _, err := c.Compact(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	if got := text(get(t, c, "", clientv3.WithPrefix(), clientv3.WithRev(6))); got != "a=3 more=false count=1" {
		t.Errorf("at 6: %s", got)
	}
}

// TestHistoryAges: what is older than HistoryAge goes, by one timer that is not
// armed while there is no history.
func TestHistoryAges(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	s := runStore(t, "", kv.Options{Clock: clock})
	c := s.Client()
	for round := range 2 {
		first := put(t, c, "a", fmt.Sprint(round))
		advance(t, clock, 3*time.Minute)
		second := put(t, c, "a", "later")
		advance(t, clock, 2*time.Minute)
		eventually(t, func() bool { return s.CompactRevision() == first })
		advance(t, clock, 5*time.Minute)
		eventually(t, func() bool { return s.CompactRevision() == second })
		if got := text(get(t, c, "a")); got != "a=later more=false count=1" {
			t.Errorf("the newest version is %s", got)
		}
	}
}

// TestChurnStaysBounded: neither memory nor file grow with the number of writes. It is not parallel, for it measures the
// heap of the whole process.
func TestChurnStaysBounded(t *testing.T) {
	const budget = 1 << 20
	path := filepath.Join(t.TempDir(), "x.db")
	s := runStore(t, path, kv.Options{HistoryBytes: budget})
	c := s.Client()
	value := strings.Repeat("v", 8<<10)
	churn := func(writes int) {
		for i := range writes {
			key := fmt.Sprint("k", i%20)
			if i%7 == 0 {
				remove(t, c, key)
			} else {
				put(t, c, key, value)
			}
		}
	}
	measure := func() (heap, file int64) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return int64(m.HeapAlloc), info.Size()
	}
	churn(200)
	heap, file := measure()
	churn(2000) // 16 MiB
	heapAfter, fileAfter := measure()
	if s.CompactRevision() < 1500 {
		t.Errorf("the compact revision is %d of %d", s.CompactRevision(), s.Revision())
	}
	if fileAfter > 2*file {
		t.Errorf("the file grew from %d to %d bytes", file, fileAfter)
	}
	if heapAfter > heap+8*budget { // other tests run beside this one
		t.Errorf("the heap grew from %d to %d bytes", heap, heapAfter)
	}
}
