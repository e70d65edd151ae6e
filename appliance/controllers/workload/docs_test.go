package workload_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestControllersAreDocumented looks for each of upstream's controllers that this package imports in docs/kubernetes.md.
func TestControllersAreDocumented(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-json=Imports", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	var listed struct{ Imports []string }
	if err := json.Unmarshal(out, &listed); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| controller | does | runs |")
	if !ok {
		t.Fatal("docs/kubernetes.md has no table of controllers")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for _, i := range listed.Imports {
		rest, ok := strings.CutPrefix(i, "k8s.io/kubernetes/pkg/controller/")
		if !ok {
			continue
		}
		name := strings.TrimSuffix(rest, "/deletion")
		name = name[strings.LastIndexByte(name, '/')+1:]
		if !strings.Contains(table, name) {
			t.Errorf("%s is run and not in the table of docs/kubernetes.md", name)
		}
	}
}
