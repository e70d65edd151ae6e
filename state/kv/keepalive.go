package kv

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// leaseServer is the server's side of etcd's Lease service.
type leaseServer struct{ store *Store }

func (l leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest, _ ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
	return l.store.grant(ctx, r)
}

func (l leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest, _ ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
	return l.store.revoke(ctx, r)
}

func (l leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest, _ ...grpc.CallOption) (*pb.LeaseTimeToLiveResponse, error) {
	return l.store.timeToLive(ctx, r)
}

func (l leaseServer) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest, _ ...grpc.CallOption) (*pb.LeaseLeasesResponse, error) {
	return l.store.listLeases(ctx)
}

// LeaseKeepAlive is never called: leaseClient keeps leases alive itself.
func (leaseServer) LeaseKeepAlive(context.Context, ...grpc.CallOption) (pb.Lease_LeaseKeepAliveClient, error) {
	return nil, errors.New("open keep-alive stream: this store has no streams; use KeepAlive")
}

// leaseClient is etcd's lease client except for keeping alive, which there is a
// stream with polling loops around it.
type leaseClient struct {
	clientv3.Lease
	store *Store
	done  <-chan struct{} // the client was closed
}

// KeepAliveOnce renews a lease and answers its full time to live.
func (c leaseClient) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	r, err := c.store.keepAlive(ctx, int64(id))
	if err != nil {
		return nil, err
	}
	return &clientv3.LeaseKeepAliveResponse{ResponseHeader: r.Header, ID: id, TTL: r.TTL}, nil
}

// KeepAlive renews a lease at once and then every third of its time, until ctx
// ends, the lease is gone or the client or the store is closed; then it closes
// the channel. Responses nobody takes are dropped.
func (c leaseClient) KeepAlive(ctx context.Context, id clientv3.LeaseID) (<-chan *clientv3.LeaseKeepAliveResponse, error) {
	if !c.store.start() {
		return nil, clientv3.ErrKeepAliveHalted{Reason: ErrClosed}
	}
	out := make(chan *clientv3.LeaseKeepAliveResponse, clientv3.LeaseResponseChSize)
	go func() {
		defer c.store.running.Done()
		defer close(out)
		for c.renew(ctx, id, out) {
		}
	}()
	return out, nil
}

func (c leaseClient) renew(ctx context.Context, id clientv3.LeaseID, out chan<- *clientv3.LeaseKeepAliveResponse) bool {
	resp, err := c.KeepAliveOnce(ctx, id)
	if err != nil {
		return false
	}
	select {
	case out <- resp:
	default:
	}
	timer := c.store.clock.NewTimer(time.Duration(resp.TTL) * time.Second / 3)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-c.done:
	case <-c.store.ctx.Done():
	case <-timer.Chan():
		return true
	}
	return false
}
