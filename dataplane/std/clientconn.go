package std

import (
	"bytes"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// phase is what a client connection is doing.
type phase int

const (
	// phaseIdle waits for the first byte of a request.
	phaseIdle phase = iota
	// phaseHeader is in the middle of a request's head.
	phaseHeader
	// phaseServing has a request in the hands of serveHTTP, or its answer on the way.
	phaseServing
	// phaseTunnel has been upgraded.
	phaseTunnel
)

// clientConn is a client's TCP connection; what is read and written here is HTTP, TLS is below. It puts the limits of
// time on net/http, which knows wall clock deadlines only, and gives the answers that net/http writes by itself
// (malformed or oversized heads) the form of the class.
type clientConn struct {
	life
	net.Conn           // TLS or not; replaced by become before HTTP begins
	front    *tcpFront // nil for one that was adopted
	read     *watchdog
	write    *watchdog

	// Set before HTTP begins.
	info *dataplane.TLSInfo // nil without TLS
	h2   bool               // speaks HTTP/2: net/http times nothing, exchanges time themselves

	closing sync.Once

	mu      sync.Mutex
	closed  bool
	phase   phase
	began   time.Time // when the current request's first byte came
	target  int       // bytes of the request line so far; -1 once it is complete
	readCut bool      // reading has been ended for good
	late    bool      // because the client was too slow
	refused bool      // an answer outside of serveHTTP has been written
}

// past is a moment before any other; as a deadline it ends what waits.
var past = time.Unix(1, 0)

func newClientConn(k *socket, f *tcpFront, nc net.Conn) *clientConn {
	c := &clientConn{life: life{sock: k, counted: k.Listener(), peer: addrPort(nc.RemoteAddr()).Addr().Unmap()}, Conn: nc, front: f}
	clock := k.server.Clock
	c.read = newWatchdog(clock, c.readExpired)
	c.write = newWatchdog(clock, func() { c.Close() })
	c.grace = newWatchdog(clock, func() { c.Cut(dataplane.ReasonReload) })
	return c
}

// become puts another layer in the connection's place, before HTTP begins; note sets what goes with it.
func (c *clientConn) become(nc net.Conn, note func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Conn = nc
	note()
	if c.closed {
		nc.Close()
	}
}

// isPlain reports whether the connection speaks plain HTTP to a listener that speaks HTTPS, be it that the listener
// came to its address later. The listener may be nil.
func (c *clientConn) isPlain(l *dataplane.Listener) bool {
	return c.info == nil && l != nil && l.Protocol == dataplane.ProtocolHTTPS
}

func (c *clientConn) session() *dataplane.TLSInfo { return c.info }

// changed follows the states that net/http reports.
func (c *clientConn) changed(state http.ConnState) {
	switch state {
	case http.StateNew, http.StateIdle:
		c.wait()
	case http.StateActive:
		if c.h2 {
			c.enter(phaseServing)
		}
	case http.StateHijacked:
		c.enter(phaseTunnel)
	case http.StateClosed:
		c.ended()
	}
}

// wait begins the wait for the next request; on a connection that is to end there is none, but for the first request of
// one that was there before a reload.
func (c *clientConn) wait() {
	c.enter(phaseIdle)
	if c.leaving() && (!c.fresh() || c.sock.Draining()) {
		c.closeIdle(c.h2)
		return
	}
	_, limits := c.sock.Conf()
	c.read.arm(limits.Idle)
}

// closeIdle closes a connection without requests. net/http calls one of HTTP/2 idle before it has sent all of the last
// answer, so that one waits a moment.
func (c *clientConn) closeIdle(h2 bool) {
	if h2 {
		c.read.arm(lingering)
		return
	}
	c.Close()
}

// enter sets the phase and stops the clock on the client's bytes.
func (c *clientConn) enter(p phase) {
	c.mu.Lock()
	c.phase = p
	c.mu.Unlock()
	c.read.disarm()
}

// begin hands the request to serveHTTP.
func (c *clientConn) begin(now time.Time) (began time.Time, requests int) {
	requests = c.count()
	if c.h2 {
		return now, requests
	}
	c.read.disarm()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == phaseIdle {
		c.began = now // it was pipelined: its bytes came with the previous request's
	}
	c.phase = phaseServing
	return c.began, requests
}

// done has nothing to do: net/http reports when the connection is idle.
func (c *clientConn) done() {}

// Read reads from the client and notes where in a request it is.
func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.h2 {
		c.note(p[:n])
	}
	return n, err
}

// note starts the request's clock at its first byte and measures the request line.
func (c *clientConn) note(p []byte) {
	c.mu.Lock()
	first := c.phase == phaseIdle
	if first {
		c.phase, c.target, c.began = phaseHeader, 0, c.sock.server.Clock.Now()
	}
	if c.phase == phaseHeader && c.target >= 0 {
		if end := bytes.IndexByte(p, '\n'); end >= 0 {
			c.target = -1
		} else {
			c.target += len(p)
		}
	}
	c.mu.Unlock()
	if first {
		_, limits := c.sock.Conf()
		c.read.arm(limits.Request)
	}
}

// readExpired ends what the client was too slow for.
func (c *clientConn) readExpired() {
	c.mu.Lock()
	p := c.phase
	c.mu.Unlock()
	switch p {
	case phaseIdle:
		c.Close()
	case phaseHeader:
		c.refuse(dataplane.ReasonClientTimeout)
		c.Close()
	case phaseServing:
		c.cutReading(true)
	}
}

// cutReading makes reads fail from now on, so that the connection ends after the current answer.
func (c *clientConn) cutReading(late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readCut, c.late = true, c.late || late
	c.Conn.SetReadDeadline(past)
}

// wasLate reports whether reading ended because the client was too slow.
func (c *clientConn) wasLate() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.late
}

// SetReadDeadline is called by net/http, to stop and start its reads; once cut, reading does not start again.
func (c *clientConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readCut {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline is SetReadDeadline for both directions.
func (c *clientConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.Conn.SetWriteDeadline(t)
}

// Write writes to the client, within Limits.ClientWrite. What net/http writes before a request has reached serveHTTP
// is an error of its own; it is replaced by the class's.
func (c *clientConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	own := !c.h2 && (c.phase == phaseIdle || c.phase == phaseHeader)
	target := c.target
	c.mu.Unlock()
	if own {
		c.refuse(c.reasonFor(p, target))
		return len(p), nil
	}
	c.write.arm(c.sock.server.Limits.ClientWrite)
	n, err := c.Conn.Write(p)
	c.write.disarm()
	return n, err
}

// reasonFor reads the reason out of an answer of net/http's; target tells how long the request line was.
func (c *clientConn) reasonFor(answer []byte, target int) dataplane.Reason {
	status := 400
	if len(answer) > 12 {
		if n, err := strconv.Atoi(string(answer[9:12])); err == nil {
			status = n
		}
	}
	switch {
	case status == 431 && target > c.sock.server.Limits.URIBytes:
		return dataplane.ReasonURITooLong
	case status == 431:
		return dataplane.ReasonHeaderTooLarge
	case status == 501 || status == 505:
		return dataplane.ReasonUnsupported
	}
	return dataplane.ReasonBadRequest
}

// refuse answers a request whose head never became one, and ends the connection's talk.
func (c *clientConn) refuse(reason dataplane.Reason) {
	c.mu.Lock()
	again := c.refused
	c.refused = true
	began := c.began
	c.mu.Unlock()
	if again {
		return
	}
	conf, _ := c.sock.Conf()
	if c.isPlain(conf) {
		reason = dataplane.ReasonPlainHTTP
	}
	d := (dataplane.Decision{Listener: conf}).Refusal(reason)
	now := c.sock.server.Clock.Now()
	head := dataplane.AppendResponseHead(nil, d.Reply.Status, dataplane.ReplyHead([]dataplane.Field{
		{Name: "Date", Value: now.UTC().Format(http.TimeFormat)},
		{Name: "Connection", Value: "close"},
	}, &d))
	c.Conn.SetWriteDeadline(time.Time{})
	sent, err := c.Conn.Write(append(head, d.Reply.Body...))
	c.sock.server.refused(c, &d, began, now, max(0, sent-len(head)))
	if err == nil {
		c.CloseWrite()
	}
}

// CloseWrite tells the client that nothing more comes.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Leave closes the connection unless a request is on the way, after which it ends.
func (c *clientConn) Leave() {
	c.setLeft()
	c.mu.Lock()
	idle, h2 := c.phase == phaseIdle, c.h2
	c.mu.Unlock()
	if idle {
		c.closeIdle(h2)
	}
}

// Retire is leave with a grace period. A connection that has carried nothing yet is not idle, as for nginx: its first
// request is answered.
func (c *clientConn) Retire(after time.Duration) {
	c.startGrace(after)
	if c.fresh() {
		c.setLeft()
		return
	}
	c.Leave()
}

// Cut ends the connection whatever it carries.
func (c *clientConn) Cut(reason dataplane.Reason) {
	c.setCut(reason)
	c.Close()
}

// Close ends the connection, once.
func (c *clientConn) Close() error {
	c.closing.Do(func() {
		c.read.disarm()
		c.write.disarm()
		c.grace.disarm()
		c.mu.Lock()
		c.closed = true
		nc := c.Conn
		c.mu.Unlock()
		nc.Close()
		c.sock.Remove(c, c.counted)
	})
	return nil
}
