package kv_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/state/kv"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/api/apitesting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/utils/clock"
)

const storedPrefix = "test!"

// fixture is upstream's storage on a store of ours, and what its tests hook into.
type fixture struct {
	storage.Interface
	store       *kv.Store
	client      *kubernetes.Client
	codec       runtime.Codec
	transformer *swappable
	counted     *storagetesting.PrefixTransformer
	reads       *storagetesting.KVRecorder
	lists       *storagetesting.KubernetesRecorder
}

func newCodec(t testing.TB) runtime.Codec {
	t.Helper()
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	for _, add := range []func(*runtime.Scheme) error{example.AddToScheme, examplev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return apitesting.TestCodec(serializer.NewCodecFactory(scheme), examplev1.SchemeGroupVersion)
}

func newFixture(t testing.TB, o kv.Options) *fixture {
	t.Helper()
	f := &fixture{store: runStore(t, "", o), codec: newCodec(t)}
	f.client = f.store.Client()
	f.reads = storagetesting.NewKVRecorder(f.client.KV)
	f.lists = storagetesting.NewKubernetesRecorder(f.client.Kubernetes)
	f.client.KV, f.client.Kubernetes = f.reads, f.lists
	f.counted = storagetesting.NewPrefixTransformer([]byte(storedPrefix), false)
	f.transformer = newSwappable(f.counted)
	var transformer value.Transformer = f.transformer
	if utilfeature.DefaultFeatureGate.Enabled(features.AllowUnsafeMalformedObjectDeletion) {
		transformer = etcd3.WithCorruptObjErrorHandlingTransformer(transformer)
	}

	compactor := etcd3.NewCompactor(f.client.Client, 0, clock.RealClock{}, nil)
	t.Cleanup(compactor.Stop)
	versioner := storage.APIObjectVersioner{}
	leases := etcd3.NewDefaultLeaseManagerConfig()
	leases.ReuseDurationSeconds = 1 // the tests wait for expiry
	s, err := etcd3.New(f.client, compactor, f.codec,
		func() runtime.Object { return &example.Pod{} },
		func() runtime.Object { return &example.PodList{} },
		"", "/pods/", schema.GroupResource{Resource: "pods"},
		transformer, leases, etcd3.NewDefaultDecoder(f.codec, versioner), versioner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	f.Interface = s
	return f
}

// swappable lets a test put another transformer under a running storage.
type swappable struct{ now atomic.Value }

type transformerBox struct{ value.Transformer }

func newSwappable(t value.Transformer) *swappable {
	s := &swappable{}
	s.now.Store(transformerBox{t})
	return s
}

func (s *swappable) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool, error) {
	return s.now.Load().(transformerBox).TransformFromStorage(ctx, data, dataCtx)
}

func (s *swappable) TransformToStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, error) {
	return s.now.Load().(transformerBox).TransformToStorage(ctx, data, dataCtx)
}

func (s *swappable) swap(t value.Transformer) (restore func()) {
	old := s.now.Swap(transformerBox{t})
	return func() { s.now.Store(old) }
}

// UpdatePrefixTransformer is the hook of tests that fail or delay reads.
func (f *fixture) UpdatePrefixTransformer(modify storagetesting.PrefixTransformerModifier) func() {
	changed := *f.counted
	return f.transformer.swap(modify(&changed))
}

// CorruptTransformer is the hook of tests that make objects unreadable.
func (f *fixture) CorruptTransformer() func() { return f.transformer.swap(unreadable{f.counted}) }

type unreadable struct{ value.Transformer }

func (unreadable) TransformFromStorage(context.Context, []byte, value.Context) ([]byte, bool, error) {
	return nil, true, errUnreadable
}

var errUnreadable = errors.New("bits flipped")

// storedWithoutIdentity checks that what is stored does not say its own version.
func (f *fixture) storedWithoutIdentity(ctx context.Context, t *testing.T, key string) {
	t.Helper()
	resp, err := f.client.KV.Get(ctx, key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("get %s: %v, %d values", key, err, len(resp.Kvs))
	}
	obj, err := runtime.Decode(f.codec, []byte(strings.TrimPrefix(string(resp.Kvs[0].Value), storedPrefix)))
	if err != nil {
		t.Fatalf("decode %s: %v", key, err)
	}
	if pod := obj.(*example.Pod); pod.ResourceVersion != "" {
		t.Errorf("stored pod has resourceVersion %q", pod.ResourceVersion)
	}
}

// countedReads checks how many objects were decoded and how many pages that
// took: upstream doubles the page size until a page is full.
func (f *fixture) countedReads(t *testing.T, pageSize, objects uint64) {
	t.Helper()
	const largestPage = 10000
	if got := f.counted.GetReadsAndReset(); got != objects {
		t.Errorf("decoded %d objects, want %d", got, objects)
	}
	pages := uint64(1)
	if pageSize != 0 {
		for size, sum := pageSize, uint64(1); sum < objects; pages++ {
			size = min(2*size, largestPage)
			sum += size
		}
	}
	if got := f.reads.GetReadsAndReset(); got != pages {
		t.Fatalf("read %d pages, want %d", got, pages)
	}
}

func (f *fixture) bumpRevision(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	resp, err := f.client.KV.Put(ctx, "increaseRV", "ok")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// compact has upstream's compactor compact, and waits for it to notice.
func (f *fixture) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	t.Helper()
	revision, err := storage.APIObjectVersioner{}.ParseResourceVersion(resourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	compactUpstream(ctx, t, f.client.Client, int64(revision))
	if !utilfeature.DefaultFeatureGate.Enabled(features.ListFromCacheSnapshot) {
		return
	}
	eventually(t, func() bool { return f.CompactRevision() == int64(revision) })
}

// compactUpstream retries once: the first call learns the version of the key
// by which compactors take turns.
func compactUpstream(ctx context.Context, t *testing.T, c *clientv3.Client, revision int64) {
	t.Helper()
	version, _, compacted, err := etcd3.Compact(ctx, c, 0, revision)
	if err == nil && compacted != revision {
		_, _, _, err = etcd3.Compact(ctx, c, version, revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) keyNames(ctx context.Context) ([]string, error) {
	resp, err := f.client.KV.Get(ctx, "/pods/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, kv := range resp.Kvs {
		names = append(names, string(kv.Key))
	}
	return names, nil
}

// eventually waits for something that happens on another goroutine's time.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not happen within 20 s")
		}
	}
}
