//go:build linux

package loop

import (
	"bytes"
	"io"
	"net/netip"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/std"
)

// phase is what a client's connection is doing.
type phase uint8

const (
	// phaseShake is in its TLS handshake, or before it.
	phaseShake phase = iota
	// phaseIdle waits for the first byte of a request.
	phaseIdle
	// phaseHead is in the middle of a request's head.
	phaseHead
	// phaseServing has an exchange under way.
	phaseServing
	// phaseTunnel has been upgraded.
	phaseTunnel
	// phaseLinger has had its last answer; what the client still sends is dropped, so that the answer is not lost to a
	// reset.
	phaseLinger
	// phaseClosing closes when what is held has gone out.
	phaseClosing
	// phaseEnded is closed, or handed over.
	phaseEnded
)

// The timers of a connection.
const (
	timerRead  timerKind = iota // what is to come from the other side
	timerWrite                  // what the other side is to take
	timerGrace                  // a reload's grace period
)

// lingering is how long a request's body may still come in after its answer is complete, before the connection ends:
// the last bytes of a body often cross the answer. lingerClose is how long a connection that has had its last answer is
// read from before it is closed for good.
const (
	lingering   = 50 * time.Millisecond
	lingerClose = 2 * time.Second
)

// client is a client's TCP connection.
type client struct {
	stream
	f       *front
	home    *loop
	peer    netip.AddrPort
	ip      string             // of peer
	counted string             // the listener under which it is counted
	info    *dataplane.TLSInfo // nil without TLS

	phase    phase
	parsing  bool // in readHeads, which goes on after an exchange that ends at once
	left     bool // it ends after the request it carries
	requests int
	cutBy    dataplane.Reason // why it was cut; empty while it was not
	began    time.Time        // when the current request's first byte came
	kept     []byte           // what has been read and not used yet
	scanned  int              // how much of kept is known not to end a head

	x *exchange
	t *tunnel
	// heir is what the connection has become for HTTP/2.
	heir engine.Conn

	readTimer, writeTimer timer
	grace                 *timer
	graceEnds             time.Time
}

// accepted takes a connection in.
func (l *loop) accepted(f *front, fd int, peer netip.AddrPort) {
	c := &client{f: f, home: l, peer: peer, ip: peer.Addr().String(), counted: f.k.Listener()}
	c.readTimer = timer{owner: c, kind: timerRead}
	c.writeTimer = timer{owner: c, kind: timerWrite}
	if !f.k.Add(c, c.counted) {
		l.kernel.close(fd)
		return
	}
	if err := l.adopt(&c.stream, fd, c); err != nil {
		l.server.Log.Error("a connection cannot be served", "listener", c.counted, "err", err)
		c.end()
		return
	}
	conf, limits := f.k.Conf()
	if conf.Protocol == dataplane.ProtocolHTTPS {
		c.phase = phaseShake
		c.timeRead(limits.Request)
		return
	}
	c.phase = phaseIdle
	c.timeRead(limits.Idle)
}

// timeRead sets the timer on what the client is to send; zero stops it.
func (c *client) timeRead(d time.Duration) { c.l.timers.set(&c.readTimer, c.l.now(), d) }

// timeWrite times the client's reading of what is held.
func (c *client) timeWrite() {
	if c.blocked() {
		c.l.timers.set(&c.writeTimer, c.l.now(), c.l.server.Limits.ClientWrite)
	} else if c.writeTimer.isSet() {
		c.l.timers.set(&c.writeTimer, time.Time{}, 0)
	}
}

// happened goes on with whatever the connection is doing.
func (c *client) happened() {
	progressed := c.progressed()
	if progressed {
		c.timeWrite()
	}
	switch c.phase {
	case phaseShake:
		c.shake()
	case phaseIdle, phaseHead:
		c.readHeads()
	case phaseServing:
		c.x.clientHappened(progressed)
	case phaseTunnel:
		c.t.happened()
	case phaseLinger:
		c.lingers(progressed)
	case phaseClosing:
		c.closeWritten()
	}
}

// shake goes on with the handshake. A client that speaks plain HTTP is let in, to be refused in HTTP.
func (c *client) shake() {
	if c.tls == nil {
		n, err := c.receive(c.l.cipher)
		switch {
		case err == errAgain:
			return
		case err != nil:
			c.end()
			return
		case c.l.cipher[0] != recordHandshake:
			c.kept = c.l.buffers.keep(c.l.cipher[:n])
			c.start()
			return
		}
		c.secureServer(c.f.tls, c.l.cipher[:n])
	}
	switch err := c.tls.shake(); err {
	case nil:
		c.shaken()
	case errAgain:
		c.timeWrite()
	default:
		c.l.server.Metrics.HandshakeFailed(c.f.k.Listener())
		c.l.server.Log.Debug("TLS handshake failed", "listener", c.f.k.Listener(), "client", c.peer.String(), "err", err)
		c.closeSoon() // the alert goes first
	}
}

// recordHandshake is the type of a TLS record that begins a handshake (RFC 8446 section 5.1).
const recordHandshake = 22

// shaken goes on after the handshake by the protocol that was agreed on.
func (c *client) shaken() {
	state := c.tls.conn.ConnectionState()
	switch state.NegotiatedProtocol {
	case dataplane.ACMEProtocol:
		c.closeSoon() // the handshake was all there was to it (RFC 8737 section 3)
	case "h2":
		c.handOver()
	default:
		c.info = dataplane.TLSInfoOf(state)
		c.start()
	}
}

// handOver gives the connection to what carries HTTP/2.
func (c *client) handOver() {
	c.dropTimers()
	c.phase = phaseEnded
	conn, err := c.tls.detach()
	if err != nil {
		c.l.server.Log.Error("a connection cannot be handed to HTTP/2", "listener", c.counted, "err", err)
		c.f.k.Remove(c, c.counted)
		c.f.k.Ended()
		return
	}
	c.heir = c.f.h2.Adopt(std.Adopted{Conn: conn, From: c, Counted: c.counted, Retired: c.grace != nil, Grace: c.graceEnds.Sub(c.l.now())})
}

// start begins the connection's talk in HTTP/1.1.
func (c *client) start() {
	if c.left && c.f.k.Draining() {
		c.end()
		return
	}
	c.wait()
	if len(c.kept) > 0 {
		c.begin()
	}
	c.readHeads()
}

// wait begins the wait for the next request.
func (c *client) wait() {
	_, limits := c.f.k.Conf()
	c.phase = phaseIdle
	c.timeRead(limits.Idle)
}

// begin notes a request's first byte.
func (c *client) begin() {
	_, limits := c.f.k.Conf()
	c.phase, c.began = phaseHead, c.l.now()
	c.timeRead(limits.Request)
}

// readHeads reads and serves requests until there is nothing to read, or one is under way.
func (c *client) readHeads() {
	c.parsing = true
	defer func() { c.parsing = false }()
	for c.waitsForHead() {
		if len(c.kept) > c.scanned {
			if c.phase == phaseIdle {
				c.begin()
			}
			c.parse(c.kept)
			continue
		}
		n, err := c.read(c.l.plain)
		if err == errAgain {
			return
		}
		if err != nil {
			c.end()
			return
		}
		if c.phase == phaseIdle {
			c.begin()
		}
		if len(c.kept) == 0 {
			c.parse(c.l.plain[:n])
			continue
		}
		c.kept = c.l.buffers.add(c.kept, c.l.plain[:n])
		c.parse(c.kept)
	}
}

// waitsForHead tells whether a request may be read.
func (c *client) waitsForHead() bool {
	return !c.closed && (c.phase == phaseIdle || c.phase == phaseHead)
}

// parse serves the request at the start of data, which is what is kept or what was just read, if its head is complete.
func (c *client) parse(data []byte) {
	skipped := 0 // empty lines before a request are none of it (RFC 9112 section 2.2)
	for len(data)-skipped >= 2 && data[skipped] == '\r' && data[skipped+1] == '\n' {
		skipped += 2
	}
	if skipped > 0 {
		c.scanned = 0
	}
	end := headEnd(data[skipped:], resumeAt(c.scanned))
	if end == 0 {
		if c.keep(data, skipped); len(c.kept) == 0 {
			c.wait() // it was nothing but empty lines
			return
		}
		c.scanned = len(c.kept)
		c.checkHead()
		return
	}
	c.scanned = 0
	x := c.l.newExchange(c)
	x.head = append(x.head[:0], data[skipped:skipped+end]...)
	c.keep(data, skipped+end)
	h, reason := parseRequest(x.head, &x.req)
	if reason != dataplane.ReasonNone {
		c.l.recycle(x)
		c.refuse(reason)
		return
	}
	c.phase, c.x = phaseServing, x
	c.timeRead(0)
	x.start(h)
	if c.phase == phaseServing && c.ending {
		c.goOn() // its end came along with the request, and is not told again
	}
}

// keep keeps what of data has not been used; data is what is kept or lies in the loop's buffer.
func (c *client) keep(data []byte, used int) {
	rest := data[used:]
	switch {
	case len(rest) == 0:
		if c.kept != nil {
			c.l.buffers.put(c.kept)
			c.kept = nil
		}
	case len(c.kept) == 0:
		c.kept = c.l.buffers.keep(rest)
	case used > 0:
		c.kept = c.kept[:copy(c.kept, rest)]
	}
}

// checkHead refuses a head before its end if it has grown too large, or cannot become one: who speaks another protocol,
// such as TLS, waits for an answer and sends no line.
func (c *client) checkHead() {
	_, limits := c.f.k.Conf()
	line := bytes.IndexByte(c.kept, '\n')
	if line < 0 {
		line = len(c.kept)
	}
	switch {
	case c.l.buffers.full():
		c.l.server.Log.Error("a connection is cut: too much waits in memory", "listener", c.f.k.Listener(), "limit", "Limits.BufferedBytes")
		c.end()
	case !beginsRequest(c.kept[:line]):
		c.refuse(dataplane.ReasonBadRequest)
	case len(c.kept) <= max(limits.HeaderBytes, limits.URIBytes):
	case line > limits.URIBytes:
		c.refuse(dataplane.ReasonURITooLong)
	default:
		c.refuse(dataplane.ReasonHeaderTooLarge)
	}
}

// isPlain reports whether the connection speaks plain HTTP to a listener that speaks HTTPS, be it that the listener
// came to its address later.
func (c *client) isPlain(l *dataplane.Listener) bool {
	return c.tls == nil && l != nil && l.Protocol == dataplane.ProtocolHTTPS
}

// refuse answers a request whose head never became one, and ends the connection's talk.
func (c *client) refuse(reason dataplane.Reason) {
	conf, _ := c.f.k.Conf()
	if c.isPlain(conf) {
		reason = dataplane.ReasonPlainHTTP
	}
	d := (dataplane.Decision{Listener: conf}).Refusal(reason)
	now := c.l.now()
	head := dataplane.AppendResponseHead(c.l.out[:0], d.Reply.Status, dataplane.ReplyHead([]dataplane.Field{
		{Name: "Date", Value: c.l.date.at(now)},
		{Name: "Connection", Value: "close"},
	}, &d))
	_ = c.write(append(head, d.Reply.Body...))
	c.l.logRefused(c, &d, now)
	c.linger()
}

// bye ends the connection after its last answer. Unread bytes would turn the end into a reset, which may overtake the
// answer, so they are read first.
func (c *client) bye(unread bool) {
	if unread || c.canRead || len(c.kept) > 0 {
		c.linger()
		return
	}
	c.closeSoon()
}

// linger ends our half and drops what the client still sends.
func (c *client) linger() {
	c.phase = phaseLinger
	c.keep(c.kept, len(c.kept))
	c.scanned = 0
	c.timeRead(lingerClose)
	c.timeWrite()
	if !c.blocked() {
		c.endWrite()
	}
	c.discard()
}

// lingers goes on with linger.
func (c *client) lingers(progressed bool) {
	if progressed && !c.blocked() {
		c.endWrite()
	}
	c.discard()
}

// discard drops what comes until the client ends its half. With TLS it is not opened: what it says does not matter.
func (c *client) discard() {
	for budget := turnBudget; budget > 0; {
		n, err := c.receive(c.l.cipher)
		switch {
		case err == errAgain:
			return
		case err == io.EOF && c.blocked():
			c.closeSoon()
			return
		case err != nil:
			c.end()
			return
		}
		budget -= n
	}
	c.goOn()
}

// closeSoon closes the connection when what is held has gone out.
func (c *client) closeSoon() {
	c.phase = phaseClosing
	c.timeRead(0)
	c.closeWritten()
}

func (c *client) closeWritten() {
	c.timeWrite()
	if !c.blocked() {
		c.end()
	}
}

// expired ends what the client was too slow for.
func (c *client) expired(which timerKind) {
	switch {
	case which == timerGrace:
		c.cut(dataplane.ReasonReload)
	case c.phase == phaseServing:
		c.x.clientLate(which)
	case c.phase == phaseTunnel:
		c.t.expired(which)
	case c.phase == phaseHead && which == timerRead:
		c.refuse(dataplane.ReasonClientTimeout)
	default:
		c.end()
	}
}

// abandon ends the connection, after a failure of ours.
func (c *client) abandon(v any) {
	switch {
	case c.x != nil:
		c.x.failed()
	case c.t != nil:
		c.t.end(dataplane.ReasonInternal)
	default:
		c.end()
	}
}

// end closes the connection for good.
func (c *client) end() {
	if c.phase == phaseEnded {
		return
	}
	c.phase = phaseEnded
	c.dropTimers()
	if c.kept != nil {
		c.l.buffers.put(c.kept)
		c.kept = nil
	}
	if c.l != nil {
		c.stream.close()
	}
	c.f.k.Remove(c, c.counted)
	c.f.k.Ended()
}

func (c *client) dropTimers() {
	c.home.timers.drop(&c.readTimer)
	c.home.timers.drop(&c.writeTimer)
	if c.grace != nil {
		c.home.timers.drop(c.grace)
	}
}

// order is what others want of a connection, done on its loop; or by its heir, if it has been handed over meanwhile.
type order struct {
	c    *client
	do   func(*client)
	heir func(engine.Conn)
}

func (o order) turn() {
	switch {
	case o.c.heir != nil:
		o.heir(o.c.heir)
	case o.c.phase != phaseEnded:
		o.do(o.c)
	}
}

func (o order) abandon(v any) { o.c.abandon(v) }

// Peer is where the client is.
func (c *client) Peer() netip.Addr { return c.peer.Addr() }

// Leave closes the connection if it is idle, and else after the request it carries.
func (c *client) Leave() { c.home.post(order{c, (*client).leave, engine.Conn.Leave}) }

func (c *client) leave() {
	c.left = true
	switch c.phase {
	case phaseShake, phaseIdle, phaseLinger:
		c.end()
	}
}

// Retire is Leave with a grace period.
func (c *client) Retire(after time.Duration) {
	c.home.post(order{c, func(c *client) { c.retire(after) }, func(h engine.Conn) { h.Retire(after) }})
}

func (c *client) retire(after time.Duration) {
	if c.grace == nil { // an earlier reload's grace period stands
		c.grace = &timer{owner: c, kind: timerGrace}
		c.graceEnds = c.l.now().Add(after)
		c.l.timers.set(c.grace, c.l.now(), after)
	}
	if c.requests == 0 {
		c.left = true // its first request is answered
		return
	}
	c.leave()
}

// Cut closes the connection whatever it carries.
func (c *client) Cut(reason dataplane.Reason) {
	c.home.post(order{c, func(c *client) { c.cut(reason) }, func(h engine.Conn) { h.Cut(reason) }})
}

func (c *client) cut(reason dataplane.Reason) {
	c.cutBy = reason
	switch {
	case c.x != nil:
		c.x.clientGone()
	case c.t != nil:
		c.t.end(reason)
	default:
		c.end()
	}
}

// localIP is the address that the client has connected to.
func (c *client) localIP() string { return c.f.localIP(int(c.fd)) }

// endedBy gives why a request was broken off: the reason known so far, unless the connection was cut.
func (c *client) endedBy(known dataplane.Reason) dataplane.Reason {
	if c.cutBy != dataplane.ReasonNone && (known == dataplane.ReasonNone || known == dataplane.ReasonClientClosed) {
		return c.cutBy
	}
	return known
}
