package dataplane_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/alb-appliance/appliance/dataplane"
)

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason     dataplane.Reason
		alb, nginx int
	}{
		{dataplane.ReasonNoRoute, 503, 404}, {dataplane.ReasonNoEndpoints, 503, 503}, {dataplane.ReasonConnectRefused, 502, 502},
		{dataplane.ReasonConnectTimeout, 504, 504}, {dataplane.ReasonResponseTimeout, 504, 504}, {dataplane.ReasonBadResponse, 502, 502},
		{dataplane.ReasonUpstreamClosed, 502, 502}, {dataplane.ReasonHeaderTooLarge, 400, 400}, {dataplane.ReasonURITooLong, 414, 414},
		{dataplane.ReasonClientTimeout, 408, 408}, {dataplane.ReasonClientClosed, 499, 499}, {dataplane.ReasonMethod, 405, 405}, {dataplane.ReasonLoop, 463, 463},
	} {
		if got := dataplane.OutcomeOf(dataplane.ClassALB, c.reason).Status; got != c.alb {
			t.Errorf("%s of class alb is %d, want %d", c.reason, got, c.alb)
		}
		if got := dataplane.OutcomeOf(dataplane.ClassNGINX, c.reason).Status; got != c.nginx {
			t.Errorf("%s of class nginx is %d, want %d", c.reason, got, c.nginx)
		}
	}
	seen := map[dataplane.Reason]bool{}
	for _, r := range dataplane.Reasons() {
		if why := r.Why(); seen[r] || why == "" || strings.HasSuffix(why, ".") {
			t.Errorf("reason %q: twice, or why is %q", r, why)
		}
		seen[r] = true
		for _, class := range []dataplane.Class{dataplane.ClassALB, dataplane.ClassNGINX} {
			if status := dataplane.OutcomeOf(class, r).Status; status != 0 && dataplane.StatusText(status) == "Unknown" {
				t.Errorf("status %d of %s has no name", status, r)
			}
		}
	}
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	nginx, alb := dataplane.ErrorPage(dataplane.ClassNGINX, 503), dataplane.ErrorPage(dataplane.ClassALB, 503)
	if !strings.Contains(nginx.Body, "503 Service Temporarily Unavailable") || !strings.Contains(nginx.Body, "nginx") || strings.Contains(alb.Body, "nginx") {
		t.Errorf("pages are %q and %q", nginx.Body, alb.Body)
	}
	if loop := dataplane.ErrorPage(dataplane.ClassALB, 463); loop.Body != "" {
		t.Errorf("463 has the body %q", loop.Body)
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	get := dataplane.Attempt{N: 1, Method: "GET", Sent: true, Reason: dataplane.ReasonUpstreamClosed}
	with := func(a dataplane.Attempt, change func(*dataplane.Attempt)) dataplane.Attempt {
		change(&a)
		return a
	}
	for name, c := range map[string]struct {
		a          dataplane.Attempt
		alb, nginx bool
	}{
		"closed before an answer":  {get, false, true},
		"stale pooled connection":  {with(get, func(a *dataplane.Attempt) { a.Reused = true }), true, true},
		"third try":                {with(get, func(a *dataplane.Attempt) { a.N = 3 }), false, false},
		"a head was begun":         {with(get, func(a *dataplane.Attempt) { a.Reused, a.Answered = true, true }), false, true},
		"body is gone":             {with(get, func(a *dataplane.Attempt) { a.Reused, a.BodySent = true, true }), false, false},
		"post was sent":            {with(get, func(a *dataplane.Attempt) { a.Reused, a.Method = true, "POST" }), false, false},
		"post refused":             {dataplane.Attempt{N: 1, Method: "POST", Reason: dataplane.ReasonConnectRefused}, false, true},
		"timeout":                  {with(get, func(a *dataplane.Attempt) { a.Reason = dataplane.ReasonResponseTimeout }), false, true},
		"a bad answer is no error": {with(get, func(a *dataplane.Attempt) { a.Reason = dataplane.ReasonBadResponse }), false, false},
	} {
		if got := dataplane.Retry(decision(dataplane.ClassALB, dataplane.ForwardHeaders{}), c.a); got != c.alb {
			t.Errorf("%s: class alb retries: %t", name, got)
		}
		if got := dataplane.Retry(decision(dataplane.ClassNGINX, dataplane.ForwardHeaders{}), c.a); got != c.nginx {
			t.Errorf("%s: class nginx retries: %t", name, got)
		}
	}
}

func TestBalance(t *testing.T) {
	t.Parallel()
	s := listenerOf([]dataplane.Route{{ID: "r", Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: "u", Weight: 80}, {Upstream: "v", Weight: 20}}}}})
	s.Upstreams = []dataplane.Upstream{
		{ID: "u", Scheme: "http", Endpoints: []dataplane.Endpoint{{ID: "a", Weight: 50}, {ID: "b", Weight: 25}, {ID: "c", Weight: 0}, {ID: "d", Weight: 25}}},
		{ID: "v", Scheme: "http", Endpoints: []dataplane.Endpoint{{ID: "big", Weight: 10007}, {ID: "small", Weight: 1}}},
	}
	prog, _ := dataplane.Compile(nil, s)
	state := dataplane.NewState()
	n := uint64(0)
	in := dataplane.Inputs{Rand: func() uint64 { n++; return n }, Turn: state.Turn, Healthy: state.Healthy}
	count := map[string]int{}
	order := ""
	for range 1000 {
		d := prog.Decide("l", &dataplane.Request{Method: "GET", Path: "/"}, in)
		count[d.Endpoint.ID]++
		if len(order) < 8 && d.Upstream.ID == "u" {
			order += d.Endpoint.ID
		}
	}
	if count["a"] != 400 || count["b"] != 200 || count["d"] != 200 || count["c"] != 0 || count["big"]+count["small"] != 200 {
		t.Errorf("requests went to %v", count)
	}
	if order != "abdaabda" {
		t.Errorf("order is %s: heavy endpoints must not come in runs", order)
	}
	state.SetHealthy("a", false)
	n = 0
	d := prog.Decide("l", &dataplane.Request{Method: "GET", Path: "/"}, in)
	if d.Endpoint.ID == "a" {
		t.Error("an unhealthy endpoint was chosen though others are healthy")
	}
	for _, id := range []string{"b", "d"} {
		state.SetHealthy(id, false)
	}
	if d = prog.Decide("l", &dataplane.Request{Method: "GET", Path: "/"}, in); d.Kind != dataplane.KindForward {
		t.Errorf("with all unhealthy the answer is %v, want a forward all the same", d.Outcome)
	}
	state.Keep(prog)
	if state.Healthy("b") {
		t.Error("Keep forgot an endpoint that is still there")
	}
	empty, _ := dataplane.Compile(prog, &dataplane.Snapshot{})
	state.Keep(empty)
	if !state.Healthy("b") || state.Turn("u") != 0 {
		t.Error("Keep remembers what is gone")
	}
}

// conn counts its closings.
type conn struct{ closed *int }

func (c conn) Close() error { *c.closed++; return nil }

func TestPool(t *testing.T) {
	t.Parallel()
	closed := 0
	p := dataplane.NewPool[conn](2, time.Minute)
	now := time.Unix(1000, 0)
	e, moved := dataplane.PoolKey{Upstream: "u", Endpoint: "e", Addr: "a"}, dataplane.PoolKey{Upstream: "u", Endpoint: "e", Addr: "b"}
	for range 3 {
		p.Put(e, conn{&closed}, now)
	}
	if closed != 1 {
		t.Errorf("%d closed by a full pool, want 1", closed)
	}
	if _, ok := p.Get(moved, now); ok {
		t.Error("an endpoint that moved got an old connection")
	}
	if _, ok := p.Get(e, now.Add(time.Minute)); !ok {
		t.Error("a connection was gone before its time")
	}
	if _, ok := p.Get(e, now.Add(2*time.Minute)); ok || closed != 2 {
		t.Errorf("an old connection was given, or not closed (%d)", closed)
	}
	p.Put(e, conn{&closed}, now)
	p.Sweep(now.Add(time.Minute))
	p.Sweep(now.Add(2 * time.Minute))
	p.Put(e, conn{&closed}, now)
	prog, _ := dataplane.Compile(nil, &dataplane.Snapshot{Upstreams: []dataplane.Upstream{{ID: "u", Endpoints: []dataplane.Endpoint{{ID: "e", Addr: "a"}}}}})
	p.Keep(prog)
	if _, ok := p.Get(e, now); !ok {
		t.Error("a connection to an endpoint that is there was closed")
	}
	p.Put(e, conn{&closed}, now)
	prog, _ = dataplane.Compile(nil, &dataplane.Snapshot{})
	p.Keep(prog)
	p.Close()
	p.Put(e, conn{&closed}, now)
	if closed != 5 {
		t.Errorf("%d closed in the end, want 5", closed)
	}
}

func TestAccessRecord(t *testing.T) {
	rec := dataplane.AccessRecord{Time: time.Unix(0, 0).UTC(), Status: 200, RequestTime: 1500 * time.Millisecond}
	rec.Fill(&dataplane.Request{Method: "GET", Authority: "H:1", Path: "/\"\\\x01\xff", Peer: netip.MustParseAddrPort("1.2.3.4:5"),
		Fields: fields("User-Agent: a\tb"), TLS: &dataplane.TLSInfo{Version: "TLSv1.3"}}, decision(dataplane.ClassALB, dataplane.ForwardHeaders{}))
	line := rec.AppendJSON(nil)
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	for key, want := range map[string]any{"host": "h", "http_host": "H:1", "client_ip": "1.2.3.4", "request_uri": "/\"\\\x01\ufffd", "status": 200.0,
		"request_time": 1.5, "http_user_agent": "a\tb", "upstream_addr": "-", "app_lb_id": "alb-1", "slb_vport": 443.0, "route": "rule-1", "reason": "-", "ssl_protocol": "TLSv1.3"} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = rec.AppendJSON(buf[:0]) }); n != 0 {
		t.Errorf("a line costs %v allocations", n)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	l := dataplane.Limits{}.WithDefaults().For(dataplane.ClientLimits{Idle: time.Hour, HeaderBytes: 100, Requests: 7, Request: time.Second})
	if l.Idle != time.Hour || l.HeaderBytes != 100 || l.Requests != 7 || l.Request != time.Second || l.URIBytes != 32<<10 {
		t.Errorf("limits are %+v", l)
	}
	for want, r := range map[dataplane.Reason]*dataplane.Request{
		dataplane.ReasonNone:           {Path: "/"},
		dataplane.ReasonHeaderTooLarge: {Path: "/" + strings.Repeat("a", 100)},
		dataplane.ReasonURITooLong:     {Path: "/" + strings.Repeat("a", 32<<10)},
		dataplane.ReasonBodyTooLarge:   {Path: "/", Length: 51 << 30},
	} {
		if got := l.Check(r); got != want {
			t.Errorf("check gave %q, want %q", got, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	m := dataplane.NewMetrics(reg)
	m.Request("l", dataplane.Outcome{Status: 200}, time.Millisecond)
	m.Attempt("u", dataplane.ReasonNone)
	old, _ := dataplane.Compile(nil, manyRoutes(1, 0))
	m.Applied(nil, old, 0)
	count := func() int {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	before := count()
	next, _ := dataplane.Compile(old, &dataplane.Snapshot{})
	m.Applied(old, next, 0)
	if got := count(); got != before-3 {
		t.Errorf("%d series after the listener went, want %d", got, before-3)
	}
}

func TestBindError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.EADDRINUSE, "listen on 127.0.0.2:80 for listener l: address already in use; "},
		{syscall.EACCES, "permission denied; "},
		{syscall.EADDRNOTAVAIL, "this machine does not have the address; "},
		{errors.New("else"), "else; "},
	} {
		err := dataplane.NewBindError("127.0.0.2:80", "l", c.err)
		if !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.err) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error is %q", err)
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	s, err := dataplane.Parse(`
listener a x SCTP 80
  socket nowhere
  route r
    host odd h
    path odd /
    reply 200
    redirect 302
  route r
    to u weight=-1
  route s
listener a alb HTTP 80
upstream u ftp
  endpoint e a weight=-1
  endpoint e b weight=1
`)
	if err != nil {
		t.Fatal(err)
	}
	prog, problems := dataplane.Compile(nil, s)
	if len(problems) != 13 {
		t.Errorf("%d problems:", len(problems))
		for _, p := range problems {
			t.Log(p)
		}
	}
	if d := prog.Decide("a", &dataplane.Request{Method: "GET", Path: "/"}, dataplane.Inputs{}); d.Outcome.Reason != dataplane.ReasonNoEndpoints {
		t.Errorf("outcome is %v", d.Outcome)
	}
}
