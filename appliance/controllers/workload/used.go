package workload

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// starter runs something until the controllers end.
type starter = func(func(context.Context))

// whenUsed starts controllers when the first object of their kind is there: most clusters have none of most kinds, and a
// controller costs memory, and time at the start, as soon as it exists. The set that add is called on has informers of
// its own, which run once add has returned: upstream makes a controller on informers that do not run yet, and one made
// on those that do is called before it is complete.
func (s *set) whenUsed(ctx context.Context, start starter, kind cache.SharedIndexInformer, add func(*set, context.Context, starter) error) error {
	used := make(chan struct{})
	var once sync.Once
	_, err := kind.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { once.Do(func() { close(used) }) }})
	if err != nil {
		return fmt.Errorf("watch for first use: %w", err)
	}
	start(func(ctx context.Context) {
		select {
		case <-ctx.Done():
			return
		case <-used:
		}
		late := *s
		late.factory = newFactory(s.client)
		if err := add(&late, ctx, start); err != nil {
			s.options.Logger.Error("a controller cannot start", "err", err)
			return
		}
		runFactory(ctx, late.factory)
	})
	return nil
}

// newFactory makes informers that keep what controllers read.
func newFactory(client kubernetes.Interface, options ...informers.SharedInformerOption) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(client, 0, append(options, informers.WithTransform(dropManagedFields))...)
}

// runFactory runs informers until ctx ends.
func runFactory(ctx context.Context, f informers.SharedInformerFactory) {
	f.Start(ctx.Done())
	<-ctx.Done()
	f.Shutdown()
}

// resync is how often upstream's quota controller counts again.
const resync = 5 * time.Minute
