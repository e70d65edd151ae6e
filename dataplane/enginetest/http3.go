package enginetest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/alb-appliance/appliance/dataplane"
)

// quicOf turns the listener of a snapshot into a QUIC one.
func quicOf(s *dataplane.Snapshot) *dataplane.Snapshot {
	s.Listeners[0].Protocol = dataplane.ProtocolQUIC
	return s
}

// newQUICWeb makes a client that speaks HTTP/3 only.
func (f *fixture) newQUICWeb() *web {
	f.Helper()
	tr := &http3.Transport{
		TLSClientConfig: clientTLS(),
		QUICConfig:      &quic.Config{MaxIdleTimeout: 2 * patience},
		Dial: func(ctx context.Context, addr string, conf *tls.Config, quicConf *quic.Config) (*quic.Conn, error) {
			conf = conf.Clone()
			conf.ServerName = "test.example"
			return quic.DialAddrEarly(ctx, addr, conf, quicConf)
		},
	}
	f.Cleanup(func() { tr.Close() })
	return &web{f, &http.Client{Transport: tr}}
}

// testHTTP3: a QUIC listener serves HTTP/3 with everything that the others do.
func testHTTP3(f *fixture) {
	f.apply(quicOf(f.https(dataplane.ClassALB, newBackend(f.T, echo))))
	testMultiplexed(f, f.newQUICWeb(), 3)
	if conn, err := net.Dial("tcp", f.addr("l")); err == nil {
		conn.Close()
		f.Error("a QUIC listener accepts TCP")
	}
}

func testHTTP3Trailers(f *fixture) {
	f.apply(quicOf(f.https(dataplane.ClassALB, newTrailerBackend(f))))
	sendTrailers(f, f.newQUICWeb())
}

func testHTTP3Streams(f *fixture) {
	hangs := make(chan string, 9)
	f.apply(patient(quicOf(f.https(dataplane.ClassALB, newBackend(f.T, stages(hangs))))))
	loneStreams(f, f.newQUICWeb(), hangs, 3)
}

func testHTTP3SlowStream(f *fixture) {
	f.apply(patient(quicOf(f.https(dataplane.ClassALB, newBackend(f.T, echo)))))
	slowUpload(f, f.newQUICWeb())
}

func testHTTP3NotRead(f *fixture) {
	f.apply(patient(quicOf(f.https(dataplane.ClassALB, newBackend(f.T, floods)))))
	leaveUnread(f, f.newQUICWeb())
}

func testHTTP3Drain(f *fixture) {
	got, release := make(chan string, 1), make(chan bool)
	f.apply(quicOf(f.https(dataplane.ClassALB, newBackend(f.T, late(got, release)))))
	drainRequest(f, f.newQUICWeb(), got, release)
}

func testHTTP3Requests(f *fixture) {
	f.apply(quicOf(f.threeRequests()))
	// A request may be on its way when the client is told to go away, and is served then.
	countConnections(f, f.newQUICWeb(), 2)
}

func testHTTP3Reload(f *fixture) { reloadOnce(f, quicOf(f.reloading()), (*fixture).newQUICWeb) }

// testHTTP3Connect: WebSocket over HTTP/3 is not offered (DESIGN 4c).
func testHTTP3Connect(f *fixture) {
	f.apply(quicOf(f.https(dataplane.ClassALB, newBackend(f.T, echo))))
	w := f.newQUICWeb()
	r := w.request("CONNECT", "/ws", nil)
	r.Proto = "websocket"
	w.want(w.send(r), 405)
	if rec := f.wantReason(405, dataplane.ReasonMethod); rec.Proto != "HTTP/3.0" {
		f.Errorf("record says %s", rec.Proto)
	}
}

// dialQUIC opens a connection without HTTP.
func (f *fixture) dialQUIC() *quic.Conn {
	f.Helper()
	conn, err := quic.DialAddr(f.Context(), f.addr("l"), clientTLS("h3"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	return conn
}

// testHTTP3Idle: an idle connection is closed by the idle timeout, by the clock.
func testHTTP3Idle(f *fixture) {
	f.apply(quicOf(f.https(dataplane.ClassALB, newBackend(f.T, echo))))
	conn := f.dialQUIC()
	timed(f, 14*time.Second, func() bool { <-conn.Context().Done(); return true })
}

// testHTTP3Renewal: a renewed certificate is shown at the next handshake, and open connections go on.
func testHTTP3Renewal(f *fixture) {
	s := quicOf(f.https(dataplane.ClassALB, newBackend(f.T, echo)))
	f.apply(s)
	w := f.newQUICWeb()
	w.get("/", 200)
	before := f.dialQUIC()
	next := *s
	next.Certificates = []dataplane.Certificate{newCertificate(f.T, dataplane.KeyECC, "crt", "test.example")}
	f.apply(&next)
	w.get("/", 200)
	after := f.dialQUIC()
	if before.ConnectionState().TLS.PeerCertificates[0].Equal(after.ConnectionState().TLS.PeerCertificates[0]) {
		f.Error("the old certificate is shown after its renewal")
	}
}

// testAltSvc: an HTTPS listener that is told to advertises the port of its QUIC listener, which shares its address
// (ALB-FACTS 4.8); without being told it does not.
func testAltSvc(f *fixture) {
	s := f.https(dataplane.ClassALB, newBackend(f.T, answers("HTTP/1.1 200 OK\r\nAlt-Svc: h2=\":1\"\r\nContent-Length: 2\r\n\r\nok")))
	q := quicOf(f.https(dataplane.ClassALB)).Listeners[0]
	q.ID, q.Routes = "q", s.Listeners[0].Routes
	s.Listeners = append(s.Listeners, q)
	f.apply(s)
	w := f.newWeb()
	if r := w.get("/", 200); r.Header.Get("Alt-Svc") != `h2=":1"` {
		f.Errorf("Alt-Svc is %q though the listener was not told to advertise", r.Header.Values("Alt-Svc"))
	}
	next := *s
	next.Listeners = append([]dataplane.Listener(nil), s.Listeners...)
	next.Listeners[0].QUIC = "q"
	f.apply(&next)
	_, port, _ := net.SplitHostPort(f.addr("q"))
	want := fmt.Sprintf(`h3=":%s"; ma=86400`, port)
	for _, target := range []string{"/", "/again"} {
		if r := w.get(target, 200); strings.Join(r.Header.Values("Alt-Svc"), "|") != want {
			f.Errorf("Alt-Svc is %q, want %q", r.Header.Values("Alt-Svc"), want)
		}
	}
	if r := w.send(w.request("TRACE", "/", nil)); r.err != nil || r.Header.Get("Alt-Svc") != want {
		f.Errorf("an answer of our own has %+v", r.Response)
	}
}

// testSharedPort: HTTPS and QUIC share address and port, and a QUIC listener that comes back finds its address free.
func testSharedPort(f *fixture) {
	b := newBackend(f.T, echo)
	https := f.https(dataplane.ClassALB, b)
	f.apply(https)
	addr := f.addr("l")
	f.apply(&dataplane.Snapshot{})
	both := f.https(dataplane.ClassALB, b)
	both.Listeners[0].Sockets = []string{addr}
	q := both.Listeners[0]
	q.ID, q.Protocol = "q", dataplane.ProtocolQUIC
	both.Listeners = append(both.Listeners, q)
	f.apply(both)
	f.newWeb().get("/", 200)
	h3 := f.newQUICWeb()
	if r := h3.get("/", 200); r.ProtoMajor != 3 {
		f.Errorf("protocol is %s", r.Proto)
	}
	without := *both
	without.Listeners = both.Listeners[:1]
	f.apply(&without)
	f.apply(both)
	f.newQUICWeb().get("/", 200)
}
