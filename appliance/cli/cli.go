// Package cli is the command line: kong's grammar, flags to Config, and what is printed.
package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/adrg/xdg"
	"github.com/alecthomas/kong"

	"github.com/alb-appliance/appliance/dataplane/engines"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// grammar is the whole command line.
type grammar struct {
	DataDir string `help:"Directory of everything that is kept (default: ${data_dir})." default:"${data_dir}" placeholder:"DIR" type:"path"`

	Serve      serveCommand      `cmd:"" help:"Run everything in the foreground."`
	Kubectl    kubectlCommand    `cmd:"" passthrough:"" help:"kubectl, built in, on the running appliance."`
	Kubeconfig kubeconfigCommand `cmd:"" help:"Print the path of the kubeconfig."`
	Endpoints  endpointsCommand  `cmd:"" help:"Show every load balancer, its addresses and the sockets they are bound to."`
	Hosts      hostsCommand      `cmd:"" help:"Print the hosts-file block for load balancers and Ingress hosts."`
	Addon      addonCommand      `cmd:"" help:"List, install and uninstall the add-ons: the ALB and the NGINX Ingress Controller."`
	Explain    explainCommand    `cmd:"" help:"Say what would happen to a request, and why."`
	Cloud      cloudCommand      `cmd:"" help:"Look at the simulated cloud and move its clock."`
	Backup     backupCommand     `cmd:"" help:"Write objects, cloud and keys, as they are at one moment, into a file."`
	Restore    restoreCommand    `cmd:"" help:"Replace what the data directory holds by a backup."`
	Dataplane  dataplaneCommand  `cmd:"" help:"Run the data plane's engine alone, on a snapshot in text form."`
	Trust      trustCommand      `cmd:"" help:"Make this machine trust the internal CA, or stop it."`
	Doctor     doctorCommand     `cmd:"" help:"Say what works on this machine, what does not, and how to mend it."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

// streams are where commands write.
type streams struct{ out, err io.Writer }

// usageError is a command line that cannot be carried out as written.
type usageError struct{ error }

// Main runs one command line and gives its exit code: 0, 1 for a failure, 2 for wrong usage. Errors go to stderr in one
// line.
func Main(args []string, out, errs io.Writer) int {
	var g grammar
	code, exited := 0, false
	parser, err := kong.New(&g,
		kong.Name("appliance"),
		kong.Description("A local Alibaba Cloud ACK with ALB Ingress: Kubernetes API, simulated cloud, pods and traffic, offline."),
		kong.Writers(out, errs),
		kong.Exit(func(c int) { code, exited = c, true }),
		kong.Vars{
			"data_dir": filepath.Join(xdg.DataHome, "appliance"),
			"engines":  strings.Join(engines.Names(), ","), "default_engine": engines.Default(),
		},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(errs, "appliance:", err)
		return exitFailed
	}
	ctx, err := parser.Parse(args)
	if exited { // --help
		return code
	}
	if err != nil {
		fmt.Fprintf(errs, "appliance: %s; `appliance --help` lists commands and flags\n", err)
		return exitUsage
	}
	err = ctx.Run(&streams{out, errs}, &g)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(usageError)):
		fmt.Fprintln(errs, "appliance:", err)
		return exitUsage
	case errors.As(err, &exit):
		return exit.code
	}
	fmt.Fprintln(errs, "appliance:", err)
	return exitFailed
}
