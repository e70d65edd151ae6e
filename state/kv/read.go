package kv

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// read answers a range request from the newest committed view. It never waits.
func (s *Store) read(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkRange(r); err != nil {
		return nil, err
	}
	return s.view.Load().read(r)
}

func checkRange(r *pb.RangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrEmptyKey
	}
	if _, ok := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]; !ok {
		return rpctypes.ErrInvalidSortOption
	}
	if _, ok := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]; !ok {
		return rpctypes.ErrInvalidSortOption
	}
	return nil
}

// readable says whether the view can be read at revision; 0 is its own.
func (v *view) readable(revision int64) error {
	switch {
	case revision > v.revision:
		return rpctypes.ErrFutureRev
	case revision > 0 && revision < v.compacted:
		return rpctypes.ErrCompacted
	}
	return nil
}

// read collects what r asks for. As in etcd, Count is that of the interval,
// whatever the limit and the revision filters leave out.
func (v *view) read(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := v.readable(r.Revision); err != nil {
		return nil, err
	}
	resp := &pb.RangeResponse{Header: v.header()}
	found, count := v.collect(r)
	resp.Count = count
	if r.CountOnly {
		return resp, nil
	}
	order(found, r)
	if r.Limit > 0 && int64(len(found)) > r.Limit {
		found, resp.More = found[:r.Limit], true
	}
	resp.Kvs = copies(found, r.KeysOnly)
	return resp, nil
}

// collect returns the versions r selects, in the order of their keys, and how
// many keys the interval has. It stops collecting one past the limit where the
// order of keys decides what comes first.
func (v *view) collect(r *pb.RangeRequest) (found []*mvccpb.KeyValue, count int64) {
	revision := r.Revision
	if revision <= 0 {
		revision = v.revision
	}
	most := int64(-1)
	if r.Limit > 0 && (!sorted(r) || r.SortOrder == pb.RangeRequest_NONE && !bounded(r)) {
		most = r.Limit + 1 // etcd does so, too, when a target is named without an order: it sorts what it got by key
	}
	v.ascend(newInterval(r.Key, r.RangeEnd), func(k *key) bool {
		kv := k.at(revision)
		if kv == nil {
			return true
		}
		count++
		if !r.CountOnly && int64(len(found)) != most && selected(kv, r) {
			found = append(found, kv)
		}
		return true
	})
	return found, count
}

func bounded(r *pb.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

func selected(kv *mvccpb.KeyValue, r *pb.RangeRequest) bool {
	return within(kv.ModRevision, r.MinModRevision, r.MaxModRevision) &&
		within(kv.CreateRevision, r.MinCreateRevision, r.MaxCreateRevision)
}

func within(revision, low, high int64) bool {
	return (low == 0 || revision >= low) && (high == 0 || revision <= high)
}

// sorted reports whether r wants another order than that of the keys. A target
// without an order means ascending.
func sorted(r *pb.RangeRequest) bool {
	if r.SortTarget == pb.RangeRequest_KEY {
		return r.SortOrder == pb.RangeRequest_DESCEND
	}
	return true
}

func order(kvs []*mvccpb.KeyValue, r *pb.RangeRequest) {
	if !sorted(r) {
		return
	}
	slices.SortStableFunc(kvs, func(a, b *mvccpb.KeyValue) int {
		if r.SortOrder == pb.RangeRequest_DESCEND {
			a, b = b, a
		}
		return compareBy(r.SortTarget, a, b)
	})
}

func compareBy(target pb.RangeRequest_SortTarget, a, b *mvccpb.KeyValue) int {
	switch target {
	case pb.RangeRequest_VERSION:
		return cmp.Compare(a.Version, b.Version)
	case pb.RangeRequest_CREATE:
		return cmp.Compare(a.CreateRevision, b.CreateRevision)
	case pb.RangeRequest_MOD:
		return cmp.Compare(a.ModRevision, b.ModRevision)
	case pb.RangeRequest_VALUE:
		return bytes.Compare(a.Value, b.Value)
	default:
		return bytes.Compare(a.Key, b.Key)
	}
}

// copies returns the caller's own structs, so that nothing done to a response
// reaches the store. Keys and values are shared and must not be written to.
func copies(kvs []*mvccpb.KeyValue, keysOnly bool) []*mvccpb.KeyValue {
	if len(kvs) == 0 {
		return nil
	}
	room := make([]mvccpb.KeyValue, len(kvs))
	out := make([]*mvccpb.KeyValue, len(kvs))
	for i, kv := range kvs {
		room[i] = *kv
		if keysOnly {
			room[i].Value = nil
		}
		out[i] = &room[i]
	}
	return out
}

func copyOf(kv *mvccpb.KeyValue) *mvccpb.KeyValue {
	if kv == nil {
		return nil
	}
	c := *kv
	return &c
}
