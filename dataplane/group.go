package dataplane

import (
	"slices"
	"strings"
)

// linearLimit is how many routes a group may have before it gets an index; below it a walk is as fast and smaller.
const linearLimit = 8

// compiledRoute is a route ready to be matched. It holds a copy of the Route, so that a group which outlives many
// snapshots does not keep them in memory.
type compiledRoute struct {
	Route
	paths   []pathRule
	rewrite *rewriteRule // nil for none
}

// compileRoute prepares a route's conditions.
func compileRoute(r *Route) (*compiledRoute, error) {
	c := &compiledRoute{Route: *r}
	for _, m := range r.Match.Paths {
		rule, err := compilePath(m)
		if err != nil {
			return nil, err
		}
		c.paths = append(c.paths, rule)
	}
	if r.Rewrite != nil {
		rule, err := compileRewrite(r.Rewrite)
		if err != nil {
			return nil, err
		}
		c.rewrite = rule
	}
	return c, nil
}

// matchesPath reports whether the route's path condition holds.
func (c *compiledRoute) matchesPath(path string) bool {
	if len(c.paths) == 0 {
		return true
	}
	for i := range c.paths {
		if c.paths[i].matches(path) {
			return true
		}
	}
	return false
}

// group holds the routes of one host condition in their order, and an index over their paths. It is immutable and
// shared between programs as long as its routes stay the same.
type group struct {
	// source is what the group was compiled from, bad routes included, to tell whether it has changed.
	source []Route
	// routes has one entry per source; nil where the route is bad.
	routes []*compiledRoute
	// bad says, by position in source, why a route was left out.
	bad map[int]string
	idx *pathIndex
}

// pathIndex finds the lowest position in a group whose path condition holds, without walking all of them.
type pathIndex struct {
	exact map[string]int32
	// dirs holds prefixes that end in a slash: they are looked up at each slash of a path.
	dirs map[string]int32
	// prefixes holds the others, looked up once for every length that occurs.
	prefixes map[string]int32
	lengths  []int
	// patterns are globs and expressions, tried in order.
	patterns []patternRule
	// always is the first route without a path condition, or none.
	always int32
}

// patternRule is a path condition that only a trial can decide.
type patternRule struct {
	at   int32
	rule pathRule
}

// none is a position after every other.
const none = int32(1<<31 - 1)

// newGroup compiles the routes of one host condition.
func newGroup(source []Route) *group {
	g := &group{source: source, routes: make([]*compiledRoute, len(source))}
	for i := range source {
		c, err := compileRoute(&source[i])
		if err != nil {
			if g.bad == nil {
				g.bad = map[int]string{}
			}
			g.bad[i] = err.Error()
			continue
		}
		g.routes[i] = c
	}
	if len(source) > linearLimit {
		g.idx = newPathIndex(g.routes)
	}
	return g
}

// newPathIndex indexes the path conditions of routes, which are in order.
func newPathIndex(routes []*compiledRoute) *pathIndex {
	x := &pathIndex{exact: map[string]int32{}, dirs: map[string]int32{}, prefixes: map[string]int32{}, always: none}
	for i, r := range routes {
		switch {
		case r == nil:
		case len(r.paths) == 0:
			x.always = min(x.always, int32(i))
		default:
			for _, p := range r.paths {
				x.add(int32(i), p)
			}
		}
	}
	for p := range x.prefixes {
		x.lengths = append(x.lengths, len(p))
	}
	slices.Sort(x.lengths)
	x.lengths = slices.Compact(x.lengths)
	return x
}

// add enters one path condition of the route at position at; positions come in rising order, so the first entry of
// a key is the one that wins.
func (x *pathIndex) add(at int32, p pathRule) {
	m := p.simple()
	switch {
	case m.Kind == PathExact:
		putFirst(x.exact, m.Value, at)
	case m.Kind == PathPrefix && strings.HasSuffix(m.Value, "/"):
		putFirst(x.dirs, m.Value, at)
	case m.Kind == PathPrefix:
		putFirst(x.prefixes, m.Value, at)
	default:
		x.patterns = append(x.patterns, patternRule{at: at, rule: p})
	}
}

// putFirst sets a key unless it is set.
func putFirst(m map[string]int32, key string, at int32) {
	if _, ok := m[key]; !ok {
		m[key] = at
	}
}

// first gives the lowest position whose path condition holds, or none.
func (g *group) first(path string) int32 {
	if g.idx != nil {
		return g.idx.first(path)
	}
	for i, r := range g.routes {
		if r != nil && r.matchesPath(path) {
			return int32(i)
		}
	}
	return none
}

// first gives the lowest position whose path condition holds, or none.
func (x *pathIndex) first(path string) int32 {
	best := x.always
	if at, ok := x.exact[path]; ok {
		best = min(best, at)
	}
	if len(x.dirs) > 0 {
		for i := range len(path) {
			if path[i] == '/' {
				if at, ok := x.dirs[path[:i+1]]; ok {
					best = min(best, at)
				}
			}
		}
	}
	for _, n := range x.lengths {
		if n > len(path) {
			break
		}
		if at, ok := x.prefixes[path[:n]]; ok {
			best = min(best, at)
		}
	}
	for i := range x.patterns {
		if x.patterns[i].at >= best {
			break
		}
		if x.patterns[i].rule.matches(path) {
			return x.patterns[i].at
		}
	}
	return best
}
