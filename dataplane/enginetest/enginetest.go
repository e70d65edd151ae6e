// Package enginetest is the black-box suite that every engine of the data plane passes. It speaks raw HTTP/1.1, with and
// without TLS, HTTP/2 and HTTP/3 over real sockets to the engine and to endpoints that behave and misbehave, and moves a
// fake clock; it knows nothing of how an engine works.
package enginetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/dataplane"
)

// Engine is what the suite needs of an engine.
type Engine interface {
	Apply(ctx context.Context, s *dataplane.Snapshot) error
	Listeners() []dataplane.ListenerStatus
	Problems() []dataplane.Problem
	Shutdown(ctx context.Context) error
}

// Options are what an engine under test is made with.
type Options struct {
	Clock     clockwork.Clock
	Limits    dataplane.Limits
	AccessLog func(*dataplane.AccessRecord)
}

// NewEngine makes an engine.
type NewEngine func(o Options) Engine

// Run runs the whole suite.
func Run(t *testing.T, newEngine NewEngine) {
	for _, c := range []struct {
		name string
		test func(*fixture)
	}{
		{"forward", testForward}, {"keepAlive", testKeepAlive}, {"bodies", testBodies}, {"chunked", testChunked},
		{"headAndEmpty", testHeadAndEmpty}, {"interim", testInterim}, {"continue", testContinue},
		{"nginxHeaders", testNGINXHeaders}, {"redirectAndReply", testRedirectAndReply},
		{"ownAnswers", testOwnAnswers}, {"badHeads", testBadHeads}, {"misbehaving", testMisbehaving},
		{"stalePool", testStalePool}, {"surplus", testSurplus}, {"retryNGINX", testRetryNGINX}, {"retryHead", testRetryHead},
		{"earlyAnswer", testEarlyAnswer}, {"weights", testWeights}, {"failure", testFailure},
		{"connectTimeout", testConnectTimeout}, {"requestTimeout", testRequestTimeout}, {"readTimeout", testReadTimeout},
		{"retryTimeout", testRetryTimeout}, {"sendTimeout", testSendTimeout}, {"idle", testIdle}, {"slowHeader", testSlowHeader}, {"slowBody", testSlowBody},
		{"clientGone", testClientGone}, {"requestsPerConnection", testRequestsPerConnection},
		{"connectionsPerListener", testConnectionsPerListener},
		{"tunnel", testTunnel}, {"tunnelRefused", testTunnelRefused}, {"tunnelIdle", testTunnelIdle},
		{"tunnelOutlivesChange", testTunnelOutlivesChange}, {"tunnelAndShutdown", testTunnelAndShutdown},
		{"badSwitch", testBadSwitch}, {"tunnelStalled", testTunnelStalled},
		{"bindErrors", testBindErrors}, {"handover", testHandover}, {"removedListenerDrains", testRemovedListenerDrains},
		{"keepAliveSeesChange", testKeepAliveSeesChange}, {"changesUnderLoad", testChangesUnderLoad},
		{"accessLog", testAccessLog}, {"shutdown", testShutdown},
		{"responseFields", testResponseFields}, {"rewrite", testRewrite}, {"bodyLimit", testBodyLimit},
		{"reload", testReload}, {"noReload", testNoReload}, {"tunnelTimers", testTunnelTimers}, {"handshakeLate", testHandshakeLate},
		{"tls", testTLS}, {"sni", testSNI}, {"fakeCertificate", testFakeCertificate}, {"renewal", testRenewal},
		{"challenge", testChallenge}, {"reloadInHandshake", testReloadInHandshake},
		{"tlsPolicy", testTLSPolicy}, {"plainHTTP", testPlainHTTP}, {"slowHandshake", testSlowHandshake},
		{"badCertificates", testBadCertificates}, {"tlsHandover", testTLSHandover}, {"secureTunnel", testSecureTunnel},
		{"http2", testHTTP2}, {"http2Off", testHTTP2Off}, {"http2Trailers", testTrailers}, {"http2Streams", testStreams},
		{"http2SlowStream", testSlowStream}, {"http2NotRead", testStreamNotRead}, {"http2Requests", testHTTP2Requests},
		{"http2Drain", testHTTP2Drain}, {"http2Reload", testHTTP2Reload},
		{"http3", testHTTP3}, {"http3Trailers", testHTTP3Trailers}, {"http3Streams", testHTTP3Streams},
		{"http3SlowStream", testHTTP3SlowStream}, {"http3NotRead", testHTTP3NotRead}, {"http3Drain", testHTTP3Drain}, {"http3Requests", testHTTP3Requests},
		{"http3Reload", testHTTP3Reload}, {"http3Connect", testHTTP3Connect},
		{"http3Idle", testHTTP3Idle}, {"http3Renewal", testHTTP3Renewal}, {"altSvc", testAltSvc}, {"sharedPort", testSharedPort},
		{"webSocket", testWebSocket}, {"streaming", testStreaming}, {"largeBodies", testLargeBodies}, {"poolSweep", testPoolSweep},
		{"tlsEndpoint", testTLSEndpoint}, {"recordsInPieces", testRecordsInPieces}, {"keyUpdate", testKeyUpdate},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(newFixture(t, newEngine))
		})
	}
}

// fixture is one engine with its clock and what its access log said.
type fixture struct {
	*testing.T
	newEngine NewEngine
	engine    Engine
	clock     *clockwork.FakeClock
	records   chan dataplane.AccessRecord
}

func newFixture(t *testing.T, newEngine NewEngine) *fixture {
	f := &fixture{T: t, newEngine: newEngine}
	f.start(dataplane.Limits{})
	return f
}

// start makes the engine, again if a test wants other limits.
func (f *fixture) start(limits dataplane.Limits) {
	f.stop()
	f.clock = clockwork.NewFakeClockAt(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	f.records = make(chan dataplane.AccessRecord, 20000)
	f.engine = f.newEngine(Options{Clock: f.clock, Limits: limits, AccessLog: func(r *dataplane.AccessRecord) { f.records <- *r.Clone() }})
	f.Cleanup(f.stop)
}

// stop ends the engine at once.
func (f *fixture) stop() {
	if f.engine == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = f.engine.Shutdown(ctx)
	f.engine = nil
}

// apply applies a snapshot that has no faults.
func (f *fixture) apply(s *dataplane.Snapshot) {
	f.Helper()
	if err := f.engine.Apply(context.Background(), s); err != nil {
		f.Fatalf("apply: %v", err)
	}
}

// addr is the address of a listener's first socket.
func (f *fixture) addr(listener string) string {
	f.Helper()
	for _, l := range f.engine.Listeners() {
		if l.ID == listener && len(l.Sockets) > 0 {
			return l.Sockets[0].Bound
		}
	}
	f.Fatalf("listener %s is not bound: %+v", listener, f.engine.Listeners())
	return ""
}

// patience is how long the suite waits for what should come at once, in real time.
const patience = 60 * time.Second

// record waits for the next access record.
func (f *fixture) record() dataplane.AccessRecord {
	f.Helper()
	return receive(f.T, f.records, "an access record")
}

// receive waits for a value.
func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// passes moves the clock second by second until c delivers, and gives how much time passed on the clock. The engine
// arms its timers in its own time, so a little more than the limit may pass, but never less.
func passes[T any](f *fixture, c <-chan T) (T, time.Duration) {
	f.Helper()
	start := f.clock.Now()
	giveUp := time.NewTimer(patience)
	defer giveUp.Stop()
	for {
		pause := time.NewTimer(time.Millisecond)
		select {
		case v := <-c:
			pause.Stop()
			return v, f.clock.Since(start)
		case <-giveUp.C:
			f.Fatalf("nothing came within %s on the clock", f.clock.Since(start))
		case <-pause.C:
			if f.clock.Since(start) < 3*time.Hour {
				f.clock.Advance(time.Second)
			}
		}
	}
}

// timed does something that ends only when the clock has moved by limit, and checks that it did not end sooner.
func timed[T any](f *fixture, limit time.Duration, do func() T) T {
	f.Helper()
	v, took := await(f, do)
	if took < limit {
		f.Errorf("ended after %s on the clock, want at least %s", took, limit)
	}
	return v
}

// await does something while the clock moves on, and gives how much time passed on it.
func await[T any](f *fixture, do func() T) (T, time.Duration) {
	f.Helper()
	c := make(chan T, 1)
	go func() { c <- do() }()
	return passes(f, c)
}

// forwardALB is what an ALB adds by default.
func forwardALB() dataplane.ForwardHeaders {
	return dataplane.ForwardHeaders{XForwardedFor: true, Trace: true}
}

// albTimeouts are an ALB's, but for the connect timeout: a busy machine takes longer to connect than the fake clock to
// pass five seconds.
func albTimeouts() dataplane.Timeouts {
	return dataplane.Timeouts{Request: 60 * time.Second}
}

// nginxTimeouts are those of NGINX Ingress, with the same exception.
func nginxTimeouts() dataplane.Timeouts {
	return dataplane.Timeouts{Read: 60 * time.Second, Send: 60 * time.Second}
}

// simple is a snapshot of one listener "l" that forwards everything to the backends by one upstream "u".
func simple(class dataplane.Class, backends ...*backend) *dataplane.Snapshot {
	l := dataplane.Listener{
		ID: "l", Class: class, LoadBalancer: "lb", Protocol: dataplane.ProtocolHTTP, Port: 80,
		Sockets: []string{"127.0.0.1:0"}, Forward: forwardALB(),
		Routes: []dataplane.Route{{
			ID: "r", Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: "u", Weight: 100}}},
			Timeouts: albTimeouts(),
		}},
	}
	if class == dataplane.ClassNGINX {
		l.Forward = dataplane.ForwardHeaders{
			XForwardedFor: true, XForwardedProto: true, XForwardedPort: true, XForwardedHost: true, XRealIP: true, RequestID: true,
		}
		l.Routes[0].Timeouts = nginxTimeouts()
	}
	u := dataplane.Upstream{ID: "u", Name: "u", Scheme: "http", KeepAlive: true}
	for i, b := range backends {
		u.Endpoints = append(u.Endpoints, b.endpoint(fmt.Sprintf("e%d", i)))
	}
	return &dataplane.Snapshot{Listeners: []dataplane.Listener{l}, Upstreams: []dataplane.Upstream{u}}
}
