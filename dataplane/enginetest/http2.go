package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// testHTTP2: requests share one connection, and the log knows the protocol.
func testHTTP2(f *fixture) {
	f.apply(f.https(dataplane.ClassALB, newBackend(f.T, echo)))
	testMultiplexed(f, f.newWeb(), 2)
}

// testMultiplexed sends many requests at once over one connection of a protocol: bodies of known and unknown length,
// answers of our own, fields about the client.
func testMultiplexed(f *fixture, w *web, major int) {
	w.get("/first", 200)
	if r := f.wantReason(200, dataplane.ReasonNone); r.Proto != fmt.Sprintf("HTTP/%d.0", major) || r.Scheme != "https" || r.TLSProtocol != "TLSv1.3" {
		f.Errorf("record says %s %s %s", r.Proto, r.Scheme, r.TLSProtocol)
	}
	big := strings.Repeat("0123456789", 30000)
	concurrently(20, func(i int) {
		target := fmt.Sprintf("/%d?q=%d", i, i)
		r := w.send(w.request("POST", target, strings.NewReader(big)))
		if r.err != nil || r.StatusCode != 200 || r.ProtoMajor != major || !strings.Contains(r.body, "POST "+target+" HTTP/1.1\n") ||
			!strings.Contains(r.body, "X-Forwarded-Proto: https\n") || !strings.Contains(r.body, "Host: test.example\n") || !strings.HasSuffix(r.body, big) {
			f.Errorf("answer %d is %+v (%v), %d bytes", i, r.Response, r.err, len(r.body))
		}
	})
	r := w.send(w.request("POST", "/unknown", struct{ io.Reader }{strings.NewReader("some")}))
	w.want(r, 200)
	if !strings.Contains(r.body, "Transfer-Encoding: chunked\n") || !strings.HasSuffix(r.body, "some") {
		f.Errorf("body of unknown length arrived as %q", r.body)
	}
	for _, method := range []string{"GET", "DELETE"} {
		r = w.send(w.request(method, "/none", nil))
		w.want(r, 200)
		if strings.Contains(r.body, "Transfer-Encoding") {
			f.Errorf("%s without a body arrived with one: %q", method, r.body)
		}
	}
	r = w.send(w.request("HEAD", "/head", nil))
	w.want(r, 200)
	r = w.send(w.request("TRACE", "/", nil))
	w.want(r, 405)
}

// testHTTP2Off: without HTTP/2 a listener offers HTTP/1.1 alone, and so does an HTTP listener (ALB-FACTS 4.8).
func testHTTP2Off(f *fixture) {
	s := f.https(dataplane.ClassALB, newBackend(f.T, echo))
	s.Listeners[0].TLS.HTTP2 = false
	clear := simple(dataplane.ClassALB).Listeners[0]
	clear.ID = "clear"
	s.Listeners = append(s.Listeners, clear)
	f.apply(s)
	if r := f.newWeb().get("/", 200); r.ProtoMajor != 1 {
		f.Errorf("protocol is %s", r.Proto)
	}
	p := f.dial("clear")
	p.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if m := p.read(false, ""); m.status() < 400 {
		f.Errorf("HTTP/2 without TLS got %q (%v)", m.first, m.err)
	}
}

// testTrailers: trailers go through both ways.
func testTrailers(f *fixture) {
	f.apply(f.https(dataplane.ClassALB, newTrailerBackend(f)))
	sendTrailers(f, f.newWeb())
}

// newTrailerBackend echoes requests in chunks with a trailer.
func newTrailerBackend(f *fixture) *backend {
	return newBackend(f.T, func(p *peer) {
		for {
			m := p.read(true, "")
			if m.err != nil {
				return
			}
			text := m.text()
			p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
			p.send(fmt.Sprintf("%x\r\n%s\r\n0\r\nX-Sum: 7\r\n\r\n", len(text), text))
		}
	})
}

func sendTrailers(f *fixture, w *web) {
	r := w.request("POST", "/", struct{ io.Reader }{strings.NewReader("body")})
	r.Trailer = http.Header{"X-End": {"z"}}
	got := w.send(r)
	w.want(got, 200)
	if !strings.Contains(got.body, "trailer X-End: z") || got.Trailer.Get("X-Sum") != "7" {
		f.Errorf("body %q, trailer %v", got.body, got.Trailer)
	}
}

// stages is a backend that answers by the path: /cut breaks off in its body, /hang never answers, everything else is
// echoed. It tells of each request that hangs.
func stages(hangs chan<- string) func(*peer) {
	return func(p *peer) {
		for {
			m := p.read(true, "")
			switch {
			case m.err != nil:
				return
			case strings.Contains(m.first, "/cut"):
				p.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
				return
			case strings.Contains(m.first, "/hang"):
				hangs <- m.first
				_, _ = p.ended()
				return
			}
			p.answer(200, "", m.text())
		}
	}
}

// testStreams: what befalls one request of an HTTP/2 connection leaves the others alone.
func testStreams(f *fixture) {
	hangs := make(chan string, 9)
	f.apply(patient(f.https(dataplane.ClassALB, newBackend(f.T, stages(hangs)))))
	loneStreams(f, f.newWeb(), hangs, 2)
}

// patient lets idle connections live: a test that moves the clock past one timer may move it a little further.
func patient(s *dataplane.Snapshot) *dataplane.Snapshot {
	for i := range s.Listeners {
		s.Listeners[i].Client.Idle = time.Hour
	}
	return s
}

func loneStreams(f *fixture, w *web, hangs <-chan string, major int) {
	w.get("/", 200)
	f.wantReason(200, dataplane.ReasonNone)
	r := w.send(w.request("GET", "/cut", nil))
	// HTTP/3 may lose with the reset what came before it (RFC 9000 section 3.2).
	if whole := r.Response != nil && r.StatusCode == 200 && r.body == "part"; r.err == nil || !whole && major == 2 {
		f.Errorf("a cut answer came as %+v, %q, %v", r.Response, r.body, r.err)
	}
	f.wantReason(200, dataplane.ReasonResponseCut)

	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() { gone <- w.send(w.request("GET", "/hang", nil).WithContext(ctx)).err }()
	receive(f.T, hangs, "the request")
	cancel()
	if err := receive(f.T, gone, "the client's end"); !errors.Is(err, context.Canceled) {
		f.Errorf("the client ended with %v", err)
	}
	f.wantReason(499, dataplane.ReasonClientClosed)

	late := make(chan reply, 1)
	go func() { late <- w.send(w.request("GET", "/hang", nil)) }()
	receive(f.T, hangs, "the request")
	got, _ := passes(f, late)
	w.want(got, 504)
	f.wantReason(504, dataplane.ReasonResponseTimeout)
	w.get("/after", 200)
}

// testSlowStream: a client that stalls in a body gets 408, and its other requests go on.
func testSlowStream(f *fixture) {
	f.apply(patient(f.https(dataplane.ClassALB, newBackend(f.T, echo))))
	slowUpload(f, f.newWeb())
}

func slowUpload(f *fixture, w *web) {
	w.get("/before", 200) // the way is open before the clock moves
	f.wantReason(200, dataplane.ReasonNone)
	in, out := io.Pipe()
	defer out.Close()
	go func() { _, _ = out.Write([]byte("some")) }()
	got := timed(f, 60*time.Second, func() reply { return w.send(w.request("POST", "/slow", in)) })
	w.want(got, 408)
	f.wantReason(408, dataplane.ReasonClientTimeout)
	w.get("/after", 200)
}

// testStreamNotRead: a client that leaves an answer unread loses that stream after Limits.ClientWrite, no other.
func testStreamNotRead(f *fixture) {
	f.apply(patient(f.https(dataplane.ClassALB, newBackend(f.T, floods))))
	leaveUnread(f, f.newWeb())
}

// floods answers /flood with more than all buffers on the way hold, everything else with its text.
func floods(p *peer) {
	for {
		m := p.read(true, "")
		if m.err != nil {
			return
		}
		if strings.Contains(m.first, "/flood") {
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n")
			_, _ = io.CopyN(p, zeros{}, 256<<20)
			return
		}
		p.answer(200, "", m.text())
	}
}

func leaveUnread(f *fixture, w *web) {
	resp, err := w.Do(w.request("GET", "/flood", nil))
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	r, took := passes(f, f.records)
	if r.Reason != dataplane.ReasonClientClosed || took < 59*time.Second {
		f.Errorf("after %s the record says %d %q", took, r.Status, r.Reason)
	}
	w.get("/after", 200)
}

// testHTTP2Requests: after its last request a connection takes no more, and clients open another.
func testHTTP2Requests(f *fixture) {
	f.apply(f.threeRequests())
	countConnections(f, f.newWeb(), 3)
}

// threeRequests is a listener whose connections carry three requests each.
func (f *fixture) threeRequests() *dataplane.Snapshot {
	s := f.https(dataplane.ClassALB, newBackend(f.T, echo))
	s.Listeners[0].Client.Requests, s.Listeners[0].Forward.ClientSrcPort = 3, true
	return s
}

func countConnections(f *fixture, w *web, want int) {
	ports := map[string]bool{}
	for range 7 {
		ports[w.port()] = true
	}
	if len(ports) < want || len(ports) > 3 {
		f.Errorf("seven requests took the connections %v, want %d of them", ports, want)
	}
}

// port asks, on a listener that passes it on, which port the client's connection has.
func (w *web) port() string {
	w.f.Helper()
	return portIn(w.get("/", 200).body)
}

// portIn finds the client's port in the request as the endpoint got it.
func portIn(body string) string {
	_, rest, _ := strings.Cut(body, "X-Forwarded-Client-Srcport: ")
	port, _, _ := strings.Cut(rest, "\n")
	return port
}

// testHTTP2Reload: a reload makes clients open another connection, without a request that fails.
func testHTTP2Reload(f *fixture) { reloadOnce(f, f.reloading(), (*fixture).newWeb) }

// reloading is a listener of class nginx that passes the client's port on.
func (f *fixture) reloading() *dataplane.Snapshot {
	s := f.https(dataplane.ClassNGINX, newBackend(f.T, echo))
	s.Listeners[0].CutAfter, s.Listeners[0].Forward.ClientSrcPort = 240*time.Second, true
	return s
}

func reloadOnce(f *fixture, s *dataplane.Snapshot, client func(*fixture) *web) {
	f.apply(s)
	w := client(f)
	before := w.port()
	f.apply(reloaded(s, 1))
	for range 100 {
		r := w.send(w.request("GET", "/", nil))
		switch {
		case r.err != nil && s.Listeners[0].Protocol == dataplane.ProtocolQUIC:
			// It crossed the GOAWAY: HTTP/3 refuses it unseen, and clients may repeat it (RFC 9114 section 5.2).
		case r.err != nil:
			f.Fatalf("a request failed in the reload: %v", r.err)
		case portIn(r.body) != before:
			return
		}
	}
	f.Errorf("after the reload requests still use the connection from port %s", before)
}

// testHTTP2Drain: a listener that goes away lets requests end, and takes no more.
func testHTTP2Drain(f *fixture) {
	got, release := make(chan string, 1), make(chan bool)
	f.apply(f.https(dataplane.ClassALB, newBackend(f.T, late(got, release))))
	drainRequest(f, f.newWeb(), got, release)
}

// late tells of a request and answers it when it is let.
func late(got chan<- string, release <-chan bool) func(*peer) {
	return func(p *peer) {
		m := p.read(true, "")
		got <- m.first
		<-release
		p.answer(200, "", "late")
	}
}

func drainRequest(f *fixture, w *web, got <-chan string, release chan bool) {
	done := make(chan reply, 1)
	r := w.request("GET", "/", nil)
	go func() { done <- w.send(r) }()
	receive(f.T, got, "the request")
	f.apply(&dataplane.Snapshot{})
	close(release)
	answer := receive(f.T, done, "the answer")
	w.want(answer, 200)
	if answer.body != "late" {
		f.Errorf("body is %q", answer.body)
	}
	// QUIC gives up only after a while, since nothing tells it that nobody is there.
	soon, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	// One may be on its way when the client is told to go away, and is served then.
	for range 2 {
		if again := w.send(r.Clone(soon)); again.err != nil {
			return
		}
	}
	f.Error("the removed listener goes on answering")
}
