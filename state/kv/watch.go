package kv

import (
	"context"
	"reflect"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchOptions is what a watch request asks for.
type watchOptions struct {
	in             interval
	start          int64 // first revision wanted; 0 means after the current one
	prevKV         bool
	progressNotify bool
	createdNotify  bool
	noPut          bool
	noDelete       bool
}

// newWatchOptions reads the request. etcd's client keeps the options of a watch
// in fields without accessors, and only its own gRPC watcher reads them. That
// one keeps an unbounded queue and three goroutines per watch, which we do not
// want, so the fields are read by name; a test fails if one is renamed.
func newWatchOptions(name string, opts []clientv3.OpOption) watchOptions {
	op := clientv3.OpGet(name, opts...)
	start := op.KeyBytes() // an option may have changed it
	if len(start) == 0 {
		start = []byte{0} // as etcd does: the smallest key
	}
	fields := reflect.ValueOf(op)
	flag := func(field string) bool { return fields.FieldByName(field).Bool() }
	return watchOptions{
		in:             newInterval(start, op.RangeBytes()),
		start:          op.Rev(),
		prevKV:         flag("prevKV"),
		progressNotify: flag("progressNotify"),
		createdNotify:  flag("createdNotify"),
		noPut:          flag("filterPut"),
		noDelete:       flag("filterDelete"),
	}
}

func (o watchOptions) wants(e *clientv3.Event) bool {
	if e.Type == mvccpb.PUT && o.noPut || e.Type == mvccpb.DELETE && o.noDelete {
		return false
	}
	return o.in.contains(string(e.Kv.Key))
}

// watch is one open watch. Its goroutine reads the history at the pace of its
// consumer, so a slow one costs no memory and holds up nobody; if compaction
// overtakes it, it ends with ErrCompacted and its owner lists again.
type watch struct {
	watchOptions
	store *Store
	out   chan clientv3.WatchResponse
	done  <-chan struct{} // the client was closed
	kick  chan struct{}   // one slot: look again
	next  int64           // first revision not looked at yet; the goroutine's own

	mu       sync.Mutex
	pending  int64 // oldest revision that may hold something wanted and unseen; 0 none
	last     int64 // newest revision known to hold something wanted
	progress bool  // progress was requested
}

// watchers are the open watches.
type watchers struct {
	mu  sync.Mutex
	all map[*watch]struct{}
}

func (ws *watchers) add(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = make(map[*watch]struct{})
	}
	ws.all[w] = struct{}{}
}

func (ws *watchers) remove(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
}

// notify wakes the watches that want one of the events; the others sleep on.
func (ws *watchers) notify(events []*clientv3.Event) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		for _, e := range events {
			if w.wants(e) {
				w.note(e.Kv.ModRevision, events[len(events)-1].Kv.ModRevision)
				break
			}
		}
	}
}

// requestProgress makes every watch that begins at a key with the prefix report
// the revision it has reached.
func (ws *watchers) requestProgress(prefix string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if !strings.HasPrefix(w.in.start, prefix) {
			continue
		}
		w.mu.Lock()
		w.progress = true
		w.mu.Unlock()
		w.look()
	}
}

func (w *watch) note(first, last int64) {
	w.mu.Lock()
	if w.pending == 0 {
		w.pending = first
	}
	w.last = last
	w.mu.Unlock()
	w.look()
}

func (w *watch) look() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// watch opens a watch that ends with ctx, with the client or with the store.
func (s *Store) watch(ctx context.Context, done <-chan struct{}, o watchOptions) clientv3.WatchChan {
	w := &watch{
		watchOptions: o,
		store:        s,
		out:          make(chan clientv3.WatchResponse, 1),
		done:         done,
		kick:         make(chan struct{}, 1),
		next:         o.start,
		pending:      o.start,
	}
	if !s.start() {
		close(w.out)
		return w.out
	}
	s.watchers.add(w) // before the view is read, so that no write falls in between
	v := s.view.Load()
	if o.start == 0 {
		w.next = v.revision + 1
	}
	go func() {
		defer s.running.Done()
		defer close(w.out)
		defer s.watchers.remove(w)
		w.run(ctx, v.revision)
	}()
	return w.out
}

// start registers a goroutine that Close waits for, unless the store is closed.
func (s *Store) start() bool {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	if s.queue.closed {
		return false
	}
	s.running.Add(1)
	return true
}

func (w *watch) run(ctx context.Context, revision int64) {
	if w.in.empty() {
		w.send(ctx, clientv3.WatchResponse{Header: *header(revision), Created: true, Canceled: true})
		return
	}
	if w.createdNotify && !w.send(ctx, clientv3.WatchResponse{Header: *header(revision), Created: true}) {
		return
	}
	timer := w.newProgressTimer()
	defer timer.stop()
	for {
		sent, ok := w.deliver(ctx)
		if !ok {
			return
		}
		if sent {
			timer.reset()
		}
		select {
		case <-ctx.Done():
			return
		case <-w.done:
			return
		case <-w.store.ctx.Done():
			return
		case <-w.kick:
		case <-timer.due():
			w.mu.Lock()
			w.progress = true
			w.mu.Unlock()
			timer.reset()
		}
	}
}

// deliver sends what has been written since the last look. It reports whether
// it sent anything, and whether the watch goes on.
func (w *watch) deliver(ctx context.Context) (sent, ok bool) {
	w.mu.Lock()
	progress := w.progress
	w.progress = false
	w.mu.Unlock()

	v := w.store.view.Load() // after the flag was read: progress covers everything before the request
	if w.overtaken(v) {
		w.send(ctx, clientv3.WatchResponse{Header: *v.header(), CompactRevision: v.compacted, Canceled: true})
		return true, false
	}
	events := w.collect(v)
	w.next = max(w.next, v.revision+1)
	if len(events) > 0 {
		sent = true
		if !w.send(ctx, clientv3.WatchResponse{Header: *v.header(), Events: events}) {
			return sent, false
		}
	}
	if progress && w.next == v.revision+1 { // not while waiting for a future revision
		sent = true
		if !w.send(ctx, clientv3.WatchResponse{Header: *v.header()}) {
			return sent, false
		}
	}
	return sent, true
}

// overtaken reports whether compaction took something the watch has not seen.
// A watch that merely slept because nothing concerned it has missed nothing:
// writes are announced before a later compaction is published.
func (w *watch) overtaken(v *view) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := w.next <= v.compacted && w.pending != 0 && w.pending <= v.compacted
	if w.last <= v.revision {
		w.pending = 0
	} else {
		w.pending = v.revision + 1
	}
	return lost
}

// collect returns the wanted events from w.next on, as structs of the
// consumer's own.
func (w *watch) collect(v *view) []*clientv3.Event {
	var wanted []*clientv3.Event
	for _, e := range v.since(w.next) {
		if !w.wants(e) {
			continue
		}
		c := &clientv3.Event{Type: e.Type, Kv: copyOf(e.Kv)}
		if w.prevKV {
			c.PrevKv = copyOf(e.PrevKv)
		}
		wanted = append(wanted, c)
	}
	return wanted
}

func (w *watch) send(ctx context.Context, r clientv3.WatchResponse) bool {
	select {
	case w.out <- r:
		return true
	case <-ctx.Done():
	case <-w.done:
	case <-w.store.ctx.Done():
	}
	return false
}
