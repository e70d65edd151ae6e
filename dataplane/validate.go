package dataplane

import (
	"fmt"
	"net/netip"
)

// Validate checks what can be checked without compiling: ids, classes, protocols, sockets, actions and references.
// Compile includes it.
func (s *Snapshot) Validate() []Problem {
	v := validation{
		upstreams: make(map[string]bool, len(s.Upstreams)), certificates: make(map[string]bool, len(s.Certificates)),
		quic: map[string]bool{},
	}
	for i := range s.Upstreams {
		v.upstream(&s.Upstreams[i])
	}
	for i := range s.Certificates {
		v.certificate(&s.Certificates[i])
	}
	for i := range s.Listeners {
		if s.Listeners[i].Protocol == ProtocolQUIC {
			v.quic[s.Listeners[i].ID] = true
		}
	}
	listeners := map[string]bool{}
	for i := range s.Listeners {
		l := &s.Listeners[i]
		v.listener = l.ID
		if listeners[l.ID] {
			v.report("", "another listener has the same id; give each its own, this one is left out")
			continue
		}
		listeners[l.ID] = true
		v.checkListener(l)
	}
	return v.problems
}

// validation collects problems.
type validation struct {
	problems     []Problem
	listener     string
	upstreams    map[string]bool
	certificates map[string]bool
	quic         map[string]bool // ids of QUIC listeners
}

func (v *validation) report(route, format string, args ...any) {
	v.problems = append(v.problems, Problem{Listener: v.listener, Route: route, Message: fmt.Sprintf(format, args...)})
}

// upstream checks one upstream and remembers its id.
func (v *validation) upstream(u *Upstream) {
	if v.upstreams[u.ID] {
		v.report("", "upstream %s: another upstream has the same id; this one is left out", u.ID)
		return
	}
	v.upstreams[u.ID] = true
	if u.Scheme != "http" && u.Scheme != "https" {
		v.report("", "upstream %s: scheme %q is neither http nor https; http is used", u.ID, u.Scheme)
	}
	seen := make(map[string]bool, len(u.Endpoints))
	for _, e := range u.Endpoints {
		if seen[e.ID] {
			v.report("", "upstream %s: two endpoints have the id %s; they share one pool", u.ID, e.ID)
		}
		seen[e.ID] = true
		if e.Weight < 0 {
			v.report("", "upstream %s: endpoint %s has the negative weight %d; 0 is used", u.ID, e.ID, e.Weight)
		}
	}
}

// checkListener checks one listener and its routes.
func (v *validation) checkListener(l *Listener) {
	if l.Class != ClassALB && l.Class != ClassNGINX {
		v.report("", "class %q is neither alb nor nginx; alb is used", l.Class)
	}
	switch l.Protocol {
	case ProtocolHTTP, ProtocolHTTPS, ProtocolQUIC:
	default:
		v.report("", "protocol %q is not one of HTTP, HTTPS, QUIC", l.Protocol)
	}
	for _, addr := range l.Sockets {
		if _, err := netip.ParseAddrPort(addr); err != nil {
			v.report("", "socket %q is not an IP address and a port", addr)
		}
	}
	v.checkTLS(l)
	v.checkResponse("", l.Response)
	ids := make(map[string]struct{}, len(l.Routes))
	for i := range l.Routes {
		r := &l.Routes[i]
		if _, ok := ids[r.ID]; ok {
			v.report(r.ID, "another route of the listener has the same id; both are served")
		}
		ids[r.ID] = struct{}{}
		v.checkRoute(r)
	}
}

// certificate remembers a certificate's id; chain and key are checked when they are compiled.
func (v *validation) certificate(c *Certificate) {
	if v.certificates[c.ID] {
		v.report("", "certificate %s: another certificate has the same id; this one is left out", c.ID)
	}
	v.certificates[c.ID] = true
}

// checkTLS checks what a listener says about TLS and HTTP/3.
func (v *validation) checkTLS(l *Listener) {
	secure := l.Protocol == ProtocolHTTPS || l.Protocol == ProtocolQUIC
	if l.TLS != nil && !secure {
		v.report("", "it has TLS though its protocol is %s; TLS is not used", l.Protocol)
	}
	if l.QUIC != "" && (l.Protocol != ProtocolHTTPS || !v.quic[l.QUIC]) {
		v.report("", "it advertises %q as HTTP/3, but only an HTTPS listener can, and only a QUIC listener of the snapshot; nothing is advertised", l.QUIC)
	}
	if l.TLS == nil || !secure {
		return
	}
	for _, id := range l.TLS.order() {
		if !v.certificates[id] {
			v.report("", "certificate %q is not in the snapshot; it is left out", id)
		}
	}
	if _, ok := policyOf(l.Class, l.TLS.Policy); !ok && l.Protocol == ProtocolHTTPS {
		v.report("", "TLS policy %q is unknown; the default is used", l.TLS.Policy)
	}
}

// checkResponse checks the fields a rule sets on answers.
func (v *validation) checkResponse(route string, fields []Field) {
	for _, f := range fields {
		if !FieldOK(f) || !settable(f.Name) {
			v.report(route, "response field %q cannot be set: its name or value is not valid, or it frames the message; it is left out", f.Name)
		}
	}
}

// checkRoute checks a route's hosts and action; its paths are checked when they are compiled.
func (v *validation) checkRoute(r *Route) {
	for _, h := range r.Match.Hosts {
		if h.Kind != HostExact && h.Kind != HostGlob && h.Kind != HostLabel {
			v.report(r.ID, "host %q has the unknown kind %q and matches nothing", h.Value, h.Kind)
		}
	}
	v.checkResponse(r.ID, r.Response)
	if r.BodyBytes < 0 {
		v.report(r.ID, "the body's limit of %d bytes is negative; the default is used", r.BodyBytes)
	}
	set := 0
	if len(r.Action.Forward) > 0 {
		set++
	}
	if r.Action.Redirect != nil {
		set++
	}
	if r.Action.Reply != nil {
		set++
	}
	if set > 1 {
		v.report(r.ID, "%d actions are set where one is allowed; reply goes before redirect before forward", set)
	}
	if set == 0 {
		v.report(r.ID, "no action is set; requests get 503")
	}
	for _, f := range r.Action.Forward {
		if !v.upstreams[f.Upstream] {
			v.report(r.ID, "upstream %q is not in the snapshot; requests for it get 503", f.Upstream)
		}
		if f.Weight < 0 {
			v.report(r.ID, "upstream %q has the negative weight %d; 0 is used", f.Upstream, f.Weight)
		}
	}
}
