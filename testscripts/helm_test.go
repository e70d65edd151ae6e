package testscripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// helmBinary builds the real helm, once, out of the module in helm/, and gives its path.
var helmBinary = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(cache, "appliance-testscripts", "helm")
	build := exec.Command("go", "build", "-o", binary, "helm.sh/helm/v4/cmd/helm")
	build.Dir = "helm"
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build helm: %w: %s", err, out)
	}
	return binary, nil
})

// helm runs helm with its arguments; its output is there for stdout and stderr.
func helm(ts *testscript.TestScript, neg bool, args []string) {
	binary, err := helmBinary()
	ts.Check(err)
	if err := ts.Exec(binary, args...); (err != nil) != neg {
		ts.Fatalf("helm: %v\n%s", err, logOf(ts))
	}
}
