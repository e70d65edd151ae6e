package std

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/alb-appliance/appliance/dataplane"
)

// headSlack is how far beyond its own limits net/http reads a head, so that a request just over a limit still
// arrives and gets the answer of its class.
const headSlack = 64 << 10

// socket is one listening socket with its client connections.
type socket struct {
	server *Server
	ln     net.Listener
	http   *http.Server

	target atomic.Pointer[binding]

	mu       sync.Mutex
	conns    map[*clientConn]struct{}
	draining bool
	empty    chan struct{} // closed when draining and the last connection is gone
}

// binding is the listener that a socket speaks for. The program is nil for the server's current one; a socket that
// goes away, or over to another listener, is pinned to the last program that knew its listener.
type binding struct {
	listener string
	program  *dataplane.Program
}

// newSocket wraps an open listening socket; serve starts it.
func newSocket(s *Server, ln net.Listener, listener string) *socket {
	k := &socket{server: s, ln: ln, conns: map[*clientConn]struct{}{}, empty: make(chan struct{})}
	k.target.Store(&binding{listener: listener})
	k.http = &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               max(s.limits.HeaderBytes, s.limits.URIBytes) + headSlack,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			if c, ok := c.(*clientConn); ok {
				c.changed(state)
			}
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	return k
}

// connKey is the context key of a request's *clientConn.
type connKey struct{}

// addr is the bound address.
func (k *socket) addr() string { return k.ln.Addr().String() }

// pin keeps the socket on a program, whatever becomes the server's.
func (k *socket) pin(p *dataplane.Program) {
	k.target.Store(&binding{listener: k.listener(), program: p})
}

// bind makes the socket speak for a listener of the server's current program.
func (k *socket) bind(listener string) { k.target.Store(&binding{listener: listener}) }

// listener is the id of the listener the socket speaks for.
func (k *socket) listener() string { return k.target.Load().listener }

// current gives the program and listener that the socket's next request goes by. A program read while the binding
// changed might not know the listener, so both are read again then.
func (k *socket) current() (*dataplane.Program, string) {
	for {
		b := k.target.Load()
		p := b.program
		if p == nil {
			p = k.server.program.Load()
		}
		if b == k.target.Load() {
			return p, b.listener
		}
	}
}

// conf gives the listener's configuration and limits.
func (k *socket) conf() (*dataplane.Listener, dataplane.Limits) {
	p, id := k.current()
	if l, ok := p.Listener(id); ok {
		return l, k.server.limits.For(l.Client)
	}
	return &dataplane.Listener{ID: id, Class: dataplane.ClassALB}, k.server.limits
}

// serve accepts connections until the socket is closed.
func (k *socket) serve() {
	k.server.serving.Go(func() {
		// The error is always that the socket was closed: net/http itself goes on after temporary ones.
		_ = k.http.Serve(acceptor{k})
	})
}

// acceptor is the socket as net/http sees it: it hands out clientConns and refuses those above the maximum.
type acceptor struct{ *socket }

func (a acceptor) Addr() net.Addr { return a.ln.Addr() }

func (a acceptor) Close() error { return a.ln.Close() }

// Accept waits for the next connection that there is room for.
func (a acceptor) Accept() (net.Conn, error) {
	for {
		conn, err := a.ln.Accept()
		if err != nil {
			return nil, err
		}
		c := newClientConn(a.socket, conn)
		if a.add(c) {
			return c, nil
		}
		a.server.metrics.ConnectionRefused(a.listener())
		conn.Close()
	}
}

// add takes a connection in; false when there is no room or the socket drains.
func (k *socket) add(c *clientConn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.draining || len(k.conns) >= k.server.limits.Connections {
		return false
	}
	k.conns[c] = struct{}{}
	k.server.serving.Add(1) // until the connection's goroutine has ended: see clientConn.ended
	c.counted = k.listener()
	k.server.metrics.Connections(c.counted, 1)
	return true
}

// remove forgets a closed connection.
func (k *socket) remove(c *clientConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.conns[c]; !ok {
		return
	}
	delete(k.conns, c)
	k.server.metrics.Connections(c.counted, -1)
	if k.draining && len(k.conns) == 0 {
		close(k.empty)
	}
}

// drain stops accepting, closes idle connections, gives the rest the time of Limits.Drain and calls done at the end.
func (k *socket) drain(done func()) {
	k.ln.Close()
	k.mu.Lock()
	k.draining = true
	if len(k.conns) == 0 {
		close(k.empty)
	}
	k.mu.Unlock()
	k.http.SetKeepAlivesEnabled(false)
	for _, c := range k.list() {
		c.closeIfIdle()
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
		k.http.Close()
		done()
	})
}

// cut closes every connection.
func (k *socket) cut() {
	for _, c := range k.list() {
		c.cut()
	}
}

// list copies the set of connections.
func (k *socket) list() []*clientConn {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]*clientConn, 0, len(k.conns))
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
