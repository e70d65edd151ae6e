package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/smallstep/truststore"

	"github.com/alb-appliance/appliance/appliance"
	"github.com/alb-appliance/appliance/appliance/edge"
)

type doctorCommand struct {
	output
	VIPRange string `name:"vip-range" help:"Range that serve uses." default:"127.77.0.0/16" placeholder:"CIDR"`
	Listen   string `help:"Address that serve uses." default:"127.0.0.1:6443" placeholder:"ADDR"`
}

// Help is the end of the command's --help.
func (doctorCommand) Help() string {
	return `Example:
  appliance doctor`
}

// finding is one thing that was looked at.
type finding struct {
	Subject string `json:"subject"`
	OK      bool   `json:"ok"`
	What    string `json:"what"`
	// Mend says what to do; empty when all is well.
	Mend string `json:"mend,omitempty"`
}

// Run looks and prints; it changes nothing.
func (c *doctorCommand) Run(s *streams, g *grammar) error {
	pool, err := netip.ParsePrefix(c.VIPRange)
	if err != nil {
		return usageError{fmt.Errorf("--vip-range %s: %w; give a range such as 127.77.0.0/16", c.VIPRange, err)}
	}
	var names appliance.Names
	runs := g.ask("names", nil, &names)
	findings := []finding{
		dataDirectory(g, runs), apiPort(c.Listen, runs), addresses(pool), lowPorts(pool), resolution(&names, runs), trust(g),
	}
	return c.print(s, findings, func(w io.Writer) {
		for _, f := range findings {
			mark := "ok  "
			if !f.OK {
				mark = "note"
			}
			fmt.Fprintf(w, "%s  %-14s %s\n", mark, f.Subject, f.What)
			for line := range strings.Lines(f.Mend) {
				fmt.Fprintf(w, "                     %s\n", strings.TrimSuffix(line, "\n"))
			}
		}
	})
}

func dataDirectory(g *grammar, runs error) finding {
	f := finding{Subject: "data", OK: true, What: g.DataDir}
	switch info, err := os.Stat(g.DataDir); {
	case runs == nil:
		f.What += ", an appliance runs on it"
	case errors.Is(err, os.ErrNotExist):
		f.What += " will be made by the first `appliance serve`"
	case err != nil:
		f.OK, f.What, f.Mend = false, err.Error(), "choose another with --data-dir"
	case !info.IsDir():
		f.OK, f.What, f.Mend = false, g.DataDir+" is not a directory", "choose another with --data-dir"
	default:
		f.What += ", no appliance runs on it"
	}
	return f
}

func apiPort(listen string, runs error) finding {
	f := finding{Subject: "API port", OK: true, What: listen + " is free"}
	l, err := net.Listen("tcp", listen)
	switch {
	case err == nil:
		_ = l.Close()
	case runs == nil:
		f.What = listen + " is in use; an appliance runs"
	default:
		f.OK, f.What, f.Mend = false, err.Error(), "stop what listens there, or serve with --listen 127.0.0.1:0"
	}
	return f
}

// addresses tells whether the pool's addresses exist on this machine.
func addresses(pool netip.Prefix) finding {
	probe := pool.Masked().Addr().Next().String()
	f := finding{Subject: "addresses", OK: true, What: fmt.Sprintf("%s can be bound", pool)}
	l, err := net.Listen("tcp", net.JoinHostPort(probe, "0"))
	if err == nil {
		_ = l.Close()
		return f
	}
	f.OK, f.What = false, fmt.Sprintf("%s: %v; load balancers get ports of 127.0.0.1 instead", probe, err)
	if runtime.GOOS == "darwin" {
		f.Mend = "to have them, for each address in use: sudo ifconfig lo0 alias " + probe
	}
	return f
}

// lowPorts tells whether address mode native is to be had.
func lowPorts(pool netip.Prefix) finding {
	f := finding{Subject: "ports", OK: true, What: "80 and 443 can be bound: address mode native"}
	a, err := edge.NewAddresses(pool, edge.ModeAuto)
	if err == nil && a.Mode() == edge.ModeNative {
		return f
	}
	f.OK, f.What = false, "80 and 443 cannot be bound: address mode ports (80 is 20080, 443 is 20443)"
	switch runtime.GOOS {
	case "linux":
		binary, err := os.Executable()
		if err != nil {
			binary = "bin/appliance"
		}
		f.Mend = "to have address mode native, one of:\n" +
			"sudo setcap cap_net_bind_service=+ep " + binary + "\n" +
			"sudo sysctl net.ipv4.ip_unprivileged_port_start=53"
	case "darwin":
		f.Mend = "to have address mode native, run serve with sudo"
	}
	return f
}

// resolution tells whether this machine's resolver knows a load balancer's name.
func resolution(names *appliance.Names, runs error) finding {
	f := finding{Subject: "names"}
	if runs != nil {
		f.What = "not tried: no appliance runs"
		return f
	}
	if len(names.Hosts) == 0 {
		f.OK, f.What = true, "the name server answers on "+names.Nameserver+"; there is no name yet"
		return f
	}
	name := names.Hosts[0].Name
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, name)
	if err == nil && len(found) > 0 && strings.HasPrefix(found[0], "127.") {
		f.OK, f.What = true, "this machine resolves "+name
		return f
	}
	f.What = "this machine's resolver does not know " + name
	f.Mend = "curl --resolve, or `sudo appliance hosts --write`, or send these names to " + names.Nameserver
	return f
}

// trust tells whether programs of this machine trust what the internal CA signs.
func trust(g *grammar) finding {
	f := finding{Subject: "trust"}
	file := filepath.Join(g.DataDir, "ca.crt")
	ca, err := truststore.ReadCertificate(file)
	if errors.Is(err, os.ErrNotExist) {
		f.OK, f.What = true, "the internal CA will be made by the first `appliance serve`"
		return f
	}
	if err == nil {
		_, err = ca.Verify(x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	}
	if err == nil {
		f.OK, f.What = true, "this machine trusts the internal CA"
		return f
	}
	f.What = "this machine does not trust the internal CA " + file
	f.Mend = "curl --cacert " + file + ", or `appliance trust install`"
	return f
}
