// Package kv is etcd in one process: its keys, revisions, watches, leases and
// compaction, kept in a bbolt file and served to code that expects an etcd
// client, without gRPC and without a socket.
//
// The whole store at one revision is an immutable view. Readers and watchers
// take the current view from an atomic pointer and never wait. Writers queue;
// whoever finds the queue unattended commits everything in it as one bbolt
// transaction, each request with its own revision, then publishes the next
// view. So writers share an fsync, nothing is visible before it is durable, and
// a failed commit leaves the store as it was.
//
// The file holds the newest version of every key, the leases and the revision.
// Older versions live in memory only: after a restart the compact revision is
// the current one, reads of older revisions answer ErrCompacted and clients list
// again, which they must be able to do anyway.
package kv

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
)

// Options adjusts a Store. The zero value is good for production.
type Options struct {
	// Clock times leases, history and progress notifications; nil is the real clock.
	Clock clockwork.Clock
	// Logger gets what no caller waits for: failed expiries and compactions. Nil discards it.
	Logger *slog.Logger
	// HistoryAge is how long a superseded version stays readable at least (at
	// most twice as long); 0 means 5 minutes, negative for ever.
	HistoryAge time.Duration
	// HistoryBytes bounds the memory of superseded versions and watch history,
	// whatever their age; 0 means 32 MiB, negative no bound.
	HistoryBytes int64
	// ProgressInterval is the time after which a silent watch opened
	// WithProgressNotify hears of the current revision; 0 means 10 minutes,
	// negative never. RequestProgress works in any case.
	ProgressInterval time.Duration
}

const (
	defaultHistoryAge       = 5 * time.Minute
	defaultHistoryBytes     = 32 << 20
	defaultProgressInterval = 10 * time.Minute
)

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HistoryAge == 0 {
		o.HistoryAge = defaultHistoryAge
	}
	if o.HistoryBytes == 0 {
		o.HistoryBytes = defaultHistoryBytes
	}
	if o.ProgressInterval == 0 {
		o.ProgressInterval = defaultProgressInterval
	}
	return o
}

// Store is one key-value store. Its methods are safe for concurrent use.
type Store struct {
	opts  Options
	clock clockwork.Clock
	disk  *disk // nil when the store lives in memory only
	view  atomic.Pointer[view]

	queue    queue
	unsure   changes // belongs to whoever commits; see commit
	watchers watchers

	wakeRun chan struct{} // one slot: leases or history changed, look again
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // watches and keep-alives
	closing sync.Once
	closed  error
}

// Open opens the store in the file path, creating it if there is none; an empty
// path keeps everything in memory. A file that is damaged, locked by another
// process or not writable is refused with an error that says what to do.
func Open(path string, o Options) (*Store, error) {
	o = o.withDefaults()
	v, d := newView(), (*disk)(nil)
	if path != "" {
		var err error
		if d, err = openDisk(path, v); err != nil {
			return nil, err
		}
	}
	s := &Store{opts: o, clock: o.Clock, disk: d, wakeRun: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.view.Store(v)
	return s, nil
}

// Close waits for the writes in progress, ends all watches and closes the file.
// Writes that come later answer ErrClosed. Closing twice is allowed.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.queue.close()
		s.cancel()
		s.running.Wait()
		if s.disk != nil {
			s.closed = s.disk.close()
		}
	})
	return s.closed
}

// Revision is the revision of the newest committed write; an empty store is at 1.
func (s *Store) Revision() int64 { return s.view.Load().revision }

// RequestProgress makes the watches that begin at a key with the prefix report
// the revision they have reached, which is at least the current one.
func (s *Store) RequestProgress(prefix string) { s.watchers.requestProgress(prefix) }

// CompactRevision is the revision below which nothing can be read any more.
func (s *Store) CompactRevision() int64 { return s.view.Load().compacted }

// wake makes Run look at the leases and the history again.
func (s *Store) wake() {
	select {
	case s.wakeRun <- struct{}{}:
	default:
	}
}
