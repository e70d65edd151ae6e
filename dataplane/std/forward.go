package std

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// answer is an endpoint's answer whose head has been read.
type answer struct {
	*http.Response
	u      *upstreamConn
	sender *sender
	began  time.Time // of the attempt
	// detach ends the connection's tie to the client's; false when the client has gone before.
	detach func() bool
}

// forward sends the request to an endpoint, to others if it may be retried, and the answer to the client.
func (x *exchange) forward() {
	endpoint, fresh := x.dec.Endpoint, x.dec.Upgrade != ""
	var tried []string
	for n := 1; ; n++ {
		a, failed := x.attempt(endpoint, fresh)
		x.s.Metrics.Attempt(x.dec.Upstream.ID, failed.Reason)
		if a != nil {
			x.relay(a)
			return
		}
		failed.N = n
		if failed.Reason == dataplane.ReasonClientClosed || !dataplane.Retry(&x.dec, failed) {
			x.refuse(failed.Reason)
			return
		}
		if failed.Reused && failed.Reason == dataplane.ReasonUpstreamClosed {
			fresh = true
			n--
			continue
		}
		tried = append(tried, endpoint.ID)
		endpoint = x.dec.NextEndpoint(x.s.Inputs(), tried)
	}
}

// attempt tries one endpoint: it returns the answer, or why there is none.
func (x *exchange) attempt(e *dataplane.Endpoint, fresh bool) (*answer, dataplane.Attempt) {
	failed := dataplane.Attempt{Method: x.req.Method}
	began := x.s.Clock.Now()
	x.record.UpstreamAddr = e.Addr
	defer func() { x.record.UpstreamResponseTime = x.s.Clock.Now().Sub(began) }()
	u, err := x.s.connect(x.r.Context(), &x.dec, e, fresh)
	if err != nil {
		failed.Reason = dialReason(err)
		x.s.Log.Debug("endpoint not reached", "upstream", x.dec.Upstream.ID, "endpoint", e.ID, "err", err)
		return nil, failed
	}
	x.dec.Endpoint = e
	x.up, failed.Reused = u, u.reused
	// A client that goes away takes its request along.
	detach := context.AfterFunc(x.r.Context(), u.abort)
	sender, err := x.sendHead(u)
	failed.Sent, failed.BodySent = true, sender != nil
	var resp *http.Response
	if err == nil {
		resp, err = x.readHead(u)
	}
	if err == nil {
		return &answer{Response: resp, u: u, sender: sender, began: began, detach: detach}, failed
	}
	detach()
	sender.stop(false)
	failed.Reason = x.attemptReason(u, sender, err)
	failed.Answered = u.headCap < int64(x.limits.ResponseHeaderBytes)
	u.Close()
	return nil, failed
}

// attemptReason names why an attempt failed: the client's doing goes before the endpoint's.
func (x *exchange) attemptReason(u *upstreamConn, b *sender, err error) dataplane.Reason {
	var fault *bodyError
	switch {
	case b.reason() != dataplane.ReasonNone:
		return b.reason()
	case errors.As(err, &fault):
		return fault.reason
	case x.r.Context().Err() != nil:
		return dataplane.ReasonClientClosed
	}
	return u.readReason(err)
}

// readHead reads the answer's head. Interim answers are passed on (RFC 9110 section 15.2), except 100, which the
// client had from us, and 101, which ends the talk in HTTP.
func (x *exchange) readHead(u *upstreamConn) (*http.Response, error) {
	for {
		u.expectHead(x.limits.ResponseHeaderBytes)
		resp, err := http.ReadResponse(u.br, &http.Request{Method: x.req.Method})
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode >= 200 {
			u.expectBody()
			u.headCame()
			return resp, x.checkSwitch(resp)
		}
		if resp.StatusCode != http.StatusContinue && x.r.ProtoAtLeast(1, 1) {
			x.interim(resp)
		}
	}
}

// errBadSwitch is a change of protocols that nobody asked for.
var errBadSwitch = errors.New("the endpoint switched to a protocol that was not asked for")

// checkSwitch refuses a 101 that does not answer the client's Upgrade (RFC 9110 section 15.2.2).
func (x *exchange) checkSwitch(resp *http.Response) error {
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil
	}
	if x.dec.Upgrade == "" || !strings.EqualFold(strings.TrimSpace(resp.Header.Get("Upgrade")), x.dec.Upgrade) {
		return errBadSwitch
	}
	return nil
}

// interim passes an interim answer on.
func (x *exchange) interim(resp *http.Response) {
	h := x.w.Header()
	before := h.Clone()
	x.copyHead(resp)
	x.w.WriteHeader(resp.StatusCode)
	clear(h)
	for k, v := range before {
		h[k] = v
	}
}

// copyHead puts the answer's fields, as the client gets them, into net/http's header.
func (x *exchange) copyHead(resp *http.Response) []dataplane.Field {
	fields := dataplane.ResponseHead(nil, &dataplane.Response{Status: resp.StatusCode, Fields: fieldsOf(resp.Header)}, &x.dec)
	h := x.w.Header()
	for _, f := range fields {
		h[f.Name] = append(h[f.Name], f.Value)
	}
	return fields
}

// relay sends an answer on to the client.
func (x *exchange) relay(a *answer) {
	x.record.UpstreamStatus = a.StatusCode
	x.outcome = dataplane.Outcome{Status: a.StatusCode}
	if a.StatusCode == http.StatusSwitchingProtocols {
		x.tunnel(a)
		return
	}
	x.copyHead(a.Response)
	x.head(a.StatusCode)
	start := x.s.Clock.Now()
	complete := x.copyBody(a)
	x.record.WriteResponseTime = x.s.Clock.Now().Sub(start)
	x.record.UpstreamResponseTime = x.s.Clock.Now().Sub(a.began)
	if complete {
		x.copyTrailer(a.Response)
		if a.sender != nil && !a.sender.x.body.complete() {
			// The client may need the whole answer before it ends its request.
			_ = http.NewResponseController(x.w).Flush()
		}
	}
	sent := a.sender.stop(complete)
	if a.detach() && complete && sent && x.dec.Upstream.KeepAlive && !a.Close && !a.u.late.Load() && a.u.br.Buffered() == 0 {
		a.u.reused = false
		x.up = nil
		x.s.pooled(dataplane.PoolKeyOf(x.dec.Upstream, x.dec.Endpoint), a.u)
		return
	}
	a.u.Close()
}

// copyBody moves the answer's body; false when it is incomplete, with the reason noted and the client to be cut.
func (x *exchange) copyBody(a *answer) bool {
	buf := x.s.buffers.Get().(*[copyBuffer]byte)
	defer x.s.buffers.Put(buf)
	for {
		a.u.read.arm(x.dec.Timeouts.Read)
		n, err := a.Body.Read(buf[:])
		a.u.read.disarm()
		if n > 0 {
			if !x.send(buf[:n], err == nil && a.u.br.Buffered() == 0) {
				return false
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			x.cutShort(a, err)
			return false
		}
	}
}

// send writes to the client; flush is for when nothing more is at hand. False when the client is gone.
func (x *exchange) send(p []byte, flush bool) bool {
	if err := x.write(p, flush); err != nil {
		x.outcome.Reason, x.broken = dataplane.ReasonClientClosed, true
		return false
	}
	return true
}

// cutShort notes why the endpoint's answer ended early.
func (x *exchange) cutShort(a *answer, err error) {
	x.broken = true
	switch {
	case a.sender.reason() != dataplane.ReasonNone:
		x.outcome.Reason = a.sender.reason()
	case a.u.late.Load():
		x.outcome.Reason = dataplane.ReasonResponseStalled
	case x.r.Context().Err() != nil:
		x.outcome.Reason = dataplane.ReasonClientClosed
	default:
		x.outcome.Reason = dataplane.ReasonResponseCut
	}
	x.s.Log.Debug("answer cut", "upstream", x.dec.Upstream.ID, "endpoint", x.dec.Endpoint.ID, "err", err)
}

// copyTrailer passes the fields after a chunked body on. The flush makes net/http send the body in chunks, since it
// would give a short one a length, after which nothing can follow.
func (x *exchange) copyTrailer(resp *http.Response) {
	if len(resp.Trailer) == 0 {
		return
	}
	_ = http.NewResponseController(x.w).Flush()
	h := x.w.Header()
	for _, f := range dataplane.ResponseHead(nil, &dataplane.Response{Status: resp.StatusCode, Fields: fieldsOf(resp.Trailer)}, &x.dec) {
		h[http.TrailerPrefix+f.Name] = append(h[http.TrailerPrefix+f.Name], f.Value)
	}
}
