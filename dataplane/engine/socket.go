package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/alb-appliance/appliance/dataplane"
)

// Socket is one bound address with its client connections, TCP or QUIC. Its methods may be called from any goroutine.
type Socket struct {
	server *Server
	front  Front

	target   atomic.Pointer[Binding]
	draining atomic.Bool // set with mu held

	mu    sync.Mutex
	conns map[Conn]struct{}
	peers map[netip.Addr]int // how many come from an address
	// gauge counts the connections of listener counted; found once and not for each connection.
	counted string
	gauge   prometheus.Gauge
	empty   chan struct{} // closed when draining and the last connection is gone
	gone    chan struct{} // closed when the address is free again
}

// Front is the part of a socket that speaks with the network.
type Front interface {
	// Addr is the bound address.
	Addr() string
	// Serve accepts connections in the background until Stop.
	Serve()
	// Stop ends accepting. A TCP address is free when it returns, a UDP one after Close.
	Stop()
	// Close frees what is left, once no connection is.
	Close()
}

// Conn is a client's connection as its socket sees it. The methods may be called from any goroutine and do not wait.
type Conn interface {
	// Peer is the address that the connection comes from, always the same, also once it is closed.
	Peer() netip.Addr
	// Leave closes the connection at once or soon if it is idle, and else after the requests it carries.
	Leave()
	// Retire is Leave after a reload, and cuts the connection after a grace period whatever it carries. A connection
	// that has carried nothing yet is not idle, as for nginx: its first request is answered.
	Retire(after time.Duration)
	// Cut closes the connection at once; the reason is why its requests break off.
	Cut(reason dataplane.Reason)
}

// Binding is the listener that a socket speaks for.
type Binding struct {
	Listener string // its id
	// AltSvc is the value of Alt-Svc on answers; empty for none.
	AltSvc string
	// program is nil for the server's current one; a socket that goes away, or over to another listener, is pinned to the
	// last program that knew its listener.
	program *dataplane.Program
}

// newSocket makes a socket that speaks for a listener; its front is set by the caller, and Serve starts it.
func newSocket(s *Server, listener string) *Socket {
	k := &Socket{server: s, conns: map[Conn]struct{}{}, peers: map[netip.Addr]int{}, empty: make(chan struct{}), gone: make(chan struct{})}
	k.target.Store(&Binding{Listener: listener})
	return k
}

// pin keeps the socket on a program, whatever becomes the server's.
func (k *Socket) pin(p *dataplane.Program) {
	b := *k.target.Load()
	b.program = p
	k.target.Store(&b)
}

// bind makes the socket speak for a listener of the server's current program.
func (k *Socket) bind(listener, altSvc string) {
	k.target.Store(&Binding{Listener: listener, AltSvc: altSvc})
}

// Listener is the id of the listener the socket speaks for.
func (k *Socket) Listener() string { return k.target.Load().Listener }

// Current gives the program and listener that the socket's next request goes by. A program read while the binding
// changed might not know the listener, so both are read again then.
func (k *Socket) Current() (*dataplane.Program, *Binding) {
	for {
		b := k.target.Load()
		p := b.program
		if p == nil {
			p = k.server.program.Load()
		}
		if b == k.target.Load() {
			return p, b
		}
	}
}

// Conf gives the listener's configuration and limits.
func (k *Socket) Conf() (*dataplane.Listener, dataplane.Limits) {
	p, b := k.Current()
	if l, ok := p.Listener(b.Listener); ok {
		return l, k.server.Limits.For(l.Client)
	}
	return &dataplane.Listener{ID: b.Listener, Class: dataplane.ClassALB}, k.server.Limits
}

// Add takes a connection in, counted under a listener; false when there is no room, for anybody or for its client, or the
// socket drains. What is taken in is given up by Remove, and Ended is called for it besides.
func (k *Socket) Add(c Conn, counted string) bool {
	peer := c.Peer()
	k.mu.Lock()
	defer k.mu.Unlock()
	if limits := &k.server.Limits; k.draining.Load() || len(k.conns) >= limits.Connections || k.peers[peer] >= limits.ConnectionsPerClient {
		k.server.Metrics.ConnectionRefused(counted)
		return false
	}
	k.conns[c] = struct{}{}
	k.peers[peer]++
	k.server.serving.Add(1)
	k.count(counted).Inc()
	return true
}

// count gives the gauge of a listener's connections; the caller holds mu.
func (k *Socket) count(listener string) prometheus.Gauge {
	if k.gauge == nil || k.counted != listener {
		k.counted, k.gauge = listener, k.server.Metrics.Connections(listener)
	}
	return k.gauge
}

// Remove forgets a closed connection; it may be called more than once.
func (k *Socket) Remove(c Conn, counted string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.conns[c]; !ok {
		return
	}
	delete(k.conns, c)
	peer := c.Peer()
	if k.peers[peer]--; k.peers[peer] == 0 {
		delete(k.peers, peer)
	}
	k.count(counted).Dec()
	if k.draining.Load() && len(k.conns) == 0 {
		close(k.empty)
	}
}

// Replace puts another value in a connection's place, when one front hands it to another; false when it has been
// removed.
func (k *Socket) Replace(old, now Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.conns[old]; !ok {
		return false
	}
	delete(k.conns, old)
	k.conns[now] = struct{}{}
	return true
}

// Ended notes that nothing runs any more on behalf of a connection that Add has taken in.
func (k *Socket) Ended() { k.server.serving.Done() }

// drain stops accepting, closes idle connections, gives the rest the time of Limits.Drain and calls done at the end.
func (k *Socket) drain(done func()) {
	k.front.Stop()
	k.mu.Lock()
	k.draining.Store(true)
	if len(k.conns) == 0 {
		close(k.empty)
	}
	k.mu.Unlock()
	for _, c := range k.list() {
		c.Leave()
	}
	k.server.serving.Go(func() {
		timer := k.server.Clock.NewTimer(k.server.Limits.Drain)
		defer timer.Stop()
		select {
		case <-k.empty:
		case <-timer.Chan():
			k.cut()
			<-k.empty
		}
		k.front.Close()
		close(k.gone)
		done()
	})
}

// retire makes the connections there are now leave, and cuts those that are left after a grace period.
func (k *Socket) retire(after time.Duration) {
	for _, c := range k.list() {
		c.Retire(after)
	}
}

// cut closes every connection.
func (k *Socket) cut() {
	for _, c := range k.list() {
		c.Cut(dataplane.ReasonShutdown)
	}
}

// list copies the set of connections.
func (k *Socket) list() []Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Conn, 0, len(k.conns))
	for c := range k.conns {
		out = append(out, c)
	}
	return out
}

// Draining reports whether the socket goes away.
func (k *Socket) Draining() bool { return k.draining.Load() }
