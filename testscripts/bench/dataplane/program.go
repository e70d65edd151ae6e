//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/engines"
)

// Sizes of the programs in which a route is looked up, and of the one in which something changes.
var lookupSizes = []int{100, 1000, 10_000, 100_000}

const changeSize = 10_000

// flat is how much longer a lookup may take among a thousand times as many routes: caches are as large as they are.
const flat = 2

// lookupRules are sorts of routes. Header conditions are not among them: routes have none yet.
var lookupRules = []struct {
	title string
	path  dataplane.PathKind
	value func(i int) string
}{
	{"exact and prefix paths", dataplane.PathPrefix, func(i int) string { return fmt.Sprintf("/p%d/", i) }},
	{"regular expressions", dataplane.PathRegex, func(i int) string { return fmt.Sprintf("(?i)^/p%d/", i) }},
}

// ingressSnapshot is what n Ingresses make: ten on a host, each with a path and an upstream of its own.
func ingressSnapshot(n int, kind dataplane.PathKind, value func(int) string) *dataplane.Snapshot {
	l := dataplane.Listener{ID: "http", Class: dataplane.ClassALB, Protocol: dataplane.ProtocolHTTP, Port: 80, Sockets: []string{"127.0.0.1:0"}}
	s := &dataplane.Snapshot{}
	for i := range n {
		up := dataplane.Upstream{ID: fmt.Sprintf("u%d", i), Scheme: "http", KeepAlive: true}
		for e := range endpointsPerUpstream {
			up.Endpoints = append(up.Endpoints, dataplane.Endpoint{ID: fmt.Sprintf("u%d-%d", i, e), Addr: address(9000 + e), Weight: 100})
		}
		s.Upstreams = append(s.Upstreams, up)
		l.Routes = append(l.Routes, dataplane.Route{
			ID: fmt.Sprintf("r%d", i),
			Match: dataplane.Match{
				Hosts: []dataplane.HostMatch{{Kind: dataplane.HostExact, Value: fmt.Sprintf("h%d.bench.test", i/pathsPerHost)}},
				Paths: []dataplane.PathMatch{{Kind: kind, Value: value(i)}},
			},
			Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: up.ID, Weight: 100}}},
		})
	}
	s.Listeners = []dataplane.Listener{l}
	return s
}

// measureLookups times Decide for routes all over programs of several sizes.
func measureLookups(ctx context.Context, b *bench, r row) ([]*result, error) {
	var results []*result
	for _, rules := range lookupRules {
		lookups := newResult(r.id, r.title+", "+rules.title, r.unit, r.aim)
		for _, n := range lookupSizes {
			p, problems := dataplane.Compile(nil, ingressSnapshot(n, rules.path, rules.value))
			if len(problems) > 0 {
				return nil, fmt.Errorf("compile %d routes: %v", n, problems[0])
			}
			requests := lookupRequests(n)
			for range b.options.rounds {
				took, err := timeLookups(p, requests)
				if err != nil {
					return nil, err
				}
				lookups.add(fmt.Sprintf("%d routes", n), took)
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		last := lookups.Order[len(lookups.Order)-1]
		ratio := lookups.Values[last].median() / lookups.Values[lookups.Order[0]].median()
		lookups.Verdicts[last] = fmt.Sprintf("%.2f of %s, flat is up to %d: %s", ratio, lookups.Order[0], flat, hitOrMiss(ratio <= flat))
		results = append(results, lookups)
	}
	return results, nil
}

// lookupRequests asks for routes of hosts at even distances and for each place in a host, as many in each program, so that
// all keep as much of what is asked in caches.
func lookupRequests(n int) []*dataplane.Request {
	const asked = 100
	var all []*dataplane.Request
	for i := range asked {
		route := i*(n/pathsPerHost)/asked*pathsPerHost + i%pathsPerHost
		all = append(all, &dataplane.Request{
			Method: "GET", Scheme: "http", Proto: "HTTP/1.1", Authority: fmt.Sprintf("h%d.bench.test", route/pathsPerHost), Path: fmt.Sprintf("/p%d/hello", route),
		})
	}
	return all
}

// timeLookups gives the nanoseconds that one lookup takes, in the best of several short spells: nothing but another
// program makes one slower than the next.
func timeLookups(p *dataplane.Program, requests []*dataplane.Request) (float64, error) {
	const spells, spell = 10, 5 * time.Millisecond
	best := math.Inf(1)
	for range spells {
		n, begin := 0, time.Now()
		for time.Since(begin) < spell {
			for _, r := range requests {
				if d := p.Decide("http", r, dataplane.Inputs{}); d.Route == nil {
					return 0, fmt.Errorf("no route matches %s%s", r.Authority, r.Path)
				}
			}
			n += len(requests)
		}
		best = min(best, float64(time.Since(begin).Nanoseconds())/float64(n))
	}
	return best, nil
}

// measureChanges times Apply of each of our engines, compiling included, for one route that changes among many.
func measureChanges(ctx context.Context, b *bench, r row) ([]*result, error) {
	changes := newResult(r.id, r.title, r.unit, r.aim)
	for _, c := range b.contestants {
		ours, ok := c.kind.(*appliance)
		if !ok {
			continue
		}
		took, err := timeChanges(ctx, ours.engine, 4*b.options.rounds)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		for _, ms := range took {
			changes.add(c.Name, ms)
		}
		worst := slices.Max(took)
		changes.Verdicts[c.Name] = fmt.Sprintf("aim: the median under %.0f ms: %s; the worst %.1f ms", r.aim, hitOrMiss(took.median() < r.aim), worst)
	}
	return []*result{changes}, nil
}

// timeChanges gives the milliseconds of each of n changes.
func timeChanges(ctx context.Context, name string, n int) (took series, err error) {
	e, err := engines.New(name, engine.Options{Clock: clockwork.NewRealClock()})
	if err != nil {
		return nil, err
	}
	defer func() { _ = e.Shutdown(context.WithoutCancel(ctx)) }()
	snap := ingressSnapshot(changeSize, lookupRules[0].path, lookupRules[0].value)
	if err := e.Apply(ctx, snap); err != nil {
		return nil, err
	}
	for i := range n {
		snap = changeRoute(snap, (i*7919)%changeSize, fmt.Sprintf("/changed%d/", i))
		begin := time.Now()
		if err := e.Apply(ctx, snap); err != nil {
			return nil, err
		}
		took = append(took, float64(time.Since(begin).Microseconds())/1000)
	}
	return took, nil
}

// changeRoute gives a snapshot in which one route has another path; the old one stays as it is.
func changeRoute(s *dataplane.Snapshot, i int, path string) *dataplane.Snapshot {
	next := *s
	next.Listeners = slices.Clone(s.Listeners)
	routes := slices.Clone(s.Listeners[0].Routes)
	routes[i].Match.Paths = []dataplane.PathMatch{{Kind: dataplane.PathPrefix, Value: path}}
	next.Listeners[0].Routes = routes
	return &next
}
