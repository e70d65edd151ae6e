package cli

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/alb-appliance/appliance/appliance"
	"github.com/alb-appliance/appliance/appliance/cli/startup"
	"github.com/alb-appliance/appliance/appliance/edge"
	"github.com/alb-appliance/appliance/cloudsim"
)

type serveCommand struct {
	Listen        string   `help:"Address of the Kubernetes API, HTTPS; port 0 picks one (default: ${default})." default:"127.0.0.1:6443" placeholder:"ADDR"`
	VIPRange      string   `name:"vip-range" help:"Loopback range of load balancers and the name server (default: ${default})." default:"127.77.0.0/16" placeholder:"CIDR"`
	Region        string   `help:"Simulated region (default: ${default})." default:"cn-wulanchabu" placeholder:"ID"`
	NetworkPlugin string   `help:"Network plugin of the cluster: terway or flannel. Flannel refuses ClusterIP backends as the real one does." default:"terway" enum:"terway,flannel"`
	ALB           string   `name:"alb" help:"What the ALB Ingress Controller makes when it is first installed: new, new-intranet, none or existing=ID (default: ${default})." default:"new" placeholder:"OPTION"`
	AddressMode   string   `help:"How addresses become sockets: native binds the real ports, ports binds high ones, auto takes native where permitted." default:"auto" enum:"auto,native,ports"`
	Engine        string   `help:"Engine of the data plane: ${engines} (default: ${default})." default:"${default_engine}" enum:"${engines}"`
	CloudDelays   string   `help:"How long cloud jobs take: none or real." default:"none" enum:"none,real"`
	ACMEDirectory []string `name:"acme-directory" help:"ACME servers beside the internal CA, each an issuer of its name (a URL alone: acme); the first is the default." placeholder:"[NAME=]URL"`
	ACMECA        string   `name:"acme-ca" help:"File of the CAs to trust as ACME servers, PEM (default: the system's)." placeholder:"FILE" type:"path"`
	ACMEChallenge []string `name:"acme-challenge" help:"Ways to prove control of a host to an ACME server (default: ${default})." default:"http-01,tls-alpn-01,dns-01" placeholder:"LIST"`
	EtcdServers   []string `help:"Store objects in these etcd servers instead of the embedded store." placeholder:"URLS"`
	Ephemeral     bool     `help:"Keep objects and cloud in memory only."`
	NoAccessLog   bool     `help:"Write no access log."`
	LogLevel      string   `help:"Least level of the log: debug, info or error." default:"info" enum:"debug,info,error"`
}

// Help is the end of the command's --help.
func (serveCommand) Help() string {
	return `Example:
  appliance serve &
  export KUBECONFIG=$(appliance kubeconfig)
  kubectl apply -f coffee.yaml`
}

// Run serves until interrupted; a second interrupt ends at once.
func (c *serveCommand) Run(s *streams, g *grammar) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	config, err := c.config(g)
	if err != nil {
		return usageError{err}
	}
	config.Logger = newLogger(ctx, s.err, c.LogLevel)
	context.AfterFunc(ctx, stop) // from now on a signal does what it does by default
	a, err := appliance.New(ctx, config)
	if err != nil {
		return err
	}
	return a.Run(ctx, func(r appliance.Ready) {
		fmt.Fprintf(s.out, "Kubernetes API   %s\n", r.API)
		fmt.Fprintf(s.out, "kubeconfig       %s\n", r.Kubeconfig)
		fmt.Fprintf(s.out, "load balancers   %s, %s\n", r.VIPRange, modeText(r.AddressMode))
		fmt.Fprintf(s.out, "name server      %s\n", r.Nameserver)
		fmt.Fprintln(s.out, "ready")
		startup.Settle()
	})
}

func modeText(m edge.Mode) string {
	if m == edge.ModeNative {
		return "on their own ports (address mode native)"
	}
	return "on high ports, 80 is 20080 (address mode ports; `appliance doctor` tells how to get native)"
}

// config copies flags into a Config, field by field.
func (c *serveCommand) config(g *grammar) (appliance.Config, error) {
	config := appliance.DefaultConfig()
	vips, err := netip.ParsePrefix(c.VIPRange)
	if err != nil {
		return config, fmt.Errorf("--vip-range %s: %w; give a range such as 127.77.0.0/16", c.VIPRange, err)
	}
	config.DataDir = g.DataDir
	config.Version = version
	config.Listen = c.Listen
	config.VIPRange = vips
	config.Region = c.Region
	config.NetworkPlugin = c.NetworkPlugin
	config.ALB = appliance.ALBOption(c.ALB)
	config.AddressMode = edge.Mode(c.AddressMode)
	config.Engine = c.Engine
	config.CloudDelays = cloudsim.Delays(c.CloudDelays)
	config.EtcdServers = c.EtcdServers
	for _, text := range c.ACMEDirectory {
		config.ACMEDirectories = append(config.ACMEDirectories, appliance.ParseACMEDirectory(text))
	}
	config.ACMERoots = c.ACMECA
	config.ACMEChallenges = c.ACMEChallenge
	config.Ephemeral = c.Ephemeral
	config.AccessLog = !c.NoAccessLog
	return config, config.Validate()
}
