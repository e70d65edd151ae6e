package std

import (
	"context"
	"crypto/tls"
	"net/http"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
)

// HTTP2 serves the HTTP/2 connections of one socket. Its methods may be called from any goroutine.
type HTTP2 struct {
	k      *socket
	server *http.Server
}

// NewHTTP2 makes what serves the HTTP/2 connections of a socket.
func (s *Server) NewHTTP2(k *engine.Socket) *HTTP2 {
	var two http.Protocols
	two.SetUnencryptedHTTP2(true) // as it is by then: TLS has ended below
	h := &HTTP2{k: &socket{k, s}, server: newHTTPServer(s, &two)}
	h.server.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streamsPerConnection}
	return h
}

// Adopted is a connection that another front has taken in and shaken hands with.
type Adopted struct {
	// Conn is the connection; it belongs to HTTP2 from now on.
	Conn *tls.Conn
	// From is what the socket knows the connection as, Counted the listener under which it is counted.
	From    engine.Conn
	Counted string
	// Retired tells that a reload has made the connection leave, and Grace what is left of its time then.
	Retired bool
	Grace   time.Duration
}

// Adopt serves a connection in the place of another front's, and gives what the socket knows it as; it returns at once.
func (h *HTTP2) Adopt(a Adopted) engine.Conn {
	c := newClientConn(h.k, nil, a.Conn)
	c.counted, c.info, c.h2 = a.Counted, dataplane.TLSInfoOf(a.Conn.ConnectionState()), true
	if !h.k.Replace(a.From, c) {
		_ = a.Conn.Close()
		c.ended()
		return c
	}
	if a.Retired {
		c.Retire(a.Grace)
	}
	h.serve(c)
	return c
}

// serve serves a connection; it returns at once.
func (h *HTTP2) serve(c *clientConn) { give(h.server, c) }

// Stop tells the clients to go away once their requests have ended; further connections are closed.
func (h *HTTP2) Stop() {
	// Shutdown is not to wait: the socket does that, by its own clock.
	done, cancel := context.WithCancel(context.Background())
	cancel()
	_ = h.server.Shutdown(done)
}

// Close ends what is left.
func (h *HTTP2) Close() { h.server.Close() }
