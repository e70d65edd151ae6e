package appliance

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lifecycle runs parts that stand on each other: started bottom up, stopped top down. The first part that ends stops
// all.
type lifecycle struct {
	parts []*part
	ended chan error // the first end
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of stopping; to be read when done
}

func newLifecycle() *lifecycle { return &lifecycle{ended: make(chan error, 1)} }

// start runs a part on top of those started before. Its context ends when it is its turn to stop.
func (l *lifecycle) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	l.parts = append(l.parts, p)
	go func() {
		defer close(p.done)
		err := run(ctx)
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		if ctx.Err() != nil {
			p.err = err
			return
		}
		if err == nil {
			err = fmt.Errorf("%s: ended by itself", name)
		}
		select {
		case l.ended <- err:
		default: // the first end is the one to tell
		}
	}()
}

// startReady starts a part and waits until it says that it is ready, or anything ends.
func (l *lifecycle) startReady(ctx context.Context, name string, run func(context.Context, func()) error) error {
	ready := make(chan struct{})
	l.start(name, func(ctx context.Context) error { return run(ctx, func() { close(ready) }) })
	select {
	case <-ready:
		return nil
	case err := <-l.ended:
		return err
	case <-ctx.Done():
		return nil // wait sees it
	}
}

// wait returns when ctx ends, or with the error of the first part that ends.
func (l *lifecycle) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-l.ended:
		return err
	}
}

// stop ends the parts, the last started first, each after the one above it; a part that does not end within grace is
// named and left behind.
func (l *lifecycle) stop(grace time.Duration) error {
	var errs []error
	for i := len(l.parts) - 1; i >= 0; i-- {
		p := l.parts[i]
		p.cancel()
		timer := time.NewTimer(grace)
		select {
		case <-p.done:
			if !errors.Is(p.err, context.Canceled) { // being stopped is no news
				errs = append(errs, p.err)
			}
		case <-timer.C:
			errs = append(errs, fmt.Errorf("stop %s: it still runs after %s", p.name, grace))
		}
		timer.Stop()
	}
	l.parts = nil
	return errors.Join(errs...)
}
