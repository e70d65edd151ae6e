package kv

import (
	"maps"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// batch is the next view in the making. Requests are applied to it one after
// the other; each that changes keys gets a revision of its own.
type batch struct {
	*view
	now      time.Time
	changes  changes
	changed  bool // the request being applied has changed a key
	compacts bool
}

// changes names what a batch has to write to disk.
type changes struct {
	keys   map[string]struct{}
	leases map[int64]struct{}
}

func (c changes) empty() bool { return len(c.keys) == 0 && len(c.leases) == 0 }

func (c changes) add(o changes) {
	maps.Copy(c.keys, o.keys)
	maps.Copy(c.leases, o.leases)
}

func newBatch(base *view, now time.Time) *batch {
	return &batch{
		view:    base.clone(),
		now:     now,
		changes: changes{keys: map[string]struct{}{}, leases: map[int64]struct{}{}},
	}
}

func (b *batch) dirty() bool { return b.compacts || !b.changes.empty() }

// wantsRun reports whether Run has something new to time: leases, or a history
// that was empty before.
func (b *batch) wantsRun(base *view) bool {
	return len(b.changes.leases) > 0 || (len(base.history) == 0 && len(b.history) > 0)
}

// do applies one request. A request checks everything before its first change,
// so an error means that nothing has changed.
func (b *batch) do(apply func(*batch) error) error {
	b.changed = false
	return apply(b)
}

// touch gives the request being applied its revision, at its first change.
func (b *batch) touch() {
	if !b.changed {
		b.changed = true
		b.revision++
	}
}

// put writes a new version of name and returns the one before, if any.
func (b *batch) put(name string, value []byte, leaseID int64) *mvccpb.KeyValue {
	b.touch()
	kv := &mvccpb.KeyValue{
		Key:            []byte(name),
		Value:          value,
		Lease:          leaseID,
		CreateRevision: b.revision,
		ModRevision:    b.revision,
		Version:        1,
	}
	prev := b.current(name)
	if prev != nil {
		kv.CreateRevision, kv.Version = prev.CreateRevision, prev.Version+1
	}
	b.record(name, prev, &clientv3.Event{Type: mvccpb.PUT, Kv: kv})
	return prev
}

// delete writes a tombstone over prev, the newest version of name.
func (b *batch) delete(name string, prev *mvccpb.KeyValue) {
	b.touch()
	tombstone := &mvccpb.KeyValue{Key: prev.Key, ModRevision: b.revision}
	b.record(name, prev, &clientv3.Event{Type: mvccpb.DELETE, Kv: tombstone})
}

// record adds an event to the key's history and to everybody's; prev is what the key was a moment ago. What a watch is
// told is the version before this revision: a txn may put a key and delete it.
func (b *batch) record(name string, prev *mvccpb.KeyValue, e *clientv3.Event) {
	next := &key{name: name}
	if k, ok := b.keys.Get(next); ok {
		next.name, next.versions = k.name, k.versions
		e.PrevKv = k.at(b.revision - 1)
	}
	next.versions = append(next.versions, e.Kv)
	b.keys.ReplaceOrInsert(next)
	b.attach(next.name, prev, e.Kv)
	b.history = append(b.history, e)
	b.historyBytes += cost(e)
	b.changes.keys[next.name] = struct{}{}
}

// attach keeps the leases' keys in step with a change of a key.
func (b *batch) attach(name string, prev, now *mvccpb.KeyValue) {
	before, after := int64(0), now.Lease
	if prev != nil {
		before = prev.Lease
	}
	if before == after {
		return
	}
	if before != 0 {
		b.attached.Delete(attachment{before, name})
	}
	if after != 0 {
		b.attached.ReplaceOrInsert(attachment{after, name})
	}
}

// cost estimates the bytes an event holds in memory: its key and value, the
// structures around them and their share of the tree.
func cost(e *clientv3.Event) int64 {
	const overhead = 320
	return int64(len(e.Kv.Key)+len(e.Kv.Value)) + overhead
}
