package kv_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/alb-appliance/appliance/state/kv"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestPutCountsRevisionsAndVersions(t *testing.T) {
	t.Parallel()
	c := memory(t)
	for i, step := range []struct {
		do                   func()
		create, mod, version int64
	}{
		{func() { put(t, c, "a", "1") }, 2, 2, 1},
		{func() { put(t, c, "b", "1") }, 2, 2, 1},
		{func() { put(t, c, "a", "2") }, 2, 4, 2},
		{func() { remove(t, c, "a"); put(t, c, "a", "3") }, 6, 6, 1},
	} {
		step.do()
		kv := get(t, c, "a").Kvs[0]
		if kv.CreateRevision != step.create || kv.ModRevision != step.mod || kv.Version != step.version {
			t.Errorf("step %d: created %d, modified %d, version %d, want %d, %d, %d",
				i, kv.CreateRevision, kv.ModRevision, kv.Version, step.create, step.mod, step.version)
		}
	}
}

func TestPutOptions(t *testing.T) {
	t.Parallel()
	c := memory(t)
	lease, err := c.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Put(t.Context(), "a", "1", clientv3.WithPrevKV(), clientv3.WithLease(lease.ID))
	if err != nil || first.PrevKv != nil {
		t.Fatalf("put: %v, previous %v, want none", err, first.PrevKv)
	}
	second, err := c.Put(t.Context(), "a", "2", clientv3.WithPrevKV(), clientv3.WithIgnoreLease())
	if err != nil || string(second.PrevKv.Value) != "1" {
		t.Fatalf("put: %v, previous %v, want 1", err, second.PrevKv)
	}
	put(t, c, "a", "", clientv3.WithIgnoreValue(), clientv3.WithLease(lease.ID))
	if kv := get(t, c, "a").Kvs[0]; string(kv.Value) != "2" || kv.Lease != int64(lease.ID) || kv.Version != 3 {
		t.Errorf("got %v, want value 2, the lease and version 3", kv)
	}
	put(t, c, "a", "3")
	if kv := get(t, c, "a").Kvs[0]; kv.Lease != 0 {
		t.Errorf("the lease is still %x", kv.Lease)
	}
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	c := memory(t)
	put(t, c, "a", "1")
	for _, tc := range []struct {
		name, key, value string
		opt              clientv3.OpOption
		want             string
	}{
		{"no key", "", "v", clientv3.WithPrevKV(), rpctypes.ErrEmptyKey.Error()},
		{"long key", strings.Repeat("k", 40000), "v", clientv3.WithPrevKV(), "key of 40000 bytes is too long"},
		{"large value", "k", strings.Repeat("v", 3<<19), clientv3.WithPrevKV(), rpctypes.ErrRequestTooLarge.Error()},
		{"unknown lease", "k", "v", clientv3.WithLease(7), rpctypes.ErrLeaseNotFound.Error()},
		{"value and ignore", "a", "v", clientv3.WithIgnoreValue(), rpctypes.ErrValueProvided.Error()},
		{"ignore value of nothing", "k", "", clientv3.WithIgnoreValue(), rpctypes.ErrKeyNotFound.Error()},
		{"ignore lease of nothing", "k", "v", clientv3.WithIgnoreLease(), rpctypes.ErrKeyNotFound.Error()},
	} {
		if _, err := c.Put(t.Context(), tc.key, tc.value, tc.opt); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Put(cancelled, "k", "v"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := get(t, c, "", clientv3.WithPrefix()); got.Count != 1 || got.Header.Revision != 2 {
		t.Errorf("%d keys at revision %d, want 1 at 2", got.Count, got.Header.Revision)
	}
}

func TestDeleteRange(t *testing.T) {
	t.Parallel()
	c := memory(t)
	for _, key := range []string{"a", "b/1", "b/2", "b/3", "c"} {
		put(t, c, key, key)
	}
	if resp := remove(t, c, "x"); resp.Deleted != 0 || resp.Header.Revision != 6 {
		t.Errorf("deleted %d of nothing at revision %d, want 0 at 6", resp.Deleted, resp.Header.Revision)
	}
	resp := remove(t, c, "b/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	if resp.Deleted != 3 || resp.Header.Revision != 7 || len(resp.PrevKvs) != 3 || string(resp.PrevKvs[2].Value) != "b/3" {
		t.Errorf("got %v, want 3 deleted as revision 7 with their values", resp)
	}
	if got := text(get(t, c, "", clientv3.WithPrefix())); got != "a=a c=c more=false count=2" {
		t.Errorf("left is %s", got)
	}
	if _, err := c.Delete(t.Context(), ""); !errors.Is(err, rpctypes.ErrEmptyKey) {
		t.Errorf("no key: %v", err)
	}
}

// TestConcurrentWritersGetRevisionsOfTheirOwn has writers share commits.
func TestConcurrentWritersGetRevisionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	const writers, writes = 16, 25
	s := runStore(t, filepath.Join(t.TempDir(), "x.db"), kv.Options{})
	c := s.Client()
	var wg sync.WaitGroup
	var mu sync.Mutex
	byRevision := map[int64]string{}
	for w := range writers {
		wg.Go(func() {
			for n := range writes {
				key := fmt.Sprintf("%d/%d", w, n)
				resp, err := c.Put(t.Context(), key, "v")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if other, taken := byRevision[resp.Header.Revision]; taken {
					t.Errorf("%s and %s are both at revision %d", key, other, resp.Header.Revision)
				}
				byRevision[resp.Header.Revision] = key
				mu.Unlock()
				if got, err := c.KV.Get(t.Context(), key); err != nil || len(got.Kvs) != 1 || got.Kvs[0].ModRevision != resp.Header.Revision {
					t.Errorf("%s is not readable at once: %v, %v", key, got, err)
				}
			}
		})
	}
	wg.Wait()
	if got := s.Revision(); got != 1+writers*writes {
		t.Errorf("the store is at revision %d, want %d", got, 1+writers*writes)
	}
}

func TestClosedStoreRefusesWrites(t *testing.T) {
	t.Parallel()
	s, err := kv.Open(filepath.Join(t.TempDir(), "x.db"), kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := s.Client()
	watch := c.Watch(t.Context(), "a")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ended(t, watch)
	ended(t, c.Watch(t.Context(), "a"))
	if _, err := c.Put(t.Context(), "a", "1"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("put: %v", err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Errorf("run: %v", err)
	}
}
