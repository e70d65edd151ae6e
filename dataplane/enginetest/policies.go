package enginetest

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// testResponseFields: what listener and route set is on every answer, in place of the endpoint's (HSTS: NGINX-FACTS 4).
func testResponseFields(f *fixture) {
	b := newBackend(f.T, answers("HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 2\r\n\r\nok"))
	s := simple(dataplane.ClassNGINX, b)
	const hsts = "max-age=31536000; includeSubDomains"
	l := &s.Listeners[0]
	l.Response = []dataplane.Field{{Name: "Strict-Transport-Security", Value: hsts}, {Name: "X-Both", Value: "listener"}}
	l.Routes[0].Response = []dataplane.Field{{Name: "X-Both", Value: "route"}}
	l.Routes[0].Match.Paths = []dataplane.PathMatch{{Kind: dataplane.PathExact, Value: "/"}}
	f.apply(s)
	p := f.dial("l")
	for target, status := range map[string]int{"/": 200, "/lost": 404} {
		m := p.do("GET", target)
		f.want(m, status)
		if got := m.fields["Strict-Transport-Security"]; len(got) != 1 || got[0] != hsts {
			f.Errorf("%s: HSTS is %q", target, got)
		}
		want := map[int]string{200: "route", 404: "listener"}[status]
		if got := m.fields["X-Both"]; len(got) != 1 || got[0] != want {
			f.Errorf("%s: X-Both is %q, want %s", target, got, want)
		}
	}
}

// testRewrite: the endpoint gets another path and the same query (NGINX-FACTS 2).
func testRewrite(f *fixture) {
	s := simple(dataplane.ClassNGINX, newBackend(f.T, echo))
	r := &s.Listeners[0].Routes[0]
	r.Match.Paths = []dataplane.PathMatch{{Kind: dataplane.PathRegex, Value: "(?i)^/app(/|$)(.*)"}}
	r.Rewrite = &dataplane.Rewrite{Regex: "(?i)/app(/|$)(.*)", Replacement: "/$2"}
	f.apply(s)
	f.want(f.get("/APP/x%20y?q=1"), 200, "GET /x%20y?q=1 HTTP/1.1\n")
	f.want(f.get("/app"), 200, "GET / HTTP/1.1\n")
	if got := f.record(); got.URI != "/APP/x%20y?q=1" {
		f.Errorf("the log shows %q, want what the client sent", got.URI)
	}
}

// testBodyLimit: a body over the route's limit is 413, told beforehand or found out (NGINX-FACTS 3).
func testBodyLimit(f *fixture) {
	s := simple(dataplane.ClassNGINX, newBackend(f.T, echo))
	s.Listeners[0].Routes[0].BodyBytes = 10
	f.apply(s)
	p := f.dial("l")
	p.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789")
	f.want(p.read(false, "POST"), 200, "0123456789")
	f.wantReason(200, dataplane.ReasonNone)
	p = f.dial("l")
	p.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n")
	f.want(p.read(false, "POST"), 413, "nginx")
	f.wantReason(413, dataplane.ReasonBodyTooLarge)
	p = f.dial("l")
	p.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n")
	f.want(p.read(false, "POST"), 413)
	f.wantReason(413, dataplane.ReasonBodyTooLarge)
}

// reloaded is a snapshot after a number of reloads of class nginx.
func reloaded(s *dataplane.Snapshot, generation uint64) *dataplane.Snapshot {
	next := *s
	next.Listeners = append([]dataplane.Listener(nil), s.Listeners...)
	next.Listeners[0].Generation = generation
	return &next
}

// testReload: class nginx closes idle connections at a reload, lets requests end, and cuts what was begun before after
// 240 s though traffic flows; new connections go on, and changes that reload nothing change nothing (NGINX-FACTS 1).
func testReload(f *fixture) {
	got, release := make(chan string, 1), make(chan bool)
	s := simple(dataplane.ClassNGINX, newBackend(f.T, func(p *peer) {
		m := p.read(true, "")
		if strings.Contains(m.first, "/ws") {
			p.send(switched)
			_, _ = io.Copy(p.Conn, p.br)
			return
		}
		if strings.Contains(m.first, "/quick") {
			p.answer(200, "", "quick")
			return
		}
		got <- m.first
		<-release
		p.answer(200, "", "late")
	}))
	s.Listeners[0].CutAfter = 240 * time.Second
	f.apply(s)
	open := func() *peer {
		p := f.dial("l")
		p.send(upgrade())
		if m := p.read(false, ""); m.status() != 101 {
			f.Fatalf("handshake's answer is %q", m.first)
		}
		return p
	}
	idle, untouched, busy, old := f.dial("l"), f.dial("l"), f.dial("l"), open()
	f.want(idle.do("GET", "/quick"), 200)
	f.wantReason(200, dataplane.ReasonNone)
	busy.send(request("GET", "/slow"))
	receive(f.T, got, "the request")
	f.apply(s) // the same generation: nothing happens
	old.send("x")
	old.expect(f, "x")
	f.apply(reloaded(s, 1))
	fresh := open()
	if rest, ok := idle.ended(); rest != "" || !ok {
		f.Errorf("the idle connection ended with %q, %v", rest, ok)
	}
	if m := untouched.do("GET", "/quick"); m.status() != 200 || m.fields.Get("Connection") != "close" {
		f.Errorf("a connection that had carried nothing is answered %q with the fields %v", m.first, m.fields)
	}
	f.wantReason(200, dataplane.ReasonNone)
	close(release)
	m := busy.read(false, "GET")
	f.want(m, 200, "late")
	if m.fields.Get("Connection") != "close" {
		f.Errorf("the last answer on an old connection has the fields %v", m.fields)
	}
	f.wantReason(200, dataplane.ReasonNone)
	for i := range 8 { // 232 s in all, with traffic
		f.clock.Advance(29 * time.Second)
		for _, p := range []*peer{old, fresh} {
			p.send(fmt.Sprint(i))
			p.expect(f, fmt.Sprint(i))
		}
		if i == 3 {
			f.apply(reloaded(s, 1))
		}
	}
	f.clock.Advance(10 * time.Second)
	if rest, ok := old.ended(); rest != "" || !ok {
		f.Errorf("the old tunnel ended with %q, %v", rest, ok)
	}
	f.wantReason(101, dataplane.ReasonReload)
	fresh.send("still")
	fresh.expect(f, "still")
}

// testNoReload: class alb cuts nothing, whatever changes.
func testNoReload(f *fixture) {
	s := simple(dataplane.ClassALB, newBackend(f.T, wsEcho))
	f.apply(s)
	idle, p := f.dial("l"), f.connect("")
	f.apply(reloaded(s, 7))
	f.want(idle.do("GET", "/no-upgrade"), 400)
	for range 40 { // 400 s
		f.clock.Advance(10 * time.Second)
		p.send("x")
		p.expect(f, "x")
	}
}

// testTunnelTimers is the table of NGINX-FACTS 1: which timer ends a WebSocket. Timeouts are 60 s unless said.
func testTunnelTimers(f *fixture) {
	for _, c := range []struct {
		name       string
		read, send time.Duration
		client     bool          // sends each 20 s
		pod        bool          // sends each 20 s
		ends       time.Duration // 0 for not within 300 s
	}{
		{name: "idle both ways", read: 60 * time.Second, send: 60 * time.Second, ends: 60 * time.Second},
		{name: "short read, long send", read: 40 * time.Second, send: 400 * time.Second, ends: 40 * time.Second},
		{name: "long read, short send", read: 400 * time.Second, send: 40 * time.Second},
		{name: "only the client sends", read: 60 * time.Second, send: 60 * time.Second, client: true},
		{name: "only the pod sends", read: 60 * time.Second, send: 60 * time.Second, pod: true},
	} {
		tick := make(chan bool)
		arrived := make(chan byte, 1)
		b := newBackend(f.T, func(p *peer) {
			if p.read(true, "").err != nil {
				return
			}
			p.send(switched)
			go func() {
				for range tick {
					p.send("p")
				}
			}()
			for {
				got, err := p.br.ReadByte()
				if err != nil {
					return
				}
				arrived <- got
			}
		})
		s := simple(dataplane.ClassNGINX, b)
		s.Listeners[0].Routes[0].Timeouts = dataplane.Timeouts{Connect: 5 * time.Second, Read: c.read, Send: c.send}
		f.apply(s)
		p := f.dial("l")
		p.send(upgrade())
		p.read(false, "")
		ended := make(chan bool, 1)
		if !c.pod {
			go func() { p.ended(); ended <- true }()
		}
		for passed := time.Duration(0); passed < 300*time.Second && (c.ends == 0 || passed < c.ends-20*time.Second); passed += 20 * time.Second {
			f.clock.Advance(20 * time.Second)
			switch {
			case c.client:
				p.send("c")
				receive(f.T, arrived, "the client's byte")
			case c.pod:
				tick <- true
				p.expect(f, "p")
			}
		}
		select {
		case <-ended:
			f.Errorf("%s: the tunnel ended too soon", c.name)
		default:
		}
		if c.ends > 0 {
			passes(f, ended)
			f.wantReason(101, dataplane.ReasonTunnelIdle)
		}
		close(tick)
		p.Close()
		if c.ends == 0 {
			f.wantReason(101, dataplane.ReasonNone)
		}
	}
}

// testHandshakeLate: an endpoint that answers the upgrade after the read timeout is 504: nothing was upgraded yet.
func testHandshakeLate(f *fixture) {
	got := make(chan string, 9)
	f.apply(simple(dataplane.ClassNGINX, newBackend(f.T, silent(got))))
	p := f.dial("l")
	p.send(upgrade())
	receive(f.T, got, "the request")
	m := timed(f, 60*time.Second, func() message { return p.read(false, "GET") })
	f.want(m, 504)
	f.wantReason(504, dataplane.ReasonResponseTimeout)
}
