package enginetest

import (
	"context"
	"io"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// upgrade is a WebSocket handshake; the engine does not look at what follows it.
func upgrade() string {
	return request("GET", "/ws", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
}

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// wsEcho accepts an upgrade, says hi in the same write, and echoes bytes until its end of file, then says bye.
func wsEcho(p *peer) {
	m := p.read(true, "")
	if m.err != nil || m.fields.Get("Upgrade") != "websocket" || m.fields.Get("Connection") != "upgrade" {
		p.answer(400, "", m.text())
		return
	}
	p.send(switched + "hi")
	_, _ = io.Copy(p.Conn, p.br)
	p.send("bye")
}

// connect upgrades a connection, with early bytes sent along with the request.
func (f *fixture) connect(early string) *peer {
	f.Helper()
	p := f.dial("l")
	p.send(upgrade() + early)
	m := p.read(false, "")
	if m.status() != 101 || m.fields.Get("Sec-Websocket-Accept") == "" || m.fields.Get("Upgrade") != "websocket" {
		f.Fatalf("handshake's answer is %q %v (%v)", m.first, m.fields, m.err)
	}
	p.expect(f, "hi"+early)
	return p
}

// expect reads exactly that text.
func (p *peer) expect(f *fixture, text string) {
	f.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(p.br, got); err != nil || string(got) != text {
		f.Fatalf("read %q (%v), want %q", got[:n], err, text)
	}
}

func testTunnel(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, wsEcho)))
	p := f.connect("early")
	for _, text := range []string{"one", "two", "three"} {
		p.send(text)
		p.expect(f, text)
	}
	p.halfClose()
	if rest, ok := p.ended(); rest != "bye" || !ok {
		f.Errorf("after our end came %q (%v), want bye: a half close goes through", rest, ok)
	}
	r := f.wantReason(101, dataplane.ReasonNone)
	if r.BodyBytesSent != int64(len("hiearlyonetwothreebye")) {
		f.Errorf("bytes sent are %d", r.BodyBytesSent)
	}
}

func testTunnelRefused(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, answers("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 4\r\n\r\nnope"))))
	p := f.dial("l")
	for range 2 {
		p.send(upgrade())
		f.want(p.read(false, "GET"), 426, "nope")
	}
}

// testBadSwitch: a 101 that was not asked for is no valid answer.
func testBadSwitch(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, answers(switched))))
	f.want(f.get("/"), 502)
	f.wantReason(502, dataplane.ReasonBadResponse)
	f.want(f.get("/", "Connection: Upgrade", "Upgrade: h2c"), 502)
}

// testTunnelIdle: bytes in either direction keep a tunnel open; without any it ends after the idle timeout.
func testTunnelIdle(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, wsEcho)))
	p := f.connect("")
	for range 4 {
		f.clock.Advance(10 * time.Second)
		p.send("x")
		p.expect(f, "x")
	}
	rest, _ := await(f, func() string { rest, _ := p.ended(); return rest })
	if rest != "" {
		f.Errorf("the tunnel ended with %q", rest)
	}
	f.wantReason(101, dataplane.ReasonTunnelIdle)
	s := simple(dataplane.ClassNGINX, newBackend(f.T, wsEcho))
	s.Listeners[0].Routes[0].Timeouts.Tunnel = time.Hour
	f.apply(s)
	p = f.connect("")
	timed(f, time.Hour-time.Second, func() string { rest, _ := p.ended(); return rest })
	f.wantReason(101, dataplane.ReasonTunnelIdle)
}

func testTunnelOutlivesChange(f *fixture) {
	b := newBackend(f.T, wsEcho)
	f.apply(simple(dataplane.ClassALB, b))
	p := f.connect("")
	s := simple(dataplane.ClassALB)
	s.Listeners[0].Routes = nil
	f.apply(s)
	p.send("still")
	p.expect(f, "still")
	f.want(f.get("/"), 503)
}

// testTunnelAndShutdown: a tunnel ends when the grace period does.
func testTunnelAndShutdown(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, wsEcho)))
	p := f.connect("")
	done := make(chan error, 1)
	engine := f.engine
	go func() { done <- engine.Shutdown(context.Background()) }()
	err, took := passes(f, done)
	if err != nil {
		f.Errorf("shutdown: %v", err)
	}
	if took < 5*time.Second {
		f.Errorf("the tunnel had %s, want its grace period of 5s", took)
	}
	if rest, ok := p.ended(); rest != "" || !ok {
		f.Errorf("the tunnel ended with %q, %v", rest, ok)
	}
	f.wantReason(101, dataplane.ReasonShutdown)
}

// testTunnelStalled: an endpoint that stops reading ends the tunnel by the send timeout, not by the idle one
// (NGINX-FACTS 1).
func testTunnelStalled(f *fixture) {
	release := make(chan bool)
	defer close(release)
	s := simple(dataplane.ClassNGINX, newBackend(f.T, func(p *peer) {
		if p.read(true, "").err == nil {
			p.send(switched + "hi")
			<-release
		}
	}))
	s.Listeners[0].Routes[0].Timeouts.Tunnel = time.Hour
	f.apply(s)
	p := f.connect("")
	flood := make(chan bool, 1)
	go func() {
		_, _ = io.Copy(p, zeros{})
		flood <- true
	}()
	_, took := await(f, func() bool { return <-flood })
	if took >= time.Hour {
		f.Errorf("the tunnel ended after %s on the clock, want it by the send timeout of 60s", took)
	}
	f.wantReason(101, dataplane.ReasonTunnelStalled)
}
