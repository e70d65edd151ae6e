package kv_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/state/kv"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"pgregory.net/rapid"
)

// entry is what the model knows of a key.
type entry struct {
	value                string
	create, mod, version int64
}

// model is etcd in its simplest form: a map for every revision, beside the
// store that should answer the same.
type model struct {
	path   string
	store  *kv.Store
	client *kubernetes.Client

	revision, compacted int64
	states              map[int64]map[string]entry // by revision
	watch               clientv3.WatchChan         // of everything
	expected            []string                   // what the watch has yet to tell
}

var modelKeys = rapid.SampledFrom([]string{"/a", "/a/1", "/a/2", "/a/3", "/b", "/b/1", "/c\xff", "/d"})

func TestStoreBehavesLikeItsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "kv-model")
		must(t, err)
		defer os.RemoveAll(dir)
		m := &model{path: filepath.Join(dir, "x.db"), revision: 1, states: map[int64]map[string]entry{1: {}}}
		m.open(t)
		defer func() { must(t, m.store.Close()) }()
		t.Repeat(map[string]func(*rapid.T){
			"put":     m.put,
			"delete":  m.delete,
			"create":  m.create,
			"update":  m.update,
			"batch":   m.batch,
			"compact": m.compact,
			"reopen":  m.reopen,
			"list":    m.list,
			"":        m.check,
		})
	})
}

func must(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (m *model) open(t *rapid.T) {
	var err error
	m.store, err = kv.Open(m.path, kv.Options{})
	must(t, err)
	m.client = m.store.Client()
	m.watch = m.client.Watch(context.Background(), "", clientv3.WithPrefix(), clientv3.WithPrevKV())
}

func (m *model) now() map[string]entry { return m.states[m.revision] }

// write makes the next revision of the model.
func (m *model) write(puts map[string]string, deletes []string) {
	state := maps.Clone(m.now())
	for _, key := range deletes {
		delete(state, key)
	}
	if len(puts) == 0 && len(state) == len(m.now()) {
		return
	}
	m.revision++
	for key, value := range puts {
		e := entry{value: value, create: m.revision, mod: m.revision, version: 1}
		if old, ok := state[key]; ok {
			e.create, e.version = old.create, old.version+1
		}
		state[key] = e
	}
	m.tell(state)
	m.states[m.revision] = state
}

// tell notes the events that lead from the last revision to state.
func (m *model) tell(state map[string]entry) {
	before := m.states[m.revision-1]
	var lines []string
	for key, e := range state {
		if e.mod == m.revision {
			lines = append(lines, fmt.Sprintf("%d PUT %q=%s was %s", m.revision, key, e.value, before[key].value))
		}
	}
	for key, e := range before {
		if _, ok := state[key]; !ok {
			lines = append(lines, fmt.Sprintf("%d DELETE %q= was %s", m.revision, key, e.value))
		}
	}
	slices.Sort(lines)
	m.expected = append(m.expected, lines...)
}

func (m *model) put(t *rapid.T) {
	key, value := modelKeys.Draw(t, "key"), fmt.Sprint(m.revision)
	resp, err := m.client.Put(context.Background(), key, value)
	must(t, err)
	m.write(map[string]string{key: value}, nil)
	m.at(t, resp.Header.Revision)
}

func (m *model) at(t *rapid.T, revision int64) {
	if revision != m.revision {
		t.Fatalf("the store is at revision %d, the model at %d", revision, m.revision)
	}
}

func (m *model) delete(t *rapid.T) {
	key, prefix := modelKeys.Draw(t, "key"), rapid.Bool().Draw(t, "prefix")
	var opts []clientv3.OpOption
	if prefix {
		opts = append(opts, clientv3.WithPrefix())
	}
	var doomed []string
	for k := range m.now() {
		if k == key || prefix && strings.HasPrefix(k, key) {
			doomed = append(doomed, k)
		}
	}
	resp, err := m.client.Delete(context.Background(), key, opts...)
	must(t, err)
	if int(resp.Deleted) != len(doomed) {
		t.Fatalf("deleted %d keys, want %d", resp.Deleted, len(doomed))
	}
	m.write(nil, doomed)
	m.at(t, resp.Header.Revision)
}

func (m *model) create(t *rapid.T) { m.optimistic(t, 0) }

func (m *model) update(t *rapid.T) { m.optimistic(t, m.now()["/a"].mod) }

// optimistic is the write Kubernetes makes: put if unchanged, else read.
func (m *model) optimistic(t *rapid.T, expected int64) {
	key, value := modelKeys.Draw(t, "key"), fmt.Sprint(m.revision)
	resp, err := m.client.OptimisticPut(context.Background(), key, []byte(value), expected, kubernetes.PutOptions{GetOnFailure: true})
	must(t, err)
	old := m.now()[key]
	if resp.Succeeded != (old.mod == expected) {
		t.Fatalf("put at revision %d succeeded: %v, the key is at %d", expected, resp.Succeeded, old.mod)
	}
	if resp.Succeeded {
		m.write(map[string]string{key: value}, nil)
	} else if (resp.KV == nil) != (old.mod == 0) || resp.KV != nil && resp.KV.ModRevision != old.mod {
		t.Fatalf("the refused put found %v, want revision %d", resp.KV, old.mod)
	}
	m.at(t, resp.Revision)
}

func (m *model) batch(t *rapid.T) {
	keys := rapid.SliceOfNDistinct(modelKeys, 1, 4, rapid.ID[string]).Draw(t, "keys")
	puts := map[string]string{}
	var deletes []string
	var ops []clientv3.Op
	for _, key := range keys {
		if rapid.Bool().Draw(t, "put") {
			puts[key] = fmt.Sprint(m.revision)
			ops = append(ops, clientv3.OpPut(key, puts[key]))
		} else {
			deletes = append(deletes, key)
			ops = append(ops, clientv3.OpDelete(key))
		}
	}
	resp, err := m.client.Txn(context.Background()).Then(ops...).Commit()
	must(t, err)
	m.write(puts, deletes)
	m.at(t, resp.Header.Revision)
}

func (m *model) compact(t *rapid.T) {
	m.drain(t) // what the watch has not seen may go
	revision := rapid.Int64Range(0, m.revision+1).Draw(t, "revision")
	_, err := m.client.Compact(context.Background(), revision)
	switch {
	case revision > m.revision:
		if !errors.Is(err, rpctypes.ErrFutureRev) {
			t.Fatalf("compact the future: %v", err)
		}
	case revision <= m.compacted:
		if !errors.Is(err, rpctypes.ErrCompacted) {
			t.Fatalf("compact again: %v", err)
		}
	default:
		must(t, err)
		m.compacted = revision
	}
}

func (m *model) reopen(t *rapid.T) {
	m.drain(t)
	must(t, m.store.Close())
	m.open(t)
	m.compacted = m.revision
	if m.revision == 1 {
		m.compacted = 0 // nothing was ever written, so nothing is missing
	}
}

// list reads some revision, by pages.
func (m *model) list(t *rapid.T) {
	revision := rapid.Int64Range(1, m.revision).Draw(t, "revision")
	limit := rapid.Int64Range(0, 3).Draw(t, "limit")
	if got, want := m.pages(t, revision, limit), m.states[revision]; revision >= m.compacted {
		if !maps.Equal(got, want) {
			t.Fatalf("at revision %d\ngot  %v\nwant %v", revision, got, want)
		}
	}
}

func (m *model) pages(t *rapid.T, revision, limit int64) map[string]entry {
	got := map[string]entry{}
	for from := ""; ; {
		resp, err := m.client.List(context.Background(), "/", kubernetes.ListOptions{Revision: revision, Limit: limit, Continue: from})
		if revision < m.compacted {
			if !errors.Is(err, rpctypes.ErrCompacted) {
				t.Fatalf("read revision %d, compacted at %d: %v", revision, m.compacted, err)
			}
			return nil
		}
		must(t, err)
		if want := len(m.states[revision]) - len(got); int(resp.Count) != want {
			t.Fatalf("count is %d, want %d", resp.Count, want)
		}
		for _, kv := range resp.Kvs {
			got[string(kv.Key)] = entry{string(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version}
			from = string(kv.Key) + "\x00"
		}
		if int64(len(resp.Kvs)) == resp.Count {
			return got
		}
	}
}

func (m *model) check(t *rapid.T) {
	if got := m.pages(t, m.revision, 0); !maps.Equal(got, m.now()) {
		t.Fatalf("at revision %d\ngot  %v\nwant %v", m.revision, got, m.now())
	}
}

// drain takes all expected events from the watch.
func (m *model) drain(t *rapid.T) {
	must(t, m.client.RequestProgress(context.Background()))
	var got []string
	for revision, reached := int64(0), int64(0); reached < m.revision; {
		r := <-m.watch
		must(t, r.Err())
		if r.IsProgressNotify() {
			reached = r.Header.Revision
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision < revision {
				t.Fatalf("revision %d came after %d", e.Kv.ModRevision, revision)
			}
			revision = e.Kv.ModRevision
			was := ""
			if e.PrevKv != nil {
				was = string(e.PrevKv.Value)
			}
			got = append(got, fmt.Sprintf("%d %s %q=%s was %s", e.Kv.ModRevision, e.Type, e.Kv.Key, e.Kv.Value, was))
		}
	}
	m.compareEvents(t, got)
}

// compareEvents leaves the order within a revision open: the model has none.
func (m *model) compareEvents(t *rapid.T, got []string) {
	slices.Sort(got)
	want := slices.Sorted(slices.Values(m.expected))
	if !slices.Equal(got, want) {
		t.Fatalf("the watch saw\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	m.expected = nil
}
