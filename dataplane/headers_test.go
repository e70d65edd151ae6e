package dataplane_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/alb-appliance/appliance/dataplane"
)

// fields makes fields of lines.
func fields(lines ...string) []dataplane.Field {
	var out []dataplane.Field
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		out = append(out, dataplane.Field{Name: name, Value: value})
	}
	return out
}

// lines is the opposite of fields.
func lines(fields []dataplane.Field) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.Name+": "+f.Value)
	}
	return out
}

func decision(class dataplane.Class, f dataplane.ForwardHeaders) *dataplane.Decision {
	return &dataplane.Decision{
		Listener: &dataplane.Listener{ID: "l", Class: class, LoadBalancer: "alb-1", Port: 443, Forward: f},
		Route:    &dataplane.Route{ID: "rule-1"},
	}
}

func TestRequestHead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		d    *dataplane.Decision
		in   []string
		want []string
	}{
		"everything of an ALB": {
			d: decision(dataplane.ClassALB, dataplane.ForwardHeaders{XForwardedFor: true, XForwardedProto: true, XForwardedPort: true,
				XForwardedHost: true, ClientSrcPort: true, SLBID: true, Trace: true}),
			in: []string{"X-Forwarded-Proto: https", "SLB-ID: forged", "X-Forwarded-For: a", "x-forwarded-for: b"},
			want: []string{"Host: h.example:8", "X-Forwarded-For: a, b, 198.51.100.7", "X-Forwarded-Host: h.example:8", "X-Forwarded-Port: 443",
				"X-Forwarded-Proto: http", "X-Forwarded-Client-srcport: 4711", "SLB-ID: alb-1", "ALICLOUD-ALB-TRACE: 74fcf66281ced3f1"},
		},
		"ours cannot be listed away": {
			d:    decision(dataplane.ClassALB, dataplane.ForwardHeaders{XForwardedFor: true}),
			in:   []string{"Connection: X-Forwarded-For, Host, Content-Length", "Content-Length: 3"},
			want: []string{"Host: h.example:8", "Content-Length: 3", "X-Forwarded-For: 198.51.100.7"},
		},
		"fields that cannot be written": {
			d:    decision(dataplane.ClassALB, dataplane.ForwardHeaders{}),
			in:   []string{"X-Split: a\r\nX-Evil: 1", "bad name: 1", "Ok: tab\tis fine", ": empty"},
			want: []string{"Host: h.example:8", "Ok: tab\tis fine"},
		},
		"what is off stays the client's": {
			d:    decision(dataplane.ClassALB, dataplane.ForwardHeaders{}),
			in:   []string{"X-Forwarded-For: a", "X-Real-IP: b", "ALICLOUD-ALB-TRACE: c"},
			want: []string{"Host: h.example:8", "X-Forwarded-For: a", "X-Real-IP: b", "ALICLOUD-ALB-TRACE: c"},
		},
	} {
		r := &dataplane.Request{Method: "GET", Scheme: "http", Authority: "h.example:8", Path: "/", Proto: "HTTP/1.1",
			Peer: netip.MustParseAddrPort("[::ffff:198.51.100.7]:4711"), Fields: fields(c.in...)}
		if diff := cmp.Diff(c.want, lines(dataplane.RequestHead(nil, r, c.d))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestResponseHead(t *testing.T) {
	t.Parallel()
	in := []string{"Server: pod", "X-Accel-Expires: 1", "Connection: X-Hop", "X-Hop: 1", "Transfer-Encoding: chunked", "Content-Length: 5", "Set-Cookie: a", "Set-Cookie: b"}
	alb := dataplane.ResponseHead(nil, &dataplane.Response{Status: 200, Fields: fields(in...)}, decision(dataplane.ClassALB, dataplane.ForwardHeaders{}))
	if diff := cmp.Diff([]string{"Server: pod", "X-Accel-Expires: 1", "Content-Length: 5", "Set-Cookie: a", "Set-Cookie: b"}, lines(alb)); diff != "" {
		t.Errorf("class alb (-want +got):\n%s", diff)
	}
	nginx := dataplane.ResponseHead(nil, &dataplane.Response{Status: 200, Fields: fields(in...)}, decision(dataplane.ClassNGINX, dataplane.ForwardHeaders{}))
	if diff := cmp.Diff([]string{"Content-Length: 5", "Set-Cookie: a", "Set-Cookie: b"}, lines(nginx)); diff != "" {
		t.Errorf("class nginx (-want +got):\n%s", diff)
	}
}

// checkStripping is the property: whatever a client sends, nothing that belongs to its connection goes through, and
// what is written cannot be taken for another message.
func checkStripping(t *rapid.T) {
	name := rapid.SampledFrom([]string{"Connection", "connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Connection", "X-A", "x-b", "X-\r\n", "A B", "Host", "Cookie"})
	value := rapid.SampledFrom([]string{"", "X-A", "x-b, close", "cookie,,", "a\r\nX-Evil: 1", "ok", "\x00"})
	var in []dataplane.Field
	listed := ""
	for range rapid.IntRange(0, 8).Draw(t, "fields") {
		f := dataplane.Field{Name: name.Draw(t, "name"), Value: value.Draw(t, "value")}
		if strings.EqualFold(f.Name, "Connection") {
			listed += "," + f.Value
		}
		in = append(in, f)
	}
	class := rapid.SampledFrom([]dataplane.Class{dataplane.ClassALB, dataplane.ClassNGINX}).Draw(t, "class")
	r := &dataplane.Request{Method: "GET", Authority: "h", Path: "/", Fields: in}
	out := dataplane.RequestHead(nil, r, decision(class, dataplane.ForwardHeaders{}))
	hosts := 0
	for _, f := range out {
		switch strings.ToLower(f.Name) {
		case "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection":
			t.Fatalf("%s went through", f.Name)
		case "host":
			hosts++
			continue
		}
		for token := range strings.SplitSeq(listed, ",") {
			if strings.EqualFold(strings.TrimSpace(token), f.Name) {
				t.Fatalf("%s went through though Connection lists it", f.Name)
			}
		}
	}
	if hosts != 1 {
		t.Fatalf("%d Host fields", hosts)
	}
	head, err := dataplane.AppendRequestHead(nil, "GET", "/", out)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(head), "\r\n"); n != len(out)+2 || strings.Contains(string(head), "\nX-Evil") {
		t.Fatalf("the head has %d lines for %d fields:\n%q", n, len(out), head)
	}
}

func TestStripping(t *testing.T) {
	t.Parallel()
	rapid.Check(t, checkStripping)
}

func FuzzStripping(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkStripping)) }

func TestAppendRequestHead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, target string }{{"", "/"}, {"GET", ""}, {"G T", "/"}, {"GET", "/a b"}, {"GET", "/\r\nX: y"}} {
		if _, err := dataplane.AppendRequestHead(nil, c.method, c.target, nil); err == nil {
			t.Errorf("%q %q was written", c.method, c.target)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	s := listenerOf([]dataplane.Route{{ID: "r", Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: "u", Weight: 1}}}}})
	s.Listeners[0].Forward.RequestID = true
	s.Upstreams = []dataplane.Upstream{{ID: "u", Scheme: "http", Endpoints: []dataplane.Endpoint{{ID: "e", Weight: 1}}}}
	prog, _ := dataplane.Compile(nil, s)
	n := uint64(0)
	d := prog.Decide("l", &dataplane.Request{Method: "GET", Path: "/"}, dataplane.Inputs{Rand: func() uint64 { n++; return n * 0x1111111111111111 }})
	if len(d.RequestID) != 32 || strings.Count(d.RequestID, d.RequestID[:1]) == 32 {
		t.Errorf("request id is %q", d.RequestID)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		to   dataplane.Redirect
		host string
		want string
	}{
		{dataplane.Redirect{}, "h:8080", "http://h:8080/p?q"},
		{dataplane.Redirect{Scheme: "https"}, "h:8080", "https://h/p?q"},
		{dataplane.Redirect{Scheme: "https", Port: 8443}, "h:8080", "https://h:8443/p?q"},
		{dataplane.Redirect{Host: "other", Path: "/x", Query: "y=1"}, "h:8080", "http://other/x?y=1"},
		{dataplane.Redirect{Port: 80}, "[::1]:8080", "http://[::1]:80/p?q"},
	} {
		to := c.to
		to.Status = 302
		prog, _ := dataplane.Compile(nil, listenerOf([]dataplane.Route{{ID: "r", Action: dataplane.Action{Redirect: &to}}}))
		d := prog.Decide("l", &dataplane.Request{Method: "GET", Scheme: "http", Authority: c.host, Path: "/p", Query: "q", HasQuery: true}, dataplane.Inputs{})
		if d.Location != c.want || d.Reply.Status != 302 {
			t.Errorf("%+v: Location is %q (%d), want %q", c.to, d.Location, d.Reply.Status, c.want)
		}
	}
}

func TestPathsOfNGINX(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"/a/b": "/a/b", "/a//b": "/a/b", "/a/./b/../c": "/a/c", "/../../x": "/x", "/%41%zz%": "/A%zz%", "/a/..": "/", "/a/b/.": "/a/b/", "/a%2Fb/": "/a/b/",
	} {
		s := listenerOf([]dataplane.Route{{ID: "r", Action: dataplane.Action{Reply: &dataplane.Reply{Status: 200}}, Match: dataplane.Match{Paths: []dataplane.PathMatch{{Kind: dataplane.PathExact, Value: want}}}}})
		s.Listeners[0].Class = dataplane.ClassNGINX
		prog, _ := dataplane.Compile(nil, s)
		trace := &dataplane.Trace{}
		if d := prog.Decide("l", &dataplane.Request{Method: "GET", Path: raw}, dataplane.Inputs{Trace: trace}); d.Route == nil {
			t.Errorf("%s was compared as %s, want %s", raw, trace.Path, want)
		}
	}
}

func ExampleSnapshot_String() {
	s := &dataplane.Snapshot{
		Listeners: []dataplane.Listener{{ID: "lsn-1", Class: dataplane.ClassALB, Protocol: dataplane.ProtocolHTTP, Port: 80, Sockets: []string{"127.77.0.2:80"},
			Routes: []dataplane.Route{{ID: "rule-1", Source: "Ingress default/coffee", Match: dataplane.Match{Paths: []dataplane.PathMatch{{Kind: dataplane.PathPrefix, Value: "/coffee/"}}},
				Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: "sgp-1", Weight: 100}}}}}}},
		Upstreams: []dataplane.Upstream{{ID: "sgp-1", Scheme: "http", Endpoints: []dataplane.Endpoint{{ID: "eni-1", Addr: "192.168.0.12:80", Weight: 100}}}},
	}
	fmt.Print(s)
	// Output:
	// listener lsn-1 alb HTTP 80
	//   socket 127.77.0.2:80
	//   route rule-1 source="Ingress default/coffee"
	//     path prefix /coffee/
	//     to sgp-1 weight=100
	// upstream sgp-1 http
	//   endpoint eni-1 192.168.0.12:80 weight=100
}
