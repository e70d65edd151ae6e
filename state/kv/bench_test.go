package kv_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alb-appliance/appliance/state/kv"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// BenchmarkPut measures a durable write of 2 KiB, by one writer and by many that
// share commits, and what the same costs in memory.
func BenchmarkPut(b *testing.B) {
	value := strings.Repeat("v", 2<<10)
	for _, writers := range []int{1, 16} {
		for _, where := range []string{"disk", "memory"} {
			b.Run(fmt.Sprintf("%s/writers=%d", where, writers), func(b *testing.B) {
				path := ""
				if where == "disk" {
					path = filepath.Join(b.TempDir(), "x.db")
				}
				c := runStore(b, path, kv.Options{}).Client()
				var n atomic.Int64
				b.ReportAllocs()
				b.SetParallelism(writers) // per processor: run with -cpu 1
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						key := fmt.Sprintf("/registry/pods/default/pod-%d", n.Add(1)%1000)
						if _, err := c.Put(context.Background(), key, value); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	c := memory(b)
	for i := range 1000 {
		put(b, c, fmt.Sprintf("/registry/pods/default/pod-%04d", i), "v")
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			get(b, c, "/registry/pods/default/pod-0500")
		}
	})
	b.Run("1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			get(b, c, "/registry/pods/", clientv3.WithPrefix())
		}
	})
}

// BenchmarkIdleWatches measures what watches that are not concerned add to a write.
func BenchmarkIdleWatches(b *testing.B) {
	c := memory(b)
	for i := range 100 {
		c.Watch(b.Context(), fmt.Sprintf("/registry/kind-%d/", i), clientv3.WithPrefix())
	}
	b.ReportAllocs()
	for b.Loop() {
		put(b, c, "/registry/pods/default/a", "v")
	}
}

// BenchmarkOpen measures how long it takes to check and read a store of 10,000 objects of 2 KiB.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.db")
	s, err := kv.Open(path, kv.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		ops := make([]clientv3.Op, 100)
		for n := range ops {
			ops[n] = clientv3.OpPut(fmt.Sprintf("/registry/configmaps/default/name-%02d-%02d", i, n), strings.Repeat("v", 2<<10))
		}
		if _, err := s.Client().Txn(b.Context()).Then(ops...).Commit(); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := kv.Open(path, kv.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
