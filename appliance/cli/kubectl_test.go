package cli

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWithoutAppliance asks for everything that needs a running one: in an empty directory, and where one ran.
func TestWithoutAppliance(t *testing.T) {
	// Not parallel: kubectl's way to end, and its environment, are the process's.
	t.Setenv("KUBECONFIG", "")
	empty, stopped := t.TempDir(), t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := `{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: "https://` + address +
		`"}}], users: [{name: c, user: {token: t}}], contexts: [{name: c, context: {cluster: c, user: c}}]}`
	if err := os.WriteFile(filepath.Join(stopped, "kubeconfig"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	const none, down = "no appliance has run on ", " does not run; start it with `appliance serve`"
	for _, row := range []struct {
		dir, command string
		code         int
		want         string // in what goes to stderr
	}{
		{empty, "kubeconfig", exitFailed, none},
		{empty, "kubectl get pods", exitFailed, none},
		{empty, "endpoints", exitFailed, none},
		{empty, "hosts", exitFailed, none},
		{empty, "explain http://a.com", exitFailed, none},
		{empty, "cloud albs", exitFailed, none},
		{empty, "cloud clock advance 60s", exitFailed, none},
		{stopped, "kubeconfig", 0, ""},
		{stopped, "endpoints", exitFailed, down},
		{stopped, "hosts", exitFailed, down},
		{stopped, "explain http://a.com", exitFailed, down},
		{stopped, "cloud zones", exitFailed, down},
		{stopped, "cloud clock", exitFailed, down},
		{stopped, "kubectl get pods --request-timeout=5s", 1, "The connection to the server " + address + " was refused"},
		{stopped, "kubectl version --client", 0, ""},
		{stopped, "kubectl config use-context c", 0, ""},
		{stopped, "kubectl gett pods", 1, `unknown command "gett"`},
		{stopped, "kubectl get pods --no-such-flag", 1, "unknown flag: --no-such-flag"},
		{stopped, "kubectl create deployment", 1, `error: required flag(s) "image" not set`},
	} {
		var out, errs strings.Builder
		code := Main(append([]string{"--data-dir", row.dir}, strings.Fields(row.command)...), &out, &errs)
		if code != row.code || !strings.Contains(errs.String(), row.want) {
			t.Errorf("%s: exit %d, want %d and %q in: %s", row.command, code, row.code, row.want, errs.String())
		}
		if strings.Contains(errs.String(), "panic") || row.code == exitFailed && strings.HasPrefix(row.want, none) && strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: not one clear line: %s", row.command, errs.String())
		}
	}
}
