package kv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
)

// ErrClosed answers writes to a closed store.
var ErrClosed = errors.New("write to a closed store")

// request is one caller's write, waiting for its turn.
type request struct {
	apply func(*batch) error // runs on the committing goroutine
	err   error
	turn  chan bool // true: commit the queue yourself; false: err is final
}

// queue collects the writes that arrive while a commit is in progress.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	busy    bool // someone is committing
	closed  bool
	active  sync.WaitGroup
}

// enter adds r and says whether the caller has to commit the queue itself.
func (q *queue) enter(r *request) (commit bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, ErrClosed
	}
	q.active.Add(1)
	q.waiting = append(q.waiting, r)
	commit = !q.busy
	q.busy = true
	return commit, nil
}

func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.waiting
	q.waiting = nil
	return taken
}

// pass makes the first of those who came meanwhile commit what is now waiting,
// so that nobody works for others after its own request is done.
func (q *queue) pass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.busy = false
		return
	}
	q.waiting[0].turn <- true
}

// close refuses new requests and waits for those in progress.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.active.Wait()
}

// submit runs apply on the next batch and returns when its outcome is durable.
// Once queued a request is not given up, so that its outcome is always known:
// the wait is bounded by the commits before it.
func (s *Store) submit(ctx context.Context, apply func(*batch) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{apply: apply, turn: make(chan bool, 1)}
	commit, err := s.queue.enter(r)
	if err != nil {
		return err
	}
	defer s.queue.active.Done()
	if commit || <-r.turn {
		s.commitWaiting(r)
	}
	return r.err
}

func (s *Store) commitWaiting(own *request) {
	requests := s.queue.take()
	s.commit(requests)
	for _, r := range requests {
		if r != own {
			r.turn <- false
		}
	}
	s.queue.pass()
}

// commit applies the requests in order to a copy of the view, makes the result
// durable and publishes it.
func (s *Store) commit(requests []*request) {
	base := s.view.Load()
	b := newBatch(base, s.clock.Now())
	for _, r := range requests {
		r.err = b.do(r.apply)
	}
	if !b.dirty() {
		return
	}
	b.trim(s.opts.HistoryBytes)
	if err := s.save(b); err != nil {
		fail(requests, commitError(b.revision, err))
		return
	}
	s.view.Store(b.view)
	s.watchers.notify(b.since(base.revision + 1))
	if b.wantsRun(base) {
		s.wake()
	}
}

// save writes the batch to disk. After an error the file may or may not hold the
// batch: what it touched is remembered and written again, as the view has it,
// with the next batch, so that the file never keeps a write that was refused.
func (s *Store) save(b *batch) error {
	if s.disk == nil || b.changes.empty() {
		return nil
	}
	b.changes.add(s.unsure)
	if err := s.disk.write(b.view, b.changes); err != nil {
		s.unsure = b.changes
		return err
	}
	s.unsure = changes{}
	return nil
}

// commitError tells a writer what has kept its write from the disk. Nothing has changed: reads go on, and so do writes
// once the cause is gone.
func commitError(revision int64, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("commit revision %d: there is no room for it on the disk (%w); free some space and write again", revision, err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EIO):
		return fmt.Errorf("commit revision %d: the disk does not take it (%w); look after the disk and write again", revision, err)
	}
	return fmt.Errorf("commit revision %d: %w", revision, err)
}

func fail(requests []*request, err error) {
	for _, r := range requests {
		if r.err == nil {
			r.err = err
		}
	}
}
