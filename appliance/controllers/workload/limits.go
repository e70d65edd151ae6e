package workload

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/disruption"
	"k8s.io/kubernetes/pkg/controller/resourcequota"
	"k8s.io/kubernetes/pkg/quota/v1/evaluator/core"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"
)

// limits keeps the counts that admission and evictions go by: PodDisruptionBudgets and ResourceQuotas.
func (s *set) limits(ctx context.Context, start starter) error {
	if err := s.whenUsed(ctx, start, s.factory.Policy().V1().PodDisruptionBudgets().Informer(), (*set).disruption); err != nil {
		return err
	}
	return s.whenUsed(ctx, start, s.factory.Core().V1().ResourceQuotas().Informer(), (*set).quotas)
}

func (s *set) disruption(ctx context.Context, start starter) error {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(s.client.Discovery()))
	scales, err := scale.NewForConfig(s.options.Client, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(s.client.Discovery()))
	if err != nil {
		return fmt.Errorf("make scale client: %w", err)
	}
	apps, pods := s.factory.Apps().V1(), s.factory.Core().V1()
	d := disruption.NewDisruptionController(ctx, pods.Pods(), s.factory.Policy().V1().PodDisruptionBudgets(), pods.ReplicationControllers(),
		apps.ReplicaSets(), apps.Deployments(), apps.StatefulSets(), s.client, mapper, scales, s.client.Discovery())
	start(d.Run)
	return nil
}

// quotas counts what quotas limit. Upstream watches every kind for it, with the garbage collector's watches.
func (s *set) quotas(ctx context.Context, start starter) error {
	discover := s.client.Discovery().ServerPreferredNamespacedResources
	served := func(r schema.GroupVersionResource) bool { return r.Group != "resource.k8s.io" } // there are no devices
	evaluators, err := core.NewEvaluators(generic.ListerFuncForResourceFunc(s.factory.ForResource), s.factory, served)
	if err != nil {
		return fmt.Errorf("make quota evaluators: %w", err)
	}
	configuration := generic.NewConfiguration(evaluators, quotainstall.DefaultIgnoredResources())
	q, err := resourcequota.NewController(ctx, &resourcequota.ControllerOptions{
		QuotaClient: s.client.CoreV1(), ResourceQuotaInformer: s.factory.Core().V1().ResourceQuotas(), ResyncPeriod: controller.StaticResyncPeriodFunc(resync),
		InformerFactory: informerfactory.NewInformerFactory(s.factory, s.shared), ReplenishmentResyncPeriod: func() time.Duration { return resync },
		DiscoveryFunc: discover, IgnoredResourcesFunc: configuration.IgnoredResources, InformersStarted: s.started,
		Registry: generic.NewRegistry(configuration.Evaluators()), UpdateFilter: quotainstall.DefaultUpdateFilter(),
	})
	if err != nil {
		return fmt.Errorf("make quota controller: %w", err)
	}
	start(func(ctx context.Context) { q.Run(ctx, 1) })
	start(func(ctx context.Context) { q.Sync(ctx, discover, discoveryPeriod) })
	return nil
}
