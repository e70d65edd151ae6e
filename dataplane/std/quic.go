package std

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
)

// What goes by the machine's clock in QUIC: a peer that is silent for quicSilence is gone, and while requests wait for
// their endpoint a packet every quicAlive shows that both are there.
const (
	quicSilence = 30 * time.Second
	quicAlive   = 10 * time.Second
)

// quicFront is a UDP socket that speaks HTTP/3.
type quicFront struct {
	k         *socket
	udp       net.PacketConn
	transport *quic.Transport
	ln        *quic.Listener
}

// OpenQUIC opens a UDP socket that speaks HTTP/3: an engine.Opener.
func (s *Server) OpenQUIC(ctx context.Context, place *engine.Socket, addr string) (engine.Front, error) {
	var config net.ListenConfig
	udp, err := config.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	k := &socket{place, s}
	f := &quicFront{k: k, udp: udp, transport: &quic.Transport{Conn: udp}}
	f.ln, err = f.transport.Listen(k.TLSConfig(), &quic.Config{
		MaxIdleTimeout: quicSilence, KeepAlivePeriod: quicAlive, MaxIncomingStreams: streamsPerConnection,
	})
	if err != nil {
		udp.Close()
		return nil, err
	}
	return f, nil
}

func (f *quicFront) Addr() string { return f.udp.LocalAddr().String() }

func (f *quicFront) Serve() { f.k.server.Go(f.accept) }

// accept takes connections in, whose handshake is complete, until the socket is closed.
func (f *quicFront) accept() {
	for {
		conn, err := f.ln.Accept(context.Background())
		if err != nil {
			return // the listener has been closed
		}
		c := newQUICConn(f.k, conn)
		if !f.k.Add(c, c.counted) {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "the listener is full")
			continue
		}
		f.k.server.Go(c.serve)
	}
}

func (f *quicFront) Stop() { f.ln.Close() }

func (f *quicFront) Close() {
	f.transport.Close()
	f.udp.Close()
}

// quicConn is a client's HTTP/3 connection. Each has a server of its own, so that each can be told to go away.
type quicConn struct {
	life
	conn   *quic.Conn
	server *http3.Server
	info   *dataplane.TLSInfo
	idle   *watchdog

	closing sync.Once
	goAway  sync.Once

	mu     sync.Mutex
	active int // requests under way
}

func newQUICConn(k *socket, conn *quic.Conn) *quicConn {
	c := &quicConn{life: life{sock: k, counted: k.Listener(), peer: addrPort(conn.RemoteAddr()).Addr().Unmap()}, conn: conn, info: dataplane.TLSInfoOf(conn.ConnectionState().TLS)}
	c.idle = newWatchdog(k.server.Clock, c.close)
	c.grace = newWatchdog(k.server.Clock, func() { c.Cut(dataplane.ReasonReload) })
	c.server = &http3.Server{
		Handler: http.HandlerFunc(k.server.serveHTTP), MaxHeaderBytes: k.server.maxHeaderBytes(), Logger: slog.New(slog.DiscardHandler),
		ConnContext: func(ctx context.Context, _ *quic.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	return c
}

// serve serves the connection until it is closed and its last request has ended.
func (c *quicConn) serve() {
	defer c.ended()
	_, limits := c.sock.Conf()
	c.idle.start(limits.Idle) // Leave may have been there before
	if err := c.server.ServeQUICConn(c.conn); err != nil {
		c.sock.server.Log.Debug("HTTP/3 connection ended", "listener", c.sock.Listener(), "err", err)
	}
	c.close()
}

func (c *quicConn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

func (c *quicConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

func (c *quicConn) session() *dataplane.TLSInfo { return c.info }

func (c *quicConn) begin(now time.Time) (began time.Time, requests int) {
	c.mu.Lock()
	c.active++
	c.mu.Unlock()
	c.idle.disarm()
	return now, c.count()
}

// done starts the wait for the next request. A connection that is to end waits a moment for its last packets.
func (c *quicConn) done() {
	_, limits := c.sock.Conf()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	if c.active > 0 {
		return
	}
	wait := limits.Idle
	if c.leaving() {
		wait = lingering
	}
	c.idle.arm(wait)
}

// Leave tells the client to send no further requests; the connection is closed once idle. It waits a moment even if
// it is idle now, so that the client has heard of it before.
func (c *quicConn) Leave() {
	c.setLeft()
	c.goAway.Do(func() {
		// Shutdown sends GOAWAY and then waits for the connection's end, which serve sees to.
		c.sock.server.Go(func() { _ = c.server.Shutdown(context.Background()) })
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active == 0 {
		c.idle.arm(lingering)
	}
}

func (c *quicConn) Retire(after time.Duration) {
	c.startGrace(after)
	c.Leave()
}

func (c *quicConn) Cut(reason dataplane.Reason) {
	c.setCut(reason)
	c.close()
}

// close ends the connection, once.
func (c *quicConn) close() {
	c.closing.Do(func() {
		c.idle.disarm()
		c.grace.disarm()
		_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		c.sock.Remove(c, c.counted)
	})
}
