package std_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/quic-go/quic-go/http3"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/std"
)

// certificate borrows the one that httptest has.
func certificate(t testing.TB) dataplane.Certificate {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	pair := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return dataplane.Certificate{
		ID: "c", Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
		Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	}
}

// startSecure serves everything with 200 ok behind a listener that speaks TLS, on the machine's clock, and gives a
// client and the listener's URL.
func startSecure(t testing.TB, protocol dataplane.Protocol) (*std.Server, *http.Client, string) {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	t.Cleanup(backend.Close)
	addr := backend.Listener.Addr().String()
	s := std.New(engine.Options{Clock: clockwork.NewRealClock()})
	if err := s.Apply(context.Background(), &dataplane.Snapshot{
		Listeners: []dataplane.Listener{{
			ID: "l", Class: dataplane.ClassALB, Protocol: protocol, Port: 443, Sockets: []string{"127.0.0.1:0"},
			Client: dataplane.ClientLimits{Requests: 1 << 30},
			TLS:    &dataplane.TLS{Certificates: []string{"c"}, HTTP2: true, Policy: "tls_cipher_policy_1_2_strict_with_1_3"},
			Routes: []dataplane.Route{{ID: "r", Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: "u", Weight: 1}}}}},
		}},
		Upstreams: []dataplane.Upstream{{ID: "u", Scheme: "http", KeepAlive: true, Endpoints: []dataplane.Endpoint{
			{ID: "e", Addr: addr, Weight: 1, Open: dataplane.OpenTCP(addr)},
		}}},
		Certificates: []dataplane.Certificate{certificate(t)},
	}); err != nil {
		t.Fatal(err)
	}
	return s, secureClient(t, protocol), "https://" + s.Listeners()[0].Sockets[0].Bound + "/"
}

// secureClient speaks HTTP/2, or HTTP/3 to a QUIC listener, and does not mind the certificate.
func secureClient(t testing.TB, protocol dataplane.Protocol) *http.Client {
	conf := &tls.Config{InsecureSkipVerify: true}
	if protocol == dataplane.ProtocolQUIC {
		tr := &http3.Transport{TLSClientConfig: conf}
		t.Cleanup(func() { tr.Close() })
		return &http.Client{Transport: tr}
	}
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestShutdownOfIdle: idle connections of all protocols end at once when the server stops, not after the grace period.
func TestShutdownOfIdle(t *testing.T) {
	t.Parallel()
	for protocol, proto := range map[dataplane.Protocol]string{dataplane.ProtocolHTTPS: "HTTP/2.0", dataplane.ProtocolQUIC: "HTTP/3.0"} {
		s, c, url := startSecure(t, protocol)
		resp, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "ok" || resp.Proto != proto {
			t.Errorf("%s: answer is %s %q (%v)", protocol, resp.Proto, body, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("%s: shutdown: %v", protocol, err)
		}
		cancel()
	}
}

// BenchmarkProxyHTTP2 and BenchmarkProxyHTTP3 are BenchmarkProxy over one connection of many streams.
func BenchmarkProxyHTTP2(b *testing.B) { benchmarkSecure(b, dataplane.ProtocolHTTPS) }

func BenchmarkProxyHTTP3(b *testing.B) { benchmarkSecure(b, dataplane.ProtocolQUIC) }

func benchmarkSecure(b *testing.B, protocol dataplane.Protocol) {
	s, c, url := startSecure(b, protocol)
	defer func() { _ = s.Shutdown(context.Background()) }()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := c.Get(url)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}
