package std

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
)

// headSlack is how far beyond its own limits net/http reads a head, so that a request just over a limit still
// arrives and gets the answer of its class.
const headSlack = 64 << 10

// streamsPerConnection is how many requests an HTTP/2 or HTTP/3 connection may carry at once (NGINX-FACTS 1).
const streamsPerConnection = 128

// acceptPause is how long accepting rests after an error such as too many open files.
const acceptPause = 50 * time.Millisecond

// tcpFront is a listening TCP socket. Whether its connections speak TLS is asked of the listener at each of them, so
// that an address can go over from HTTP to HTTPS. net/http has one server for HTTP/1.1 and one for HTTP/2; neither
// knows of TLS, which has ended before they get a connection.
type tcpFront struct {
	k   *socket
	ln  net.Listener
	h1  *http.Server
	h2  *HTTP2
	tls *tls.Config

	stopping sync.Once
	stopped  chan struct{}
}

// OpenTCP opens a TCP socket: an engine.Opener.
func (s *Server) OpenTCP(ctx context.Context, place *engine.Socket, addr string) (engine.Front, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	f := &tcpFront{k: &socket{place, s}, ln: ln, h2: s.NewHTTP2(place), tls: place.TLSConfig(), stopped: make(chan struct{})}
	var one http.Protocols
	one.SetHTTP1(true)
	f.h1 = newHTTPServer(s, &one)
	return f, nil
}

// newHTTPServer makes a server whose connections are clientConns.
func newHTTPServer(s *Server, p *http.Protocols) *http.Server {
	return &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		Protocols:                    p,
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               s.maxHeaderBytes(),
		ErrorLog:                     slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			if c, ok := c.(*clientConn); ok {
				c.changed(state)
			}
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
}

// maxHeaderBytes is what a protocol's server reads of a head before it refuses it by itself.
func (s *Server) maxHeaderBytes() int {
	return max(s.Limits.HeaderBytes, s.Limits.URIBytes) + headSlack
}

// connKey is the context key of a request's client.
type connKey struct{}

func (f *tcpFront) Addr() string { return f.ln.Addr().String() }

func (f *tcpFront) Serve() { f.k.server.Go(f.accept) }

// accept takes connections in until the socket is closed.
func (f *tcpFront) accept() {
	for {
		conn, err := f.ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			f.pause(err)
			continue
		}
		c := newClientConn(f.k, f, conn)
		if !f.k.Add(c, c.counted) {
			conn.Close()
			continue
		}
		f.start(c)
	}
}

// pause lets an error pass, such as too many open files.
func (f *tcpFront) pause(err error) {
	f.k.server.Log.Error("connections cannot be accepted", "listener", f.k.Listener(), "err", err)
	timer := f.k.server.Clock.NewTimer(acceptPause)
	defer timer.Stop()
	select {
	case <-timer.Chan():
	case <-f.stopped:
	}
}

// start hands a connection to HTTP, after its TLS handshake if the listener speaks TLS.
func (f *tcpFront) start(c *clientConn) {
	if conf, _ := f.k.Conf(); conf.Protocol != dataplane.ProtocolHTTPS {
		give(f.h1, c)
		return
	}
	abandon := func() {
		c.Close()
		c.ended()
	}
	f.k.server.Guard(func() {
		if !c.secure() {
			abandon()
			return
		}
		if c.h2 {
			f.h2.serve(c)
		} else {
			give(f.h1, c)
		}
	}, abandon)
}

func (f *tcpFront) Stop() {
	f.ln.Close()
	f.stopping.Do(func() { close(f.stopped) })
	f.h1.SetKeepAlivesEnabled(false)
	f.h2.Stop()
}

func (f *tcpFront) Close() {
	f.h1.Close()
	f.h2.Close()
}

// give makes a server serve one connection; it returns at once.
func give(server *http.Server, c *clientConn) {
	h := &handover{c: c}
	_ = server.Serve(h) // the error is errGiven, or that the server has been closed
	if !h.given {
		c.Close()
		c.ended()
	}
}

// handover is a listener that accepts one connection, which is there already.
type handover struct {
	c     *clientConn
	given bool
}

// errGiven ends the serving of a handover.
var errGiven = errors.New("the connection has been handed over")

// Accept gives the connection, once.
func (h *handover) Accept() (net.Conn, error) {
	if h.given {
		return nil, errGiven
	}
	h.given = true
	return h.c, nil
}

// Close does nothing: the connection lives on.
func (h *handover) Close() error { return nil }

// Addr is the local address.
func (h *handover) Addr() net.Addr { return h.c.LocalAddr() }

// sniffed is a connection whose first byte has been read and comes again.
type sniffed struct {
	net.Conn
	first []byte
}

// sniff reads the first byte.
func sniff(conn net.Conn) (*sniffed, error) {
	s := &sniffed{Conn: conn, first: make([]byte, 1)}
	_, err := io.ReadFull(conn, s.first)
	return s, err
}

// isTLS reports whether the connection begins with a handshake record (RFC 8446 section 5.1).
func (s *sniffed) isTLS() bool { return s.first[0] == 22 }

// Read gives the first byte again, then the rest.
func (s *sniffed) Read(p []byte) (int, error) {
	if len(s.first) > 0 && len(p) > 0 {
		n := copy(p, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	return s.Conn.Read(p)
}

// CloseWrite tells the other side that nothing more comes.
func (s *sniffed) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
