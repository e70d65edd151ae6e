package kv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/state/kv"
	"github.com/jonboulle/clockwork"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestWatchOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		key  string
		opts []clientv3.OpOption
		want string
	}{
		{"key", "a", nil, "PUT a=1@2; PUT a=2@4; DELETE a=@5; "},
		{"other key", "b", nil, "PUT b=1@3; "},
		{"previous", "a", []clientv3.OpOption{clientv3.WithPrevKV()}, "PUT a=1@2; PUT a=2@4 was 1@2; DELETE a=@5 was 2@4; "},
		{"start", "a", []clientv3.OpOption{clientv3.WithRev(4)}, "PUT a=2@4; DELETE a=@5; "},
		{"prefix", "", []clientv3.OpOption{clientv3.WithPrefix()}, "PUT a=1@2; PUT b=1@3; PUT a=2@4; DELETE a=@5; "},
		{"from key", "b", []clientv3.OpOption{clientv3.WithFromKey()}, "PUT b=1@3; "},
		{"range", "a", []clientv3.OpOption{clientv3.WithRange("b")}, "PUT a=1@2; PUT a=2@4; DELETE a=@5; "},
		{"no deletes", "a", []clientv3.OpOption{clientv3.WithFilterDelete()}, "PUT a=1@2; PUT a=2@4; "},
		{"no puts", "a", []clientv3.OpOption{clientv3.WithFilterPut()}, "DELETE a=@5; "},
		{"fragment", "b", []clientv3.OpOption{clientv3.WithFragment()}, "PUT b=1@3; "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := memory(t)
			live := c.Watch(t.Context(), tc.key, tc.opts...)
			put(t, c, "a", "1")
			put(t, c, "b", "1")
			put(t, c, "a", "2")
			remove(t, c, "a")
			past := c.Watch(t.Context(), tc.key, append([]clientv3.OpOption{clientv3.WithRev(2)}, tc.opts...)...)
			for name, ch := range map[string]clientv3.WatchChan{"live": live, "past": past} {
				got := ""
				for len(got) < len(tc.want) {
					got += events(next(t, ch))
				}
				if got != tc.want {
					t.Errorf("%s: got  %s\nwant %s", name, got, tc.want)
				}
			}
		})
	}
}

func TestWatchSeesTxnAsOneResponse(t *testing.T) {
	t.Parallel()
	c := memory(t)
	ch := c.Watch(t.Context(), "", clientv3.WithPrefix())
	if _, err := c.Txn(t.Context()).Then(clientv3.OpPut("a", "1"), clientv3.OpPut("b", "2")).Commit(); err != nil {
		t.Fatal(err)
	}
	r := next(t, ch)
	if got := events(r); got != "PUT a=1@2; PUT b=2@2; " || r.Header.Revision != 2 {
		t.Errorf("got %s at revision %d", got, r.Header.Revision)
	}
}

func TestWatchEvents(t *testing.T) {
	t.Parallel()
	c := memory(t)
	ch := c.Watch(t.Context(), "a", clientv3.WithCreatedNotify())
	if r := next(t, ch); !r.Created || r.Header.Revision != 1 || r.IsProgressNotify() {
		t.Errorf("first response is %+v, want created at revision 1", r)
	}
	put(t, c, "a", "1")
	r := next(t, ch)
	if !r.Events[0].IsCreate() {
		t.Errorf("got %v, want a creation", r.Events[0])
	}
	r.Events[0].Kv.Value = []byte("spoilt")
	put(t, c, "a", "2")
	if !next(t, ch).Events[0].IsModify() {
		t.Error("want a modification")
	}
	if got := text(get(t, c, "a", clientv3.WithRev(2))); got != "a=1 more=false count=1" {
		t.Errorf("a consumer changed the store: %s", got)
	}
}

func TestWatchOfTheFutureWaits(t *testing.T) {
	t.Parallel()
	c := memory(t)
	var watches []clientv3.WatchChan
	for range 50 { // some of them look before revision 4 is there
		ch := c.Watch(t.Context(), "a", clientv3.WithRev(4), clientv3.WithCreatedNotify())
		next(t, ch)
		watches = append(watches, ch)
	}
	put(t, c, "a", "early")
	present := c.Watch(t.Context(), "a")
	for range 20 {
		if err := c.RequestProgress(t.Context()); err != nil {
			t.Fatal(err)
		}
		next(t, present)
	}
	put(t, c, "a", "early")
	put(t, c, "a", "in time")
	for _, ch := range watches {
		r := next(t, ch)
		for r.IsProgressNotify() && r.Header.Revision == 3 { // true: it has missed nothing so far
			r = next(t, ch)
		}
		if len(r.Events) == 0 || r.Events[0].Kv.ModRevision != 4 {
			t.Fatalf("got %s (revision %d), want it to begin at revision 4", events(r), r.Header.Revision)
		}
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	s := runStore(t, "", kv.Options{})
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ch := s.Client().Watch(ctx, "a")
		cancel()
		ended(t, ch)
	})
	t.Run("with its client", func(t *testing.T) {
		c := s.Client()
		ch := c.Watch(t.Context(), "a")
		if err := c.Close(); !errors.Is(err, context.Canceled) { // as etcd's client
			t.Error(err)
		}
		ended(t, ch)
	})
	t.Run("when nobody listens", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := s.Client()
		ch := c.Watch(ctx, "a")
		for range 5 {
			put(t, c, "a", "1")
		}
		cancel()
		ended(t, ch)
	})
	t.Run("when it asks for nothing", func(t *testing.T) {
		ch := s.Client().Watch(t.Context(), "b", clientv3.WithRange("a"))
		if r := next(t, ch); !r.Canceled || r.Err() == nil {
			t.Errorf("got %+v, want it cancelled", r)
		}
		ended(t, ch)
	})
}

func TestWatchCompacted(t *testing.T) {
	t.Parallel()
	c := memory(t)
	for i := range 5 {
		put(t, c, "a", fmt.Sprint(i))
	}
	if _, err := c.Compact(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	for start := int64(1); start <= 6; start++ {
		ch := c.Watch(t.Context(), "a", clientv3.WithRev(start))
		r := next(t, ch)
		if start > 4 {
			if len(r.Events) != int(7-start) {
				t.Errorf("from %d: %s", start, events(r))
			}
			continue
		}
		if r.CompactRevision != 4 || !r.Canceled || !errors.Is(r.Err(), rpctypes.ErrCompacted) {
			t.Errorf("from %d: %+v, want compacted at 4", start, r)
		}
		ended(t, ch)
	}
}

// TestIdleWatchSurvivesCompaction: a watch for which nothing was written has
// missed nothing, however much of the rest is forgotten.
func TestIdleWatchSurvivesCompaction(t *testing.T) {
	t.Parallel()
	c := memory(t)
	ch := c.Watch(t.Context(), "idle")
	for range 3 {
		rev := put(t, c, "busy", "1")
		if _, err := c.Compact(t.Context(), rev); err != nil {
			t.Fatal(err)
		}
	}
	put(t, c, "idle", "1")
	if got := events(next(t, ch)); got != "PUT idle=1@5; " {
		t.Errorf("got %s", got)
	}
}

// TestSlowWatchHoldsUpNobody: a consumer that stops reading costs the writers
// nothing, and is told when what it has not read is gone. Now and then the watch
// gets everything into one response in time, hence the attempts.
func TestSlowWatchHoldsUpNobody(t *testing.T) {
	t.Parallel()
	for range 100 {
		if leftBehind(t) {
			return
		}
	}
	t.Fatal("the consumer was never slow; the test proves nothing")
}

// leftBehind reports whether compaction overtook a watch nobody read from.
func leftBehind(t *testing.T) bool {
	c := memory(t)
	slow := c.Watch(t.Context(), "a")
	var rev int64
	for i := range 1000 {
		rev = put(t, c, "a", fmt.Sprint(i))
	}
	if _, err := c.Compact(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	for last := int64(1); last < rev; {
		r := next(t, slow)
		if r.Canceled {
			if !errors.Is(r.Err(), rpctypes.ErrCompacted) {
				t.Errorf("ended with %v, want compacted", r.Err())
			}
			ended(t, slow)
			return true
		}
		for _, e := range r.Events {
			if last++; e.Kv.ModRevision != last {
				t.Fatalf("got revision %d, want %d", e.Kv.ModRevision, last)
			}
		}
	}
	return false
}

func TestRequestProgress(t *testing.T) {
	t.Parallel()
	c := memory(t)
	quiet := c.Watch(t.Context(), "quiet")
	busy := c.Watch(t.Context(), "busy")
	rev := put(t, c, "busy", "1")
	if err := c.RequestProgress(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := next(t, quiet); !r.IsProgressNotify() || r.Header.Revision != rev {
		t.Errorf("quiet watch: %+v, want progress at revision %d", r, rev)
	}
	// Progress never overtakes an event.
	if r := next(t, busy); len(r.Events) != 1 {
		t.Errorf("busy watch: %+v, want the event first", r)
	}
	if r := next(t, busy); !r.IsProgressNotify() || r.Header.Revision != rev {
		t.Errorf("busy watch: %+v, want progress at revision %d", r, rev)
	}
}

func TestRequestProgressOfPrefix(t *testing.T) {
	t.Parallel()
	s := runStore(t, "", kv.Options{HistoryAge: -1})
	c := s.Client()
	pods := c.Watch(t.Context(), "/pods/", clientv3.WithPrefix())
	nodes := c.Watch(t.Context(), "/nodes/", clientv3.WithPrefix())
	rev := put(t, c, "/other/a", "1")
	s.RequestProgress("/pods/")
	if r := next(t, pods); !r.IsProgressNotify() || r.Header.Revision != rev {
		t.Errorf("the watch of the prefix: %+v, want progress at revision %d", r, rev)
	}
	put(t, c, "/nodes/a", "1")
	if r := next(t, nodes); len(r.Events) != 1 {
		t.Errorf("another watch: %+v, want the event first, for it was not asked", r)
	}
}

func TestProgressNotify(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	s := runStore(t, "", kv.Options{Clock: clock, HistoryAge: -1})
	c := s.Client()
	ch := c.Watch(t.Context(), "a", clientv3.WithProgressNotify())
	rev := put(t, c, "b", "1")
	for range 2 {
		if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		clock.Advance(10 * time.Minute)
		if r := next(t, ch); !r.IsProgressNotify() || r.Header.Revision != rev {
			t.Errorf("got %+v, want progress at revision %d", r, rev)
		}
	}
}
