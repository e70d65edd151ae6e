package enginetest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/alb-appliance/appliance/dataplane"
)

// want checks an answer's status and that its body holds every text.
func (f *fixture) want(m message, status int, texts ...string) {
	f.Helper()
	if m.err != nil || m.status() != status {
		f.Fatalf("answer is %q (error %v), want status %d; body %q", m.first, m.err, status, m.body)
	}
	for _, text := range texts {
		if !strings.Contains(m.body, text) {
			f.Errorf("body lacks %q:\n%s", text, m.body)
		}
	}
}

// wantReason checks the next access record.
func (f *fixture) wantReason(status int, reason dataplane.Reason) dataplane.AccessRecord {
	f.Helper()
	r := f.record()
	if r.Status != status || r.Reason != reason {
		f.Errorf("access record says %d %q, want %d %q", r.Status, r.Reason, status, reason)
	}
	return r
}

func testForward(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, echo)))
	m := f.get("/a%20b/c?x=1&y", "Host: shop.example:8080", "X-Forwarded-For: 203.0.113.9", "Connection: close, X-Secret",
		"X-Secret: 1", "Keep-Alive: 3", "X-Kept: yes", "TE: trailers")
	f.want(m, 200, "GET /a%20b/c?x=1&y HTTP/1.1\n", "Host: shop.example:8080\n", "X-Kept: yes\n",
		"X-Forwarded-For: 203.0.113.9, 127.0.0.1\n", "Alicloud-Alb-Trace: ")
	for _, gone := range []string{"X-Secret", "Keep-Alive", "Te:", "Connection"} {
		if strings.Contains(m.body, gone) {
			f.Errorf("%s reached the endpoint:\n%s", gone, m.body)
		}
	}
}

func testKeepAlive(f *fixture) {
	b := newBackend(f.T, echo)
	f.apply(simple(dataplane.ClassALB, b))
	p := f.dial("l")
	for i := range 5 {
		f.want(p.do("GET", fmt.Sprintf("/%d", i)), 200, fmt.Sprintf("GET /%d ", i))
	}
	if n := b.accepted(); n != 1 {
		f.Errorf("the endpoint had %d connections, want 1", n)
	}
	p.send(request("GET", "/one") + request("GET", "/two"))
	f.want(p.read(false, "GET"), 200, "GET /one ")
	f.want(p.read(false, "GET"), 200, "GET /two ")
}

func testBodies(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, echo)))
	p := f.dial("l")
	body := strings.Repeat("0123456789", 30000)
	p.send(fmt.Sprintf("POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	f.want(p.read(false, "POST"), 200, "POST /up ", "Content-Length: 300000\n", body)
	p.send("POST /empty HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
	f.want(p.read(false, "POST"), 200, "POST /empty ", "Content-Length: 0\n")
}

func testChunked(f *fixture) {
	b := newBackend(f.T, func(p *peer) {
		for {
			m := p.read(true, "")
			if m.err != nil {
				return
			}
			p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
			text := m.text()
			p.send(fmt.Sprintf("%x\r\n%s\r\n0\r\nX-Sum: 7\r\n\r\n", len(text), text))
		}
	})
	f.apply(simple(dataplane.ClassALB, b))
	p := f.dial("l")
	for range 2 {
		p.send("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-End: z\r\n\r\n")
		m := p.read(false, "POST")
		f.want(m, 200, "\n\nhello world", "Transfer-Encoding: chunked\n", "trailer X-End: z")
		if m.trailer.Get("X-Sum") != "7" {
			f.Errorf("trailer is %v", m.trailer)
		}
	}
}

func testHeadAndEmpty(f *fixture) {
	b := newBackend(f.T, func(p *peer) {
		for {
			m := p.read(true, "")
			switch {
			case m.err != nil:
				return
			case strings.HasPrefix(m.first, "HEAD"):
				p.send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
			case strings.Contains(m.first, "/204"):
				p.send("HTTP/1.1 204 No Content\r\n\r\n")
			default:
				p.send("HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n")
			}
		}
	})
	f.apply(simple(dataplane.ClassALB, b))
	p := f.dial("l")
	m := p.do("HEAD", "/")
	f.want(m, 200)
	if m.fields.Get("Content-Length") != "99" {
		f.Errorf("fields of HEAD are %v", m.fields)
	}
	f.want(p.do("GET", "/204"), 204)
	f.want(p.do("GET", "/304"), 304)
	if n := b.accepted(); n != 1 {
		f.Errorf("the endpoint had %d connections, want 1", n)
	}
}

func testInterim(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T,
		answers("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))))
	p := f.dial("l")
	early := p.do("GET", "/")
	if early.status() != 103 || early.fields.Get("Link") != "</a.css>" {
		f.Fatalf("interim answer is %q %v", early.first, early.fields)
	}
	m := p.read(false, "GET")
	f.want(m, 200, "ok")
	if m.fields.Get("Link") != "" {
		f.Errorf("the interim answer's fields are in the final one: %v", m.fields)
	}
}

func testContinue(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, echo)))
	p := f.dial("l")
	m := p.do("POST", "/", "Content-Length: 5", "Expect: 100-continue")
	if m.status() != 100 {
		f.Fatalf("first answer is %q, want 100", m.first)
	}
	p.send("hello")
	m = p.read(false, "POST")
	f.want(m, 200, "hello")
	if strings.Contains(m.body, "Expect") {
		f.Errorf("Expect reached the endpoint:\n%s", m.body)
	}
}

func testNGINXHeaders(f *fixture) {
	b := newBackend(f.T, func(p *peer) {
		for {
			m := p.read(true, "")
			if m.err != nil {
				return
			}
			p.answer(200, "Server: pod\r\nX-Accel-Redirect: /secret\r\nX-Kept: 1\r\n", m.text())
		}
	})
	f.apply(simple(dataplane.ClassNGINX, b))
	m := f.get("/x", "X-Forwarded-For: 203.0.113.9", "X-Request-ID: abc", "Proxy: evil", "x_under: 1", "Host: h.example")
	f.want(m, 200, "X-Forwarded-For: 127.0.0.1\n", "X-Original-Forwarded-For: 203.0.113.9\n", "X-Real-Ip: 127.0.0.1\n",
		"X-Request-Id: abc\n", "X-Forwarded-Host: h.example\n", "X-Forwarded-Port: 80\n", "X-Forwarded-Proto: http\n",
		"X-Forwarded-Scheme: http\n", "X-Scheme: http\n")
	if strings.Contains(m.body, "evil") || strings.Contains(strings.ToLower(m.body), "x_under") {
		f.Errorf("a field got through that should not:\n%s", m.body)
	}
	if m.fields.Get("Server") != "" || m.fields.Get("X-Accel-Redirect") != "" || m.fields.Get("X-Kept") != "1" {
		f.Errorf("answer's fields are %v", m.fields)
	}
}

func testRedirectAndReply(f *fixture) {
	s := simple(dataplane.ClassALB)
	s.Listeners[0].Routes = []dataplane.Route{
		{ID: "to", Match: dataplane.Match{Paths: []dataplane.PathMatch{{Kind: dataplane.PathPrefix, Value: "/old"}}},
			Action: dataplane.Action{Redirect: &dataplane.Redirect{Status: 308, Scheme: "https", Port: 443}}},
		{ID: "fixed", Action: dataplane.Action{Reply: &dataplane.Reply{Status: 418, ContentType: "text/plain", Body: "teapot"}}},
	}
	f.apply(s)
	m := f.get("/old?a=b", "Host: h.example:8080")
	f.want(m, 308)
	if got := m.fields.Get("Location"); got != "https://h.example:443/old?a=b" {
		f.Errorf("Location is %q", got)
	}
	f.wantReason(308, dataplane.ReasonRedirect)
	m = f.get("/")
	f.want(m, 418, "teapot")
	if m.fields.Get("Content-Type") != "text/plain" {
		f.Errorf("fields are %v", m.fields)
	}
	f.wantReason(418, dataplane.ReasonReply)
}

func testOwnAnswers(f *fixture) {
	s := simple(dataplane.ClassALB)
	route := s.Listeners[0].Routes[0]
	on := func(id, path string, forward ...dataplane.WeightedUpstream) dataplane.Route {
		r := route
		r.ID, r.Match.Paths = id, []dataplane.PathMatch{{Kind: dataplane.PathExact, Value: path}}
		r.Action = dataplane.Action{Forward: forward}
		return r
	}
	s.Upstreams = append(s.Upstreams, dataplane.Upstream{ID: "dead", Scheme: "http", Endpoints: []dataplane.Endpoint{refusing("x")}})
	s.Listeners[0].Routes = []dataplane.Route{
		on("empty", "/empty", dataplane.WeightedUpstream{Upstream: "u", Weight: 1}),
		on("zero", "/zero", dataplane.WeightedUpstream{Upstream: "dead"}),
		on("missing", "/missing", dataplane.WeightedUpstream{Upstream: "nowhere", Weight: 1}),
		on("dead", "/dead", dataplane.WeightedUpstream{Upstream: "dead", Weight: 1}),
	}
	second := s.Listeners[0]
	second.ID, second.Class, second.Forward = "n", dataplane.ClassNGINX, dataplane.ForwardHeaders{}
	s.Listeners = append(s.Listeners, second)
	f.apply(s)
	for _, c := range []struct {
		path       string
		alb, nginx int
		reason     dataplane.Reason
	}{
		{"/none", 503, 404, dataplane.ReasonNoRoute},
		{"/empty", 503, 503, dataplane.ReasonNoEndpoints},
		{"/zero", 503, 503, dataplane.ReasonNoEndpoints},
		{"/missing", 503, 503, dataplane.ReasonNoUpstream},
		{"/dead", 502, 502, dataplane.ReasonConnectRefused},
	} {
		p := f.dial("l")
		m := p.do("GET", c.path)
		f.want(m, c.alb, "<html>", fmt.Sprint(c.alb))
		f.wantReason(c.alb, c.reason)
		p = f.dial("n")
		f.want(p.do("GET", c.path), c.nginx, "nginx")
		f.wantReason(c.nginx, c.reason)
	}
	if n := len(f.engine.Problems()); n != 2 {
		f.Errorf("problems are %v", f.engine.Problems())
	}
}

func testBadHeads(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, echo)))
	for _, c := range []struct {
		name, text string
		status     int
		reason     dataplane.Reason
	}{
		{"garbage", "this is not http\r\n\r\n", 400, dataplane.ReasonBadRequest},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400, dataplane.ReasonBadRequest},
		{"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, dataplane.ReasonBadRequest},
		{"long uri", request("GET", "/"+strings.Repeat("a", 33<<10)), 414, dataplane.ReasonURITooLong},
		{"endless uri", request("GET", "/"+strings.Repeat("a", 200<<10)), 414, dataplane.ReasonURITooLong},
		{"long header", request("GET", "/", "X-A: "+strings.Repeat("a", 33<<10)), 400, dataplane.ReasonHeaderTooLarge},
		{"endless header", request("GET", "/", "X-A: "+strings.Repeat("a", 200<<10)), 400, dataplane.ReasonHeaderTooLarge},
		{"many fields", request("GET", "/", strings.Split(strings.TrimSuffix(strings.Repeat("X-A: b\n", 201), "\n"), "\n")...), 400, dataplane.ReasonTooManyFields},
		{"trace", request("TRACE", "/"), 405, dataplane.ReasonMethod},
		{"connect", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", 405, dataplane.ReasonMethod},
		{"loop", request("GET", "/", "ALICLOUD-ALB-TRACE: "+strings.Repeat("x,", 16)+"x"), 463, dataplane.ReasonLoop},
	} {
		p := f.dial("l")
		// A client that writes more than is read may lose the answer to a reset; so it writes while reading.
		go p.send(c.text)
		m := p.read(false, "GET")
		if m.status() != c.status {
			f.Errorf("%s: answer is %q (%v), want %d", c.name, m.first, m.err, c.status)
		}
		if c.status != 463 && !strings.Contains(m.body, "<html>") {
			f.Errorf("%s: body is %q", c.name, m.body)
		}
		f.wantReason(c.status, c.reason)
		p.Close()
	}
}

func testMisbehaving(f *fixture) {
	for _, c := range []struct {
		name, text string
		status     int
		reason     dataplane.Reason
	}{
		{"closes", "", 502, dataplane.ReasonUpstreamClosed},
		{"closes mid head", "HTTP/1.1 200 OK\r\nContent-", 502, dataplane.ReasonUpstreamClosed},
		{"garbage", "220 smtp.example ready\r\n\r\n", 502, dataplane.ReasonBadResponse},
		{"bad field", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", 502, dataplane.ReasonBadResponse},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502, dataplane.ReasonBadResponse},
		{"endless head", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", 502, dataplane.ReasonBadResponse},
	} {
		b := newBackend(f.T, func(p *peer) {
			if p.read(true, "").err == nil {
				p.send(c.text)
			}
		})
		f.apply(simple(dataplane.ClassALB, b))
		m := f.get("/")
		if m.status() != c.status {
			f.Errorf("%s: answer is %q (%v), want %d", c.name, m.first, m.err, c.status)
		}
		f.wantReason(c.status, c.reason)
	}
	for name, text := range map[string]string{
		"short body":  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"short chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
	} {
		b := newBackend(f.T, func(p *peer) {
			if p.read(true, "").err == nil {
				p.send(text)
			}
		})
		f.apply(simple(dataplane.ClassALB, b))
		m := f.get("/")
		if m.status() != 200 || m.err == nil || m.body != "abc" {
			f.Errorf("%s: answer is %q, body %q, error %v; want a cut one", name, m.first, m.body, m.err)
		}
		f.wantReason(200, dataplane.ReasonResponseCut)
	}
}

func testStalePool(f *fixture) {
	// Each connection serves one request, then waits for the next and closes without an answer.
	b := newBackend(f.T, func(p *peer) {
		m := p.read(true, "")
		if m.err != nil {
			return
		}
		p.answer(200, "", m.text())
		_, _ = p.br.ReadByte()
	})
	f.apply(simple(dataplane.ClassALB, b))
	p := f.dial("l")
	f.want(p.do("GET", "/1"), 200)
	f.want(p.do("GET", "/2"), 200)
	f.want(p.do("PUT", "/3"), 200)
	// A POST whose bytes have gone out may have been carried out: it is not repeated.
	f.want(p.do("POST", "/4"), 502)
	for range 3 {
		f.wantReason(200, dataplane.ReasonNone)
	}
	f.wantReason(502, dataplane.ReasonUpstreamClosed)
}

func testSurplus(f *fixture) {
	b := newBackend(f.T, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
	f.apply(simple(dataplane.ClassALB, b))
	p := f.dial("l")
	for range 3 {
		m := p.do("GET", "/")
		f.want(m, 200)
		if m.body != "ok" {
			f.Errorf("body is %q: bytes beyond an answer were taken for the next", m.body)
		}
	}
}

func testRetryNGINX(f *fixture) {
	s := simple(dataplane.ClassNGINX, newBackend(f.T, named("good")))
	s.Upstreams[0].Endpoints = append([]dataplane.Endpoint{refusing("x1"), refusing("x2")}, s.Upstreams[0].Endpoints...)
	f.apply(s)
	for range 6 {
		f.want(f.get("/"), 200)
	}
	// Class alb answers the refusal at once.
	s.Listeners = append([]dataplane.Listener(nil), s.Listeners...)
	s.Listeners[0].Class = dataplane.ClassALB
	f.apply(&dataplane.Snapshot{Listeners: s.Listeners, Upstreams: s.Upstreams})
	statuses := map[int]int{}
	for range 3 {
		statuses[f.get("/").status()]++
	}
	if statuses[502] != 2 || statuses[200] != 1 {
		f.Errorf("statuses are %v, want two 502 and one 200", statuses)
	}
}

// testRetryHead: for class nginx an endpoint that breaks off in its head has not answered (NGINX-FACTS 1).
func testRetryHead(f *fixture) {
	broken := newBackend(f.T, func(p *peer) {
		if p.read(true, "").err == nil {
			p.send("HTTP/1.1 200 OK\r\nContent-")
		}
	})
	f.apply(simple(dataplane.ClassNGINX, broken, newBackend(f.T, named("good"))))
	for range 4 {
		f.want(f.get("/"), 200)
	}
	if broken.accepted() == 0 {
		f.Error("the broken endpoint was never tried")
	}
}

func testEarlyAnswer(f *fixture) {
	b := newBackend(f.T, func(p *peer) {
		_, _ = p.br.ReadString('\n')
		p.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		_, _ = p.ended()
	})
	f.apply(simple(dataplane.ClassALB, b))
	p := f.dial("l")
	p.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nsome")
	f.want(p.read(false, "POST"), 413, "big")
	if ok, _ := await(f, func() bool { _, ok := p.ended(); return ok }); !ok {
		f.Error("the connection stayed open though its request never ended")
	}
}

func testWeights(f *fixture) {
	s := simple(dataplane.ClassALB, newBackend(f.T, named("a")), newBackend(f.T, named("b")), newBackend(f.T, named("c")))
	s.Upstreams[0].Endpoints[0].Weight, s.Upstreams[0].Endpoints[1].Weight, s.Upstreams[0].Endpoints[2].Weight = 75, 25, 0
	f.apply(s)
	p := f.dial("l")
	seen := map[string]int{}
	for range 40 {
		m := p.do("GET", "/")
		f.want(m, 200)
		seen[m.fields.Get("X-Backend")]++
	}
	if seen["a"] != 30 || seen["b"] != 10 {
		f.Errorf("requests went to %v, want 30 to a and 10 to b", seen)
	}
}

func testFailure(f *fixture) {
	s := simple(dataplane.ClassALB)
	s.Upstreams[0].Endpoints = []dataplane.Endpoint{{ID: "e", Addr: "x", Weight: 1, Open: func(context.Context) (int, error) {
		panic("a fault of this program")
	}}}
	f.apply(s)
	p := f.dial("l")
	f.want(p.do("GET", "/"), 500, "<html>")
	f.wantReason(500, dataplane.ReasonInternal)
	f.want(p.do("GET", "/"), 500)
}

func testRequestsPerConnection(f *fixture) {
	s := simple(dataplane.ClassALB, newBackend(f.T, echo))
	s.Listeners[0].Client.Requests = 3
	f.apply(s)
	p := f.dial("l")
	for i := range 3 {
		m := p.do("GET", "/")
		f.want(m, 200)
		if closing := m.fields.Get("Connection") == "close"; closing != (i == 2) {
			f.Errorf("request %d: Connection is %q", i+1, m.fields.Get("Connection"))
		}
	}
	if rest, ok := p.ended(); rest != "" || !ok {
		f.Errorf("after the last request came %q, ended %v", rest, ok)
	}
}

func testConnectionsPerListener(f *fixture) {
	f.start(dataplane.Limits{Connections: 2})
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, echo)))
	a, b := f.dial("l"), f.dial("l")
	f.want(a.do("GET", "/"), 200)
	f.want(b.do("GET", "/"), 200)
	c := f.dial("l")
	if m := c.do("GET", "/"); m.err == nil {
		f.Errorf("a third connection got %q", m.first)
	}
	f.want(a.do("GET", "/"), 200)
}

func testAccessLog(f *fixture) {
	b := newBackend(f.T, echo)
	f.apply(simple(dataplane.ClassALB, b))
	p := f.dial("l")
	p.send("POST /up?q=1 HTTP/1.1\r\nHost: Shop.Example:80\r\nUser-Agent: test/1\r\nReferer: r\r\nContent-Length: 4\r\n\r\nbody")
	m := p.read(false, "POST")
	f.want(m, 200)
	r := f.wantReason(200, dataplane.ReasonNone)
	got := fmt.Sprintln(r.Listener, r.LoadBalancer, r.Port, r.ClientIP, r.Host, r.HTTPHost, r.Method, r.URI, r.Scheme, r.Proto,
		r.UserAgent, r.Referer, r.BodyBytesSent == int64(len(m.body)), r.UpstreamAddr == b.ln.Addr().String(), r.UpstreamStatus, r.Route, r.Upstream, r.VIPAddr)
	want := "l lb 80 127.0.0.1 shop.example Shop.Example:80 POST /up?q=1 http HTTP/1.1 test/1 r true true 200 r u 127.0.0.1\n"
	if got != want {
		f.Errorf("record is\n%swant\n%s", got, want)
	}
	if r.RequestLength < 90 || r.RequestLength > 110 {
		f.Errorf("request length is %d", r.RequestLength)
	}
}

// concurrently runs do n times at once and waits.
func concurrently(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

// halfClose tells the other side that nothing more comes.
func (p *peer) halfClose() { _ = p.Conn.(*net.TCPConn).CloseWrite() }
