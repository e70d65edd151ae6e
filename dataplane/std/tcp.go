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
	k      *socket
	ln     net.Listener
	h1, h2 *http.Server
	tls    *tls.Config

	stopping sync.Once
	stopped  chan struct{}
}

// openTCP opens a socket.
func openTCP(ctx context.Context, s *Server, addr, listener string) (*socket, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	k := newSocket(s, listener)
	f := &tcpFront{k: k, ln: ln, stopped: make(chan struct{})}
	var one, two http.Protocols
	one.SetHTTP1(true)
	two.SetUnencryptedHTTP2(true) // as it is by then
	f.h1, f.h2 = newHTTPServer(s, &one), newHTTPServer(s, &two)
	f.h2.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streamsPerConnection}
	f.tls = k.tlsConfig()
	k.front = f
	return k, nil
}

// newHTTPServer makes a server whose connections are clientConns.
func newHTTPServer(s *Server, p *http.Protocols) *http.Server {
	return &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		Protocols:                    p,
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               s.maxHeaderBytes(),
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
}

// maxHeaderBytes is what a protocol's server reads of a head before it refuses it by itself.
func (s *Server) maxHeaderBytes() int {
	return max(s.limits.HeaderBytes, s.limits.URIBytes) + headSlack
}

// connKey is the context key of a request's client.
type connKey struct{}

func (f *tcpFront) addr() string { return f.ln.Addr().String() }

func (f *tcpFront) serve() { f.k.server.serving.Go(f.accept) }

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
		c := newClientConn(f, conn)
		if !f.k.add(c, c.counted) {
			conn.Close()
			continue
		}
		f.start(c)
	}
}

// pause lets an error pass, such as too many open files.
func (f *tcpFront) pause(err error) {
	f.k.server.log.Error("connections cannot be accepted", "listener", f.k.listener(), "err", err)
	timer := f.k.server.clock.NewTimer(acceptPause)
	defer timer.Stop()
	select {
	case <-timer.Chan():
	case <-f.stopped:
	}
}

// start hands a connection to HTTP, after its TLS handshake if the listener speaks TLS.
func (f *tcpFront) start(c *clientConn) {
	if conf, _ := f.k.conf(); conf.Protocol != dataplane.ProtocolHTTPS {
		give(f.h1, c)
		return
	}
	abandon := func() {
		c.Close()
		c.ended()
	}
	f.k.server.run(func() {
		if !c.secure() {
			abandon()
			return
		}
		if c.h2 {
			give(f.h2, c)
		} else {
			give(f.h1, c)
		}
	}, abandon)
}

func (f *tcpFront) stop() {
	f.ln.Close()
	f.stopping.Do(func() { close(f.stopped) })
	f.h1.SetKeepAlivesEnabled(false)
	// Shutdown tells HTTP/2 clients to go away. It is not to wait: the socket does that, by its own clock.
	done, cancel := context.WithCancel(context.Background())
	cancel()
	_ = f.h2.Shutdown(done)
}

func (f *tcpFront) close() {
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
