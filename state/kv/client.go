package kv

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/grpc"
)

// endpoint stands where an etcd client has addresses. No socket is behind it.
const endpoint = "state/kv"

// version is the etcd release whose behaviour the store has; clients decide by
// it what they may ask for.
const version = "3.6.8"

// Client returns an etcd client whose KV, Watcher, Lease and Maintenance are this
// store. It may be used by many goroutines. Closing it ends its watches, not the
// store. It has no endpoints, and its Auth and Cluster are nil.
func (s *Store) Client() *kubernetes.Client {
	c := clientv3.NewCtxClient(s.ctx)
	c.KV = clientv3.NewKVFromKVClient(kvServer{s}, nil)
	c.Watcher = watchClient{store: s, done: c.Ctx().Done()}
	c.Lease = leaseClient{
		Lease: clientv3.NewLeaseFromLeaseClient(leaseServer{store: s}, nil, time.Second),
		store: s,
		done:  c.Ctx().Done(),
	}
	c.Maintenance = maintenance{store: s}
	kc := &kubernetes.Client{Client: c}
	kc.Kubernetes = kc
	return kc
}

// FeatureClient answers the question which features an etcd client's server
// has. It is what the feature check of Kubernetes' storage wants: Endpoints and
// Status. (Client has no endpoints, so the check would ask nobody.)
func (s *Store) FeatureClient() FeatureClient { return FeatureClient{maintenance{store: s}} }

// FeatureClient is the value of Store.FeatureClient.
type FeatureClient struct{ maintenance }

// Endpoints returns the one name to ask for the Status of.
func (FeatureClient) Endpoints() []string { return []string{endpoint} }

// kvServer is the server's side of etcd's KV service.
type kvServer struct{ store *Store }

func (k kvServer) Range(ctx context.Context, r *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return k.store.read(ctx, r)
}

func (k kvServer) Put(ctx context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	return k.store.put(ctx, r)
}

func (k kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return k.store.deleteRange(ctx, r)
}

func (k kvServer) Txn(ctx context.Context, r *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	return k.store.txn(ctx, r)
}

func (k kvServer) Compact(ctx context.Context, r *pb.CompactionRequest, _ ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return k.store.compact(ctx, r)
}

type watchClient struct {
	store *Store
	done  <-chan struct{}
}

func (c watchClient) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return c.store.watch(ctx, c.done, newWatchOptions(key, opts))
}

func (c watchClient) RequestProgress(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.store.watchers.requestProgress("")
	return nil
}

// Close has nothing to do: closing the client has closed done already.
func (watchClient) Close() error { return nil }
