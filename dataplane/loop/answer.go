//go:build linux

package loop

import (
	"io"
	"strconv"
	"strings"

	"github.com/alb-appliance/appliance/dataplane"
)

// down reads from the endpoint and passes on, as long as there is something and the client takes it.
func (x *exchange) down() {
	u, c := x.up, x.c
	for budget := turnBudget; ; {
		if c.blocked() && (x.pipe == nil || len(c.held) > 0) {
			x.awaitClient()
			return
		}
		if budget <= 0 {
			u.goOn()
			return
		}
		if x.splices() {
			if !x.splice(&budget) {
				return
			}
			continue
		}
		n, err := u.read(x.l.plain)
		if err == errAgain {
			x.awaitMore()
			return
		}
		if err != nil {
			x.upstreamEnded(err)
			return
		}
		x.heard = true
		budget -= n
		if !x.received(x.l.plain[:n]) {
			return
		}
	}
}

// awaitMore times the endpoint's next bytes, and awaitClient stops that: an answer that the client is slow to take is not
// the endpoint's fault.
func (x *exchange) awaitMore() {
	if x.stage == stageBody {
		x.up.timeRead(x.dec.Timeouts.Read)
	}
}

func (x *exchange) awaitClient() {
	if x.stage == stageBody {
		x.up.timeRead(0)
	}
}

// upstreamEnded follows the end of the endpoint's connection.
func (x *exchange) upstreamEnded(err error) {
	switch {
	case x.stage == stageHead:
		x.attemptFailed(dataplane.ReasonUpstreamClosed)
	case x.body.kind == framingClose && err == io.EOF:
		x.endOfClosed()
	default:
		x.breakOff(dataplane.ReasonResponseCut)
	}
}

// received takes what the endpoint has sent; false when the exchange is over or does not read on.
func (x *exchange) received(data []byte) bool {
	if x.stage == stageBody {
		return x.relay(x.l.out[:0], data)
	}
	for {
		scanned := len(x.answer)
		x.answer = append(x.answer, data...)
		end := headEnd(x.answer, resumeAt(scanned))
		if end == 0 && len(x.answer) <= x.limits.ResponseHeaderBytes {
			return true
		}
		if end == 0 || end > x.limits.ResponseHeaderBytes {
			x.attemptFailed(dataplane.ReasonBadResponse)
			return false
		}
		rest := data[end-scanned:]
		x.answer = x.answer[:end]
		var ok bool
		if x.rh, ok = parseResponse(x.answer, &x.resp); !ok {
			x.attemptFailed(dataplane.ReasonBadResponse)
			return false
		}
		switch status := x.resp.Status; {
		case status == 101:
			x.switched(rest)
			return false
		case status >= 200:
			return x.begin(rest)
		case status != 100 && x.h.minor > 0 && !x.interim():
			return false
		}
		x.answer = x.answer[:0]
		if data = rest; len(data) == 0 {
			return true
		}
	}
}

// interim passes an interim answer on (RFC 9110 section 15.2).
func (x *exchange) interim() bool {
	x.l.fields = dataplane.ResponseHead(x.l.fields[:0], &x.resp, &x.dec)
	if x.toClient(appendHead(x.l.out[:0], x.resp.Status, x.rh.reason, x.l.fields)) {
		return true
	}
	x.clientGone()
	return false
}

// begin sends the answer's head, together with what is there of its body.
func (x *exchange) begin(data []byte) bool {
	status := x.resp.Status
	x.stage = stageBody
	x.forget()
	x.lost = true
	x.l.count.Attempt(x.dec.Upstream.ID, dataplane.ReasonNone)
	x.record.UpstreamStatus = status
	x.outcome = dataplane.Outcome{Status: status}
	x.relayAt = x.l.now()
	x.up.timeRead(0)
	x.body = x.rh.bodyOf(status, x.req.Method)
	unframed := x.body.kind == framingChunked || x.body.kind == framingClose
	x.chunkOut = unframed && x.h.minor > 0
	x.last = x.endsAfter() || unframed && !x.chunkOut
	fields := dataplane.ResponseHead(x.l.fields[:0], &x.resp, &x.dec)
	if status == 204 {
		fields = dropField(fields, "content-length") // RFC 9110 section 8.6
	}
	if !hasField(fields, "date") {
		fields = append(fields, dataplane.Field{Name: "Date", Value: x.l.date.at(x.l.now())})
	}
	if x.chunkOut {
		fields = append(fields, dataplane.Field{Name: "Transfer-Encoding", Value: "chunked"})
	}
	x.l.fields = x.connectionField(fields)
	x.wrote = true
	return x.relay(appendHead(x.l.out[:0], status, x.rh.reason, x.l.fields), data)
}

// appendHead is dataplane.AppendResponseHead with the endpoint's own words for the status.
func appendHead(dst []byte, status int, phrase string, fields []dataplane.Field) []byte {
	if phrase == "" {
		return dataplane.AppendResponseHead(dst, status, fields)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, phrase...)
	dst = append(dst, "\r\n"...)
	return dataplane.AppendFields(dst, fields)
}

func hasField(fields []dataplane.Field, lower string) bool {
	for i := range fields {
		if equalFold(fields[i].Name, lower) {
			return true
		}
	}
	return false
}

func dropField(fields []dataplane.Field, lower string) []dataplane.Field {
	kept := fields[:0]
	for _, f := range fields {
		if !equalFold(f.Name, lower) {
			kept = append(kept, f)
		}
	}
	return kept
}

// joinedWrite is up to which size a part of a body is copied behind a head to save a write.
const joinedWrite = 32 << 10

// relay sends what out holds and the part of the body in data; false when the exchange is over.
func (x *exchange) relay(out, data []byte) bool {
	part, used, err := x.body.take(data)
	x.surplus = x.surplus || used < len(data)
	if x.req.Method != "HEAD" {
		x.record.BodyBytesSent += int64(len(part))
	}
	sent := true
	switch {
	case x.chunkOut && len(part) > 0:
		out = appendChunk(out, part)
	case len(out) > 0 && len(part) > joinedWrite:
		sent = x.toClient(out) && x.toClient(part)
		out = out[:0]
	case len(out) > 0:
		out = append(out, part...)
	case len(part) > 0:
		sent = x.toClient(part)
	}
	done := x.body.done()
	if done && x.chunkOut && err == nil {
		out = x.body.appendTrailer(out)
	}
	if sent && len(out) > 0 {
		sent = x.toClient(out)
	}
	x.keepOut(out)
	switch {
	case !sent:
		x.clientGone()
	case err != nil:
		x.breakOff(dataplane.ReasonResponseCut)
	case done:
		x.answered()
	default:
		return true
	}
	return false
}

// keepOut lets the loop's buffer for writing grow to what is needed.
func (x *exchange) keepOut(out []byte) {
	if cap(out) > cap(x.l.out) {
		x.l.out = out[:0]
	}
}

// endOfClosed ends an answer whose body ended with the connection.
func (x *exchange) endOfClosed() {
	if x.chunkOut && !x.toClient(x.body.appendTrailer(x.l.out[:0])) {
		x.clientGone()
		return
	}
	x.answered()
}

// answered follows the answer's end. A request whose body is still coming gets a little time for it.
func (x *exchange) answered() {
	now := x.l.now()
	x.record.WriteResponseTime = now.Sub(x.relayAt)
	x.record.UpstreamResponseTime = now.Sub(x.attemptAt)
	x.stage = stageDone
	x.up.timeRead(0)
	if !x.in.done() {
		x.c.timeRead(lingering)
		return
	}
	x.complete()
}

// complete gives the connection to the endpoint back, if both messages ended well on it, and ends the exchange.
func (x *exchange) complete() {
	u := x.up
	x.up = nil
	u.timeWrite(0)
	if x.dec.Upstream.KeepAlive && !x.rh.close && x.body.kind != framingClose && !x.surplus && x.in.done() && !u.blocked() && u.broken == nil {
		x.l.idle.put(u)
	} else {
		u.end()
	}
	x.finish()
}

// switched makes a tunnel of the connections, if the client has asked for it (RFC 9110 section 15.2.2).
func (x *exchange) switched(early []byte) {
	if x.dec.Upgrade == "" || !strings.EqualFold(strings.TrimSpace(x.rh.upgrade), x.dec.Upgrade) {
		x.attemptFailed(dataplane.ReasonBadResponse)
		return
	}
	x.l.count.Attempt(x.dec.Upstream.ID, dataplane.ReasonNone)
	x.record.UpstreamStatus = 101
	x.outcome = dataplane.Outcome{Status: 101}
	x.l.fields = dataplane.ResponseHead(x.l.fields[:0], &x.resp, &x.dec)
	x.wrote = true
	if !x.toClient(append(dataplane.AppendResponseHead(x.l.out[:0], 101, x.l.fields), early...)) {
		x.clientGone()
		return
	}
	x.tunnel(len(early))
}

// tunnel ends the exchange in favour of a tunnel. What the log will say is kept in as little memory as it takes.
func (x *exchange) tunnel(early int) {
	c, u, l := x.c, x.up, x.l
	t := &tunnel{
		c: c, u: u, idle: x.dec.TunnelIdle(x.limits), send: x.dec.Timeouts.Send, began: x.attemptAt, started: x.started, sent: int64(early),
		head: logHead(&x.req), length: x.req.HeadBytes(), listener: c.f.k.Listener(), balancer: x.dec.Listener.LoadBalancer, port: x.dec.Listener.Port,
		route: x.dec.Route.ID, upstream: x.dec.Upstream.ID, addr: x.endpoint.Addr,
	}
	u.x, u.t, c.x, c.t = nil, t, nil, t
	c.phase = phaseTunnel
	u.timeRead(0)
	l.server.Metrics.Tunnels(t.listener, 1)
	l.recycle(x)
	t.touch()
	t.happened()
}
