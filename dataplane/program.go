package dataplane

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is a part of a snapshot that cannot be served as written. The rest of the snapshot is served.
type Problem struct {
	Listener string // Listener.ID, or empty when the problem is an upstream's
	Route    string // Route.ID, or empty
	Message  string
}

// String gives the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.Listener != "" {
		fmt.Fprintf(&b, "listener %s: ", p.Listener)
	}
	if p.Route != "" {
		fmt.Fprintf(&b, "route %s: ", p.Route)
	}
	return b.String() + p.Message
}

// Program is a compiled snapshot. It is immutable and may be used from any number of goroutines.
type Program struct {
	snapshot   *Snapshot
	generation uint64
	listeners  map[string]*listenerProgram
	upstreams  map[string]*upstreamProgram
	certs      map[string]*compiledCertificate
}

// Snapshot returns what the program was compiled from.
func (p *Program) Snapshot() *Snapshot { return p.snapshot }

// Generation counts compilations: one more than that of the previous program.
func (p *Program) Generation() uint64 { return p.generation }

// Listener returns a listener of the snapshot by its id.
func (p *Program) Listener(id string) (*Listener, bool) {
	l, ok := p.listeners[id]
	if !ok {
		return nil, false
	}
	return l.conf, true
}

// listenerProgram finds the first matching route of one listener.
type listenerProgram struct {
	conf *Listener
	port string // conf.Port as text
	// response is what answers carry of conf.Response, where the route adds nothing.
	response []Field
	tls      *ListenerTLS // nil unless the protocol speaks TLS
	groups   map[HostMatch]*placedGroup
	// globs are the groups whose host condition only a trial can decide.
	globs []*placedGroup
	// suffixes tells whether any "*.rest" glob is among groups; labels the same of label conditions.
	suffixes, labels bool
}

// placedGroup is a group together with where its routes stand in the listener's order. The group is shared between
// programs; the places may differ.
type placedGroup struct {
	*group
	host  HostMatch
	order []int32
}

// anyHost is the key of routes without a host condition.
var anyHost = HostMatch{}

// Compile prepares a snapshot for matching. What did not change since prev, which may be nil, is shared with it.
// Anything that cannot be served as written is left out and returned as a Problem: first what
// Validate finds, then conditions that do not compile.
// Compile is pure; it keeps s, which nobody may change afterwards.
func Compile(prev *Program, s *Snapshot) (*Program, []Problem) {
	p := &Program{
		snapshot:   s,
		generation: 1,
		listeners:  make(map[string]*listenerProgram, len(s.Listeners)),
	}
	if prev != nil {
		p.generation = prev.generation + 1
	}
	problems := s.Validate()
	p.upstreams = compileUpstreams(prev, s)
	var bad []Problem
	p.certs, bad = compileCertificates(prev, s)
	problems = append(problems, bad...)
	for i := range s.Listeners {
		l := &s.Listeners[i]
		if _, ok := p.listeners[l.ID]; ok {
			continue // Validate has reported it; the first one stays
		}
		var old *listenerProgram
		if prev != nil {
			old = prev.listeners[l.ID]
		}
		lp, more := compileListener(old, l)
		p.listeners[l.ID] = lp
		problems = append(problems, more...)
		lp.tls, more = compileTLS(p.certs, l)
		problems = append(problems, more...)
	}
	return p, problems
}

// compileUpstreams prepares the upstreams; the first of two with one id stays.
func compileUpstreams(prev *Program, s *Snapshot) map[string]*upstreamProgram {
	out := make(map[string]*upstreamProgram, len(s.Upstreams))
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		if _, ok := out[u.ID]; !ok {
			var old *upstreamProgram
			if prev != nil {
				old = prev.upstreams[u.ID]
			}
			out[u.ID] = newUpstreamProgram(old, u)
		}
	}
	return out
}

// compileListener groups a listener's routes by host condition.
func compileListener(old *listenerProgram, l *Listener) (*listenerProgram, []Problem) {
	lp := &listenerProgram{conf: l, port: strconv.Itoa(l.Port), response: slices.Clip(joinFields(nil, l.Response))}
	places, hosts := placeRoutes(old, l)
	lp.groups = make(map[HostMatch]*placedGroup, len(hosts))
	for i, host := range hosts {
		pg := placeGroup(old, l, host, places[i])
		lp.groups[host] = pg
		lp.enter(pg)
	}
	return lp, lp.problems()
}

// placeRoutes lists the positions of each host condition's routes, conditions in order of their first use.
func placeRoutes(old *listenerProgram, l *Listener) (places [][]int32, hosts []HostMatch) {
	size := 0
	if old != nil {
		size = len(old.groups)
	}
	at := make(map[HostMatch]int, size)
	put := func(h HostMatch, pos int32) {
		i, ok := at[h]
		if !ok {
			i = len(hosts)
			at[h] = i
			hosts = append(hosts, h)
			places = append(places, nil)
		}
		if n := len(places[i]); n == 0 || places[i][n-1] != pos {
			places[i] = append(places[i], pos)
		}
	}
	for pos := range l.Routes {
		if len(l.Routes[pos].Match.Hosts) == 0 {
			put(anyHost, int32(pos))
		}
		for _, h := range l.Routes[pos].Match.Hosts {
			put(h.simple(), int32(pos))
		}
	}
	return places, hosts
}

// simple gives the condition in its plainest form: lower case, and exact if it is a glob without wildcards.
func (h HostMatch) simple() HostMatch {
	h.Value = strings.ToLower(h.Value)
	if h.Kind == HostGlob && !isGlob(h.Value) {
		h.Kind = HostExact
	}
	return h
}

// placeGroup takes over the old group of a host condition if its routes are the same, or compiles a new one.
func placeGroup(old *listenerProgram, l *Listener, host HostMatch, order []int32) *placedGroup {
	if old != nil {
		if pg := old.groups[host]; pg != nil && sameRoutes(pg.source, l.Routes, order) {
			if slices.Equal(pg.order, order) {
				return pg
			}
			return &placedGroup{group: pg.group, host: host, order: order}
		}
	}
	source := make([]Route, len(order))
	for i, pos := range order {
		source[i] = l.Routes[pos]
	}
	return &placedGroup{group: newGroup(source), host: host, order: slices.Clip(order)}
}

// sameRoutes reports whether the routes at the positions equal those a group was compiled from.
func sameRoutes(source, routes []Route, order []int32) bool {
	if len(source) != len(order) {
		return false
	}
	for i, pos := range order {
		if !equalRoute(&source[i], &routes[pos]) {
			return false
		}
	}
	return true
}

// equalRoute reports whether two routes mean the same.
func equalRoute(a, b *Route) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Source == b.Source && a.Timeouts == b.Timeouts &&
		a.BodyBytes == b.BodyBytes && equalValue(a.Rewrite, b.Rewrite) && slices.Equal(a.Response, b.Response) &&
		slices.Equal(a.Match.Hosts, b.Match.Hosts) && slices.Equal(a.Match.Paths, b.Match.Paths) &&
		slices.Equal(a.Action.Forward, b.Action.Forward) &&
		equalValue(a.Action.Redirect, b.Action.Redirect) && equalValue(a.Action.Reply, b.Action.Reply)
}

// equalValue compares what two pointers point at.
func equalValue[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// enter makes a group findable.
func (lp *listenerProgram) enter(pg *placedGroup) {
	switch pg.host.Kind {
	case HostLabel:
		lp.labels = true
	case HostGlob:
		if rest, ok := strings.CutPrefix(pg.host.Value, "*."); ok && !isGlob(rest) {
			lp.suffixes = true
			return
		}
		lp.globs = append(lp.globs, pg)
	}
}

// problems lists the routes left out, in order, each once.
func (lp *listenerProgram) problems() []Problem {
	var bad map[int32]string
	for _, pg := range lp.groups {
		for i, message := range pg.bad {
			if bad == nil {
				bad = map[int32]string{}
			}
			bad[pg.order[i]] = message
		}
	}
	var out []Problem
	for pos, r := range lp.conf.Routes {
		if message, ok := bad[int32(pos)]; ok {
			out = append(out, Problem{Listener: lp.conf.ID, Route: r.ID, Message: message + "; the route is left out"})
		}
	}
	return out
}

// find gives the first route, in the listener's order, whose conditions hold; nil when none does. It looks the
// host up in every group that could hold it and keeps the earliest match.
func (lp *listenerProgram) find(host, path string) *compiledRoute {
	s := search{path: path, best: none}
	s.try(lp.groups[HostMatch{Kind: HostExact, Value: host}])
	if lp.labels {
		if rest, ok := labelRest(host); ok {
			s.try(lp.groups[HostMatch{Kind: HostLabel, Value: "*." + rest}])
		}
	}
	if lp.suffixes {
		for i := range len(host) {
			if host[i] == '.' {
				s.try(lp.groups[HostMatch{Kind: HostGlob, Value: "*" + host[i:]}])
			}
		}
	}
	for _, pg := range lp.globs {
		if globMatch(pg.host.Value, host) {
			s.try(pg)
		}
	}
	s.try(lp.groups[anyHost])
	return s.route
}

// search is the earliest match so far.
type search struct {
	path  string
	best  int32
	route *compiledRoute
}

// try looks for an earlier match in one group.
func (s *search) try(pg *placedGroup) {
	if pg == nil || pg.order[0] >= s.best {
		return
	}
	i := pg.first(s.path)
	if i == none || pg.order[i] >= s.best {
		return
	}
	s.best, s.route = pg.order[i], pg.routes[i]
}
