package kv_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/featuregate"
	"k8s.io/utils/clock"
)

// newCached puts upstream's watch cache over a fixture, as an API server does.
func newCached(t testing.TB, f *fixture, clusterScoped bool) *cacher.CacheDelegator {
	t.Helper()
	const prefix = "/pods/"
	checker := etcdfeature.DefaultFeatureSupportChecker
	checker.CheckClient(t.Context(), f.store.FeatureClient(), storage.RequestWatchProgress)
	eventually(t, func() bool { return checker.Supports(storage.RequestWatchProgress) })
	c, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage:             f.Interface,
		Versioner:           storage.APIObjectVersioner{},
		GroupResource:       schema.GroupResource{Resource: "pods"},
		EventsHistoryWindow: cacher.DefaultEventFreshDuration,
		ResourcePrefix:      prefix,
		KeyFunc: func(obj runtime.Object) (string, error) {
			if clusterScoped {
				return storage.NoNamespaceKeyFunc(prefix, obj)
			}
			return storage.NamespaceKeyFunc(prefix, obj)
		},
		GetAttrsFunc: podAttributes,
		NewFunc:      func() runtime.Object { return &example.Pod{} },
		NewListFunc:  func() runtime.Object { return &example.PodList{} },
		IndexerFuncs: map[string]storage.IndexerFunc{"spec.nodeName": nodeOf},
		Indexers: &cache.Indexers{
			"f:spec.nodeName":      func(obj any) ([]string, error) { return []string{obj.(*example.Pod).Spec.NodeName}, nil },
			"f:metadata.namespace": func(obj any) ([]string, error) { return []string{obj.(*example.Pod).Namespace}, nil },
		},
		Codec: f.codec,
		Clock: hastyClock{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	delegator := cacher.NewCacheDelegator(c, f.Interface)
	t.Cleanup(delegator.Stop)
	return delegator
}

// compactCached compacts and waits for the cache to forget too.
func compactCached(f *fixture, c *cacher.CacheDelegator) storagetesting.Compaction {
	return func(ctx context.Context, t *testing.T, resourceVersion string) {
		t.Helper()
		f.compact(ctx, t, resourceVersion)
		eventually(t, func() bool { return fmt.Sprint(c.CompactRevision()) == resourceVersion })
	}
}

// hastyClock is the real clock, but makes the cache look for compaction at once
// and not every 15 seconds.
type hastyClock struct{ clock.RealClock }

type hastyTimer struct{ clock.Timer }

const cachePollPeriod = 15 * time.Second

func hasten(d time.Duration) time.Duration {
	if d == cachePollPeriod {
		return 10 * time.Millisecond
	}
	return d
}

func (c hastyClock) NewTimer(d time.Duration) clock.Timer {
	return hastyTimer{c.RealClock.NewTimer(hasten(d))}
}

func (t hastyTimer) Reset(d time.Duration) bool { return t.Timer.Reset(hasten(d)) }

func nodeOf(obj runtime.Object) string { return obj.(*example.Pod).Spec.NodeName }

func podAttributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	pod, ok := obj.(*example.Pod)
	if !ok {
		return nil, nil, fmt.Errorf("%T is not a pod", obj)
	}
	return pod.Labels, fields.Set{
		"spec.nodeName":      pod.Spec.NodeName,
		"spec.restartPolicy": string(pod.Spec.RestartPolicy),
		"status.phase":       string(pod.Status.Phase),
		"metadata.name":      pod.Name,
		"metadata.namespace": pod.Namespace,
	}, nil
}

// settled returns from Create when the cache has the object too.
type settled struct{ storage.Interface }

func (s settled) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	if err := s.Interface.Create(ctx, key, obj, out, ttl); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var seen example.Pod
		err := s.Get(ctx, key, storage.GetOptions{ResourceVersion: "0"}, &seen)
		if err == nil && apiequality.Semantic.DeepEqual(&seen, out) {
			return nil
		}
		if err != nil && !storage.IsNotFound(err) {
			return err
		}
	}
	return fmt.Errorf("the cache has not seen %s", key)
}

// TestUpstreamCacher runs what upstream runs through its watch cache, but for WatchFromZero, which needs the cache's
// private parts: without them it depends on how fast the cache is.
func TestUpstreamCacher(t *testing.T) {
	ignored := func(context.Context, *testing.T, string) {}
	uncounted := func(*testing.T, uint64, uint64) {}
	through := func(run func(context.Context, *testing.T, storage.Interface)) func(context.Context, *testing.T, *fixture) {
		return func(ctx context.Context, t *testing.T, f *fixture) { run(ctx, t, newCached(t, f, false)) }
	}
	settling := func(run func(context.Context, *testing.T, storage.Interface)) func(context.Context, *testing.T, *fixture) {
		return func(ctx context.Context, t *testing.T, f *fixture) { run(ctx, t, settled{newCached(t, f, false)}) }
	}
	for _, c := range []upstreamCase{
		{name: "Create", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestCreate(ctx, t, newCached(t, f, false), ignored)
		}},
		{name: "CreateWithTTL", run: through(storagetesting.RunTestCreateWithTTL)},
		{name: "CreateWithKeyExist", run: through(storagetesting.RunTestCreateWithKeyExist)},
		{name: "Get", run: through(storagetesting.RunTestGet)},
		{name: "UnconditionalDelete", run: through(storagetesting.RunTestUnconditionalDelete)},
		{name: "ConditionalDelete", run: through(storagetesting.RunTestConditionalDelete)},
		{name: "DeleteWithSuggestion", run: through(storagetesting.RunTestDeleteWithSuggestion)},
		{name: "DeleteWithSuggestionAndConflict", run: through(storagetesting.RunTestDeleteWithSuggestionAndConflict)},
		{name: "DeleteWithSuggestionOfDeletedObject", run: through(storagetesting.RunTestDeleteWithSuggestionOfDeletedObject)},
		{name: "ValidateDeletionWithSuggestion", run: through(storagetesting.RunTestValidateDeletionWithSuggestion)},
		{name: "ValidateDeletionWithOnlySuggestionValid", run: through(storagetesting.RunTestValidateDeletionWithOnlySuggestionValid)},
		{name: "DeleteWithConflict", run: through(storagetesting.RunTestDeleteWithConflict)},
		{name: "PreconditionalDeleteWithSuggestion", run: through(storagetesting.RunTestPreconditionalDeleteWithSuggestion)},
		{name: "PreconditionalDeleteWithOnlySuggestionPass", run: through(storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass)},
		{name: "ListPaging", run: through(storagetesting.RunTestListPaging)},
		{name: "List", run: func(ctx context.Context, t *testing.T, f *fixture) {
			c := newCached(t, f, false)
			storagetesting.RunTestList(ctx, t, c, compactCached(f, c), true, f.lists)
		}},
		{name: "ConsistentList", on: []featuregate.Feature{features.ListFromCacheSnapshot}, run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestConsistentList(ctx, t, newCached(t, f, false), f.bumpRevision, true, true, true)
		}},
		{name: "ConsistentListWithoutSnapshots", off: []featuregate.Feature{features.ListFromCacheSnapshot}, run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestConsistentList(ctx, t, newCached(t, f, false), f.bumpRevision, true, true, false)
		}},
		{name: "GetListNonRecursive", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestGetListNonRecursive(ctx, t, f.bumpRevision, newCached(t, f, false))
		}},
		{name: "CompactRevision", on: []featuregate.Feature{features.ListFromCacheSnapshot}, run: func(ctx context.Context, t *testing.T, f *fixture) {
			c := newCached(t, f, false)
			storagetesting.RunTestCompactRevision(ctx, t, c, f.bumpRevision, compactCached(f, c))
		}},
		{name: "GetListRecursivePrefix", run: through(storagetesting.RunTestGetListRecursivePrefix)},
		{name: "ListContinuation", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestListContinuation(ctx, t, newCached(t, f, false), uncounted)
		}},
		{name: "ListPaginationRareObject", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestListPaginationRareObject(ctx, t, newCached(t, f, false), uncounted)
		}},
		{name: "ListContinuationWithFilter", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestListContinuationWithFilter(ctx, t, newCached(t, f, false), uncounted)
		}},
		{name: "NamespaceScopedList", run: through(storagetesting.RunTestNamespaceScopedList)},
		{name: "GuaranteedUpdateWithTTL", run: through(storagetesting.RunTestGuaranteedUpdateWithTTL)},
		{name: "GuaranteedUpdateWithConflict", run: through(storagetesting.RunTestGuaranteedUpdateWithConflict)},
		{name: "GuaranteedUpdateWithSuggestionAndConflict", run: through(storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict)},
		{name: "Stats", on: []featuregate.Feature{features.SizeBasedListCostEstimate}, run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestStats(ctx, t, newCached(t, f, false), f.codec, f.transformer, true)
		}},
		{name: "KeySchema", run: through(storagetesting.RunTestKeySchema)},
		{name: "Watch", run: through(storagetesting.RunTestWatch)},
		{name: "DeleteTriggerWatch", run: through(storagetesting.RunTestDeleteTriggerWatch)},
		{name: "WatchFromNonZero", run: through(storagetesting.RunTestWatchFromNonZero)},
		{name: "DelayedWatchDelivery", run: through(storagetesting.RunTestDelayedWatchDelivery)},
		{name: "WatcherTimeout", run: through(storagetesting.RunTestWatcherTimeout)},
		{name: "WatchDeleteEventObjectHaveLatestRV", run: through(storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV)},
		{name: "WatchInitializationSignal", run: through(storagetesting.RunTestWatchInitializationSignal)},
		{name: "ClusterScopedWatch", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestClusterScopedWatch(ctx, t, newCached(t, f, true))
		}},
		{name: "NamespaceScopedWatch", run: through(storagetesting.RunTestNamespaceScopedWatch)},
		{name: "WatchDispatchBookmarkEvents", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestWatchDispatchBookmarkEvents(ctx, t, newCached(t, f, false), true)
		}},
		{name: "WatchBookmarksWithCorrectResourceVersion", run: through(storagetesting.RunTestOptionalWatchBookmarksWithCorrectResourceVersion)},
		{name: "SendInitialEventsBackwardCompatibility", run: through(storagetesting.RunSendInitialEventsBackwardCompatibility)},
		{name: "WatchSemantics", run: settling(storagetesting.RunWatchSemantics)},
		{name: "WatchSemanticInitialEventsExtended", run: settling(storagetesting.RunWatchSemanticInitialEventsExtended)},
		{name: "WatchListMatchSingle", run: settling(storagetesting.RunWatchListMatchSingle)},
	} {
		t.Run(c.name, c.test)
	}
}
