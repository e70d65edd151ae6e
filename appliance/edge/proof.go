package edge

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/alb-appliance/appliance/dataplane"
)

// Proof shows an ACME server that a host leads here, in one of three ways (RFC 8555 section 8, RFC 8737); the others'
// fields are empty.
type Proof struct {
	Host string
	// Path and Body are what http-01 asks for on every HTTP listener.
	Path, Body string
	// Chain and Key, PEM, are what tls-alpn-01 is shown on every HTTPS listener.
	Chain, Key []byte
	// Record and Text are what dns-01 asks the name server for.
	Record, Text string
}

// id tells proofs apart.
func (p *Proof) id() string { return p.Host + "\n" + p.Path + "\n" + p.Record + "\n" + p.Text }

// proofs are what is being shown, and who waits until it is.
type proofs struct {
	shown   map[string]Proof
	waiting []chan struct{}
}

// Prove shows a proof and returns once it is shown; withdraw ends that.
func (p *Publisher) Prove(ctx context.Context, proof Proof) (withdraw func(), err error) {
	done := make(chan struct{})
	p.mu.Lock()
	if p.proofs.shown == nil {
		p.proofs.shown = map[string]Proof{}
	}
	p.proofs.shown[proof.id()] = proof
	p.proofs.waiting = append(p.proofs.waiting, done)
	p.mu.Unlock()
	withdraw = func() {
		p.mu.Lock()
		delete(p.proofs.shown, proof.id())
		p.mu.Unlock()
		p.look()
	}
	p.look()
	select {
	case <-done:
		return withdraw, nil
	case <-ctx.Done():
		withdraw()
		return nil, ctx.Err()
	}
}

// due takes the proofs to show now, in a fixed order, and those who wait for it.
func (p *Publisher) due() ([]Proof, []chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.proofs.waiting
	p.proofs.waiting = nil
	var all []Proof
	for _, id := range slices.Sorted(maps.Keys(p.proofs.shown)) {
		all = append(all, p.proofs.shown[id])
	}
	return all, waiting
}

// withProofs adds proofs to a snapshot: before all routes of HTTP listeners, and beside the certificates of HTTPS ones.
func withProofs(s *dataplane.Snapshot, all []Proof) *dataplane.Snapshot {
	var routes []dataplane.Route
	var challenges []dataplane.CertificateHost
	out := *s
	for _, proof := range all {
		id := "acme-" + proof.Host
		switch {
		case proof.Path != "":
			routes = append(routes, dataplane.Route{
				ID: id + proof.Path, Name: "acme-challenge", Source: "certificate of " + proof.Host,
				Match: dataplane.Match{
					Hosts: []dataplane.HostMatch{{Kind: dataplane.HostExact, Value: proof.Host}},
					Paths: []dataplane.PathMatch{{Kind: dataplane.PathExact, Value: proof.Path}},
				},
				Action: dataplane.Action{Reply: &dataplane.Reply{Status: 200, ContentType: "text/plain", Body: proof.Body}},
			})
		case len(proof.Chain) > 0:
			challenges = append(challenges, dataplane.CertificateHost{Host: proof.Host, Certificate: id})
			out.Certificates = append(slices.Clip(out.Certificates), dataplane.Certificate{ID: id, Chain: proof.Chain, Key: proof.Key})
		}
	}
	if len(routes)+len(challenges) == 0 {
		return s
	}
	out.Listeners = slices.Clone(s.Listeners)
	for n := range out.Listeners {
		switch l := &out.Listeners[n]; l.Protocol {
		case dataplane.ProtocolHTTP:
			l.Routes = slices.Concat(routes, l.Routes)
		case dataplane.ProtocolHTTPS:
			secure := dataplane.TLS{}
			if l.TLS != nil {
				secure = *l.TLS
			}
			secure.Challenges = challenges
			l.TLS = &secure
		}
	}
	return &out
}

// textRecords are the names of dns-01, each with its texts.
func textRecords(all []Proof) []Name {
	var names []Name
	for _, proof := range all {
		if proof.Record == "" {
			continue
		}
		record := strings.ToLower(proof.Record)
		at := slices.IndexFunc(names, func(n Name) bool { return n.Name == record })
		if at < 0 {
			at = len(names)
			names = append(names, Name{Name: record})
		}
		names[at].Text = append(names[at].Text, proof.Text)
	}
	return names
}
