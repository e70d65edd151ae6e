package edge

import (
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/dataplane"
)

// TestWithProofs puts each kind of proof where an ACME server looks for it, before everything else, and nowhere else.
func TestWithProofs(t *testing.T) {
	t.Parallel()
	s := &dataplane.Snapshot{Listeners: []dataplane.Listener{
		{ID: "plain", Class: dataplane.ClassALB, Protocol: dataplane.ProtocolHTTP, Routes: []dataplane.Route{{ID: "catch-all"}}},
		{ID: "secure", Class: dataplane.ClassALB, Protocol: dataplane.ProtocolHTTPS, TLS: &dataplane.TLS{Default: "own"}},
		{ID: "quic", Class: dataplane.ClassALB, Protocol: dataplane.ProtocolQUIC, TLS: &dataplane.TLS{Default: "own"}},
	}}
	before := s.String()
	all := []Proof{
		{Host: "a.example.com", Path: "/.well-known/acme-challenge/t", Body: "t.key"},
		{Host: "b.example.com", Chain: []byte("chain"), Key: []byte("key")},
		{Host: "c.example.com", Record: "_acme-challenge.C.example.com", Text: "one"},
		{Host: "c.example.com", Record: "_acme-challenge.c.example.com", Text: "two"},
	}
	got := withProofs(s, all)
	if s.String() != before {
		t.Error("the snapshot it was given has changed")
	}
	plain, secure, quic := got.Listeners[0], got.Listeners[1], got.Listeners[2]
	if len(plain.Routes) != 2 || plain.Routes[1].ID != "catch-all" || plain.Routes[0].Action.Reply.Body != "t.key" {
		t.Errorf("HTTP: %+v", plain.Routes)
	}
	if len(secure.TLS.Challenges) != 1 || secure.TLS.Challenges[0].Host != "b.example.com" || secure.TLS.Default != "own" || len(secure.Routes) != 0 {
		t.Errorf("HTTPS: %+v", secure)
	}
	if len(quic.TLS.Challenges) != 0 || len(got.Certificates) != 1 {
		t.Errorf("QUIC: %+v, certificates %v", quic.TLS, got.Certificates)
	}
	names := textRecords(all)
	if len(names) != 1 || names[0].Name != "_acme-challenge.c.example.com" || strings.Join(names[0].Text, " ") != "one two" {
		t.Errorf("names: %+v", names)
	}
	if withProofs(s, nil) != s {
		t.Error("nothing to show made another snapshot")
	}
}
