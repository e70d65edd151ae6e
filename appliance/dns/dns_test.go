package dns_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/alb-appliance/appliance/appliance/dns"
	"github.com/alb-appliance/appliance/appliance/edge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAnswers asks over UDP and TCP.
func TestAnswers(t *testing.T) {
	t.Parallel()
	s, err := dns.Listen("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Publish([]edge.Name{
		{Name: "alb-1.example.net", Addresses: []string{"127.77.0.2", "127.77.0.3"}},
		{Name: "Shop.example.com", Target: "alb-1.example.net"},
		{Name: "*.wild.example.com", Target: "alb-1.example.net"},
	})
	for name, want := range map[string]string{
		"alb-1.example.net": "[127.77.0.2 127.77.0.3] true", "SHOP.example.com.": "[127.77.0.2 127.77.0.3] true", "example.org": "[] false",
	} {
		if all, ok := s.Lookup(name); fmt.Sprint(all, ok) != want {
			t.Errorf("Lookup(%s) = %v, %t; want %s", name, all, ok, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	const a, both = "A 127.77.0.2 A 127.77.0.3", "CNAME alb-1.example.net. A 127.77.0.2 A 127.77.0.3"
	for _, network := range []string{"udp", "tcp"} {
		for _, row := range []struct {
			name  string
			kind  uint16
			code  int
			wants string
		}{
			{"alb-1.example.net.", mdns.TypeA, mdns.RcodeSuccess, a},
			{"ALB-1.example.NET.", mdns.TypeA, mdns.RcodeSuccess, a},
			{"alb-1.example.net.", mdns.TypeAAAA, mdns.RcodeSuccess, ""},
			{"shop.example.com.", mdns.TypeA, mdns.RcodeSuccess, both},
			{"shop.example.com.", mdns.TypeAAAA, mdns.RcodeSuccess, "CNAME alb-1.example.net."},
			{"shop.example.com.", mdns.TypeCNAME, mdns.RcodeSuccess, "CNAME alb-1.example.net."},
			{"a.b.wild.example.com.", mdns.TypeA, mdns.RcodeSuccess, both},
			{"wild.example.com.", mdns.TypeA, mdns.RcodeRefused, ""},
			{"example.org.", mdns.TypeA, mdns.RcodeRefused, ""},
		} {
			question := &mdns.Msg{}
			question.SetQuestion(row.name, row.kind)
			reply, _, err := (&mdns.Client{Net: network}).Exchange(question, s.Address())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range reply.Answer {
				switch r := r.(type) {
				case *mdns.A:
					got = append(got, "A "+r.A.String())
				case *mdns.CNAME:
					got = append(got, "CNAME "+r.Target)
				}
			}
			if text := strings.Join(got, " "); reply.Rcode != row.code || text != row.wants {
				t.Errorf("%s %s: got %s %q, want %s %q", network, row.name, mdns.RcodeToString[reply.Rcode], text, mdns.RcodeToString[row.code], row.wants)
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close after Run: %v", err)
	}
}

// TestCloseWithoutRun wants the sockets back.
func TestCloseWithoutRun(t *testing.T) {
	t.Parallel()
	s, err := dns.Listen("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dns.Listen(s.Address(), nil); err == nil {
		t.Error("two on one address")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	l, err := net.Listen("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}
