package workload

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
)

// discoveryPeriod is how often the garbage collector asks for new kinds, as upstream does.
const discoveryPeriod = 30 * time.Second

// garbage deletes what its owners left behind.
func (s *set) garbage(ctx context.Context, start starter) error {
	ignored := map[schema.GroupResource]struct{}{}
	for r := range garbagecollector.DefaultIgnoredResources() {
		ignored[r] = struct{}{}
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(s.client.Discovery()))
	graph := garbagecollector.NewDependencyGraphBuilder(ctx, s.metadata, mapper, ignored, informerfactory.NewInformerFactory(s.factory, s.shared), s.started)
	collector, err := garbagecollector.NewComposedGarbageCollector(ctx, s.client, s.metadata, mapper, graph)
	if err != nil {
		return fmt.Errorf("make garbage collector: %w", err)
	}
	start(func(ctx context.Context) { collector.Run(ctx, 1, discoveryPeriod) })
	start(func(ctx context.Context) { collector.Sync(ctx, s.client.Discovery(), discoveryPeriod) })
	start(func(ctx context.Context) {
		<-s.started
		s.shared.Start(ctx.Done())
	})
	return nil
}
