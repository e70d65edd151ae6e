package workload

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
)

// starter runs something until the controllers end.
type starter = func(func(context.Context))

// whenUsed starts controllers when the first object of their kind is there: most clusters have none of most kinds, and a
// controller costs memory, and time at the start, as soon as it exists.
func (s *set) whenUsed(ctx context.Context, start starter, kind cache.SharedIndexInformer, add func(context.Context, starter) error) error {
	used := make(chan struct{})
	var once sync.Once
	_, err := kind.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { once.Do(func() { close(used) }) }})
	if err != nil {
		return fmt.Errorf("watch for first use: %w", err)
	}
	start(func(context.Context) {
		select {
		case <-ctx.Done():
			return
		case <-used:
		}
		if err := add(ctx, start); err != nil {
			s.options.Logger.Error("a controller cannot start", "err", err)
			return
		}
		s.factory.Start(ctx.Done())
	})
	return nil
}

// resync is how often upstream's quota controller counts again.
const resync = 5 * time.Minute
