package std_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

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
	enginetest.Run(t, newEngine)
}

// TestSoak carries tunnels and load over many changes; `make soak` does so for an hour.
func TestSoak(t *testing.T) { enginetest.Soak(t, newEngine, enginetest.SoakEnvironment(t)) }

func newEngine(o enginetest.Options) enginetest.Engine {
	return std.New(engine.Options{Clock: o.Clock, Limits: o.Limits, AccessLog: o.AccessLog})
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
