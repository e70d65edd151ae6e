//go:build linux

package loop

import (
	"io"

	"github.com/alb-appliance/appliance/dataplane"
)

// attempt tries the endpoint whose turn it is.
func (x *exchange) attempt() {
	x.attemptAt = x.l.now()
	x.record.UpstreamAddr = x.endpoint.Addr
	x.reused, x.sent, x.heard = false, false, false
	x.stage, x.answer = stageHead, x.answer[:0]
	if !x.fresh && x.dec.Upstream.KeepAlive {
		if u := x.l.idle.take(dataplane.PoolKeyOf(x.dec.Upstream, x.endpoint)); u != nil {
			x.reused = true
			x.use(u)
			return
		}
	}
	x.dial = x.l.dial(x, x.endpoint)
}

// use sends the request on a connection.
func (x *exchange) use(u *upstream) {
	u.x, x.up = x, u
	x.dec.Endpoint = x.endpoint
	fields := dataplane.RequestHead(x.l.fields[:0], &x.req, &x.dec)
	if !x.dec.Upstream.KeepAlive && x.dec.Upgrade == "" {
		fields = append(fields, dataplane.Field{Name: "Connection", Value: "close"})
	}
	if x.in.kind == framingChunked {
		fields = append(fields, dataplane.Field{Name: "Transfer-Encoding", Value: "chunked"})
	}
	x.l.fields = fields
	out, err := dataplane.AppendRequestHead(x.l.out[:0], x.req.Method, x.dec.TargetFor(&x.req), fields)
	if err != nil {
		x.l.server.Log.Debug("request cannot be passed on", "listener", x.c.f.k.Listener(), "err", err)
		x.breakOff(dataplane.ReasonBadRequest)
		return
	}
	x.sent = true
	if !x.toUpstream(out) {
		return
	}
	if (len(x.replay) > 0 || x.in.kind == framingChunked && x.in.done()) && !x.bodyToUpstream(x.replay) {
		return
	}
	if x.in.done() {
		x.awaitHead()
		return
	}
	x.upward()
}

// replayMost bounds what is kept of a body for another attempt.
const replayMost = 64 << 10

// remember keeps body bytes that go to an endpoint.
func (x *exchange) remember(data []byte) {
	switch {
	case x.lost || len(data) == 0:
	case len(x.replay)+len(data) > replayMost || x.l.buffers.full():
		x.forget()
		x.lost = true
	default:
		x.replay = x.l.buffers.add(x.replay, data)
	}
}

// forget gives up what is kept of the body.
func (x *exchange) forget() {
	if x.replay != nil {
		x.l.buffers.put(x.replay)
		x.replay = nil
	}
}

// toUpstream writes to the endpoint. One that cannot be written to may have answered all the same: reading tells, in
// the next turn.
func (x *exchange) toUpstream(p []byte) bool {
	err := x.up.write(p)
	x.up.timeWrite(x.dec.Timeouts.Send)
	if err != nil {
		x.up.canRead = true
		x.up.goOn()
		return false
	}
	return true
}

// upward moves the request's body to the endpoint, as much as there is and the endpoint takes.
func (x *exchange) upward() {
	c := x.c
	budget := turnBudget
	for !x.in.done() {
		u := x.up
		if u == nil || u.shaking || u.blocked() || u.broken != nil {
			x.pause()
			return
		}
		if budget <= 0 {
			c.goOn()
			return
		}
		data, err := x.nextOfBody()
		switch {
		case err == errAgain:
			x.awaitBody()
			return
		case err == io.EOF || err != nil && !isFraming(err):
			x.clientGone()
			return
		case err != nil:
			x.breakOff(dataplane.ReasonBadRequest)
			return
		}
		budget -= len(data)
		if x.inBytes += int64(len(data)); x.inBytes > x.bodyLimit() {
			x.breakOff(dataplane.ReasonBodyTooLarge)
			return
		}
		x.remember(data)
		if !x.bodyToUpstream(data) {
			return
		}
	}
	if x.stage == stageDone {
		x.complete()
		return
	}
	c.timeRead(0)
	x.awaitHead()
	if c.ending {
		c.goOn() // its end came along with the body, and is not told again
	}
}

// pause leaves the body with the client while the endpoint takes nothing; the client is not to blame for the time. After
// the answer the little time that is left runs on, and an endpoint that is gone ends it.
func (x *exchange) pause() {
	switch {
	case x.stage != stageDone:
		x.c.timeRead(0)
	case x.up == nil || x.up.broken != nil:
		x.complete()
	}
}

// isFraming tells a body that is not what it should be from a connection that broke.
func isFraming(err error) bool { return err == errChunk }

// nextOfBody gives the next bytes of the request's body, what came with its head first. They lie in the loop's buffer.
func (x *exchange) nextOfBody() ([]byte, error) {
	c := x.c
	var p []byte
	if len(c.kept) > 0 {
		p = x.l.plain[:copy(x.l.plain, c.kept)]
	} else {
		n, err := c.read(x.l.plain)
		if err != nil {
			return nil, err
		}
		p = x.l.plain[:n]
	}
	data, used, err := x.in.take(p)
	if len(c.kept) > 0 {
		c.keep(c.kept, used)
	} else {
		c.keep(p, used) // what follows the body
	}
	return data, err
}

// bodyToUpstream passes body bytes on, and the body's end.
func (x *exchange) bodyToUpstream(data []byte) bool {
	if x.in.kind != framingChunked {
		return len(data) == 0 || x.toUpstream(data)
	}
	out := x.l.out[:0]
	if len(data) > 0 {
		out = appendChunk(out, data)
	}
	if x.in.done() {
		out = x.in.appendTrailer(out)
	}
	return len(out) == 0 || x.toUpstream(out)
}

// bodyLimit is the bound on the body's bytes: the route's if it has one.
func (x *exchange) bodyLimit() int64 {
	if n := x.dec.BodyBytes; n > 0 {
		return min(n, x.limits.BodyBytes)
	}
	return x.limits.BodyBytes
}

// awaitBody waits for more of the body, within the client's time.
func (x *exchange) awaitBody() {
	if x.h.expect && !x.continued && x.inBytes == 0 && !x.wrote {
		x.continued = true
		if !x.toClient([]byte("HTTP/1.1 100 Continue\r\n\r\n")) {
			x.clientGone()
			return
		}
	}
	if x.stage != stageDone { // else the little time it has left runs
		x.c.timeRead(x.limits.Request)
	}
}

// awaitHead starts the clock on the endpoint's answer, once it has the whole request.
func (x *exchange) awaitHead() {
	if x.stage != stageHead || x.up == nil || x.up.blocked() || !x.in.done() {
		return
	}
	x.up.timeRead(x.dec.Timeouts.Head())
}

// upstreamHappened follows news of the endpoint's connection.
func (x *exchange) upstreamHappened(progressed bool) {
	if progressed {
		x.up.timeWrite(x.dec.Timeouts.Send)
		if x.in.done() {
			x.awaitHead()
		} else {
			x.upward()
		}
	}
	if x.up != nil && x.stage != stageDone {
		x.down()
	}
}

// upstreamLate ends what the endpoint was too slow for.
func (x *exchange) upstreamLate(which timerKind) {
	switch {
	case x.stage != stageHead:
		x.breakOff(dataplane.ReasonResponseStalled)
	case which == timerWrite:
		x.attemptFailed(dataplane.ReasonSendTimeout)
	default:
		x.attemptFailed(dataplane.ReasonResponseTimeout)
	}
}

// attemptFailed goes on to another attempt, or answers with the reason.
func (x *exchange) attemptFailed(reason dataplane.Reason) {
	x.dropUpstream()
	x.record.UpstreamResponseTime = x.l.now().Sub(x.attemptAt)
	x.l.count.Attempt(x.dec.Upstream.ID, reason)
	again := dataplane.Retry(&x.dec, dataplane.Attempt{
		N: x.n, Reason: reason, Method: x.req.Method, Sent: x.sent, BodySent: x.lost, Answered: x.heard, Reused: x.reused,
	})
	switch {
	case !again:
		x.refuse(reason)
	case x.reused && reason == dataplane.ReasonUpstreamClosed:
		x.fresh = true
		x.attempt()
	default:
		x.tried = append(x.tried, x.endpoint.ID)
		in := x.l.inputs
		in.Now = x.l.now()
		x.endpoint = x.dec.NextEndpoint(in, x.tried)
		x.n++
		x.attempt()
	}
}
