package kv

import (
	"context"
	"errors"
	"time"
)

// retryAfter is how long Run waits after a failed write, such as on a full disk.
const retryAfter = 10 * time.Second

// Run expires leases and forgets old history until ctx ends or the store is
// closed, and then returns nil. It sleeps until the next deadline, or without
// any until something is written; the store works without it, but then nothing
// expires and history is bounded by its size alone.
func (s *Store) Run(ctx context.Context) error {
	var m mark
	for {
		next := s.housekeep(ctx, &m)
		if !s.sleepUntil(ctx, next) {
			return nil
		}
	}
}

// housekeep does what is due and returns when to come back; zero is never.
func (s *Store) housekeep(ctx context.Context, m *mark) time.Time {
	deadline, leaseErr := s.expire(ctx)
	aged, ageErr := s.age(ctx, m)
	err := errors.Join(leaseErr, ageErr)
	if err == nil {
		return earliest(deadline, aged)
	}
	if ctx.Err() != nil || errors.Is(err, ErrClosed) {
		return time.Time{}
	}
	s.opts.Logger.Error("expire leases and compact", "err", err)
	return s.clock.Now().Add(retryAfter)
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// sleepUntil waits for t, if not zero, or a wake-up; false means the end.
func (s *Store) sleepUntil(ctx context.Context, t time.Time) bool {
	var due <-chan time.Time
	if !t.IsZero() {
		timer := s.clock.NewTimer(t.Sub(s.clock.Now()))
		defer timer.Stop()
		due = timer.Chan()
	}
	select {
	case <-ctx.Done():
		return false
	case <-s.ctx.Done():
		return false
	case <-s.wakeRun:
	case <-due:
	}
	return true
}
