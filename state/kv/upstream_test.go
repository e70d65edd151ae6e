package kv_test

import (
	"context"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/state/kv"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
)

// These tests run Kubernetes' own acceptance tests for its etcd storage against
// that storage on our client. They change feature gates of the process, so they
// are not parallel.

type upstreamCase struct {
	name string
	run  func(context.Context, *testing.T, *fixture)
	on   []featuregate.Feature
	off  []featuregate.Feature
	opts kv.Options
}

// plain adapts upstream's tests that need nothing but the storage.
func plain(run func(context.Context, *testing.T, storage.Interface)) func(context.Context, *testing.T, *fixture) {
	return func(ctx context.Context, t *testing.T, f *fixture) { run(ctx, t, f) }
}

// transformed adapts upstream's tests that exchange the transformer.
func transformed(run func(context.Context, *testing.T, storagetesting.InterfaceWithPrefixTransformer)) func(context.Context, *testing.T, *fixture) {
	return func(ctx context.Context, t *testing.T, f *fixture) { run(ctx, t, f) }
}

func (c upstreamCase) test(t *testing.T) {
	for _, gate := range c.on {
		featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, gate, true)
	}
	for _, gate := range c.off {
		featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, gate, false)
	}
	c.run(t.Context(), t, newFixture(t, c.opts))
}

func TestUpstreamStore(t *testing.T) {
	for _, c := range []upstreamCase{
		{name: "Create", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestCreate(ctx, t, f, f.storedWithoutIdentity)
		}},
		{name: "CreateWithTTL", run: plain(storagetesting.RunTestCreateWithTTL)},
		{name: "CreateWithKeyExist", run: plain(storagetesting.RunTestCreateWithKeyExist)},
		{name: "Get", run: plain(storagetesting.RunTestGet)},
		{name: "UnconditionalDelete", run: plain(storagetesting.RunTestUnconditionalDelete)},
		{name: "ConditionalDelete", run: plain(storagetesting.RunTestConditionalDelete)},
		{name: "DeleteWithSuggestion", run: plain(storagetesting.RunTestDeleteWithSuggestion)},
		{name: "DeleteWithSuggestionAndConflict", run: plain(storagetesting.RunTestDeleteWithSuggestionAndConflict)},
		{name: "DeleteWithSuggestionOfDeletedObject", run: plain(storagetesting.RunTestDeleteWithSuggestionOfDeletedObject)},
		{name: "ValidateDeletionWithSuggestion", run: plain(storagetesting.RunTestValidateDeletionWithSuggestion)},
		{name: "ValidateDeletionWithOnlySuggestionValid", run: plain(storagetesting.RunTestValidateDeletionWithOnlySuggestionValid)},
		{name: "DeleteWithConflict", run: plain(storagetesting.RunTestDeleteWithConflict)},
		{name: "PreconditionalDeleteWithSuggestion", run: plain(storagetesting.RunTestPreconditionalDeleteWithSuggestion)},
		{name: "PreconditionalDeleteWithOnlySuggestionPass", run: plain(storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass)},
		{name: "ListPaging", run: plain(storagetesting.RunTestListPaging)},
		{name: "GetListNonRecursive", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestGetListNonRecursive(ctx, t, f.bumpRevision, f)
		}},
		{name: "GetListRecursivePrefix", run: plain(storagetesting.RunTestGetListRecursivePrefix)},
		{name: "KeySchema", run: plain(storagetesting.RunTestKeySchema)},
		{name: "GuaranteedUpdate", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestGuaranteedUpdate(ctx, t, f, f.storedWithoutIdentity)
		}},
		{name: "GuaranteedUpdateWithTTL", run: plain(storagetesting.RunTestGuaranteedUpdateWithTTL)},
		{name: "GuaranteedUpdateChecksStoredData", run: transformed(storagetesting.RunTestGuaranteedUpdateChecksStoredData)},
		{name: "GuaranteedUpdateWithConflict", run: plain(storagetesting.RunTestGuaranteedUpdateWithConflict)},
		{name: "GuaranteedUpdateWithSuggestionAndConflict", run: plain(storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict)},
		{name: "TransformationFailure", run: transformed(storagetesting.RunTestTransformationFailure)},
		{name: "List", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestList(ctx, t, f, f.compact, false, f.lists)
		}},
		{name: "ConsistentList", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestConsistentList(ctx, t, f, f.bumpRevision, false, true, false)
		}},
		{name: "CompactRevision", on: []featuregate.Feature{features.ListFromCacheSnapshot}, run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestCompactRevision(ctx, t, f, f.bumpRevision, f.compact)
		}},
		{name: "ListContinuation", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestListContinuation(ctx, t, f, f.countedReads)
		}},
		{name: "ListPaginationRareObject", off: []featuregate.Feature{features.ListFromCacheSnapshot}, run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestListPaginationRareObject(ctx, t, f, f.countedReads)
		}},
		{name: "ListContinuationWithFilter", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestListContinuationWithFilter(ctx, t, f, f.countedReads)
		}},
		{name: "NamespaceScopedList", run: plain(storagetesting.RunTestNamespaceScopedList)},
		{name: "ListInconsistentContinuation", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestListInconsistentContinuation(ctx, t, f, f.compact)
		}},
		{name: "ListResourceVersionMatch", run: transformed(storagetesting.RunTestListResourceVersionMatch)},
		{name: "Stats", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestStats(ctx, t, f, f.codec, f.transformer, false)
		}},
		{name: "StatsWithSizes", run: func(ctx context.Context, t *testing.T, f *fixture) {
			if err := f.EnableResourceSizeEstimation(f.keyNames); err != nil {
				t.Fatal(err)
			}
			storagetesting.RunTestStats(ctx, t, f, f.codec, f.transformer, true)
		}},
	} {
		t.Run(c.name, c.test)
	}
}

func TestUpstreamWatch(t *testing.T) {
	chatty := kv.Options{ProgressInterval: 100 * time.Millisecond}
	for _, c := range []upstreamCase{
		{name: "Watch", run: plain(storagetesting.RunTestWatch)},
		{name: "ClusterScopedWatch", run: plain(storagetesting.RunTestClusterScopedWatch)},
		{name: "NamespaceScopedWatch", run: plain(storagetesting.RunTestNamespaceScopedWatch)},
		{name: "DeleteTriggerWatch", run: plain(storagetesting.RunTestDeleteTriggerWatch)},
		{name: "WatchFromZero", run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestWatchFromZero(ctx, t, f, f.compact)
		}},
		{name: "WatchFromNonZero", run: plain(storagetesting.RunTestWatchFromNonZero)},
		{name: "DelayedWatchDelivery", run: plain(storagetesting.RunTestDelayedWatchDelivery)},
		{name: "WatchError", run: transformed(storagetesting.RunTestWatchError)},
		{name: "WatchContextCancel", run: plain(storagetesting.RunTestWatchContextCancel)},
		{name: "WatcherTimeout", run: plain(storagetesting.RunTestWatcherTimeout)},
		{name: "WatchDeleteEventObjectHaveLatestRV", run: plain(storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV)},
		{name: "WatchInitializationSignal", run: plain(storagetesting.RunTestWatchInitializationSignal)},
		{name: "ProgressNotify", opts: chatty, run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunOptionalTestProgressNotify(ctx, t, f, f.bumpRevision)
		}},
		{name: "WatchWithUnsafeDelete", on: []featuregate.Feature{features.AllowUnsafeMalformedObjectDeletion}, run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestWatchWithUnsafeDelete(ctx, t, f)
		}},
		{name: "WatchDispatchBookmarkEvents", opts: chatty, run: func(ctx context.Context, t *testing.T, f *fixture) {
			storagetesting.RunTestWatchDispatchBookmarkEvents(ctx, t, f, false)
		}},
		{name: "SendInitialEventsBackwardCompatibility", run: plain(storagetesting.RunSendInitialEventsBackwardCompatibility)},
		{name: "WatchSemantics", run: plain(storagetesting.RunWatchSemantics)},
		{name: "WatchSemanticsWithConcurrentDecode", on: []featuregate.Feature{features.ConcurrentWatchObjectDecode}, run: plain(storagetesting.RunWatchSemantics)},
		{name: "WatchSemanticInitialEventsExtended", run: plain(storagetesting.RunWatchSemanticInitialEventsExtended)},
		{name: "WatchListMatchSingle", run: plain(storagetesting.RunWatchListMatchSingle)},
		{name: "WatchErrorIsBlockingFurtherEvents", run: transformed(storagetesting.RunWatchErrorIsBlockingFurtherEvents)},
	} {
		t.Run(c.name, c.test)
	}
}

// TestFeatureClient proves that Kubernetes' own check believes that the store
// can report progress on request, on which consistent reads from its cache rest.
func TestFeatureClient(t *testing.T) {
	checker := etcdfeature.DefaultFeatureSupportChecker
	checker.CheckClient(t.Context(), runStore(t, "", kv.Options{}).FeatureClient(), storage.RequestWatchProgress)
	eventually(t, func() bool { return checker.Supports(storage.RequestWatchProgress) })
}
