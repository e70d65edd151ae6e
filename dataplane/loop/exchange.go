//go:build linux

package loop

import (
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// exchange is one request and its answer. It is used again for the next one on any connection of its loop; until then
// the texts of its request and answer lie in its memory.
type exchange struct {
	l *loop
	c *client

	head    []byte // memory of the request's texts
	req     dataplane.Request
	h       requestHead
	in      framing // of the request's body
	inBytes int64   // of body that the client has sent
	// replay holds the body as far as it has been taken for an endpoint, so that another can have it too; lost tells that
	// it has become too much for that.
	replay    []byte
	lost      bool
	continued bool // the client was told to continue

	limits dataplane.Limits
	dec    dataplane.Decision

	// The attempt under way.
	n         int // counting from 1
	endpoint  *dataplane.Endpoint
	fresh     bool // takes no pooled connection
	reused    bool // has taken one
	sent      bool // bytes have gone to the endpoint
	heard     bool // bytes have come from it
	tried     []string
	attemptAt time.Time
	dial      *dialing
	up        *upstream

	// The answer.
	stage    stage
	answer   []byte // memory of its texts, and its head while it is incomplete
	resp     dataplane.Response
	rh       responseHead
	body     framing
	chunkOut bool  // the client gets it chunked
	last     bool  // the client's connection ends after it
	surplus  bool  // the endpoint has sent more than its answer
	pipe     *pipe // through which the body goes; nil while it is copied
	relayAt  time.Time

	began, started time.Time // first byte; head complete
	outcome        dataplane.Outcome
	wrote          bool // the answer's head has been sent
	broken         bool // the answer is incomplete: the connection has to be cut
	record         dataplane.AccessRecord
}

// stage is how far the answer has come.
type stage uint8

const (
	stageHead stage = iota // awaiting its head
	stageBody              // relaying its body
	stageDone              // it is complete, the request's body is not
)

// sparesKept bounds how many exchanges a loop keeps for use.
const sparesKept = 256

// largeHead is from which capacity on a head's memory is not kept for the next request.
const largeHead = 16 << 10

// newExchange gives an exchange for a request of a client.
func (l *loop) newExchange(c *client) *exchange {
	if n := len(l.spares); n > 0 {
		x := l.spares[n-1]
		l.spares = l.spares[:n-1]
		x.c = c
		return x
	}
	return &exchange{l: l, c: c, head: make([]byte, 0, 1024), answer: make([]byte, 0, 1024)}
}

// recycle takes an exchange back.
func (l *loop) recycle(x *exchange) {
	x.forget()
	head, answer, fields, respFields, tried, trailer := x.head, x.answer, x.req.Fields, x.resp.Fields, x.tried, x.in.trailer
	if cap(head) > largeHead || cap(answer) > largeHead || cap(trailer) > largeHead || len(l.spares) >= sparesKept {
		*x = exchange{}
		return
	}
	clear(fields)
	clear(respFields)
	clear(tried)
	*x = exchange{l: l, head: poison(head)[:0], answer: poison(answer)[:0], tried: tried[:0]}
	x.req.Fields, x.resp.Fields, x.in.trailer = fields[:0], respFields[:0], trailer[:0]
	l.spares = append(l.spares, x)
}

// start decides and acts.
func (x *exchange) start(h requestHead) {
	c, s := x.c, x.l.server
	x.h, x.began, x.started = h, c.began, x.l.now()
	prog, bound := c.f.k.Current()
	conf, ok := prog.Listener(bound.Listener)
	x.limits = s.Limits
	if ok {
		x.limits = x.limits.For(conf.Client)
	}
	if c.requests++; c.requests >= x.limits.Requests {
		c.left = true
	}
	x.req.Peer, x.req.PeerIP, x.req.TLS, x.req.Scheme = c.peer, c.ip, c.info, "http"
	if c.info != nil {
		x.req.Scheme = "https"
	}
	trailer := x.in.trailer
	if x.in = lengthFraming(max(0, x.req.Length)); x.req.Length < 0 {
		x.in = framing{kind: framingChunked, trailer: trailer}
	}
	x.dec = dataplane.Decision{Listener: conf, AltSvc: bound.AltSvc}
	reason := x.limits.Check(&x.req)
	if c.isPlain(conf) {
		reason = dataplane.ReasonPlainHTTP
	}
	if reason != dataplane.ReasonNone {
		x.refuse(reason)
		return
	}
	in := x.l.inputs
	in.Now, in.AltSvc = x.started, bound.AltSvc
	x.dec = prog.Decide(bound.Listener, &x.req, in)
	x.outcome = x.dec.Outcome
	if x.dec.Kind != dataplane.KindForward {
		x.reply()
		return
	}
	x.endpoint, x.fresh, x.n = x.dec.Endpoint, x.dec.Upgrade != "", 1
	x.attempt()
}

// refuse answers with the class's page for a reason; a client that has gone gets nothing.
func (x *exchange) refuse(reason dataplane.Reason) {
	x.dec = x.dec.Refusal(reason)
	x.outcome = x.dec.Outcome
	if reason == dataplane.ReasonClientClosed {
		x.broken = true
		x.finish()
		return
	}
	x.reply()
}

// reply sends an answer of our own. The connection goes on after it if the request has been read whole, and was one.
func (x *exchange) reply() {
	x.swallow()
	x.last = x.endsAfter() || !x.in.done() ||
		x.outcome.Reason == dataplane.ReasonPlainHTTP || x.outcome.Reason == dataplane.ReasonUnsupported
	fields := dataplane.ReplyHead(x.l.fields[:0], &x.dec)
	fields = append(fields, dataplane.Field{Name: "Date", Value: x.l.date.at(x.l.now())})
	x.l.fields = x.connectionField(fields)
	out := dataplane.AppendResponseHead(x.l.out[:0], x.dec.Reply.Status, x.l.fields)
	if x.req.Method != "HEAD" && x.dec.Reply.Status != 204 && x.dec.Reply.Status != 304 {
		out = append(out, x.dec.Reply.Body...)
		x.record.BodyBytesSent = int64(len(x.dec.Reply.Body))
	}
	x.wrote = true
	x.toClient(out)
	x.finish()
}

// swallow drops what is there already of a body that nobody wants.
func (x *exchange) swallow() {
	c := x.c
	for !x.in.done() && len(c.kept) > 0 {
		data, used, err := x.in.take(c.kept)
		x.inBytes += int64(len(data))
		if err != nil || used == 0 {
			return
		}
		c.keep(c.kept, used)
	}
}

// endsAfter tells whether the client's connection ends after the answer (RFC 9112 section 9.3).
func (x *exchange) endsAfter() bool {
	return x.c.left || x.h.close || x.h.minor == 0 && !x.h.keepAlive || x.c.f.k.Draining()
}

// connectionField tells the client what becomes of its connection, where it would not know.
func (x *exchange) connectionField(fields []dataplane.Field) []dataplane.Field {
	switch {
	case x.last:
		return append(fields, dataplane.Field{Name: "Connection", Value: "close"})
	case x.h.minor == 0:
		return append(fields, dataplane.Field{Name: "Connection", Value: "keep-alive"})
	}
	return fields
}

// toClient writes; a client that cannot be written to is found gone.
func (x *exchange) toClient(p []byte) bool {
	if err := x.c.write(p); err != nil {
		x.outcome.Reason, x.broken = dataplane.ReasonClientClosed, true
		return false
	}
	x.c.timeWrite()
	return true
}

// clientHappened follows news of the client's connection: room for more of the answer, more of the request, its end.
func (x *exchange) clientHappened(progressed bool) {
	c := x.c
	if c.broken != nil {
		x.clientGone()
		return
	}
	if progressed && x.stage != stageDone && x.up != nil && !x.up.shaking {
		x.down() // it was interim answers that had to wait, or the answer's body
	}
	if c.x == x && !x.in.done() {
		x.upward()
	}
	if c.x == x && c.ending && x.in.done() {
		x.clientGone()
	}
}

// clientGone ends the exchange because its client has left.
func (x *exchange) clientGone() { x.breakOff(dataplane.ReasonClientClosed) }

// breakOff ends the exchange for a reason: with an answer if there is still time for one.
func (x *exchange) breakOff(reason dataplane.Reason) {
	x.dropUpstream()
	if x.wrote {
		x.outcome.Reason, x.broken = reason, true
		x.finish()
		return
	}
	x.refuse(reason)
}

// clientLate ends what the client was too slow for.
func (x *exchange) clientLate(which timerKind) {
	switch {
	case which == timerWrite:
		x.clientGone()
	case x.stage == stageDone:
		x.complete()
	default:
		x.breakOff(dataplane.ReasonClientTimeout)
	}
}

// failed ends the exchange after a failure of ours.
func (x *exchange) failed() { x.breakOff(dataplane.ReasonInternal) }

// dropUpstream closes the connection to the endpoint, or gives up opening it.
func (x *exchange) dropUpstream() {
	if x.dial != nil {
		x.dial.giveUp()
		x.dial = nil
	}
	if x.up != nil {
		x.up.end()
		x.up = nil
	}
}

// finish ends the exchange: it is logged, and the client's connection goes on, or does not.
func (x *exchange) finish() {
	c, l := x.c, x.l
	x.log()
	x.endPipe()
	broken, last, unread := x.broken, x.last || c.left, !x.in.done()
	c.x = nil
	l.recycle(x)
	switch {
	case broken:
		c.closeSoon()
	case last || unread || c.f.k.Draining():
		c.bye(unread)
	default:
		c.wait()
		if !c.parsing {
			c.readHeads()
		}
	}
}

// log counts the exchange and tells the access log.
func (x *exchange) log() {
	now, s := x.l.now(), x.l.server
	x.outcome.Reason = x.c.endedBy(x.outcome.Reason)
	x.l.count.Request(x.c.f.k.Listener(), x.outcome, now.Sub(x.started))
	if s.Access == nil {
		return
	}
	x.fill(now)
	s.Access(&x.record)
}

// fill completes the record.
func (x *exchange) fill(now time.Time) {
	rec := &x.record
	rec.Fill(&x.req, &x.dec)
	rec.Time, rec.Status, rec.Reason = now, x.outcome.Status, x.outcome.Reason
	rec.RequestTime, rec.ReadRequestTime = now.Sub(x.began), x.started.Sub(x.began)
	rec.RequestLength = int64(x.req.HeadBytes()) + x.inBytes
	rec.VIPAddr = x.c.localIP()
}

// logRefused counts and logs a request whose head never became one.
func (l *loop) logRefused(c *client, d *dataplane.Decision, now time.Time) {
	s := l.server
	l.count.Request(c.f.k.Listener(), d.Outcome, now.Sub(c.began))
	if s.Access == nil {
		return
	}
	rec := dataplane.AccessRecord{
		Time: now, BodyBytesSent: int64(len(d.Reply.Body)), RequestTime: now.Sub(c.began), ReadRequestTime: now.Sub(c.began), VIPAddr: c.localIP(),
	}
	r := dataplane.Request{Scheme: "http", Peer: c.peer, PeerIP: c.ip, TLS: c.info}
	if r.TLS != nil {
		r.Scheme = "https"
	}
	rec.Fill(&r, d)
	rec.Status, rec.Reason = d.Outcome.Status, d.Outcome.Reason
	s.Access(&rec)
}
