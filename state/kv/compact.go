package kv

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// compact forgets the versions superseded at or before a revision.
func (s *Store) compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	resp := &pb.CompactionResponse{}
	err := s.submit(ctx, func(b *batch) error {
		if r.Revision <= b.compacted {
			return rpctypes.ErrCompacted
		}
		if r.Revision > b.revision {
			return rpctypes.ErrFutureRev
		}
		b.compact(r.Revision)
		resp.Header = b.header()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// compact drops the history up to revision and every version that it had made
// old. Only keys in that history can have old versions, so the cost is the
// history's, not the store's.
func (b *batch) compact(revision int64) {
	b.compacts = true
	b.compacted = revision
	kept := b.since(revision + 1)
	for _, e := range b.history[:len(b.history)-len(kept)] {
		b.prune(string(e.Kv.Key), revision)
		b.historyBytes -= cost(e)
	}
	// A copy: the old array would keep what was just dropped.
	b.history = append(b.history[:0:0], kept...)
}

func (b *batch) prune(name string, revision int64) {
	k, ok := b.keys.Get(&key{name: name})
	if !ok {
		return
	}
	keep := k.versions
	for len(keep) > 1 && keep[1].ModRevision <= revision {
		keep = keep[1:]
	}
	if keep[0].ModRevision <= revision && keep[0].Version == 0 {
		keep = keep[1:]
	}
	switch {
	case len(keep) == 0:
		b.keys.Delete(k)
	case len(keep) < len(k.versions):
		b.keys.ReplaceOrInsert(&key{name: k.name, versions: append([]*mvccpb.KeyValue(nil), keep...)})
	}
}

// trim keeps the history within its budget. It drops half of it at a time, so
// that the cost per write stays constant.
func (b *batch) trim(budget int64) {
	if budget < 0 || b.historyBytes <= budget {
		return
	}
	rest := b.historyBytes
	for _, e := range b.history {
		rest -= cost(e)
		if rest <= budget/2 {
			b.compact(e.Kv.ModRevision)
			return
		}
	}
}

// mark remembers which revision was current at a moment: once HistoryAge has
// passed since, everything up to it is old enough to go.
type mark struct {
	revision int64
	at       time.Time
}

// age compacts what has grown too old and returns when to look again; the zero
// time means when something has been written.
func (s *Store) age(ctx context.Context, m *mark) (time.Time, error) {
	if s.opts.HistoryAge < 0 {
		return time.Time{}, nil
	}
	now := s.clock.Now()
	if m.revision != 0 && !now.Before(m.at.Add(s.opts.HistoryAge)) {
		if err := s.compactTo(ctx, m.revision); err != nil {
			return time.Time{}, err
		}
		*m = mark{}
	}
	v := s.view.Load()
	if len(v.history) == 0 {
		*m = mark{}
		return time.Time{}, nil
	}
	if m.revision == 0 {
		*m = mark{revision: v.revision, at: now}
	}
	return m.at.Add(s.opts.HistoryAge), nil
}

// compactTo is compact for our own use: already compacted is fine.
func (s *Store) compactTo(ctx context.Context, revision int64) error {
	return s.submit(ctx, func(b *batch) error {
		if revision > b.compacted {
			b.compact(revision)
		}
		return nil
	})
}
