package testscripts

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	componentcli "k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"

	"github.com/alb-appliance/appliance/appliance/cli"
	"github.com/alb-appliance/appliance/appliance/edge"
)

// addressModeVariable chooses the address mode of the run: ports (default) needs no rights, native needs low ports.
const addressModeVariable = "APPLIANCE_ADDRESS_MODE"

// engineVariable chooses the data plane's engine of the run; the default is the system's.
const engineVariable = "APPLIANCE_ENGINE"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"appliance": func() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) },
		"kubectl":   func() { os.Exit(componentcli.Run(cmd.NewDefaultKubectlCommand())) },
	})
}

// ranges counts the scenarios: each has a loopback range of its own.
var ranges atomic.Int32

func TestScripts(t *testing.T) {
	t.Parallel()
	mode := os.Getenv(addressModeVariable)
	if mode == "" {
		mode = "ports"
	}
	if _, err := edge.NewAddresses(netip.MustParsePrefix("127.100.0.0/16"), edge.Mode(mode)); err != nil {
		t.Skip("this machine does not permit address mode", mode, "-", err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// Of this process, for two may test at a time.
			prefix := fmt.Sprintf("127.%d.%d.", 100+os.Getpid()%150, ranges.Add(1))
			p := &process{mode: mode, vips: prefix + "0/24", data: filepath.Join(e.WorkDir, "data")}
			e.Values[processKey{}] = p
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("DATA", p.data)
			e.Setenv("VIPS", p.vips)
			e.Setenv("VIP", prefix+"2")
			e.Setenv("MODE", mode)
			e.Setenv("LONG", strings.Repeat("long", 33<<8)) // 33 KiB
			e.Setenv("KUBECONFIG", filepath.Join(p.data, "kubeconfig"))
			e.Setenv("XDG_DATA_HOME", filepath.Join(e.WorkDir, "xdg"))
			e.Defer(func() { p.end(e.T()) })
			return nil
		},
		Condition: func(c string) (bool, error) {
			switch c {
			case "native", "ports":
				return mode == c, nil
			}
			return false, fmt.Errorf("unknown condition %s", c)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serve, "stop": stop, "kill9": kill9, "curl": curl, "await": await, "load": load, "resolve": resolve,
			"endpoint": endpoint, "later": later, "ws": ws, "wsidle": wsidle, "hold": hold, "release": release,
			"selfsigned": selfsigned, "capture": capture, "expand": expand, "pebble": pebble, "browser": browser, "raw": raw,
			"full": full, "helm": helm, "room": room, "flip": flip, "cut": cut,
			"engine": engine, "hup": hup,
		},
	})
}
