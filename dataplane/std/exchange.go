package std

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// exchange is one request and its answer. It belongs to the goroutine that serves it.
type exchange struct {
	s      *Server
	c      client
	h1     *clientConn // nil for HTTP/2 and HTTP/3
	stream *stream     // nil for HTTP/1.1
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
	c, ok := r.Context().Value(connKey{}).(client)
	if !ok {
		panic("std: a request without its connection")
	}
	x := &exchange{s: s, c: c, w: w, r: r, started: s.Clock.Now()}
	if tcp, ok := c.(*clientConn); ok && !tcp.h2 {
		x.h1 = tcp
	} else {
		x.stream = newStream(s, w)
	}
	defer x.finish()
	x.run()
}

// run decides and acts.
func (x *exchange) run() {
	var requests int
	x.began, requests = x.c.begin(x.started)
	prog, bound := x.c.socket().Current()
	conf, ok := prog.Listener(bound.Listener)
	x.limits = x.s.Limits
	if ok {
		x.limits = x.limits.For(conf.Client)
	}
	if requests >= x.limits.Requests {
		x.c.Leave()
	}
	x.dec = dataplane.Decision{Listener: conf, AltSvc: bound.AltSvc}
	x.read()
	if reason := x.check(conf); reason != dataplane.ReasonNone {
		x.refuse(reason)
		return
	}
	in := x.s.Inputs()
	in.AltSvc = bound.AltSvc
	x.dec = prog.Decide(bound.Listener, &x.req, in)
	x.outcome = x.dec.Outcome
	if x.dec.Kind == dataplane.KindForward {
		x.forward()
		return
	}
	x.reply()
}

// check gives the reason to refuse a request before anything is decided, or ReasonNone.
func (x *exchange) check(conf *dataplane.Listener) dataplane.Reason {
	switch {
	case x.h1 != nil && x.h1.isPlain(conf):
		return dataplane.ReasonPlainHTTP
	case x.h1 != nil && x.r.ProtoMajor != 1:
		return dataplane.ReasonUnsupported // the preface of HTTP/2, which net/http lets through
	}
	return x.limits.Check(&x.req)
}

// read translates net/http's request.
func (x *exchange) read() {
	r := x.r
	path, query, hasQuery := strings.Cut(target(r), "?")
	x.req = dataplane.Request{
		Method: r.Method, Scheme: "http", Authority: r.Host, Path: path, Query: query, HasQuery: hasQuery,
		Fields: fieldsOf(r.Header), Length: r.ContentLength, Peer: addrPort(x.c.RemoteAddr()), TLS: x.c.session(),
		Proto: protoOf(r),
	}
	if x.req.TLS != nil {
		x.req.Scheme = "https"
	}
	if r.ContentLength != 0 {
		x.body = newClientBody(x)
	}
	if r.ProtoMajor == 3 && r.ContentLength < 0 && seldomHasBody(r.Method) {
		x.awaitBody()
	}
}

// protoOf names the protocol; http3 has the one of an extended CONNECT in its place (RFC 9220).
func protoOf(r *http.Request) string {
	switch r.ProtoMajor {
	case 2:
		return "HTTP/2.0"
	case 3:
		return "HTTP/3.0"
	}
	return r.Proto
}

// seldomHasBody lists the methods whose body has no meaning of its own (RFC 9110 section 9.3).
func seldomHasBody(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}

// awaitBody finds out whether there is a body at all: HTTP/3 tells only by the end of the stream, which comes with the
// head as a rule. An endpoint would take a request with an empty chunked body for one that has a body.
func (x *exchange) awaitBody() {
	if x.body.peek() {
		return
	}
	x.body, x.req.Length = nil, 0
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

// addrPort gives the address of a connection's end.
func addrPort(a net.Addr) netip.AddrPort {
	if ip, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return ip.AddrPort()
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
	for _, f := range dataplane.ReplyHead(nil, &x.dec) {
		h[f.Name] = append(h[f.Name], f.Value)
	}
	if x.endsConnection() {
		h.Set("Connection", "close")
	}
	x.head(x.dec.Reply.Status)
	if x.r.Method != http.MethodHead && h.Get("Content-Length") != "" && x.dec.Reply.Body != "" {
		if x.write([]byte(x.dec.Reply.Body), false) != nil {
			x.broken = true
		}
	}
}

// endsConnection reports whether nothing can follow an answer of our own: a connection of HTTP/1.1 does not speak what
// the listener does, or has the rest of a body on it. The other protocols lose one stream only.
func (x *exchange) endsConnection() bool {
	if x.h1 == nil {
		return false
	}
	reason := x.outcome.Reason
	return reason == dataplane.ReasonPlainHTTP || reason == dataplane.ReasonUnsupported || x.body != nil && !x.body.complete()
}

// head sends the answer's status and fields.
func (x *exchange) head(status int) {
	h := x.w.Header()
	if _, ok := h["Date"]; !ok {
		h.Set("Date", x.s.Clock.Now().UTC().Format(http.TimeFormat))
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // keeps net/http from guessing
	}
	if x.c.leaving() && x.r.ProtoMajor < 3 {
		h.Set("Connection", "close") // net/http makes it a GOAWAY for HTTP/2
	}
	x.wrote = true
	x.w.WriteHeader(status)
}

// finish ends the exchange whatever happened: it recovers a failure of ours, counts, logs, and cuts the connection
// or resets the stream if the answer is incomplete.
func (x *exchange) finish() {
	if v := recover(); v != nil {
		x.failed(v)
	}
	x.settle()
	if x.broken && x.wrote && !x.hijacked {
		_ = x.write(nil, true)
	}
	if x.broken && x.h1 != nil {
		x.h1.Close()
	}
	x.log()
	x.c.done()
	if x.hijacked {
		x.h1.Close()
		x.h1.ended()
	}
	if x.broken && x.stream != nil {
		panic(http.ErrAbortHandler)
	}
}

// failed answers 500 for a panic, or cuts the connection if it is too late for that.
func (x *exchange) failed(v any) {
	x.s.Failed("request failed inside the data plane", v, "listener", x.c.socket().Listener())
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
	now := x.s.Clock.Now()
	x.outcome.Reason = x.c.endedBy(x.outcome.Reason)
	x.s.Metrics.Request(x.c.socket().Listener(), x.outcome, now.Sub(x.started))
	if x.s.Access == nil {
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
	x.s.Access(rec)
}

// refused counts and logs a request that never reached serveHTTP.
func (s *Server) refused(c *clientConn, d *dataplane.Decision, began, now time.Time, sent int) {
	s.Metrics.Request(c.sock.Listener(), d.Outcome, now.Sub(began))
	if s.Access == nil {
		return
	}
	rec := dataplane.AccessRecord{
		Time: now, BodyBytesSent: int64(sent), RequestTime: now.Sub(began), ReadRequestTime: now.Sub(began),
		VIPAddr: addrPort(c.LocalAddr()).Addr().String(),
	}
	r := dataplane.Request{Scheme: "http", Peer: addrPort(c.RemoteAddr()), TLS: c.info}
	if r.TLS != nil {
		r.Scheme = "https"
	}
	rec.Fill(&r, d)
	rec.Status, rec.Reason = d.Outcome.Status, d.Outcome.Reason
	s.Access(&rec)
}
