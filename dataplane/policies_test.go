package dataplane_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/alb-appliance/appliance/dataplane"
)

// rewriting is a listener that forwards everything with a rewrite.
func rewriting(class dataplane.Class, rewrite dataplane.Rewrite) (*dataplane.Program, []dataplane.Problem) {
	s := listenerOf([]dataplane.Route{{ID: "r", Rewrite: &rewrite, Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: "u", Weight: 1}}}}})
	s.Listeners[0].Class = class
	s.Upstreams = []dataplane.Upstream{{ID: "u", Scheme: "http", Endpoints: []dataplane.Endpoint{{ID: "e", Weight: 1}}}}
	return dataplane.Compile(nil, s)
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	const nginx, alb = dataplane.ClassNGINX, dataplane.ClassALB
	for _, c := range []struct {
		class                              dataplane.Class
		regex, replacement, sent, received string
	}{
		{nginx, "(?i)/app(/|$)(.*)", "/$2", "/app/x?q=1", "/x?q=1"},
		{nginx, "(?i)/app(/|$)(.*)", "/$2", "/APP", "/"},
		{nginx, "(?i)/app(/|$)(.*)", "/$2", "/other", "/other"},
		{nginx, "^/app", "/", "/app/deep/path?a", "/?a"}, // the most frequent mistake (NGINX-FACTS 2)
		{nginx, "^/(.*)", "/$1", "/a%20b%2Fc%3Fd%25", "/a%20b/c%3Fd%25"},
		{nginx, "^/(.*)", "/n/$1", "/a/../b//c", "/n/b/c"},
		{nginx, "^/(.*)", "/s?path=$1", "/x?q=1", "/s?path=x&q=1"},
		{nginx, "^/(.*)", "/s?path=$1?", "/x?q=1", "/s?path=x"},
		{nginx, "^/(.*)", "/s?", "/x?q=1", "/s"},
		{nginx, "^/(.*)", "$1", "/x", "/x"},
		{nginx, "^/(a)?", "/$1$2b", "/", "/b"},
		{nginx, "^/(.)(.)", "/$10$2", "/xy", "/x0y"},
		{alb, "/path/(.*)", "/${1}/z", "/path/a%2Fb?q", "/a%2Fb/z?q"},
		{alb, "^/(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)", "/${10}${1}", "/abcdefghij", "/ja"},
		{alb, "^/(.*)", "/a b\"#${1}", "/x", "/a%20b%22%23x"},
		{alb, "^/(.*)", "/é", "/x?", "/%C3%A9?"},
	} {
		prog, problems := rewriting(c.class, dataplane.Rewrite{Regex: c.regex, Replacement: c.replacement})
		if len(problems) != 0 {
			t.Fatalf("%+v: %v", c, problems)
		}
		r := parseRequest("GET", "http://h"+c.sent)
		d := prog.Decide("l", r, dataplane.Inputs{})
		if got := d.TargetFor(r); got != c.received {
			t.Errorf("%s by %s → %s: endpoint gets %s, want %s", c.sent, c.regex, c.replacement, got, c.received)
		}
	}
}

func TestBadRewrites(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ regex, replacement, want string }{
		{"(", "/", "is not a regular expression"}, {"/", "/$host", "$host is neither"}, {"/", "/$", "$ is neither"},
		{"/", "/${1", "${1 is neither"}, {"/", "/$0", "$0 is neither"}, {"/", "/${}", "${} is neither"}, {"/", "/x?a=$b", "$b is neither"},
	} {
		prog, problems := rewriting(dataplane.ClassNGINX, dataplane.Rewrite{Regex: c.regex, Replacement: c.replacement})
		if text := fmt.Sprint(problems); !strings.Contains(text, c.want) || !strings.Contains(text, "the route is left out") {
			t.Errorf("%+v gives %s", c, text)
		}
		if d := prog.Decide("l", parseRequest("GET", "http://h/"), dataplane.Inputs{}); d.Outcome.Status != 404 {
			t.Errorf("%+v serves %d", c, d.Outcome.Status)
		}
	}
}

// FuzzRewrite: whatever a rewrite makes of a path, it can be written as a request target.
func FuzzRewrite(f *testing.F) {
	f.Add("^/(.*)", "/$1?a=$1", "/x y%00", "q")
	f.Add("(?i)/app(/|$)(.*)", "/${2}", "/app/é", "")
	f.Fuzz(func(t *testing.T, regex, replacement, path, query string) {
		for _, class := range []dataplane.Class{dataplane.ClassNGINX, dataplane.ClassALB} {
			prog, problems := rewriting(class, dataplane.Rewrite{Regex: regex, Replacement: replacement})
			if len(problems) > 0 {
				return
			}
			d := prog.Decide("l", &dataplane.Request{Method: "GET", Path: path}, dataplane.Inputs{})
			if d.Target == "" {
				continue
			}
			if _, err := dataplane.AppendRequestHead(nil, "GET", d.Target, nil); err != nil || d.Target[0] != '/' {
				t.Errorf("%s by %s → %s gives %q: %v", path, regex, replacement, d.Target, err)
			}
		}
	})
}

func TestReload(t *testing.T) {
	t.Parallel()
	at := func(generation uint64, cut time.Duration) *dataplane.Listener {
		return &dataplane.Listener{Generation: generation, CutAfter: cut}
	}
	for name, c := range map[string]struct {
		old, now *dataplane.Listener
		want     time.Duration
	}{
		"new listener":    {nil, at(1, time.Minute), 0},
		"nothing changed": {at(1, time.Minute), at(1, time.Minute), 0},
		"reload":          {at(1, time.Minute), at(2, 2*time.Minute), 2 * time.Minute},
		"never cuts":      {at(1, 0), at(2, 0), 0},
	} {
		if got, ok := dataplane.Reload(c.old, c.now); got != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %s, %t", name, got, ok)
		}
	}
}

// TestRouteBodyLimit: a length known beforehand is refused by Decide, before the route's action.
func TestRouteBodyLimit(t *testing.T) {
	t.Parallel()
	s := listenerOf([]dataplane.Route{{ID: "r", BodyBytes: 10, Action: dataplane.Action{Redirect: &dataplane.Redirect{Status: 308, Scheme: "https"}}}})
	prog, _ := dataplane.Compile(nil, s)
	for length, want := range map[int64]int{-1: 308, 0: 308, 10: 308, 11: 413} {
		d := prog.Decide("l", &dataplane.Request{Method: "POST", Path: "/", Length: length}, dataplane.Inputs{})
		if d.Outcome.Status != want || d.BodyBytes != 10 {
			t.Errorf("a body of %d bytes gives %d with a limit of %d", length, d.Outcome.Status, d.BodyBytes)
		}
	}
}

// TestSSLRedirect is ssl-redirect of class nginx: host, path and query stay, the port goes, and one slash at the very
// end (NGINX-FACTS 4).
func TestSSLRedirect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		trim      bool
		url, want string
	}{
		{true, "http://h:8080/a/?q=1", "https://h/a/?q=1"}, {true, "http://h/a/", "https://h/a"}, {true, "http://h/", "https://h"},
		{true, "http://h/a//", "https://h/a/"}, {true, "http://h/a?b=/", "https://h/a?b="}, {false, "http://h/a/", "https://h/a/"},
	} {
		s := listenerOf([]dataplane.Route{{ID: "r", Action: dataplane.Action{Redirect: &dataplane.Redirect{Status: 308, Scheme: "https", TrimSlash: c.trim}}}})
		prog, _ := dataplane.Compile(nil, s)
		if d := prog.Decide("l", parseRequest("GET", c.url), dataplane.Inputs{}); d.Location != c.want || d.Outcome.Status != 308 {
			t.Errorf("%s (trim %t) goes to %s, want %s", c.url, c.trim, d.Location, c.want)
		}
	}
}

// TestSetFields: rules set fields on all answers and cannot break their framing.
func TestSetFields(t *testing.T) {
	t.Parallel()
	s := listenerOf([]dataplane.Route{{
		ID: "r", Action: dataplane.Action{Reply: &dataplane.Reply{Status: 200, ContentType: "text/plain", Body: "hi"}},
		Response: []dataplane.Field{{Name: "X-Both", Value: "route"}, {Name: "Content-Length", Value: "9"}, {Name: "bad name", Value: "x"}},
	}})
	s.Listeners[0].Response = []dataplane.Field{{Name: "x-both", Value: "listener"}, {Name: "X-Own", Value: "1"}, {Name: "Transfer-Encoding", Value: "chunked"}, {Name: "X-Split", Value: "a\r\nb"}}
	prog, problems := dataplane.Compile(nil, s)
	if len(problems) != 4 {
		t.Errorf("problems are %v", problems)
	}
	d := prog.Decide("l", parseRequest("GET", "https://h/"), dataplane.Inputs{AltSvc: dataplane.AltSvcH3(443)})
	ours := []dataplane.Field{{Name: "X-Both", Value: "route"}, {Name: "X-Own", Value: "1"}, {Name: "Alt-Svc", Value: `h3=":443"; ma=86400`}}
	want := append([]dataplane.Field{{Name: "Content-Type", Value: "text/plain"}, {Name: "Content-Length", Value: "2"}}, ours...)
	if diff := cmp.Diff(want, dataplane.ReplyHead(nil, &d)); diff != "" {
		t.Errorf("own answer (-want +got):\n%s", diff)
	}
	resp := &dataplane.Response{Status: 200, Fields: []dataplane.Field{{Name: "X-BOTH", Value: "pod"}, {Name: "X-Pod", Value: "1"}, {Name: "Alt-Svc", Value: "clear"}}}
	if diff := cmp.Diff(append([]dataplane.Field{{Name: "X-Pod", Value: "1"}}, ours...), dataplane.ResponseHead(nil, resp, &d)); diff != "" {
		t.Errorf("endpoint's answer (-want +got):\n%s", diff)
	}
}

// TestPlainHTTPPage has the words of both classes (NGINX-FACTS 3, ALB-FACTS 4.5).
func TestPlainHTTPPage(t *testing.T) {
	t.Parallel()
	page := func(class dataplane.Class) dataplane.Decision {
		return dataplane.Decision{Listener: &dataplane.Listener{Class: class}}.Refusal(dataplane.ReasonPlainHTTP)
	}
	nginx, alb := page(dataplane.ClassNGINX), page(dataplane.ClassALB)
	if nginx.Reply.Status != 400 || strings.Count(nginx.Reply.Body, "The plain HTTP request was sent to HTTPS port") != 2 || !strings.Contains(nginx.Reply.Body, "<h1>400 Bad Request</h1>") {
		t.Errorf("class nginx says %+v", nginx.Reply)
	}
	if alb.Reply.Status != 400 || alb.Reply.Body != dataplane.ErrorPage(dataplane.ClassALB, 400).Body {
		t.Errorf("class alb says %+v", alb.Reply)
	}
}
