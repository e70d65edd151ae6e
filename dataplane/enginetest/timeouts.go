package enginetest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// silent takes requests and never answers; it tells of each request on got.
func silent(got chan<- string) func(*peer) {
	return func(p *peer) {
		m := p.read(true, "")
		if m.err != nil {
			return
		}
		got <- m.first
		_, _ = p.ended()
	}
}

func testConnectTimeout(f *fixture) {
	s := simple(dataplane.ClassALB)
	s.Upstreams[0].Endpoints = []dataplane.Endpoint{{ID: "e", Addr: "x", Weight: 1, Open: func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return -1, ctx.Err()
	}}}
	s.Listeners[0].Routes[0].Timeouts.Connect = 5 * time.Second
	f.apply(s)
	m := timed(f, 5*time.Second, func() message { return f.get("/") })
	f.want(m, 504)
	f.wantReason(504, dataplane.ReasonConnectTimeout)
}

func testRequestTimeout(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, silent(make(chan string, 9)))))
	m := timed(f, 60*time.Second, func() message { return f.get("/") })
	f.want(m, 504, "504")
	r := f.wantReason(504, dataplane.ReasonResponseTimeout)
	if r.RequestTime < 60*time.Second {
		f.Errorf("request time is %s by the log", r.RequestTime)
	}
}

// testReadTimeout has an endpoint stall in the middle of an answer.
func testReadTimeout(f *fixture) {
	b := newBackend(f.T, func(p *peer) {
		if p.read(true, "").err == nil {
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
			_, _ = p.ended()
		}
	})
	f.apply(simple(dataplane.ClassNGINX, b))
	m := timed(f, 60*time.Second, func() message { return f.get("/") })
	if m.status() != 200 || m.body != "abc" || m.err == nil {
		f.Errorf("answer is %q, body %q, error %v; want a cut one", m.first, m.body, m.err)
	}
	f.wantReason(200, dataplane.ReasonResponseStalled)
}

// testRetryTimeout: class nginx tries three endpoints for a GET, 60 s each, and one for a POST (NGINX-FACTS 1).
func testRetryTimeout(f *fixture) {
	got := make(chan string, 9)
	f.apply(simple(dataplane.ClassNGINX, newBackend(f.T, silent(got))))
	m := timed(f, 180*time.Second, func() message { return f.get("/") })
	f.want(m, 504)
	if len(got) != 3 {
		f.Errorf("the endpoint had %d requests, want 3", len(got))
	}
	p := f.dial("l")
	m = timed(f, 60*time.Second, func() message { return p.do("POST", "/", "Content-Length: 0") })
	f.want(m, 504)
	if len(got) != 4 {
		f.Errorf("the endpoint had %d requests, want 4", len(got))
	}
}

// testSendTimeout has an endpoint that takes the request's head and never reads the body.
func testSendTimeout(f *fixture) {
	got, release := make(chan bool, 1), make(chan bool)
	b := newBackend(f.T, func(p *peer) {
		_, _ = p.br.ReadString('\n')
		got <- true
		<-release
	})
	defer close(release)
	f.apply(simple(dataplane.ClassNGINX, b))
	p := f.dial("l")
	const size = 256 << 20 // more than all socket buffers on the way hold
	flood := make(chan bool)
	var sent atomic.Int64
	go func() {
		defer close(flood)
		p.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size))
		_, _ = io.CopyN(counting{p, &sent}, zeros{}, size)
	}()
	receive(f.T, got, "the request")
	stalls(&sent)
	r := timed(f, 60*time.Second, func() dataplane.AccessRecord { return <-f.records })
	if r.Status != 504 || r.Reason != dataplane.ReasonSendTimeout {
		f.Errorf("access record says %d %q", r.Status, r.Reason)
	}
	p.Close()
	receive(f.T, flood, "the client's end")
}

// counting counts what is written.
type counting struct {
	io.Writer
	n *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// stalls returns once a count has stood still for a while: all buffers on the way are full.
func stalls(n *atomic.Int64) {
	for last := int64(-1); last != n.Load(); time.Sleep(300 * time.Millisecond) {
		last = n.Load()
	}
}

// zeros is an endless source of bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func testIdle(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, echo)))
	type end struct {
		rest string
		ok   bool
	}
	fresh, used := f.dial("l"), f.dial("l")
	f.want(used.do("GET", "/"), 200)
	for _, p := range []*peer{fresh, used} {
		got, _ := await(f, func() end { rest, ok := p.ended(); return end{rest, ok} })
		if got.rest != "" || !got.ok {
			f.Errorf("an idle connection ended with %q, %v", got.rest, got.ok)
		}
	}
	p := f.dial("l")
	f.want(p.do("GET", "/"), 200)
	timed(f, 14*time.Second, func() bool { _, ok := p.ended(); return ok })
}

func testSlowHeader(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, echo)))
	p := f.dial("l")
	p.send("GET / HTTP/1.1\r\nHo")
	m, _ := await(f, func() message { return p.read(false, "GET") })
	f.want(m, 408, "<html>")
	f.wantReason(408, dataplane.ReasonClientTimeout)
	if rest, ok := p.ended(); rest != "" || !ok {
		f.Errorf("after 408 came %q, ended %v", rest, ok)
	}
}

func testSlowBody(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, echo)))
	p := f.dial("l")
	m := timed(f, 60*time.Second, func() message {
		p.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
		return p.read(false, "POST")
	})
	f.want(m, 408)
	f.wantReason(408, dataplane.ReasonClientTimeout)
}

// testClientGone: a client that goes away takes its request along, and the log says 499.
func testClientGone(f *fixture) {
	got, gone := make(chan string, 1), make(chan bool, 1)
	b := newBackend(f.T, func(p *peer) {
		got <- p.read(true, "").first
		_, ok := p.ended()
		gone <- ok
	})
	f.apply(simple(dataplane.ClassALB, b))
	p := f.dial("l")
	p.send(request("GET", "/"))
	receive(f.T, got, "the request")
	p.Close()
	if !receive(f.T, gone, "the end of the endpoint's connection") {
		f.Error("the endpoint's connection stayed open")
	}
	f.wantReason(499, dataplane.ReasonClientClosed)
}

func testShutdown(f *fixture) {
	got, release := make(chan string, 1), make(chan bool)
	b := newBackend(f.T, func(p *peer) {
		m := p.read(true, "")
		got <- m.first
		<-release
		p.answer(200, "", "late")
	})
	f.apply(simple(dataplane.ClassALB, b))
	idle := f.dial("l")
	p := f.dial("l")
	p.send(request("GET", "/"))
	receive(f.T, got, "the request")
	done := make(chan error, 1)
	engine := f.engine
	go func() { done <- engine.Shutdown(context.Background()) }()
	if rest, ok := idle.ended(); rest != "" || !ok {
		f.Errorf("the idle connection ended with %q, %v", rest, ok)
	}
	close(release)
	m := p.read(false, "GET")
	f.want(m, 200, "late")
	if m.fields.Get("Connection") != "close" && !strings.Contains(m.first, "200") {
		f.Errorf("fields are %v", m.fields)
	}
	if err := receive(f.T, done, "the end of Shutdown"); err != nil {
		f.Errorf("shutdown: %v", err)
	}
	if err := f.engine.Apply(context.Background(), simple(dataplane.ClassALB)); err == nil {
		f.Error("a snapshot was applied after the shutdown")
	}
}
