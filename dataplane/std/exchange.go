package std

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// exchange is one request and its answer. It belongs to the goroutine that serves it.
type exchange struct {
	s      *Server
	c      *clientConn
	w      http.ResponseWriter
	r      *http.Request
	body   *clientBody
	limits dataplane.Limits
	up     *upstreamConn // of the last attempt, unless it went back to the pool
	req    dataplane.Request
	dec    dataplane.Decision

	began, started time.Time // first byte; head complete
	outcome        dataplane.Outcome
	wrote          bool // the answer's head has been sent
	broken         bool // the answer is incomplete: the connection has to be cut
	hijacked       bool
	record         dataplane.AccessRecord
}

// serveHTTP serves one request: the one way in from net/http.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(*clientConn)
	if !ok {
		panic("std: a request without its connection")
	}
	x := &exchange{s: s, c: c, w: w, r: r, started: s.clock.Now()}
	defer x.finish()
	x.run()
}

// run decides and acts.
func (x *exchange) run() {
	var requests int
	x.began, requests = x.c.begin(x.started)
	prog, listener := x.c.sock.current()
	conf, ok := prog.Listener(listener)
	x.limits = x.s.limits
	if ok {
		x.limits = x.limits.For(conf.Client)
	}
	if requests >= x.limits.Requests || x.c.sock.isDraining() {
		x.w.Header().Set("Connection", "close")
	}
	x.read()
	if reason := x.limits.Check(&x.req); reason != dataplane.ReasonNone {
		x.dec = dataplane.Decision{Listener: conf}
		x.refuse(reason)
		return
	}
	x.dec = prog.Decide(listener, &x.req, x.s.inputs())
	x.outcome = x.dec.Outcome
	if x.dec.Kind == dataplane.KindForward {
		x.forward()
		return
	}
	x.reply()
}

// read translates net/http's request.
func (x *exchange) read() {
	r := x.r
	path, query, hasQuery := strings.Cut(target(r), "?")
	x.req = dataplane.Request{
		Method: r.Method, Scheme: "http", Authority: r.Host, Path: path, Query: query, HasQuery: hasQuery,
		Fields: fieldsOf(r.Header), Length: r.ContentLength, Peer: addrPort(x.c.RemoteAddr()), Proto: r.Proto,
	}
	if r.ContentLength != 0 {
		x.body = newClientBody(x)
	}
}

// target gives the request target in origin form.
func target(r *http.Request) string {
	t := r.RequestURI
	if strings.HasPrefix(t, "/") || t == "*" || r.Method == http.MethodConnect {
		return t
	}
	// The absolute form (RFC 9112 section 3.2.2): what follows the authority.
	if _, rest, ok := strings.Cut(t, "://"); ok {
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			if rest[i] == '?' {
				return "/" + rest[i:]
			}
			return rest[i:]
		}
	}
	return "/"
}

// fieldsOf lists header fields by name, since net/http has lost their order.
func fieldsOf(h http.Header) []dataplane.Field {
	out := make([]dataplane.Field, 0, len(h)+2)
	for name, values := range h {
		for _, v := range values {
			out = append(out, dataplane.Field{Name: name, Value: v})
		}
	}
	slices.SortStableFunc(out, func(a, b dataplane.Field) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// addrPort gives the address of a TCP connection's end.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

// refuse answers with the class's page for a reason.
func (x *exchange) refuse(reason dataplane.Reason) {
	x.dec = x.dec.Refusal(reason)
	x.outcome = x.dec.Outcome
	if reason == dataplane.ReasonClientClosed {
		x.broken = true
		return
	}
	x.reply()
}

// reply sends an answer of our own.
func (x *exchange) reply() {
	h := x.w.Header()
	reply := &x.dec.Reply
	h["Content-Type"] = nil // keeps net/http from guessing
	if reply.ContentType != "" && reply.Body != "" {
		h.Set("Content-Type", reply.ContentType)
	}
	if x.dec.Location != "" && dataplane.FieldOK(dataplane.Field{Name: "Location", Value: x.dec.Location}) {
		h.Set("Location", x.dec.Location)
	}
	if x.body != nil && !x.body.complete() {
		h.Set("Connection", "close")
	}
	body := reply.Body
	if reply.Status == http.StatusNoContent || reply.Status == http.StatusNotModified {
		body = ""
	} else {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	x.head(reply.Status)
	if x.r.Method != http.MethodHead && body != "" {
		n, _ := x.w.Write([]byte(body))
		x.record.BodyBytesSent += int64(n)
	}
}

// head sends the answer's status and fields.
func (x *exchange) head(status int) {
	h := x.w.Header()
	if _, ok := h["Date"]; !ok {
		h.Set("Date", x.s.clock.Now().UTC().Format(http.TimeFormat))
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil
	}
	x.wrote = true
	x.w.WriteHeader(status)
}

// finish ends the exchange whatever happened: it recovers a failure of ours, counts, logs, and cuts the connection
// if the answer is incomplete.
func (x *exchange) finish() {
	if v := recover(); v != nil {
		x.failed(v)
	}
	if x.broken && !x.hijacked {
		if x.wrote {
			_ = http.NewResponseController(x.w).Flush()
		}
		x.c.Close()
	}
	x.log()
	if x.hijacked {
		x.c.Close()
		x.c.ended()
	}
}

// failed answers 500 for a panic, or cuts the connection if it is too late for that.
func (x *exchange) failed(v any) {
	x.s.metrics.Panic()
	x.s.log.Error("request failed inside the data plane", "listener", x.c.sock.listener(), "err", fmt.Sprint(v), "stack", string(debug.Stack()))
	if x.up != nil {
		x.up.Close()
	}
	if x.wrote || x.hijacked {
		x.outcome.Reason = dataplane.ReasonInternal
		x.broken = true
		return
	}
	x.refuse(dataplane.ReasonInternal)
}

// log counts the exchange and tells the access log.
func (x *exchange) log() {
	now := x.s.clock.Now()
	x.outcome.Reason = x.c.endedBy(x.outcome.Reason)
	x.s.metrics.Request(x.c.sock.listener(), x.outcome, now.Sub(x.started))
	if x.s.access == nil {
		return
	}
	rec := &x.record
	rec.Fill(&x.req, &x.dec)
	rec.Time, rec.Status, rec.Reason = now, x.outcome.Status, x.outcome.Reason
	rec.RequestTime, rec.ReadRequestTime = now.Sub(x.began), x.started.Sub(x.began)
	rec.RequestLength = int64(x.req.HeadBytes())
	if x.body != nil {
		rec.RequestLength += x.body.read.Load()
	}
	rec.VIPAddr = addrPort(x.c.LocalAddr()).Addr().String()
	x.s.access(rec)
}

// refused counts and logs a request that never reached serveHTTP.
func (s *Server) refused(c *clientConn, d *dataplane.Decision, began, now time.Time, sent int) {
	s.metrics.Request(c.sock.listener(), d.Outcome, now.Sub(began))
	if s.access == nil {
		return
	}
	rec := dataplane.AccessRecord{
		Time: now, BodyBytesSent: int64(sent), RequestTime: now.Sub(began), ReadRequestTime: now.Sub(began),
		VIPAddr: addrPort(c.LocalAddr()).Addr().String(),
	}
	rec.Fill(&dataplane.Request{Scheme: "http", Peer: addrPort(c.RemoteAddr())}, d)
	rec.Status, rec.Reason = d.Outcome.Status, d.Outcome.Reason
	s.access(&rec)
}
