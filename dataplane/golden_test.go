package dataplane_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"

	"github.com/alb-appliance/appliance/dataplane"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata/*.txtar")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestGolden reads testdata/*.txtar: "snapshot" in text form, which must be canonical; "requests", a line each:
// listener, method, URL and fields; and the golden parts "problems" and "decisions".
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			golden(t, file)
		})
	}
}

func golden(t *testing.T, file string) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	part := map[string]string{}
	for _, f := range ar.Files {
		part[f.Name] = string(f.Data)
	}
	s, err := dataplane.Parse(part["snapshot"])
	if err != nil {
		t.Fatal(err)
	}
	prog, problems := dataplane.Compile(nil, s)
	got := map[string]string{"snapshot": s.String(), "requests": part["requests"]}
	for _, p := range problems {
		got["problems"] += p.String() + "\n"
	}
	for line := range strings.Lines(part["requests"]) {
		got["decisions"] += explain(t, prog, strings.TrimSpace(line))
	}
	if *update {
		ar.Files = nil
		for _, name := range []string{"snapshot", "problems", "requests", "decisions"} {
			ar.Files = append(ar.Files, txtar.File{Name: name, Data: []byte(got[name])})
		}
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for name := range got {
		if diff := cmp.Diff(part[name], got[name]); diff != "" {
			t.Errorf("%s differs (-golden +now):\n%s", name, diff)
		}
	}
}

// explain decides one request and says why.
func explain(t *testing.T, prog *dataplane.Program, line string) string {
	t.Helper()
	words := strings.Fields(line)
	if len(words) < 3 {
		t.Fatalf("request %q lacks listener, method or URL", line)
	}
	r := parseRequest(words[1], words[2])
	for _, f := range words[3:] {
		name, value, _ := strings.Cut(f, ":")
		r.Fields = append(r.Fields, dataplane.Field{Name: name, Value: value})
	}
	trace := &dataplane.Trace{}
	d := prog.Decide(words[0], r, dataplane.Inputs{Trace: trace})
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", line)
	for _, step := range trace.Steps {
		fmt.Fprintf(&b, "  %s matched=%t", step.Route.ID, step.Matched)
		for _, c := range step.Conditions {
			fmt.Fprintf(&b, "; %s", c.Text)
		}
		if step.LeftOut != "" {
			fmt.Fprintf(&b, "; left out: %s", step.LeftOut)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "  %s", d.Kind)
	if d.Endpoint != nil {
		fmt.Fprintf(&b, " to %s of %s", d.Endpoint.ID, d.Upstream.ID)
	}
	if d.Outcome.Status != 0 {
		fmt.Fprintf(&b, " %d %s: %s", d.Outcome.Status, d.Outcome.Reason, d.Outcome.Reason.Why())
	}
	if d.Location != "" {
		fmt.Fprintf(&b, " Location: %s", d.Location)
	}
	if d.Upgrade != "" {
		fmt.Fprintf(&b, " upgrade %s", d.Upgrade)
	}
	if d.Target != "" {
		fmt.Fprintf(&b, " as %s", d.Target)
	}
	b.WriteByte('\n')
	if d.Kind == dataplane.KindForward {
		for _, f := range dataplane.RequestHead(nil, r, &d) {
			fmt.Fprintf(&b, "    %s: %s\n", f.Name, f.Value)
		}
	}
	return b.String()
}

// parseRequest makes a request of a method and a URL.
func parseRequest(method, url string) *dataplane.Request {
	scheme, rest, _ := strings.Cut(url, "://")
	authority, path := rest, "/"
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	path, query, has := strings.Cut(path, "?")
	return &dataplane.Request{
		Method: method, Scheme: scheme, Authority: authority, Path: path, Query: query, HasQuery: has,
		Peer: netip.MustParseAddrPort("198.51.100.7:4711"), Proto: "HTTP/1.1",
	}
}
