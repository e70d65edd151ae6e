//go:build linux

package loop

import (
	"sync"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
)

// loop is one event loop: a goroutine and the descriptors, buffers, timers and pooled connections that it alone uses.
// Others speak to it by post.
type loop struct {
	server *engine.Server
	kernel kernel
	poll   poller
	timers timers
	// spawn runs what may wait in a goroutine; broken is called when it fails.
	spawn func(do, broken func())

	streams []*stream // by descriptor
	gen     uint32    // of the last stream
	events  []ready
	again   []task // what has used up its budget and goes on in the next turn
	spare   []task

	moment  time.Time // the clock's time, read once a turn
	date    dateCache
	plain   []byte // what was read last
	cipher  []byte // the same below TLS
	out     []byte // what is being written
	buffers bufferPool
	idle    idlePool
	count   *dataplane.Recorder
	spares  []*exchange
	pipes   []*pipe
	// noSplice is set once the system has no pipe to give.
	noSplice   bool
	spliceFrom int64
	fields     []dataplane.Field // of the head that is being written
	inputs     dataplane.Inputs  // what decisions are made from, but for the time

	mail struct {
		sync.Mutex
		tasks  []task
		closed bool
	}
	tasks []task
	due   bool // the clock has rung
	over  bool
	ended chan struct{}
}

// task is something to be done by a loop; a failure in it ends what it is about.
type task interface {
	// turn does it.
	turn()
	// abandon ends what the task is about after a failure in turn.
	abandon(v any)
}

// How much a loop reads at a time, and how much one connection may move in one turn before others have theirs.
const (
	chunk      = 64 << 10
	turnBudget = 256 << 10
)

func newLoop(e *Server, k kernel, p poller) *loop {
	l := &loop{
		server: e.Server, kernel: k, poll: p, spawn: e.Guard, events: make([]ready, 256),
		spliceFrom: spliceFrom, plain: make([]byte, chunk), cipher: make([]byte, chunk), out: make([]byte, 0, chunk+chunk/4), ended: make(chan struct{}),
	}
	l.timers = newTimers(e.Clock, func() { l.post(ring{l}) })
	l.idle.init(l)
	l.buffers.most = e.Limits.BufferedBytes
	l.inputs, l.count = e.Inputs(), e.Metrics.Recorder()
	return l
}

// post has the loop do something, from any goroutine. It reports false when the loop has ended; nothing is done then.
func (l *loop) post(t task) bool {
	l.mail.Lock()
	if l.mail.closed {
		l.mail.Unlock()
		return false
	}
	l.mail.tasks = append(l.mail.tasks, t)
	first := len(l.mail.tasks) == 1
	l.mail.Unlock()
	if first {
		l.poll.wake()
	}
	return true
}

// ask is post that waits until it is done.
func (l *loop) ask(do func()) {
	done := make(chan struct{})
	if l.post(call(func() { defer close(done); do() })) {
		<-done
	}
}

// run is the loop; it returns after end.
func (l *loop) run() {
	defer close(l.ended)
	for !l.over {
		n, err := l.poll.wait(l.events, len(l.again) == 0)
		if err != nil {
			l.server.Log.Error("the event loop cannot hear of its sockets; its connections stand still", "err", err)
			l.shut()
			return
		}
		l.cycle(n)
	}
	l.timers.stop()
	l.idle.closeAll()
	l.closePipes()
	l.poll.close()
}

// shut has nothing posted any more and the loop end.
func (l *loop) shut() {
	l.mail.Lock()
	defer l.mail.Unlock()
	l.mail.closed, l.over = true, true
}

// cycle does everything there is to do once: what has happened, what was left over, what others ask for, what is due.
func (l *loop) cycle(events int) {
	l.moment = time.Time{}
	for i := range l.events[:events] {
		ev := &l.events[i]
		if s := l.stream(int(ev.fd)); s != nil && s.gen == ev.gen {
			s.note(ev)
			l.do(s)
		}
	}
	l.again, l.spare = l.spare[:0], l.again
	for i, t := range l.spare {
		l.spare[i] = nil
		l.do(t)
	}
	l.readMail()
	if l.due {
		l.due = false
		l.timers.fire(l.now(), l.do)
	}
}

// readMail does what others have posted.
func (l *loop) readMail() {
	l.mail.Lock()
	l.tasks, l.mail.tasks = l.mail.tasks, l.tasks[:0]
	l.mail.Unlock()
	for i, t := range l.tasks {
		l.tasks[i] = nil
		l.do(t)
	}
}

// call is a function as a task; its failure ends nothing.
type call func()

func (c call) turn()       { c() }
func (c call) abandon(any) {}

// ring notes that a timer is due.
type ring struct{ *loop }

func (r ring) turn()       { r.due = true }
func (r ring) abandon(any) {}

// do runs a task; its failure ends what it is about and is counted, nothing else.
func (l *loop) do(t task) {
	defer func() {
		if v := recover(); v != nil {
			l.server.Failed("connection failed inside the data plane", v)
			t.abandon(v)
		}
	}()
	t.turn()
}

// later has a task run in the next turn.
func (l *loop) later(t task) { l.again = append(l.again, t) }

// now is the clock's time, as of this turn.
func (l *loop) now() time.Time {
	if l.moment.IsZero() {
		l.moment = l.server.Clock.Now()
	}
	return l.moment
}

// stream gives the stream of a descriptor, nil if there is none.
func (l *loop) stream(fd int) *stream {
	if fd < len(l.streams) {
		return l.streams[fd]
	}
	return nil
}

// adopt takes a descriptor over and watches it.
func (l *loop) adopt(s *stream, fd int, owner streamOwner) error {
	l.gen++
	if l.gen == wakerGen {
		l.gen = 1
	}
	*s = stream{l: l, fd: int32(fd), gen: l.gen, owner: owner}
	if fd >= len(l.streams) {
		grown := make([]*stream, max(fd+1, 2*len(l.streams), 64))
		copy(grown, l.streams)
		l.streams = grown
	}
	if err := l.poll.add(fd, s.gen); err != nil {
		return err
	}
	l.streams[fd] = s
	return nil
}
