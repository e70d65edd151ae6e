package apiserver_test

import (
	"os"
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/appliance/apiserver"
)

const documentation = "../../docs/kubernetes.md"

// TestDocumentation compares docs/kubernetes.md with the tables of this package.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for mark, want := range map[string]string{"kinds": apiserver.KindsTable(), "admission": apiserver.AdmissionList()} {
		begin, end := "<!-- "+mark+" -->\n", "<!-- /"+mark+" -->"
		before, rest, ok := strings.Cut(text, begin)
		got, after, ended := strings.Cut(rest, end)
		if !ok || !ended {
			t.Fatalf("docs/kubernetes.md has no part %s", mark)
		}
		if *update {
			text = before + begin + want + end + after
		} else if got != want {
			t.Errorf("docs/kubernetes.md is not what is served; go test ./appliance/apiserver -run TestDocumentation -update makes it anew:\n%s", want)
		}
	}
	if *update {
		if err := os.WriteFile(documentation, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
