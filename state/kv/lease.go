package kv

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// etcd's limits for a lease's time to live, in seconds. A shorter one is made
// minTTL; etcd derives it from its election timeout, this is what its defaults give.
const (
	minTTL = 2
	maxTTL = 9_000_000_000
)

// lease is a promise to delete the keys attached to it at its deadline. It is
// immutable: keeping it alive replaces it.
type lease struct {
	id       int64
	ttl      int64 // seconds, as granted
	deadline time.Time
}

func earlier(a, b *lease) bool {
	return cmp.Or(a.deadline.Compare(b.deadline), cmp.Compare(a.id, b.id)) < 0
}

func (v *view) lease(id int64) *lease {
	l, _ := v.leases.Get(&lease{id: id})
	return l
}

// attachedTo returns the keys attached to a lease, in order.
func (v *view) attachedTo(id int64) []string {
	var keys []string
	v.attached.AscendGreaterOrEqual(attachment{lease: id}, func(a attachment) bool {
		if a.lease != id {
			return false
		}
		keys = append(keys, a.key)
		return true
	})
	return keys
}

func (s *Store) grant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.TTL > maxTTL {
		return nil, rpctypes.ErrLeaseTTLTooLarge
	}
	l := lease{id: r.ID, ttl: max(r.TTL, minTTL)}
	resp := &pb.LeaseGrantResponse{TTL: l.ttl}
	err := s.submit(ctx, func(b *batch) error {
		if l.id == 0 {
			l.id = b.freeLeaseID()
		}
		if b.lease(l.id) != nil {
			return rpctypes.ErrLeaseExist
		}
		b.renew(&l)
		resp.ID, resp.Header = l.id, b.header()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// freeLeaseID picks an id by chance, as etcd does, so that an id from before a
// restart does not come to mean another lease.
func (b *batch) freeLeaseID() int64 {
	for {
		if id := rand.Int64(); id != 0 && b.lease(id) == nil {
			return id
		}
	}
}

// renew gives l its full time from now, and adds it if it is new.
func (b *batch) renew(l *lease) {
	renewed := &lease{id: l.id, ttl: l.ttl, deadline: b.now.Add(time.Duration(l.ttl) * time.Second)}
	b.drop(l.id)
	b.leases.ReplaceOrInsert(renewed)
	b.deadlines.ReplaceOrInsert(renewed)
	b.changes.leases[l.id] = struct{}{}
}

func (b *batch) drop(id int64) {
	if old, ok := b.leases.Delete(&lease{id: id}); ok {
		b.deadlines.Delete(old)
		b.changes.leases[id] = struct{}{}
	}
}

func (s *Store) revoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	resp := &pb.LeaseRevokeResponse{}
	err := s.submit(ctx, func(b *batch) error {
		if b.lease(r.ID) == nil {
			return rpctypes.ErrLeaseNotFound
		}
		b.end(r.ID)
		resp.Header = b.header()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// end deletes a lease, and its keys as one revision.
func (b *batch) end(id int64) {
	for _, name := range b.attachedTo(id) {
		b.delete(name, b.current(name))
	}
	b.drop(id)
}

// keepAlive renews a lease that has not run out. The new deadline is durable:
// a restart must not end a lease that its owner was told lives on.
func (s *Store) keepAlive(ctx context.Context, id int64) (*pb.LeaseKeepAliveResponse, error) {
	resp := &pb.LeaseKeepAliveResponse{ID: id}
	err := s.submit(ctx, func(b *batch) error {
		l := b.lease(id)
		if l == nil || !b.now.Before(l.deadline) {
			return rpctypes.ErrLeaseNotFound
		}
		b.renew(l)
		resp.TTL, resp.Header = l.ttl, b.header()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// timeToLive answers TTL -1 for a lease that does not exist or has run out.
func (s *Store) timeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v, now := s.view.Load(), s.clock.Now()
	resp := &pb.LeaseTimeToLiveResponse{Header: v.header(), ID: r.ID, TTL: -1}
	l := v.lease(r.ID)
	if l == nil || !now.Before(l.deadline) {
		return resp, nil
	}
	resp.TTL = int64(l.deadline.Sub(now) / time.Second)
	resp.GrantedTTL = l.ttl
	if r.Keys {
		for _, name := range v.attachedTo(l.id) {
			resp.Keys = append(resp.Keys, []byte(name))
		}
	}
	return resp, nil
}

func (s *Store) listLeases(ctx context.Context) (*pb.LeaseLeasesResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v := s.view.Load()
	resp := &pb.LeaseLeasesResponse{Header: v.header()}
	v.leases.Ascend(func(l *lease) bool {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: l.id})
		return true
	})
	return resp, nil
}

// expire ends the leases that have run out and returns the next deadline; the
// zero time means that there is none.
func (s *Store) expire(ctx context.Context) (time.Time, error) {
	now := s.clock.Now()
	if l, ok := s.view.Load().deadlines.Min(); ok && !now.Before(l.deadline) {
		if err := s.submit(ctx, endExpired); err != nil {
			return time.Time{}, err
		}
	}
	if l, ok := s.view.Load().deadlines.Min(); ok {
		return l.deadline, nil
	}
	return time.Time{}, nil
}

// endExpired ends one lease after the other, each with a revision of its own.
func endExpired(b *batch) error {
	for {
		l, ok := b.deadlines.Min()
		if !ok || b.now.Before(l.deadline) {
			return nil
		}
		b.changed = false
		b.end(l.id)
	}
}
