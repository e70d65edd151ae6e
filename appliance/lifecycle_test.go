package appliance

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const testGrace = 20 * time.Millisecond

// TestLifecycleOrder wants the last started to be the first that ends, each before the next is asked to.
func TestLifecycleOrder(t *testing.T) {
	t.Parallel()
	l := newLifecycle()
	var mu sync.Mutex
	var order []string
	note := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, text)
	}
	for _, name := range []string{"store", "API", "controllers"} {
		l.start(name, func(ctx context.Context) error {
			<-ctx.Done()
			note(name + " asked")
			note(name + " ended")
			return ctx.Err()
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.wait(ctx); err != nil {
		t.Error(err)
	}
	if err := l.stop(time.Minute); err != nil {
		t.Errorf("being stopped is no error: %v", err)
	}
	want := []string{"controllers asked", "controllers ended", "API asked", "API ended", "store asked", "store ended"}
	if !slices.Equal(order, want) {
		t.Errorf("got %v", order)
	}
}

func TestLifecycleEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	stays := func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for _, row := range []struct {
		name       string
		run        func(context.Context) error
		wait, stop string // part of the error's text
	}{
		{"fails", func(context.Context) error { return broken }, "part: broken", ""},
		{"ends by itself", func(context.Context) error { return nil }, "part: ended by itself", ""},
		{"fails when stopped", func(ctx context.Context) error {
			<-ctx.Done()
			return broken
		}, "", "part: broken"},
		{"does not end", func(context.Context) error {
			<-release
			return nil
		}, "", "stop part: it still runs after 20ms"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := newLifecycle()
			l.start("below", stays)
			l.start("part", row.run)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if row.wait == "" {
				cancel()
			}
			check(t, "wait", l.wait(ctx), row.wait)
			check(t, "stop", l.stop(testGrace), row.stop)
		})
	}
}

func check(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: got %v, want %q", what, err, want)
	}
}

func TestLifecycleReady(t *testing.T) {
	t.Parallel()
	l := newLifecycle()
	if err := l.startReady(t.Context(), "good", func(ctx context.Context, ready func()) error {
		ready()
		<-ctx.Done()
		return nil
	}); err != nil {
		t.Error(err)
	}
	err := l.startReady(t.Context(), "bad", func(context.Context, func()) error { return errors.New("broken") })
	check(t, "a part that fails before it is ready", err, "bad: broken")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = l.startReady(ctx, "late", func(ctx context.Context, _ func()) error {
		<-ctx.Done()
		return nil
	})
	check(t, "interrupted", err, "")
	check(t, "stop", l.stop(time.Minute), "")
}
