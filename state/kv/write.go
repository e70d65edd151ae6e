package kv

import (
	"cmp"
	"context"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxRequestBytes is etcd's default limit for one request: an object too large
// for a real cluster is refused here with the same words.
const maxRequestBytes = 3 << 19 // 1.5 MiB

func (s *Store) put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	if r.Size() > maxRequestBytes {
		return nil, rpctypes.ErrRequestTooLarge
	}
	var resp *pb.PutResponse
	err := s.submit(ctx, func(b *batch) error {
		if err := b.canPut(r); err != nil {
			return err
		}
		resp = b.execPut(r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrEmptyKey
	case len(r.Key) > bolt.MaxKeySize:
		return status.Errorf(codes.InvalidArgument, "key of %d bytes is too long; this store takes %d", len(r.Key), bolt.MaxKeySize)
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrLeaseProvided
	}
	return nil
}

// canPut makes the checks that depend on the store.
func (b *batch) canPut(r *pb.PutRequest) error { return cmp.Or(b.hasLease(r), b.hasWhatIsKept(r)) }

// hasLease wants the lease that a put names.
func (b *batch) hasLease(r *pb.PutRequest) error {
	if r.Lease != 0 && b.lease(r.Lease) == nil {
		return rpctypes.ErrLeaseNotFound
	}
	return nil
}

// hasWhatIsKept wants the key of which a put keeps the value or the lease.
func (b *batch) hasWhatIsKept(r *pb.PutRequest) error {
	if (r.IgnoreValue || r.IgnoreLease) && b.current(string(r.Key)) == nil {
		return rpctypes.ErrKeyNotFound
	}
	return nil
}

func (b *batch) execPut(r *pb.PutRequest) *pb.PutResponse {
	name, value, leaseID := string(r.Key), r.Value, r.Lease
	if prev := b.current(name); prev != nil {
		if r.IgnoreValue {
			value = prev.Value
		}
		if r.IgnoreLease {
			leaseID = prev.Lease
		}
	}
	prev := b.put(name, value, leaseID)
	resp := &pb.PutResponse{Header: b.header()}
	if r.PrevKv {
		resp.PrevKv = copyOf(prev)
	}
	return resp
}

func (s *Store) deleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	var resp *pb.DeleteRangeResponse
	err := s.submit(ctx, func(b *batch) error {
		resp = b.execDelete(r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrEmptyKey
	}
	return nil
}

func (b *batch) execDelete(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	var gone []*mvccpb.KeyValue // collected first: a tree must not change while it is walked
	b.ascend(newInterval(r.Key, r.RangeEnd), func(k *key) bool {
		if kv := k.newest(); kv != nil {
			gone = append(gone, kv)
		}
		return true
	})
	for _, kv := range gone {
		b.delete(string(kv.Key), kv)
	}
	resp := &pb.DeleteRangeResponse{Header: b.header(), Deleted: int64(len(gone))}
	if r.PrevKv {
		resp.PrevKvs = copies(gone, false)
	}
	return resp
}
