package cli

import (
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/appliance"
)

func TestHostsBlock(t *testing.T) {
	t.Parallel()
	view := appliance.Names{Hosts: []appliance.HostName{{Name: "a.com", Addresses: []string{"127.77.0.2", "127.77.0.3"}}, {Name: "no.address"}}}
	block := hostsBlock(view)
	if want := "# appliance: begin\n127.77.0.2 a.com\n# appliance: end\n"; block != want {
		t.Errorf("got %q", block)
	}
	for _, row := range []struct{ name, file, want string }{
		{"empty file", "", block},
		{"appended", "127.0.0.1 localhost\n", "127.0.0.1 localhost\n" + block},
		{"no last newline", "127.0.0.1 localhost", "127.0.0.1 localhost\n" + block},
		{"replaced", "a\n# appliance: begin\nold\n# appliance: end\nb\n", "a\n" + block + "b\n"},
		{"half a block is left alone", "# appliance: begin\nold\n", "# appliance: begin\nold\n" + block},
	} {
		if got := string(withBlock([]byte(row.file), block)); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	if got := string(withBlock([]byte("a\n"+block), "")); got != "a\n" {
		t.Errorf("removed: got %q", got)
	}
}

// TestHelpHasExamples wants every command's help to show how it is used.
func TestHelpHasExamples(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"serve", "kubeconfig", "endpoints", "hosts", "explain", "cloud zones", "cloud vpcs list", "cloud vpcs create", "cloud vswitches list", "cloud vswitches create", "cloud albs list", "cloud albs create", "cloud albs delete",
		"cloud certificates list", "cloud certificates request", "cloud certificates upload", "cloud certificates renew", "cloud certificates delete",
		"cloud clock show", "cloud clock advance", "addon list", "addon install", "addon uninstall", "backup", "restore", "trust install", "trust uninstall", "doctor", "version"} {
		var out strings.Builder
		if code := Main(append(strings.Fields(command), "--help"), &out, &out); code != 0 || !strings.Contains(out.String(), "Example:\n") {
			t.Errorf("%s --help: exit %d, no example in\n%s", command, code, out.String())
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"sevre"}, {"serve", "--cloud-delays", "never"}, {"serve", "--vip-range", "x"}, {"explain"}} {
		var out, errs strings.Builder
		if code := Main(args, &out, &errs); code != exitUsage {
			t.Errorf("%v: exit %d, want %d: %s", args, code, exitUsage, errs.String())
		}
	}
}
