package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alb-appliance/appliance/appliance/cli/startup"
	"github.com/alb-appliance/appliance/appliance/standalone"
)

type dataplaneCommand struct {
	Snapshot    string   `help:"File with the snapshot, in the form that a running appliance prints it in; read again when it changes and on SIGHUP." required:"" placeholder:"FILE" type:"path"`
	Certificate []string `help:"Chain and key of one of the snapshot's certificates, PEM; once for each." sep:"none" placeholder:"ID=CERT.pem,KEY.pem"`
	AccessLog   string   `help:"File of the access log, a line of JSON for each request." placeholder:"FILE" type:"path"`
	Metrics     string   `help:"Loopback address that shows /metrics for Prometheus, and /snapshot; port 0 picks one." placeholder:"ADDR"`
	Engine      string   `help:"Engine: ${engines} (default: ${default})." default:"${default_engine}" enum:"${engines}"`
	LogLevel    string   `help:"Least level of the log: debug, info or error." default:"info" enum:"debug,info,error"`
}

// Help is the end of the command's --help.
func (dataplaneCommand) Help() string {
	return `No Kubernetes, no cloud: endpoints are reached by the addresses that the snapshot has for them.

Example:
  cat >web.snapshot <<END
  listener web alb HTTP 80 lb=local
    socket 127.0.0.1:8080
    route coffee
      path prefix /coffee
      to app weight=100
    noroute 503
  upstream app http keepalive
    endpoint app-1 127.0.0.1:9000 weight=100
  END
  appliance dataplane --snapshot web.snapshot

The snapshot of a running appliance, which has the pods' addresses and no keys:
  kubectl get --raw /appliance/snapshot`
}

// Run serves until interrupted; a second interrupt ends at once.
func (c *dataplaneCommand) Run(s *streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	certificates, err := parseCertificates(c.Certificate)
	if err != nil {
		return usageError{err}
	}
	config := standalone.Config{
		Snapshot: c.Snapshot, Certificates: certificates, Engine: c.Engine, AccessLog: c.AccessLog, Metrics: c.Metrics,
		Logger: newLogger(ctx, s.err, c.LogLevel),
	}
	context.AfterFunc(ctx, stop) // from now on a signal does what it does by default
	return standalone.Run(ctx, config, func(r standalone.Ready) {
		printReady(s.out, r)
		startup.Settle()
	})
}

// printReady prints the sockets, and last that they serve.
func printReady(w io.Writer, r standalone.Ready) {
	asked := map[string]string{}
	for _, l := range r.Snapshot.Listeners {
		asked[l.ID] = fmt.Sprintf("%s:%d", l.Protocol, l.Port)
	}
	rows := [][]string{{"LISTENER", "ASKED", "SOCKET"}}
	for _, l := range r.Listeners {
		for _, socket := range l.Sockets {
			rows = append(rows, []string{l.ID, asked[l.ID], socket.Bound})
		}
	}
	if r.Metrics != "" {
		rows = append(rows, []string{"metrics", "-", r.Metrics})
	}
	table(w, rows...)
	fmt.Fprintln(w, "ready")
}

// parseCertificates reads ID=CERT.pem,KEY.pem.
func parseCertificates(texts []string) (map[string]standalone.CertificateFiles, error) {
	all := map[string]standalone.CertificateFiles{}
	for _, text := range texts {
		id, names, named := strings.Cut(text, "=")
		chain, key, both := strings.Cut(names, ",")
		if !named || !both || id == "" || chain == "" || key == "" {
			return nil, fmt.Errorf("--certificate %s: it names no certificate and two files; write ID=CERT.pem,KEY.pem", text)
		}
		if _, twice := all[id]; twice {
			return nil, errors.New("--certificate " + id + ": it is given twice; give each certificate once")
		}
		all[id] = standalone.CertificateFiles{Chain: chain, Key: key}
	}
	return all, nil
}
