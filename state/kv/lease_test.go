package kv_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/state/kv"
	"github.com/jonboulle/clockwork"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// timed returns a store whose only timer is that of the leases.
func timed(t *testing.T, path string) (*kubernetes.Client, *clockwork.FakeClock) {
	t.Helper()
	clock := clockwork.NewFakeClockAt(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	return runStore(t, path, kv.Options{Clock: clock, HistoryAge: -1}).Client(), clock
}

func grant(t *testing.T, c *kubernetes.Client, ttl int64) clientv3.LeaseID {
	t.Helper()
	resp, err := c.Grant(t.Context(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	return resp.ID
}

// advance moves the clock once somebody waits for it.
func advance(t *testing.T, clock *clockwork.FakeClock, d time.Duration) {
	t.Helper()
	if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	clock.Advance(d)
}

func TestLeaseExpiresAsOneRevision(t *testing.T) {
	t.Parallel()
	c, clock := timed(t, "")
	id := grant(t, c, 60)
	put(t, c, "a", "1", clientv3.WithLease(id)) // 2
	put(t, c, "b", "1", clientv3.WithLease(id)) // 3
	put(t, c, "kept", "1")                      // 4
	put(t, c, "freed", "1", clientv3.WithLease(id))
	put(t, c, "freed", "2") // 6
	ch := c.Watch(t.Context(), "", clientv3.WithPrefix())
	advance(t, clock, 59*time.Second)
	ttl, err := c.TimeToLive(t.Context(), id, clientv3.WithAttachedKeys())
	if err != nil || ttl.TTL != 1 || ttl.GrantedTTL != 60 || len(ttl.Keys) != 2 {
		t.Errorf("got %+v, %v, want 1 s of 60 left and 2 keys", ttl, err)
	}
	advance(t, clock, time.Second)
	if got := events(next(t, ch)); got != "DELETE a=@7; DELETE b=@7; " {
		t.Errorf("got %s", got)
	}
	if got := text(get(t, c, "", clientv3.WithPrefix())); got != "freed=2 kept=1 more=false count=2" {
		t.Errorf("left is %s", got)
	}
	gone(t, c, id)
}

// gone checks that every verb says that the lease does not exist.
func gone(t *testing.T, c *kubernetes.Client, id clientv3.LeaseID) {
	t.Helper()
	if ttl, err := c.TimeToLive(t.Context(), id); err != nil || ttl.TTL != -1 {
		t.Errorf("time to live: %+v, %v, want -1", ttl, err)
	}
	if _, err := c.KeepAliveOnce(t.Context(), id); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("keep alive: %v", err)
	}
	if _, err := c.Revoke(t.Context(), id); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("revoke: %v", err)
	}
	if _, err := c.Put(t.Context(), "x", "1", clientv3.WithLease(id)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("put: %v", err)
	}
}

func TestLeaseRevoke(t *testing.T) {
	t.Parallel()
	c, _ := timed(t, "")
	id, other := grant(t, c, 60), grant(t, c, 60)
	put(t, c, "a", "1", clientv3.WithLease(id))
	put(t, c, "b", "1", clientv3.WithLease(other))
	resp, err := c.Revoke(t.Context(), id)
	if err != nil || resp.Header.Revision != 4 {
		t.Errorf("got %v, %v, want revision 4", resp, err)
	}
	if got := text(get(t, c, "", clientv3.WithPrefix())); got != "b=1 more=false count=1" {
		t.Errorf("left is %s", got)
	}
	gone(t, c, id)
	leases, err := c.Leases(t.Context())
	if err != nil || len(leases.Leases) != 1 || leases.Leases[0].ID != other {
		t.Errorf("leases are %v, %v, want %x", leases, err, other)
	}
}

func TestLeaseLimits(t *testing.T) {
	t.Parallel()
	c, _ := timed(t, "")
	resp, err := c.Grant(t.Context(), 1)
	if err != nil || resp.TTL != 2 {
		t.Errorf("a short lease has %d s (%v), want etcd's least, 2", resp.TTL, err)
	}
	if _, err := c.Grant(t.Context(), 9_000_000_001); !errors.Is(err, rpctypes.ErrLeaseTTLTooLarge) {
		t.Errorf("too long: %v", err)
	}
	grant(t, c, 9_000_000_000)
}

func TestKeepAliveOnce(t *testing.T) {
	t.Parallel()
	c, clock := timed(t, "")
	id := grant(t, c, 60)
	put(t, c, "a", "1", clientv3.WithLease(id))
	ch := c.Watch(t.Context(), "a")
	advance(t, clock, 59*time.Second)
	if resp, err := c.KeepAliveOnce(t.Context(), id); err != nil || resp.TTL != 60 || resp.ID != id {
		t.Fatalf("got %+v, %v, want 60 s", resp, err)
	}
	advance(t, clock, 59*time.Second)
	if ttl, err := c.TimeToLive(t.Context(), id); err != nil || ttl.TTL != 1 {
		t.Errorf("got %+v, %v, want 1 s", ttl, err)
	}
	advance(t, clock, time.Second)
	if got := events(next(t, ch)); got != "DELETE a=@3; " {
		t.Errorf("got %s", got)
	}
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	c, clock := timed(t, "")
	id := grant(t, c, 60)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch, err := c.KeepAlive(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	for range 6 { // twice the lease's time
		if resp := <-ch; resp == nil || resp.TTL != 60 {
			t.Fatalf("got %v, want 60 s", resp)
		}
		if err := clock.BlockUntilContext(ctx, 2); err != nil { // the lease's and this
			t.Fatal(err)
		}
		clock.Advance(20 * time.Second)
	}
	cancel()
	for range ch {
	}
	if ttl, err := c.TimeToLive(t.Context(), id); err != nil || ttl.TTL < 40 {
		t.Errorf("got %+v, %v, want at least 40 s", ttl, err)
	}
	unknown, err := c.KeepAlive(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := <-unknown; ok {
		t.Error("an unknown lease was kept alive")
	}
}

// TestLeasesOutliveTheProcess: deadlines, renewed ones too, and keys are on disk.
func TestLeasesOutliveTheProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	clock := clockwork.NewFakeClock()
	o := kv.Options{Clock: clock, HistoryAge: -1}
	s, err := kv.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Client()
	short, long, renewed := grant(t, c, 60), grant(t, c, 600), grant(t, c, 60)
	put(t, c, "short", "1", clientv3.WithLease(short))
	put(t, c, "long", "1", clientv3.WithLease(long))
	put(t, c, "renewed", "1", clientv3.WithLease(renewed))
	clock.Advance(30 * time.Second)
	if _, err := c.KeepAliveOnce(t.Context(), renewed); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(45 * time.Second) // the process is down

	again := runStore(t, path, o)
	c = again.Client()
	eventually(t, func() bool { return len(get(t, c, "short").Kvs) == 0 })
	if got := text(get(t, c, "", clientv3.WithPrefix())); got != "long=1 renewed=1 more=false count=2" {
		t.Errorf("left is %s", got)
	}
	ch := c.Watch(t.Context(), "", clientv3.WithPrefix())
	advance(t, clock, 15*time.Second)
	if got := events(next(t, ch)); got != "DELETE renewed=@6; " {
		t.Errorf("got %s", got)
	}
}
