package kv

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
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

// branch is a txn once its comparisons are evaluated: the operations that are to run, and for those that are txns
// themselves, in their order, the same.
type branch struct {
	holds bool
	ops   []*pb.RequestOp
	inner []branch
}

// choose evaluates the comparisons of a txn and of the txns in it. All see the store as it was before, as in etcd.
func (v *view) choose(r *pb.TxnRequest) branch {
	chosen := branch{holds: v.holds(r.Compare), ops: r.Failure}
	if chosen.holds {
		chosen.ops = r.Success
	}
	for _, op := range chosen.ops {
		if inner := op.GetRequestTxn(); inner != nil {
			chosen.inner = append(chosen.inner, v.choose(inner))
		}
	}
	return chosen
}

// txn evaluates the comparisons, checks the chosen operations, puts first, and only then runs them: an error leaves the
// batch unchanged.
func (b *batch) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	chosen := b.choose(r)
	if err := chosen.each(b.canRunPut); err != nil {
		return nil, err
	}
	if err := chosen.each(b.canRunRange); err != nil {
		return nil, err
	}
	resp, err := b.runBranch(chosen)
	if err != nil {
		return nil, err
	}
	resp.Header = b.header()
	return resp, nil
}

// each calls check for every operation that is no txn.
func (br branch) each(check func(*pb.RequestOp) error) error {
	inner := br.inner
	for _, op := range br.ops {
		var err error
		if op.GetRequestTxn() != nil {
			err = inner[0].each(check)
			inner = inner[1:]
		} else {
			err = check(op)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) canRunPut(op *pb.RequestOp) error {
	r := op.GetRequestPut()
	if r == nil {
		return nil
	}
	return cmp.Or(b.hasWhatIsKept(r), b.hasLease(r)) // the other way round than of a put alone, as in etcd
}

func (b *batch) canRunRange(op *pb.RequestOp) error {
	r := op.GetRequestRange()
	if r == nil || r.Revision == 0 {
		return nil
	}
	if r.Revision < 0 && b.compacted > 0 { // a word for the newest revision elsewhere, here etcd takes it as a number
		return rpctypes.ErrCompacted
	}
	return b.readable(r.Revision)
}

// runBranch runs the operations one after the other. A txn in it shares its revision, and its header says nothing.
func (b *batch) runBranch(br branch) (*pb.TxnResponse, error) {
	resp := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: br.holds}
	inner := br.inner
	for _, op := range br.ops {
		out := &pb.ResponseOp{}
		switch {
		case op.GetRequestRange() != nil:
			read, err := b.read(op.GetRequestRange())
			if err != nil {
				return nil, err
			}
			out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: read}
		case op.GetRequestPut() != nil:
			out.Response = &pb.ResponseOp_ResponsePut{ResponsePut: b.execPut(op.GetRequestPut())}
		case op.GetRequestDeleteRange() != nil:
			out.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: b.execDelete(op.GetRequestDeleteRange())}
		default:
			nested, err := b.runBranch(inner[0])
			if err != nil {
				return nil, err
			}
			inner = inner[1:]
			out.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: nested}
		}
		resp.Responses = append(resp.Responses, out)
	}
	return resp, nil
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
	if err := checkOps(r, maxTxnOps); err != nil {
		return err
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		if _, err := touched(ops); err != nil {
			return err
		}
	}
	return nil
}

// checkOps checks a txn of which each list may have most operations; a txn in it may have what that leaves.
func checkOps(r *pb.TxnRequest, most int) error {
	longest := max(len(r.Compare), len(r.Success), len(r.Failure))
	if longest > most {
		return rpctypes.ErrTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrEmptyKey
		}
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if err := checkOp(op, most-longest); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, most int) error {
	switch {
	case op.GetRequestRange() != nil:
		return checkRange(op.GetRequestRange())
	case op.GetRequestPut() != nil:
		return checkPut(op.GetRequestPut())
	case op.GetRequestDeleteRange() != nil:
		return checkDelete(op.GetRequestDeleteRange())
	case op.GetRequestTxn() != nil:
		return checkOps(op.GetRequestTxn(), most)
	default:
		return rpctypes.ErrKeyNotFound // what etcd answers to an empty operation
	}
}

// touches are the keys that operations put and the intervals that they delete.
type touches struct {
	put     map[string]bool
	deleted []interval
}

func (t touches) has(name string) bool {
	return t.put[name] || slices.ContainsFunc(t.deleted, func(in interval) bool { return in.contains(name) })
}

// touched refuses two puts, or a put and a delete, of the same key: which of them should win would be a guess. The two
// sides of a txn exclude each other, so they may name the same.
func touched(ops []*pb.RequestOp) (touches, error) {
	all := touches{put: map[string]bool{}}
	for _, op := range ops {
		// etcd does not see what a deletion without an upper end meets.
		if d := op.GetRequestDeleteRange(); d != nil && !newInterval(d.Key, d.RangeEnd).open {
			all.deleted = append(all.deleted, newInterval(d.Key, d.RangeEnd))
		}
	}
	for _, op := range ops {
		if r := op.GetRequestTxn(); r != nil {
			if err := all.addTxn(r); err != nil {
				return all, err
			}
		}
	}
	for _, op := range ops {
		p := op.GetRequestPut()
		if p == nil {
			continue
		}
		if all.has(string(p.Key)) {
			return all, rpctypes.ErrDuplicateKey
		}
		all.put[string(p.Key)] = true
	}
	return all, nil
}

func (t *touches) addTxn(r *pb.TxnRequest) error {
	then, err := touched(r.Success)
	if err != nil {
		return err
	}
	otherwise, err := touched(r.Failure)
	if err != nil {
		return err
	}
	for _, side := range []touches{then, otherwise} {
		for name := range side.put {
			if t.has(name) {
				return rpctypes.ErrDuplicateKey
			}
		}
	}
	maps.Copy(t.put, then.put)
	maps.Copy(t.put, otherwise.put)
	t.deleted = slices.Concat(t.deleted, then.deleted, otherwise.deleted)
	return nil
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
