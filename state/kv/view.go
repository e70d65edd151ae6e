package kv

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/btree"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// view is the store at one revision. Once published it never changes: trees are
// copy-on-write, slices are only appended to beyond the published length.
type view struct {
	revision  int64
	compacted int64 // versions superseded at or before this revision are gone

	keys      *btree.BTreeG[*key]
	leases    *btree.BTreeG[*lease]     // by id
	deadlines *btree.BTreeG[*lease]     // by deadline, then id
	attached  *btree.BTreeG[attachment] // which keys hang on which lease

	history      []*clientv3.Event // every change after compacted, ascending
	historyBytes int64
}

// degree of the trees: small nodes, because each commit copies the path it touches.
const degree = 16

func newView() *view {
	return &view{
		revision:  1,
		keys:      btree.NewG(degree, func(a, b *key) bool { return a.name < b.name }),
		leases:    btree.NewG(degree, func(a, b *lease) bool { return a.id < b.id }),
		deadlines: btree.NewG(degree, earlier),
		attached:  btree.NewG(degree, func(a, b attachment) bool { return a.compare(b) < 0 }),
	}
}

// clone returns a view to change; v stays as it is. Only one clone of a view may
// be changed at a time, since the slices share their spare room.
func (v *view) clone() *view {
	next := *v
	next.keys = v.keys.Clone()
	next.leases = v.leases.Clone()
	next.deadlines = v.deadlines.Clone()
	next.attached = v.attached.Clone()
	return &next
}

func (v *view) header() *pb.ResponseHeader { return header(v.revision) }

// header names the one member of this cluster of one.
func header(revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 1, MemberId: 1, RaftTerm: 1, Revision: revision}
}

// since returns the changes at or after revision.
func (v *view) since(revision int64) []*clientv3.Event {
	i, _ := slices.BinarySearchFunc(v.history, revision, func(e *clientv3.Event, r int64) int {
		return cmp.Compare(e.Kv.ModRevision, r)
	})
	return v.history[i:]
}

// current returns the newest version of the key name, or nil if there is none.
func (v *view) current(name string) *mvccpb.KeyValue {
	if k, ok := v.keys.Get(&key{name: name}); ok {
		return k.newest()
	}
	return nil
}

// ascend calls fn for the keys of the interval, in order, until it returns false.
func (v *view) ascend(in interval, fn func(*key) bool) {
	if in.single {
		if k, ok := v.keys.Get(&key{name: in.start}); ok {
			fn(k)
		}
		return
	}
	v.keys.AscendGreaterOrEqual(&key{name: in.start}, func(k *key) bool {
		return in.before(k.name) && fn(k)
	})
}

// key is one key's history: its versions in ascending order of ModRevision, a
// tombstone having Version 0. Like a view it never changes once published.
type key struct {
	name     string
	versions []*mvccpb.KeyValue
}

// at returns the version that was current at revision, or nil if there was none.
func (k *key) at(revision int64) *mvccpb.KeyValue {
	for i := len(k.versions) - 1; i >= 0; i-- { // readers mostly want the newest
		if kv := k.versions[i]; kv.ModRevision <= revision {
			return alive(kv)
		}
	}
	return nil
}

func (k *key) newest() *mvccpb.KeyValue { return alive(k.versions[len(k.versions)-1]) }

func alive(kv *mvccpb.KeyValue) *mvccpb.KeyValue {
	if kv.Version == 0 {
		return nil
	}
	return kv
}

// interval is a range of keys as etcd's requests write it.
type interval struct {
	start, end string
	single     bool // only the key start
	open       bool // no upper end
}

// newInterval reads a request's key and range end: no range end means the one
// key, the range end "\x00" everything from the key on.
func newInterval(start, end []byte) interval {
	return interval{
		start:  string(start),
		end:    string(end),
		single: len(end) == 0,
		open:   len(end) == 1 && end[0] == 0,
	}
}

func (in interval) contains(name string) bool {
	if in.single {
		return name == in.start
	}
	return name >= in.start && in.before(name)
}

func (in interval) before(name string) bool { return in.open || name < in.end }

func (in interval) empty() bool { return !in.single && !in.open && in.end <= in.start }

// attachment says that a key is deleted when a lease ends.
type attachment struct {
	lease int64
	key   string
}

func (a attachment) compare(b attachment) int {
	return cmp.Or(cmp.Compare(a.lease, b.lease), strings.Compare(a.key, b.key))
}
