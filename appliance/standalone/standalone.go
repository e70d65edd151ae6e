// Package standalone runs the data plane alone: an engine on a snapshot in text form, without Kubernetes and without the
// simulated cloud.
package standalone

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/alb-appliance/appliance/appliance/accesslog"
	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/engines"
)

// Config is everything there is to choose.
type Config struct {
	// Snapshot is the file that holds the snapshot, in the form that dataplane.Parse reads.
	Snapshot string
	// Certificates are the files of the snapshot's certificates, by id.
	Certificates map[string]CertificateFiles
	// Engine is the name of the engine; see engines.Names; empty for the default.
	Engine string
	// AccessLog is the file of the access log; empty writes none.
	AccessLog string
	// Metrics is where the metrics and the snapshot in force are shown, over HTTP; empty shows them nowhere.
	Metrics string
	// Logger gets what an operator should know.
	Logger *slog.Logger
}

// Ready is what there is to say once the snapshot serves.
type Ready struct {
	Snapshot *dataplane.Snapshot
	// Listeners are where the snapshot's listeners can be reached, in its order.
	Listeners []dataplane.ListenerStatus
	// Metrics is where metrics are shown, "127.0.0.1:9090"; empty for nowhere.
	Metrics string
}

// shutdownGrace is how long requests may go on after an interrupt.
const shutdownGrace = 10 * time.Second

// rest is how long files have to be left alone before they are read, so that one that is being written is not.
const rest = 300 * time.Millisecond

// Run serves the snapshot until ctx ends; ready is called once, when it serves. A changed file or SIGHUP has it read
// again: what cannot be read is logged, and what served before serves on.
func Run(ctx context.Context, c Config, ready func(Ready)) (err error) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // from now on: whoever asks for a reload early must not end the process
	defer signal.Stop(hup)
	files := &files{snapshot: c.Snapshot, certificates: c.Certificates}
	snap, err := files.read()
	if err != nil {
		return err
	}
	watcher, err := files.watch()
	if err != nil {
		return err
	}
	defer watcher.Close()
	registry := prometheus.NewRegistry()
	o := engine.Options{Clock: clockwork.NewRealClock(), Logger: c.Logger, Metrics: dataplane.NewMetrics(registry)}
	if c.AccessLog != "" {
		log := accesslog.New(c.AccessLog, o.Clock, c.Logger)
		defer func() { err = errors.Join(err, log.Close()) }()
		o.AccessLog = log.Write
	}
	carrier, err := engines.New(c.Engine, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(carrier)) }()
	if err := carrier.Apply(ctx, snap); err != nil {
		return err
	}
	var show net.Listener
	if c.Metrics != "" {
		if show, err = listenMetrics(c.Metrics); err != nil {
			return err
		}
		defer serveMetrics(show, registry, carrier)()
	}
	ready(Ready{Snapshot: snap, Listeners: carrier.Listeners(), Metrics: addressOf(show)})
	reload(ctx, files, watcher, carrier, hup, c.Logger)
	return nil
}

// reload applies what the files hold whenever they change, or somebody asks, until ctx ends.
func reload(ctx context.Context, files *files, watcher *fsnotify.Watcher, carrier engines.Engine, hup <-chan os.Signal, logger *slog.Logger) {
	rested := time.NewTimer(rest)
	rested.Stop()
	defer rested.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		case err := <-watcher.Errors:
			logger.Error("changes of the snapshot may go unseen; send SIGHUP after one", "err", err)
			continue
		case <-watcher.Events:
			rested.Reset(rest)
			continue
		case <-rested.C:
			if !files.changed() {
				continue
			}
		}
		snap, err := files.read()
		if err == nil {
			err = carrier.Apply(ctx, snap)
		}
		if err != nil {
			logger.Error("the snapshot is not served as written; what served before goes on", "err", err)
			continue
		}
		logger.Info("snapshot applied", "file", files.snapshot)
	}
}

// shutdown lets requests end, for a while.
func shutdown(carrier engines.Engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if err := carrier.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil // what was still going on has been cut, as said
}
