package kv_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/state/kv"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		if err := writeForEver(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fixSeed()
	goleak.VerifyTestMain(m,
		// Upstream's: klog flushes for the life of the process, and a consistent
		// read leaves its timeout behind for three seconds.
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		goleak.IgnoreAnyFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshAndBlock.func2"))
}

// fixSeed makes random tests the same in every run, unless the seed is given: `make soak` draws others.
func fixSeed() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.seed" })
	if given {
		return
	}
	if err := flag.Set("rapid.seed", "1"); err != nil {
		panic(err)
	}
}

// runStore opens a store that runs until the test is over.
func runStore(t testing.TB, path string, o kv.Options) *kv.Store {
	t.Helper()
	s, err := kv.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// memory returns a client of a fresh store in memory.
func memory(t testing.TB) *kubernetes.Client {
	t.Helper()
	return runStore(t, "", kv.Options{}).Client()
}

func put(t testing.TB, c *kubernetes.Client, key, value string, opts ...clientv3.OpOption) int64 {
	t.Helper()
	resp, err := c.Put(t.Context(), key, value, opts...)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return resp.Header.Revision
}

func remove(t testing.TB, c *kubernetes.Client, key string, opts ...clientv3.OpOption) *clientv3.DeleteResponse {
	t.Helper()
	resp, err := c.Delete(t.Context(), key, opts...)
	if err != nil {
		t.Fatalf("delete %s: %v", key, err)
	}
	return resp
}

// get reads through etcd's own method, which kubernetes.Client hides.
func get(t testing.TB, c *kubernetes.Client, key string, opts ...clientv3.OpOption) *clientv3.GetResponse {
	t.Helper()
	resp, err := c.KV.Get(t.Context(), key, opts...)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	return resp
}

// text writes a response's keys and values on one line.
func text(resp *clientv3.GetResponse) string {
	s := ""
	for _, kv := range resp.Kvs {
		s += fmt.Sprintf("%s=%s ", kv.Key, kv.Value)
	}
	return s + fmt.Sprintf("more=%v count=%d", resp.More, resp.Count)
}

// next takes the next response of a watch.
func next(t testing.TB, ch clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	select {
	case r, ok := <-ch:
		if !ok {
			t.Fatal("the watch has ended")
		}
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("the watch is silent")
	}
	panic("unreachable")
}

// ended waits for a watch to close its channel.
func ended(t testing.TB, ch clientv3.WatchChan) {
	t.Helper()
	for end := time.After(20 * time.Second); ; {
		select {
		case _, ok := <-ch:
			if !ok {
				return
			}
		case <-end:
			t.Fatal("the watch goes on")
		}
	}
}

// events writes a response's events on one line.
func events(r clientv3.WatchResponse) string {
	s := ""
	for _, e := range r.Events {
		s += fmt.Sprintf("%s %s=%s@%d", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
		if e.PrevKv != nil {
			s += fmt.Sprintf(" was %s@%d", e.PrevKv.Value, e.PrevKv.ModRevision)
		}
		s += "; "
	}
	return s
}
