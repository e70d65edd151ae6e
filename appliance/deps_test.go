package appliance_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/alb-appliance/appliance/"

// listed is what `go list` says of one package.
type listed struct {
	ImportPath string
	Doc        string
	Imports    []string
	GoFiles    []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports,GoFiles", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// ours is what each package may import of this module; a package that is not named may import nothing of it. A name
// that ends in /... stands for the package and those below it.
var ours = map[string][]string{
	"":                                   {"appliance/cli"},
	"appliance/cli":                      {"appliance", "dataplane/engines", "appliance/cli/...", "appliance/standalone", "appliance/edge", "cloudsim"},
	"appliance":                          {"appliance/...", "cloudsim", "dataplane/...", "state/..."},
	"appliance/accesslog":                {"dataplane"},
	"appliance/standalone":               {"appliance/accesslog", "dataplane/..."},
	"appliance/apiserver":                {"state/kv", "appliance/apis/..."},
	"appliance/controllers/alb":          {"cloudsim", "appliance/apis/...", "appliance/controllers/clockqueue", "appliance/controllers/recorder"},
	"appliance/controllers/certificates": {"appliance/controllers/clockqueue", "appliance/controllers/recorder"},
	"appliance/controllers/nginx":        {"dataplane", "appliance/controllers/recorder"},
	"appliance/controllers/workload":     {},
	"appliance/controllers/scheduler":    {},
	"appliance/kubelet":                  {"appliance/podnet", "appliance/kubelet/..."},
	"appliance/edge":                     {"cloudsim", "dataplane"},
	"appliance/dns":                      {"appliance/edge"},
	"cloudsim":                           {"state/sqlite"},
	"dataplane/engine":                   {"dataplane"},
	"dataplane/std":                      {"dataplane", "dataplane/engine"},
	"dataplane/loop":                     {"dataplane", "dataplane/engine", "dataplane/std"},
	"dataplane/engines":                  {"dataplane", "dataplane/engine", "dataplane/loop", "dataplane/std"},
	"dataplane/enginetest":               {"dataplane"},
	"testscripts/bench":                  {},
	"testscripts/bench/dataplane":        {"dataplane", "dataplane/engine", "dataplane/engines", "testscripts/bench/dataplane/..."},
}

// theirs are imports of others that only some packages may have, and why.
var theirs = []struct {
	prefix string
	only   []string
	why    string
}{
	{"k8s.io/kubernetes", []string{"appliance/apiserver", "appliance/controllers/workload"}, "upstream's internals change with each release; two packages carry that (DESIGN D1)"},
	{"k8s.io/apiserver", []string{"appliance/apiserver", "appliance/controllers/workload"}, "the API is one package's matter (DESIGN D1); upstream's quota controller takes parts of it"},
	{"k8s.io/", []string{"appliance/...", "testscripts/bench"}, "data plane, cloud and state know no Kubernetes"},
	{"go.etcd.io/bbolt", []string{"state/kv"}, "files are state's matter"},
	{"modernc.org/sqlite", []string{"state/sqlite"}, "files are state's matter"},
	{"database/sql", []string{"state/sqlite", "cloudsim"}, "tables are the cloud's, files are state's"},
	{"github.com/alecthomas/kong", []string{"appliance/cli"}, "flags end in Config"},
	{"github.com/mholt/acmez", []string{"appliance/controllers/certificates"}, "who speaks to a CA is one package's matter"},
	{"mvdan.cc/sh", []string{"appliance/kubelet/shell"}, "scripts run inside of containers only"},
	{"github.com/miekg/dns", []string{"appliance/dns"}, "names are one package's matter"},
}

func TestImportDirections(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, strings.TrimSuffix(module, "/")), "/")
		for _, i := range p.Imports {
			if rest, own := strings.CutPrefix(i, module); own && !covers(ours[name], rest) {
				t.Errorf("%s imports %s: a change goes one way, and this is not on it; see `ours` in this test and ARCHITECTURE.md", p.ImportPath, rest)
			}
			for _, rule := range theirs {
				if (i == rule.prefix || strings.HasPrefix(i, strings.TrimSuffix(rule.prefix, "/")+"/")) && !covers(rule.only, name) {
					t.Errorf("%s imports %s: %s", p.ImportPath, i, rule.why)
				}
			}
			if i == "net/http" && strings.HasPrefix(name, "dataplane") && name != "dataplane/std" && name != "dataplane/enginetest" {
				t.Errorf("%s imports net/http: what requests mean is independent of any engine (DESIGN 4b)", p.ImportPath)
			}
		}
	}
}

func covers(allowed []string, name string) bool {
	for _, a := range allowed {
		if base, below := strings.CutSuffix(a, "/..."); a == name || below && (name == base || strings.HasPrefix(name, base+"/")) {
			return true
		}
	}
	return false
}

func TestPackagesHaveComments(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}
