package std

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/alb-appliance/appliance/dataplane"
)

// upstreamConn is a connection to an endpoint. One exchange has it at a time; only abort may come from elsewhere.
type upstreamConn struct {
	net.Conn
	raw     syscall.RawConn // of the socket, below TLS
	below   *belowTLS       // nil without TLS
	br      *bufio.Reader
	headCap int64 // bytes that may still be read; bounds a response's head
	read    *watchdog
	write   *watchdog
	late    atomic.Bool // a watchdog has fired
	stalled atomic.Bool // it was the one on writes
	ended   atomic.Bool // the endpoint has closed or reset it
	reused  bool

	mu       sync.Mutex
	answered bool // the head is there: waiting for it must not be timed any more
}

// newUpstreamConn wraps a connected socket.
func newUpstreamConn(s *Server, conn net.Conn, raw syscall.RawConn) *upstreamConn {
	u := &upstreamConn{Conn: conn, raw: raw}
	u.br = bufio.NewReader(reader{u})
	expire := func() {
		u.late.Store(true)
		u.abort()
	}
	u.read = newWatchdog(s.Clock, expire)
	u.write = newWatchdog(s.Clock, func() {
		u.stalled.Store(true)
		expire()
	})
	return u
}

// reader is the connection below the buffered reader; it stops a head that never ends.
type reader struct{ u *upstreamConn }

// errHeadTooLarge ends the reading of an oversized response head.
var errHeadTooLarge = errors.New("the response's head is larger than Limits.ResponseHeaderBytes")

func (r reader) Read(p []byte) (int, error) {
	if r.u.headCap <= 0 {
		return 0, errHeadTooLarge
	}
	if int64(len(p)) > r.u.headCap {
		p = p[:r.u.headCap]
	}
	n, err := r.u.Conn.Read(p)
	r.u.headCap -= int64(n)
	if err != nil {
		r.u.ended.Store(true)
	}
	return n, err
}

// expectHead bounds what is read until expectBody.
func (u *upstreamConn) expectHead(limit int) { u.headCap = int64(limit) }

// expectBody lifts the bound.
func (u *upstreamConn) expectBody() { u.headCap = math.MaxInt64 }

// abort makes whatever waits for the connection fail. It may be called from any goroutine.
func (u *upstreamConn) abort() { u.SetDeadline(past) }

// writeTimed writes to the endpoint; no longer than gap may pass without all of it having been taken.
func (u *upstreamConn) writeTimed(p []byte, gap time.Duration) (int, error) {
	u.write.arm(gap)
	n, err := u.Conn.Write(p)
	u.write.disarm()
	return n, err
}

// awaitHead starts the clock on the endpoint's answer, unless it has begun.
func (u *upstreamConn) awaitHead(d time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.answered {
		u.read.arm(d)
	}
}

// headCame stops that clock.
func (u *upstreamConn) headCame() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answered = true
	u.read.disarm()
}

// Close closes the connection and its timers.
func (u *upstreamConn) Close() error {
	u.read.disarm()
	u.write.disarm()
	return u.Conn.Close()
}

// closeWrite tells the endpoint that nothing more comes.
func (u *upstreamConn) closeWrite() {
	if half, ok := u.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// belowTLS is the connection below TLS. While now is set, reading it does not wait, and fails as if it were late; TLS can
// go on after that.
type belowTLS struct {
	net.Conn
	raw syscall.RawConn
	now bool
}

// Read reads, without waiting if now is set.
func (b *belowTLS) Read(p []byte) (int, error) {
	if !b.now {
		return b.Conn.Read(p)
	}
	n, err := 0, error(unix.EINTR)
	if failed := b.raw.Read(func(fd uintptr) bool {
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Read(int(fd), p)
		}
		return true
	}); failed != nil {
		return 0, net.ErrClosed // or aborted, which must not look like nothing to read
	}
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, os.ErrDeadlineExceeded
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// alive reports whether an idle connection can be used: the endpoint has neither closed it nor sent anything. What TLS
// has to say for itself, as session tickets and new keys, is taken in and is nothing.
func (u *upstreamConn) alive() bool {
	if u.br.Buffered() > 0 {
		return false
	}
	if u.below != nil {
		u.below.now = true
		n, err := u.Conn.Read(make([]byte, 1))
		u.below.now = false
		return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
	}
	quiet := false
	err := u.raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && quiet
}

// connect gives a connection to an endpoint: a pooled one if fresh does not forbid it, or a new one.
func (s *Server) connect(ctx context.Context, d *dataplane.Decision, e *dataplane.Endpoint, fresh bool) (*upstreamConn, error) {
	for d.Upstream.KeepAlive && !fresh {
		u, ok := s.pool.Get(dataplane.PoolKeyOf(d.Upstream, e), s.Clock.Now())
		if !ok {
			break
		}
		if u.alive() {
			u.reused, u.answered = true, false
			return u, nil
		}
		u.Close()
	}
	return s.dial(ctx, d, e)
}

// errConnectTimeout is the cause of a dial that took longer than Timeouts.Connect.
var errConnectTimeout = errors.New("connect timeout")

// dial opens a new connection within the connect timeout, TLS included.
func (s *Server) dial(ctx context.Context, d *dataplane.Decision, e *dataplane.Endpoint) (*upstreamConn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := newWatchdog(s.Clock, func() { cancel(errConnectTimeout) })
	timer.arm(d.Timeouts.Connect)
	defer timer.disarm()
	if e.Open == nil {
		return nil, fmt.Errorf("open %s: the endpoint has no way to be opened", e.Addr)
	}
	fd, err := e.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", e.Addr, dialCause(ctx, err))
	}
	conn, raw, err := connOf(fd, e.Addr)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", e.Addr, err)
	}
	var below *belowTLS
	if d.Upstream.Scheme == "https" {
		below = &belowTLS{Conn: conn, raw: raw}
		// As the real products do by default, the endpoint's certificate is not verified: pods sign their own.
		secure := tls.Client(below, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("open %s: TLS: %w", e.Addr, dialCause(ctx, err))
		}
		conn = secure
	}
	u := newUpstreamConn(s, conn, raw)
	u.below = below
	return u, nil
}

// dialCause prefers the reason for which a dial was given up.
func dialCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// connOf makes a connection of a descriptor, which it takes over.
func connOf(fd int, name string) (net.Conn, syscall.RawConn, error) {
	f := os.NewFile(uintptr(fd), name)
	if f == nil {
		return nil, nil, fmt.Errorf("descriptor %d is not valid", fd)
	}
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, nil, err
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		conn.Close()
		return nil, nil, fmt.Errorf("descriptor %d is not a stream socket", fd)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, raw, nil
}

// dialReason names why a dial failed.
func dialReason(err error) dataplane.Reason {
	switch {
	case errors.Is(err, errConnectTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return dataplane.ReasonConnectTimeout
	case errors.Is(err, context.Canceled):
		return dataplane.ReasonClientClosed
	case errors.Is(err, syscall.ECONNREFUSED):
		return dataplane.ReasonConnectRefused
	}
	return dataplane.ReasonConnectFailed
}

// readReason names why no head came.
func (u *upstreamConn) readReason(err error) dataplane.Reason {
	switch {
	case u.stalled.Load():
		return dataplane.ReasonSendTimeout
	case u.late.Load():
		return dataplane.ReasonResponseTimeout
	case u.ended.Load(), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return dataplane.ReasonUpstreamClosed
	}
	return dataplane.ReasonBadResponse
}
