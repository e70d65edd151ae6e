package std_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/enginetest"
	"github.com/alb-appliance/appliance/dataplane/std"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEngine runs the suite that every engine passes.
func TestEngine(t *testing.T) {
	enginetest.Run(t, func(o enginetest.Options) enginetest.Engine {
		return std.New(engine.Options{Clock: o.Clock, Limits: o.Limits, AccessLog: o.AccessLog})
	})
}

// start serves everything from one handler behind an engine, and returns the engine's address.
func start(t testing.TB, o engine.Options, backend *httptest.Server, scheme string) string {
	t.Helper()
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	s := std.New(o)
	addr := backend.Listener.Addr().String()
	err := s.Apply(context.Background(), &dataplane.Snapshot{
		Listeners: []dataplane.Listener{{
			ID: "l", Class: dataplane.ClassALB, Protocol: dataplane.ProtocolHTTP, Port: 80, Sockets: []string{"127.0.0.1:0"},
			Client: dataplane.ClientLimits{Requests: 1 << 30},
			Routes: []dataplane.Route{{ID: "r", Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: "u", Weight: 1}}}}},
		}},
		Upstreams: []dataplane.Upstream{{ID: "u", Scheme: scheme, KeepAlive: true, Endpoints: []dataplane.Endpoint{
			{ID: "e", Addr: addr, Weight: 1, Open: dataplane.OpenTCP(addr)},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		backend.Close()
	})
	return s.Listeners()[0].Sockets[0].Bound
}

// client is an HTTP client whose connections end with the test.
func client(t testing.TB) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestWebSocket has a real WebSocket client and server talk through the engine.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, data); err != nil {
				return
			}
		}
	}))
	addr := start(t, engine.Options{}, backend, "http")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+addr+"/ws", &websocket.DialOptions{HTTPClient: client(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for _, text := range []string{"hello", strings.Repeat("x", 300_000)} {
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != text {
			t.Fatalf("echo is %d bytes (%v), want %d", len(got), err, len(text))
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Errorf("close handshake: %v", err)
	}
}

// TestTLSEndpoint reaches an endpoint over TLS and keeps the connection.
func TestTLSEndpoint(t *testing.T) {
	t.Parallel()
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) }))
	addr := start(t, engine.Options{}, backend, "https")
	c := client(t)
	seen := map[string]bool{}
	for range 3 {
		resp, err := c.Get("http://" + addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("status %d: %s", resp.StatusCode, body)
		}
		seen[string(body)] = true
	}
	if len(seen) != 1 {
		t.Errorf("three requests took %d connections, want one", len(seen))
	}
}

// TestStreaming passes parts of an answer and of a request on as they come, both at once.
func TestStreaming(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		buf := make([]byte, 64)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			_ = rc.Flush()
			if err != nil {
				return
			}
		}
	}))
	addr := start(t, engine.Options{}, backend, "http")
	in, out := io.Pipe()
	req, err := http.NewRequest("POST", "http://"+addr+"/", in)
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(out, "first")
	resp, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 5)
	for _, next := range []string{"again", ""} {
		if _, err := io.ReadFull(resp.Body, buf); err != nil {
			t.Fatal(err)
		}
		if next != "" {
			_, _ = io.WriteString(out, next)
		}
	}
	out.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 || string(buf) != "again" {
		t.Errorf("read %q then %q (%v)", buf, rest, err)
	}
}

// TestLargeBodies moves megabytes both ways.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))
	addr := start(t, engine.Options{}, backend, "http")
	body := strings.Repeat("0123456789abcdef", 1<<18)
	resp, err := client(t).Post("http://"+addr+"/", "text/plain", io.NopCloser(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
		t.Errorf("got %d bytes (%v), want %d", len(got), err, len(body))
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	addr := start(t, engine.Options{Metrics: dataplane.NewMetrics(reg)}, backend, "http")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	// The connection closes after the answer's bookkeeping, so its end is the moment to count.
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	_, _ = io.ReadAll(conn)
	conn.Close()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{"dataplane_requests_total": 1, "dataplane_request_duration_seconds": 1,
		"dataplane_upstream_attempts_total": 1, "dataplane_snapshot_generation": 1, "dataplane_tunnels": 0} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

// TestPoolSweep: a connection that nobody takes is closed when its time is over, and nothing is timed before or after.
func TestPoolSweep(t *testing.T) {
	t.Parallel()
	closed := make(chan bool, 1)
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	backend.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- true
		}
	}
	backend.Start()
	clock := clockwork.NewFakeClock()
	addr := start(t, engine.Options{Clock: clock}, backend, "http")
	c := client(t)
	resp, err := c.Get("http://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := clock.BlockUntilContext(ctx, 1); err != nil {
		t.Fatal("no timer for the pooled connection")
	}
	clock.Advance(61 * time.Second)
	select {
	case <-closed:
	case <-ctx.Done():
		t.Error("the pooled connection stayed open")
	}
}

// BenchmarkProxy sends small requests over kept connections, through the engine to a net/http backend.
func BenchmarkProxy(b *testing.B) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	addr := start(b, engine.Options{AccessLog: func(*dataplane.AccessRecord) {}}, backend, "http")
	c := client(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := c.Get("http://" + addr + "/")
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}
