package kv

import (
	"bytes"
	"cmp"
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxTxnOps is etcd's default limit for each of the three lists of a txn.
const maxTxnOps = 128

func (s *Store) txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r); err != nil {
		return nil, err
	}
	if readOnly(r.Success) && readOnly(r.Failure) {
		return s.readTxn(ctx, r)
	}
	if r.Size() > maxRequestBytes {
		return nil, rpctypes.ErrRequestTooLarge
	}
	var resp *pb.TxnResponse
	err := s.submit(ctx, func(b *batch) (err error) {
		resp, err = b.txn(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// readTxn answers a txn that cannot write from the committed view, without queueing.
func (s *Store) readTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := batch{view: s.view.Load()}
	return b.txn(r)
}

// txn evaluates the comparisons, checks the chosen operations and only then runs
// them: an error leaves the batch unchanged.
func (b *batch) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	resp := &pb.TxnResponse{Succeeded: b.holds(r.Compare)}
	ops := r.Failure
	if resp.Succeeded {
		ops = r.Success
	}
	for _, op := range ops {
		if err := b.canRun(op); err != nil {
			return nil, err
		}
	}
	for _, op := range ops {
		out, err := b.run(op)
		if err != nil {
			return nil, err
		}
		resp.Responses = append(resp.Responses, out)
	}
	resp.Header = b.header()
	return resp, nil
}

func (b *batch) canRun(op *pb.RequestOp) error {
	switch {
	case op.GetRequestRange() != nil:
		return b.readable(op.GetRequestRange().Revision)
	case op.GetRequestPut() != nil:
		return b.canPut(op.GetRequestPut())
	}
	return nil
}

func (b *batch) run(op *pb.RequestOp) (*pb.ResponseOp, error) {
	switch {
	case op.GetRequestRange() != nil:
		resp, err := b.read(op.GetRequestRange())
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: resp}}, err
	case op.GetRequestPut() != nil:
		resp := b.execPut(op.GetRequestPut())
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: resp}}, nil
	default:
		resp := b.execDelete(op.GetRequestDeleteRange())
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: resp}}, nil
	}
}

func readOnly(ops []*pb.RequestOp) bool {
	for _, op := range ops {
		if op.GetRequestRange() == nil {
			return false
		}
	}
	return true
}

// checkTxn makes the checks that do not depend on the store.
func checkTxn(r *pb.TxnRequest) error {
	if max(len(r.Compare), len(r.Success), len(r.Failure)) > maxTxnOps {
		return rpctypes.ErrTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrEmptyKey
		}
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if err := checkOp(op); err != nil {
				return err
			}
		}
		if overlapping(ops) {
			return rpctypes.ErrDuplicateKey
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp) error {
	switch {
	case op.GetRequestRange() != nil:
		return checkRange(op.GetRequestRange())
	case op.GetRequestPut() != nil:
		return checkPut(op.GetRequestPut())
	case op.GetRequestDeleteRange() != nil:
		return checkDelete(op.GetRequestDeleteRange())
	case op.GetRequestTxn() != nil:
		return status.Error(codes.Unimplemented, "txn inside a txn is not supported by this store; send two")
	default:
		return rpctypes.ErrKeyNotFound // what etcd answers to an empty operation
	}
}

// overlapping reports whether two puts, or a put and a delete, name the same
// key: which of them should win would be a guess.
func overlapping(ops []*pb.RequestOp) bool {
	var deleted []interval
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			deleted = append(deleted, newInterval(d.Key, d.RangeEnd))
		}
	}
	put := make(map[string]bool)
	for _, op := range ops {
		p := op.GetRequestPut()
		if p == nil {
			continue
		}
		name := string(p.Key)
		for _, in := range deleted {
			if in.contains(name) {
				return true
			}
		}
		if put[name] {
			return true
		}
		put[name] = true
	}
	return false
}

// holds reports whether every comparison is true.
func (v *view) holds(compares []*pb.Compare) bool {
	for _, c := range compares {
		if !v.compare(c) {
			return false
		}
	}
	return true
}

// compare tests every key of the comparison's interval. An interval without
// keys counts as one key with all fields zero, but it has no value to compare.
func (v *view) compare(c *pb.Compare) bool {
	found, ok := false, true
	v.ascend(newInterval(c.Key, c.RangeEnd), func(k *key) bool {
		if kv := k.newest(); kv != nil {
			found, ok = true, matches(c, kv)
		}
		return ok
	})
	if found {
		return ok
	}
	return c.Target != pb.Compare_VALUE && matches(c, &mvccpb.KeyValue{})
}

func matches(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	d := difference(c, kv)
	switch c.Result {
	case pb.Compare_EQUAL:
		return d == 0
	case pb.Compare_NOT_EQUAL:
		return d != 0
	case pb.Compare_GREATER:
		return d > 0
	default:
		return d < 0
	}
}

// difference is negative, zero or positive as the key's field is less than,
// equal to or greater than the wanted one.
func difference(c *pb.Compare, kv *mvccpb.KeyValue) int {
	switch c.Target {
	case pb.Compare_VERSION:
		return cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_CREATE:
		return cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		return cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_LEASE:
		return cmp.Compare(kv.Lease, c.GetLease())
	default:
		return bytes.Compare(kv.Value, c.GetValue())
	}
}
