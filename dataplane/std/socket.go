package std

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// socket is one bound address with its client connections, TCP or QUIC.
type socket struct {
	server *Server
	front  front

	target atomic.Pointer[binding]

	mu       sync.Mutex
	conns    map[conn]struct{}
	draining bool
	empty    chan struct{} // closed when draining and the last connection is gone
	gone     chan struct{} // closed when the address is free again
}

// front is the part of a socket that speaks with the network.
type front interface {
	// addr is the bound address.
	addr() string
	// serve accepts connections in the background until stop.
	serve()
	// stop ends accepting. A TCP address is free then, a UDP one after close.
	stop()
	// close frees what is left, once no connection is.
	close()
}

// conn is a client's connection as its socket sees it.
type conn interface {
	// leave closes the connection at once or soon if it is idle, and else after the requests it carries.
	leave()
	// retire is leave, and cuts the connection after a grace period whatever it carries.
	retire(after time.Duration)
	// cut closes the connection at once; the reason is why its requests break off.
	cut(reason dataplane.Reason)
}

// binding is the listener that a socket speaks for. The program is nil for the server's current one; a socket that
// goes away, or over to another listener, is pinned to the last program that knew its listener.
type binding struct {
	listener string
	program  *dataplane.Program
	altSvc   string // the value of Alt-Svc on answers; empty for none
}

// newSocket makes a socket that speaks for a listener; its front is set by the caller, and serve starts it.
func newSocket(s *Server, listener string) *socket {
	k := &socket{server: s, conns: map[conn]struct{}{}, empty: make(chan struct{}), gone: make(chan struct{})}
	k.target.Store(&binding{listener: listener})
	return k
}

// pin keeps the socket on a program, whatever becomes the server's.
func (k *socket) pin(p *dataplane.Program) {
	b := *k.target.Load()
	b.program = p
	k.target.Store(&b)
}

// bind makes the socket speak for a listener of the server's current program.
func (k *socket) bind(listener, altSvc string) {
	k.target.Store(&binding{listener: listener, altSvc: altSvc})
}

// listener is the id of the listener the socket speaks for.
func (k *socket) listener() string { return k.target.Load().listener }

// current gives the program and listener that the socket's next request goes by. A program read while the binding
// changed might not know the listener, so both are read again then.
func (k *socket) current() (*dataplane.Program, *binding) {
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

// conf gives the listener's configuration and limits.
func (k *socket) conf() (*dataplane.Listener, dataplane.Limits) {
	p, b := k.current()
	if l, ok := p.Listener(b.listener); ok {
		return l, k.server.limits.For(l.Client)
	}
	return &dataplane.Listener{ID: b.listener, Class: dataplane.ClassALB}, k.server.limits
}

// add takes a connection in, counted under a listener; false when there is no room or the socket drains.
func (k *socket) add(c conn, counted string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.draining || len(k.conns) >= k.server.limits.Connections {
		k.server.metrics.ConnectionRefused(counted)
		return false
	}
	k.conns[c] = struct{}{}
	k.server.serving.Add(1) // until nothing runs on the connection's behalf any more: see life.ended
	k.server.metrics.Connections(counted, 1)
	return true
}

// remove forgets a closed connection.
func (k *socket) remove(c conn, counted string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.conns[c]; !ok {
		return
	}
	delete(k.conns, c)
	k.server.metrics.Connections(counted, -1)
	if k.draining && len(k.conns) == 0 {
		close(k.empty)
	}
}

// drain stops accepting, closes idle connections, gives the rest the time of Limits.Drain and calls done at the end.
func (k *socket) drain(done func()) {
	k.front.stop()
	k.mu.Lock()
	k.draining = true
	if len(k.conns) == 0 {
		close(k.empty)
	}
	k.mu.Unlock()
	for _, c := range k.list() {
		c.leave()
	}
	k.server.serving.Go(func() {
		timer := k.server.clock.NewTimer(k.server.limits.Drain)
		defer timer.Stop()
		select {
		case <-k.empty:
		case <-timer.Chan():
			k.cut()
			<-k.empty
		}
		k.front.close()
		close(k.gone)
		done()
	})
}

// retire makes the connections there are now leave, and cuts those that are left after a grace period.
func (k *socket) retire(after time.Duration) {
	for _, c := range k.list() {
		c.retire(after)
	}
}

// cut closes every connection.
func (k *socket) cut() {
	for _, c := range k.list() {
		c.cut(dataplane.ReasonShutdown)
	}
}

// list copies the set of connections.
func (k *socket) list() []conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]conn, 0, len(k.conns))
	for c := range k.conns {
		out = append(out, c)
	}
	return out
}

// isDraining reports whether the socket goes away.
func (k *socket) isDraining() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.draining
}
