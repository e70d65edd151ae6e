//go:build linux

package loop

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
)

// world is a loop on a simulated network: descriptors are numbers, the kernel is a few byte slices, time is a fake
// clock, and one goroutine does everything. What happens is a function of what a test does, and of a seed.
type world struct {
	t     testing.TB
	s     *Server
	l     *loop
	clock *clockwork.FakeClock
	net   *simNet
	log   []dataplane.AccessRecord
	quiet bool // keeps no log
}

// simNet is the simulated kernel and poller.
type simNet struct {
	socks   map[int]*simSock
	changed []int // descriptors with news, in order
	dialled []*simSock
	misuse  []string // calls on descriptors that are closed
	faults  *faults  // nil for none
	noFiles bool     // no descriptor is free
	open    int
}

// simSock is the loop's end of a connection, or a listening socket.
type simSock struct {
	fd      int
	gen     uint32
	watched bool
	news    bool
	in      []byte // to be read by the loop
	inEnd   bool   // the peer has ended its half
	reset   bool
	out     []byte // written by the loop
	room    int    // how much may be written; negative for any
	outEnd  bool   // the loop has ended its half
	closed  bool
	accepts []*simSock
	pipe    *simSock // the other end, if it is a pipe
}

// faults are what may go wrong in system calls, drawn at random.
type faults struct {
	rand  *rand.Rand
	short float64 // a count smaller than it could be
	again float64 // EAGAIN though there is something, followed by news
	reset float64 // ECONNRESET
}

func (n *simNet) sock() *simSock {
	// As in a real kernel, the lowest free number is used again at once.
	fd := 3
	for n.socks[fd] != nil {
		fd++
	}
	s := &simSock{fd: fd, room: -1}
	n.socks[fd] = s
	n.open++
	return s
}

func (n *simNet) get(fd int, call string) *simSock {
	s := n.socks[fd]
	if s == nil {
		n.misuse = append(n.misuse, call)
	}
	return s
}

func (n *simNet) tell(s *simSock) {
	if !s.news && !s.closed {
		s.news = true
		n.changed = append(n.changed, s.fd)
	}
}

func (n *simNet) read(fd int, p []byte) (int, syscall.Errno) {
	s := n.get(fd, "read")
	switch {
	case s == nil:
		return -1, syscall.EBADF
	case s.reset:
		return -1, syscall.ECONNRESET
	case len(s.in) == 0 && s.inEnd:
		return 0, 0
	case len(s.in) == 0:
		return -1, syscall.EAGAIN
	}
	count := min(len(p), len(s.in))
	if f := n.faults; f != nil {
		switch draw := f.rand.Float64(); {
		case draw < f.again:
			n.tell(s)
			return -1, syscall.EAGAIN
		case draw < f.again+f.reset:
			s.reset = true
			return -1, syscall.ECONNRESET
		case draw < f.again+f.reset+f.short:
			count = 1 + f.rand.IntN(count)
			n.tell(s)
		}
	}
	copy(p, s.in[:count])
	s.in = s.in[count:]
	return count, 0
}

func (n *simNet) write(fd int, p []byte) (int, syscall.Errno) {
	s := n.get(fd, "write")
	switch {
	case s == nil:
		return -1, syscall.EBADF
	case s.reset:
		return -1, syscall.ECONNRESET
	case s.outEnd:
		return -1, syscall.EPIPE
	}
	count := len(p)
	if s.room >= 0 {
		count = min(count, s.room)
	}
	if f := n.faults; f != nil && count > 0 {
		switch draw := f.rand.Float64(); {
		case draw < f.again:
			n.tell(s)
			return -1, syscall.EAGAIN
		case draw < f.again+f.reset:
			s.reset = true
			n.tell(s)
			return -1, syscall.ECONNRESET
		case draw < f.again+f.reset+f.short:
			count = 1 + f.rand.IntN(count)
		}
	}
	if count == 0 && len(p) > 0 {
		return -1, syscall.EAGAIN
	}
	if s.room >= 0 {
		s.room -= count
	}
	s.out = append(s.out, p[:count]...)
	return count, 0
}

func (n *simNet) accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	s := n.get(fd, "accept")
	if s == nil {
		return -1, netip.AddrPort{}, syscall.EBADF
	}
	if len(s.accepts) == 0 {
		return -1, netip.AddrPort{}, syscall.EAGAIN
	}
	if n.noFiles {
		return -1, netip.AddrPort{}, syscall.EMFILE
	}
	c := s.accepts[0]
	s.accepts = s.accepts[1:]
	return c.fd, netip.MustParseAddrPort("192.0.2.7:4242"), 0
}

func (n *simNet) closeWrite(fd int) syscall.Errno {
	if s := n.get(fd, "closeWrite"); s != nil {
		s.outEnd = true
	}
	return 0
}

func (n *simNet) close(fd int) {
	s := n.get(fd, "close")
	if s == nil {
		return
	}
	s.closed = true
	n.open--
	delete(n.socks, fd)
}

func (n *simNet) pipe(int) (r, w int, errno syscall.Errno) {
	out, in := n.sock(), n.sock()
	in.pipe, out.pipe = out, in
	return out.fd, in.fd, 0
}

func (n *simNet) splice(from, to, count int) (int, syscall.Errno) {
	src, dst := n.get(from, "splice"), n.get(to, "splice")
	if src == nil || dst == nil {
		return -1, syscall.EBADF
	}
	if dst.pipe != nil { // into a pipe
		buf := make([]byte, count)
		got, errno := n.read(from, buf)
		if errno == 0 {
			dst.pipe.in = append(dst.pipe.in, buf[:got]...)
		}
		return got, errno
	}
	if len(src.in) == 0 {
		return -1, syscall.EAGAIN
	}
	sent, errno := n.write(to, src.in[:min(count, len(src.in))])
	if errno == 0 {
		src.in = src.in[sent:]
	}
	return sent, errno
}

func (n *simNet) wake()         {}
func (n *simNet) remove(fd int) { n.get(fd, "remove").watched = false }

func (n *simNet) add(fd int, gen uint32) error {
	s := n.get(fd, "add")
	if s == nil {
		return syscall.EBADF
	}
	s.gen, s.watched = gen, true
	n.tell(s)
	return nil
}

func (n *simNet) wait(into []ready, _ bool) (int, error) {
	count := 0
	changed := n.changed
	n.changed = nil
	for _, fd := range changed {
		s := n.socks[fd]
		if s == nil || !s.news {
			continue
		}
		if !s.watched {
			s.news = false
			continue
		}
		s.news = false
		into[count] = ready{fd: int32(fd), gen: s.gen, in: len(s.in) > 0 || len(s.accepts) > 0 || s.inEnd, out: s.room != 0, end: s.inEnd || s.reset}
		count++
	}
	return count, nil
}

// simPoller satisfies poller, whose close differs from the kernel's.
type simPoller struct{ *simNet }

func (simPoller) close() {}

// newWorld makes a loop that serves a snapshot; endpoints are dialled into the simulated network.
func newWorld(t testing.TB, snap *dataplane.Snapshot, limits dataplane.Limits) *world {
	w := &world{t: t, clock: clockwork.NewFakeClockAt(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), net: &simNet{socks: map[int]*simSock{}}}
	w.s = &Server{}
	w.s.Server = engine.New(engine.Options{
		Clock: w.clock, Limits: limits, Rand: rand.New(rand.NewPCG(1, 2)).Uint64,
		AccessLog: func(r *dataplane.AccessRecord) {
			if !w.quiet {
				w.log = append(w.log, *r.Clone())
			}
		},
	}, engine.Fronts{TCP: w.listen})
	w.l = newLoop(w.s, w.net, simPoller{w.net})
	w.l.spawn = func(do, broken func()) {
		defer func() {
			if recover() != nil {
				broken()
			}
		}()
		do()
	}
	w.apply(snap)
	return w
}

// apply applies a snapshot whose endpoints have no Open of their own.
func (w *world) apply(snap *dataplane.Snapshot) {
	for i := range snap.Upstreams {
		for j := range snap.Upstreams[i].Endpoints {
			if e := &snap.Upstreams[i].Endpoints[j]; e.Open == nil {
				e.Open = w.open
			}
		}
	}
	if err := w.s.Apply(context.Background(), snap); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// open is an endpoint that accepts.
func (w *world) open(context.Context) (int, error) {
	s := w.net.sock()
	w.net.dialled = append(w.net.dialled, s)
	return s.fd, nil
}

// simFront is a listening address of the world.
type simFront struct {
	*front
	w    *world
	sock *simSock
}

func (w *world) listen(_ context.Context, k *engine.Socket, _ string) (engine.Front, error) {
	f := &simFront{w: w, sock: w.net.sock()}
	f.front = &front{s: w.s, k: k, addr: netip.MustParseAddrPort("127.0.0.1:80"), ip: "127.0.0.1", tls: k.TLSConfig()}
	f.places = []*place{{f: f.front, home: w.l, number: f.sock.fd}}
	return f, nil
}

func (f *simFront) Serve() { f.places[0].open() }
func (f *simFront) Stop()  { f.places[0].stop() }
func (f *simFront) Close() {}

// settle lets the loop run until nothing is left to do.
func (w *world) settle() {
	for range 100_000 {
		n, _ := w.l.poll.wait(w.l.events, false)
		w.l.mail.Lock()
		mail := len(w.l.mail.tasks)
		w.l.mail.Unlock()
		if n == 0 && mail == 0 && len(w.l.again) == 0 && !w.l.due {
			return
		}
		w.l.cycle(n)
	}
	w.t.Fatal("the loop never comes to rest: something goes on and on without news")
}

// advance moves the clock and lets the loop see it.
func (w *world) advance(d time.Duration) {
	w.clock.Advance(d)
	w.l.due = true // what the clock's timer would say, without its goroutine
	w.settle()
}

// dial connects a client.
func (w *world) dial() *simSock {
	for _, s := range w.net.socks {
		if s.watched && w.isPlace(s) {
			c := w.net.sock()
			s.accepts = append(s.accepts, c)
			w.net.tell(s)
			w.settle()
			return c
		}
	}
	w.t.Fatal("nothing listens")
	return nil
}

func (w *world) isPlace(s *simSock) bool {
	st := w.l.stream(s.fd)
	if st == nil {
		return false
	}
	_, ok := st.owner.(*place)
	return ok
}

// send has a peer send bytes, and end its half if told.
func (w *world) send(s *simSock, text string) {
	s.in = append(s.in, text...)
	w.net.tell(s)
	w.settle()
}

func (w *world) end(s *simSock) {
	s.inEnd = true
	w.net.tell(s)
	w.settle()
}

// got takes what the loop has written to a peer.
func (s *simSock) got() string {
	text := string(s.out)
	s.out = s.out[:0]
	return text
}

// endpoint is the last connection to an endpoint.
func (w *world) endpoint() *simSock {
	w.t.Helper()
	if len(w.net.dialled) == 0 {
		w.t.Fatal("no endpoint was dialled")
	}
	return w.net.dialled[len(w.net.dialled)-1]
}

// simSnapshot is a snapshot of one listener that forwards everything to one endpoint.
func simSnapshot(class dataplane.Class) *dataplane.Snapshot {
	return &dataplane.Snapshot{
		Listeners: []dataplane.Listener{{
			ID: "l", Class: class, LoadBalancer: "lb", Protocol: dataplane.ProtocolHTTP, Port: 80, Sockets: []string{"127.0.0.1:80"},
			Client:  dataplane.ClientLimits{Requests: 1 << 30},
			Forward: dataplane.ForwardHeaders{XForwardedFor: true, XForwardedProto: true, XForwardedPort: true, XForwardedHost: true, XRealIP: true},
			Routes: []dataplane.Route{{
				ID: "r", Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: "u", Weight: 100}}},
				Match:    dataplane.Match{Hosts: []dataplane.HostMatch{{Kind: dataplane.HostExact, Value: "h.example"}}},
				Timeouts: dataplane.Timeouts{Connect: 5 * time.Second, Request: 60 * time.Second},
			}},
		}},
		Upstreams: []dataplane.Upstream{{ID: "u", Scheme: "http", KeepAlive: true, Endpoints: []dataplane.Endpoint{{ID: "e", Addr: "192.168.0.1:80", Weight: 100}}}},
	}
}
