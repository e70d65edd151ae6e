package kv_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/state/kv"
	"github.com/jonboulle/clockwork"
	"golang.org/x/sync/errgroup"
)

// TestDaysOfChurn lets days go by, each with as many writes of a few objects as controllers make: after the first day
// neither the file nor memory grows, and of the history no more is left than the last minutes. It is not parallel, for
// it measures the heap of the whole process.
func TestDaysOfChurn(t *testing.T) {
	const days, writes, writers, keys = 8, 25_000, 32, 100
	clock := clockwork.NewFakeClock()
	path := filepath.Join(memoryDir(t), "x.db")
	s := runStore(t, path, kv.Options{Clock: clock})
	value := strings.Repeat("v", 1000)
	var file, heap [days]int64
	for day := range days {
		for hour := range 5 {
			var group errgroup.Group
			for w := range writers {
				group.Go(func() error {
					return churn(t.Context(), s, fmt.Sprintf("%d/", w), value, writes/writers/5, keys/writers+1)
				})
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			before := s.Revision()
			for range 2 { // from the first look to the second is HistoryAge
				advance(t, clock, 5*time.Minute)
			}
			eventually(t, func() bool { return s.CompactRevision() >= before || hour == 0 })
			clock.Advance(4 * time.Hour)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		file[day], heap[day] = info.Size(), int64(m.HeapAlloc)
	}
	t.Logf("%d revisions of %d keys; file by day: %d; heap by day: %d", s.Revision(), keys, file, heap)
	if s.Revision() < days*writes*9/10 {
		t.Errorf("only %d revisions: the test proves less than it says", s.Revision())
	}
	if last := file[days-1]; last > 4<<20 || last > 2*file[0] {
		t.Errorf("the file grows: %d", file)
	}
	if last := heap[days-1]; last > heap[0]+8<<20 {
		t.Errorf("the heap grows: %d", heap)
	}
}

// churn writes some keys again and again, and deletes one now and then.
func churn(ctx context.Context, s *kv.Store, prefix, value string, writes, keys int) error {
	c := s.Client()
	for n := range writes {
		key := fmt.Sprint(prefix, n%keys)
		var err error
		if n%10 == 9 {
			_, err = c.Delete(ctx, key)
		} else {
			_, err = c.Put(ctx, key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
