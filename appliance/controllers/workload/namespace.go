package workload

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/kubernetes/pkg/controller/namespace/deletion"
)

// namespaces empties namespaces that are being deleted. Upstream's controller waits five seconds before it looks and
// doubles from there; this queue looks at once.
func (s *set) namespaces(ctx context.Context, start starter) error {
	deleter := deletion.NewNamespacedResourcesDeleter(ctx, s.client.CoreV1().Namespaces(), s.metadata, s.client.CoreV1(),
		s.client.Discovery().ServerPreferredNamespacedResources, corev1.FinalizerKubernetes)
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](20*time.Millisecond, 5*time.Second))
	enqueue := func(o any) {
		if n, ok := o.(*corev1.Namespace); ok && n.DeletionTimestamp != nil {
			queue.Add(n.Name)
		}
	}
	_, err := s.factory.Core().V1().Namespaces().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue, UpdateFunc: func(_, o any) { enqueue(o) },
	})
	if err != nil {
		return fmt.Errorf("watch namespaces: %w", err)
	}
	start(func(ctx context.Context) {
		<-ctx.Done()
		queue.ShutDown()
	})
	start(func(ctx context.Context) {
		for {
			name, stop := queue.Get()
			if stop {
				return
			}
			// An error means that content is still ending; upstream's deleter gives no other way to wait.
			if err := deleter.Delete(ctx, name); err != nil {
				s.options.Logger.Debug("namespace not empty yet", "namespace", name, "err", err)
				queue.AddRateLimited(name)
			} else {
				queue.Forget(name)
			}
			queue.Done(name)
		}
	})
	return nil
}
