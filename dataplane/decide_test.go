package dataplane_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/alb-appliance/appliance/dataplane"
)

// reference is the plainest matcher there is: every route in order, every condition spelt out with expressions.
func reference(l *dataplane.Listener, host, path string) string {
	for _, r := range l.Routes {
		if refHost(r.Match.Hosts, host) && refPath(r.Match.Paths, path) {
			return r.ID
		}
	}
	return ""
}

// refGlob turns a glob into an expression.
func refGlob(glob string) *regexp.Regexp {
	q := regexp.QuoteMeta(glob)
	q = strings.ReplaceAll(strings.ReplaceAll(q, `\*`, `(?s).*`), `\?`, `(?s:.)`)
	return regexp.MustCompile("^" + q + "$")
}

func refHost(hosts []dataplane.HostMatch, host string) bool {
	for _, h := range hosts {
		switch h.Kind {
		case dataplane.HostExact:
			if strings.EqualFold(h.Value, host) {
				return true
			}
		case dataplane.HostGlob:
			if refGlob(strings.ToLower(h.Value)).MatchString(host) {
				return true
			}
		case dataplane.HostLabel:
			if regexp.MustCompile(`^[a-z0-9_-]+` + regexp.QuoteMeta(strings.TrimPrefix(strings.ToLower(h.Value), "*")) + "$").MatchString(host) {
				return true
			}
		}
	}
	return len(hosts) == 0
}

func refPath(paths []dataplane.PathMatch, path string) bool {
	for _, p := range paths {
		switch {
		case p.Kind == dataplane.PathExact && p.Value == path,
			p.Kind == dataplane.PathPrefix && strings.HasPrefix(path, p.Value),
			p.Kind == dataplane.PathGlob && refGlob(p.Value).MatchString(path),
			p.Kind == dataplane.PathRegex && regexp.MustCompile(p.Value).MatchString(path):
			return true
		}
	}
	return len(paths) == 0
}

var (
	genHost = rapid.SampledFrom([]string{"a.example", "b.example", "A.Example", "x.a.example", "a.test", "example"})
	genPath = rapid.SampledFrom([]string{"/", "/a", "/a/", "/a/b", "/ab", "/A", "/a/b/c", "/b", "/b/a", "/c"})
)

func genHostMatch(t *rapid.T) dataplane.HostMatch {
	switch rapid.IntRange(0, 2).Draw(t, "host kind") {
	case 0:
		return dataplane.HostMatch{Kind: dataplane.HostExact, Value: genHost.Draw(t, "host")}
	case 1:
		return dataplane.HostMatch{Kind: dataplane.HostGlob, Value: rapid.SampledFrom([]string{"*.example", "*", "?.example", "a.*", "*a.example", "b.example", "*.A.example", "**.example"}).Draw(t, "glob")}
	}
	return dataplane.HostMatch{Kind: dataplane.HostLabel, Value: rapid.SampledFrom([]string{"*.example", "*.a.example", "*.Test"}).Draw(t, "label")}
}

func genPathMatch(t *rapid.T) dataplane.PathMatch {
	switch rapid.IntRange(0, 3).Draw(t, "path kind") {
	case 0:
		return dataplane.PathMatch{Kind: dataplane.PathExact, Value: genPath.Draw(t, "exact")}
	case 1:
		return dataplane.PathMatch{Kind: dataplane.PathPrefix, Value: genPath.Draw(t, "prefix")}
	case 2:
		return dataplane.PathMatch{Kind: dataplane.PathGlob, Value: rapid.SampledFrom([]string{"/*", "/a*", "/a", "/?", "/a/*/c", "*b", "/a/?*"}).Draw(t, "path glob")}
	}
	return dataplane.PathMatch{Kind: dataplane.PathRegex, Value: rapid.SampledFrom([]string{"^/a", "(?i)^/a$", "b$", "^/[ab]/"}).Draw(t, "regex")}
}

func genRoutes(t *rapid.T) []dataplane.Route {
	n := rapid.IntRange(0, 40).Draw(t, "routes")
	routes := make([]dataplane.Route, 0, n)
	for i := range n {
		r := dataplane.Route{ID: fmt.Sprint(i), Action: dataplane.Action{Reply: &dataplane.Reply{Status: 200}}}
		for range rapid.IntRange(0, 2).Draw(t, "hosts") {
			r.Match.Hosts = append(r.Match.Hosts, genHostMatch(t))
		}
		for range rapid.IntRange(0, 3).Draw(t, "paths") {
			r.Match.Paths = append(r.Match.Paths, genPathMatch(t))
		}
		routes = append(routes, r)
	}
	return routes
}

func listenerOf(routes []dataplane.Route) *dataplane.Snapshot {
	return &dataplane.Snapshot{Listeners: []dataplane.Listener{{ID: "l", Class: dataplane.ClassALB, Protocol: dataplane.ProtocolHTTP, Routes: routes}}}
}

// checkAgainstReference is the property: the indexed lookup finds what a linear walk finds, alone and after a change,
// and the explanation agrees.
func checkAgainstReference(t *rapid.T) {
	before := listenerOf(genRoutes(t))
	after := listenerOf(append([]dataplane.Route(nil), before.Listeners[0].Routes...))
	routes := &after.Listeners[0].Routes
	if len(*routes) > 0 && rapid.Bool().Draw(t, "drop one") {
		i := rapid.IntRange(0, len(*routes)-1).Draw(t, "which")
		*routes = append((*routes)[:i:i], (*routes)[i+1:]...)
	}
	if rapid.Bool().Draw(t, "put one first") {
		r := dataplane.Route{ID: "new", Action: dataplane.Action{Reply: &dataplane.Reply{Status: 201}}, Match: dataplane.Match{Paths: []dataplane.PathMatch{genPathMatch(t)}}}
		*routes = append([]dataplane.Route{r}, *routes...)
	}
	first, _ := dataplane.Compile(nil, before)
	second, _ := dataplane.Compile(first, after)
	for range 8 {
		host, path := genHost.Draw(t, "ask host"), genPath.Draw(t, "ask path")
		for s, prog := range map[*dataplane.Snapshot]*dataplane.Program{before: first, after: second} {
			trace := &dataplane.Trace{}
			d := prog.Decide("l", &dataplane.Request{Method: "GET", Authority: host + ":80", Path: path}, dataplane.Inputs{Trace: trace})
			got, want := "", reference(&s.Listeners[0], strings.ToLower(host), path)
			if d.Route != nil {
				got = d.Route.ID
			}
			if got != want {
				t.Fatalf("%s%s went to route %q, want %q\n%s", host, path, got, want, s)
			}
			checkTrace(t, trace, want)
		}
	}
}

// checkTrace checks that the explanation ends at the route found and nowhere before.
func checkTrace(t *rapid.T, trace *dataplane.Trace, want string) {
	matched := ""
	for i, step := range trace.Steps {
		if step.Matched {
			matched = step.Route.ID
			if i != len(trace.Steps)-1 {
				t.Fatalf("the explanation goes on after the match with %s", matched)
			}
		}
	}
	if matched != want {
		t.Fatalf("the explanation ends at %q, want %q", matched, want)
	}
}

func TestDecideLikeReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, checkAgainstReference)
}

func FuzzDecide(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkAgainstReference)) }

// checkText is the property: what String writes, Parse reads back to the same value.
func checkText(t *rapid.T) {
	word := rapid.StringOf(rapid.RuneFrom([]rune("ab \"\\=#\n\tä\x00\xff*/")))
	s := listenerOf(genRoutes(t))
	l := &s.Listeners[0]
	l.ID, l.LoadBalancer = word.Draw(t, "id"), word.Draw(t, "lb")
	l.Sockets = []string{word.Draw(t, "socket")}
	l.NoRoute = dataplane.Reply{Status: 503, Body: word.Draw(t, "body")}
	l.Forward.SLBID = rapid.Bool().Draw(t, "slb-id")
	l.Client.HeaderBytes = rapid.IntRange(0, 9).Draw(t, "header")
	for i := range l.Routes {
		l.Routes[i].Name = word.Draw(t, "name")
		l.Routes[i].Timeouts.Tunnel = 1
	}
	s.Upstreams = []dataplane.Upstream{{ID: word.Draw(t, "upstream"), Scheme: "http", KeepAlive: true,
		Endpoints: []dataplane.Endpoint{{ID: word.Draw(t, "endpoint"), Addr: "a", Weight: -1}}}}
	text := s.String()
	back, err := dataplane.Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(s, back, cmpopts.IgnoreFields(dataplane.Endpoint{}, "Open"), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("read back differently:\n%s\n%s", diff, text)
	}
}

func TestTextReadsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, checkText)
}

// FuzzParse checks that any text is either refused or has a canonical form that stays.
func FuzzParse(f *testing.F) {
	f.Add("listener a alb HTTP 80\n  route r\n    path exact /x\n    reply 200 body=\"a b\"\nupstream u http keepalive\n")
	f.Add("listener a nginx HTTPS 443\n  tls h2 default=c policy=p\n    cert c\n    cert c host=h\n  quic q\n  reload generation=3 cut=4m0s\n" +
		"  response X y\n  route r\n    rewrite ^/(.*) /$1\n    body 9\n    response X z\n    redirect 308 trimslash\n" +
		"certificate c ECC names=a,b from=2026-01-01T00:00:00Z to=2026-04-01T00:00:00.5+01:00 sha256=00\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := dataplane.Parse(text)
		if err != nil {
			return
		}
		once := s.String()
		again, err := dataplane.Parse(once)
		if err != nil {
			t.Fatalf("canonical form is refused: %v\n%s", err, once)
		}
		if twice := again.String(); twice != once {
			t.Fatalf("canonical form changes:\n%s\n%s", once, twice)
		}
	})
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"socket 1":                                     `line 1: "socket" is unknown or stands in the wrong place`,
		"listener a alb HTTP x":                        `line 1: listener: "x" is not a whole number`,
		"listener a alb HTTP":                          "line 1: listener: a word is missing",
		"listener a alb HTTP 1\n  route r a":           `line 2: route: "a" is unknown`,
		"listener a alb HTTP 1 x=y":                    `line 1: listener: "x=" is unknown`,
		"certificate c from=now":                       `from="now" is not a time such as 2026-01-02T03:04:05Z`,
		"certificate c DSA":                            `line 1: certificate: "DSA" is unknown`,
		"listener a alb HTTPS 1\n cert c":              `line 2: "cert" is unknown or stands in the wrong place`,
		"listener a alb HTTP 1\n reload generation=-1": `generation="-1" is not a whole number from 0 on`,
		"listener \"a":                                 "begins a quoted word that does not end",
		"listener a alb HTTP 1\n client idle=1":        `idle="1" is not a duration such as 15s`,
		"listener a alb HTTP 1\n\n# note\n  host a":    `line 4: "host" is unknown or stands in the wrong place`,
	} {
		if _, err := dataplane.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) gave %v, want %q", text, err, want)
		}
	}
}

// TestCompileShares checks that a change leaves the other hosts' groups as they were: compiling allocates little.
func TestCompileShares(t *testing.T) {
	before, _ := dataplane.Compile(nil, manyRoutes(2000, 0))
	changed := manyRoutes(2000, 1)
	all := testing.AllocsPerRun(3, func() { dataplane.Compile(nil, changed) })
	some := testing.AllocsPerRun(3, func() { dataplane.Compile(before, changed) })
	if some > all/1.5 {
		t.Errorf("a small change made %v allocations, all anew %v", some, all)
	}
}

// manyRoutes makes n routes, ten to a host; seed changes the first route.
func manyRoutes(n, seed int) *dataplane.Snapshot {
	routes := make([]dataplane.Route, n)
	for i := range routes {
		routes[i] = dataplane.Route{
			ID:     fmt.Sprintf("rule-%d", i),
			Match:  dataplane.Match{Hosts: []dataplane.HostMatch{{Kind: dataplane.HostExact, Value: fmt.Sprintf("h%d.example", i/10)}}, Paths: pathsOf(i)},
			Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: "u", Weight: 100}}},
		}
	}
	routes[0].Name = fmt.Sprint(seed)
	s := listenerOf(routes)
	s.Upstreams = []dataplane.Upstream{{ID: "u", Scheme: "http", Endpoints: []dataplane.Endpoint{{ID: "e", Addr: "a", Weight: 1}}}}
	return s
}

func pathsOf(i int) []dataplane.PathMatch {
	p := fmt.Sprintf("/p%d", i)
	return []dataplane.PathMatch{{Kind: dataplane.PathExact, Value: p}, {Kind: dataplane.PathPrefix, Value: p + "/"}}
}

var sizes = []int{100, 1000, 10000, 100000}

// BenchmarkDecide asks for the last route: of many hosts, and of one host that has them all.
func BenchmarkDecide(b *testing.B) {
	for _, n := range sizes {
		for name, oneHost := range map[string]bool{"hosts": false, "onehost": true} {
			s := manyRoutes(n, 0)
			host := fmt.Sprintf("h%d.example", (n-1)/10)
			if oneHost {
				host = "h0.example"
				for i := range s.Listeners[0].Routes {
					s.Listeners[0].Routes[i].Match.Hosts = []dataplane.HostMatch{{Kind: dataplane.HostExact, Value: host}}
				}
			}
			prog, _ := dataplane.Compile(nil, s)
			r := &dataplane.Request{Method: "GET", Authority: host, Path: fmt.Sprintf("/p%d/x/y", n-1)}
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := prog.Decide("l", r, dataplane.Inputs{}); d.Route == nil {
						b.Fatal("no route")
					}
				}
			})
		}
	}
}

// BenchmarkCompile compiles all anew, and with one route changed.
func BenchmarkCompile(b *testing.B) {
	for _, n := range sizes {
		old, next := manyRoutes(n, 0), manyRoutes(n, 1)
		prev, _ := dataplane.Compile(nil, old)
		b.Run(fmt.Sprintf("anew/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				dataplane.Compile(nil, next)
			}
		})
		b.Run(fmt.Sprintf("changed/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				dataplane.Compile(prev, next)
			}
		})
	}
}
