package dataplane

import (
	"fmt"
	"net/netip"
)

// Validate checks what can be checked without compiling: ids, classes, protocols, sockets, actions and references.
// Compile includes it.
func (s *Snapshot) Validate() []Problem {
	v := validation{upstreams: make(map[string]bool, len(s.Upstreams))}
	for i := range s.Upstreams {
		v.upstream(&s.Upstreams[i])
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
	problems  []Problem
	listener  string
	upstreams map[string]bool
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

// checkRoute checks a route's hosts and action; its paths are checked when they are compiled.
func (v *validation) checkRoute(r *Route) {
	for _, h := range r.Match.Hosts {
		if h.Kind != HostExact && h.Kind != HostGlob && h.Kind != HostLabel {
			v.report(r.ID, "host %q has the unknown kind %q and matches nothing", h.Value, h.Kind)
		}
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
