package kv_test

import (
	"context"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/state/kv"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestLeaseEndsLikeEtcd lets the same lease run out on the store and on a real etcd, by the machine's clock: its keys go
// in one revision, in order, and the lease is gone. One that is kept alive stays.
func TestLeaseEndsLikeEtcd(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t)
	ours := runStore(t, "", kv.Options{}).Client()
	var said [2]string
	for n, c := range []*etcdClient{{KV: ours.KV, Watcher: ours.Watcher, Lease: ours.Lease}, {KV: etcd.KV, Watcher: etcd.Watcher, Lease: etcd.Lease}} {
		said[n] = lifeOfLease(t, c)
	}
	if said[0] != said[1] {
		t.Errorf("the store: %s\netcd:      %s", said[0], said[1])
	}
}

func lifeOfLease(t *testing.T, c *etcdClient) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	watch := c.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithPrevKV())
	short, err := c.Grant(ctx, 1) // as short as there is
	if err != nil {
		t.Fatal(err)
	}
	kept, err := c.Grant(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	alive, err := c.KeepAlive(ctx, kept.ID)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range alive {
		}
	}()
	c.leases = map[int64]clientv3.LeaseID{1: short.ID, 2: kept.ID}
	for _, key := range []string{"b", "a", "c"} {
		if _, err := c.Put(ctx, key, "v", clientv3.WithLease(short.ID)); err != nil {
			t.Fatal(err)
		}
	}
	put, err := c.Put(ctx, "kept", "v", clientv3.WithLease(kept.ID))
	if err != nil {
		t.Fatal(err)
	}
	c.shift = put.Header.Revision
	text := ""
	for seen := 0; seen < 3; {
		r := <-watch
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			seen++
			text += e.Type.String() + " " + c.kvText(e.Kv) + " was " + c.kvText(e.PrevKv) + "; "
		}
	}
	left, err := c.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range left.Kvs {
		text += " left " + string(kv.Key)
	}
	gone, err := c.TimeToLive(ctx, short.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.KeepAliveOnce(ctx, short.ID); err != nil {
		text += " " + err.Error()
	}
	return text + " granted " + time.Duration(short.TTL).String() + " left " + time.Duration(gone.TTL).String()
}
