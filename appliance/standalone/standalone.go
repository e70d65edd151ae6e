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

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/alb-appliance/appliance/appliance/accesslog"
	"github.com/alb-appliance/appliance/dataplane"
)

// Config is everything there is to choose.
type Config struct {
	// Snapshot is the file that holds the snapshot, in the form that dataplane.Parse reads.
	Snapshot string
	// Certificates are the files of the snapshot's certificates, by id.
	Certificates map[string]CertificateFiles
	// Engine is the name of the engine; see Engines.
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

// lookEvery is how often the files are looked at. A change counts once two looks in a row have seen the same, so that a
// file that is being written is not read.
const lookEvery = 500 * time.Millisecond

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
	registry := prometheus.NewRegistry()
	o := EngineOptions{Clock: clockwork.NewRealClock(), Logger: c.Logger, Metrics: dataplane.NewMetrics(registry)}
	if c.AccessLog != "" {
		log := accesslog.New(c.AccessLog, o.Clock, c.Logger)
		defer func() { err = errors.Join(err, log.Close()) }()
		o.AccessLog = log.Write
	}
	engine, err := NewEngine(c.Engine, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(engine)) }()
	if err := engine.Apply(ctx, snap); err != nil {
		return err
	}
	var show net.Listener
	if c.Metrics != "" {
		if show, err = listenMetrics(c.Metrics); err != nil {
			return err
		}
		defer serveMetrics(show, registry, engine)()
	}
	ready(Ready{Snapshot: snap, Listeners: engine.Listeners(), Metrics: addressOf(show)})
	reload(ctx, files, engine, hup, c.Logger)
	return nil
}

// reload applies what the files hold whenever they change, or somebody asks, until ctx ends.
func reload(ctx context.Context, files *files, engine Engine, hup <-chan os.Signal, logger *slog.Logger) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		case <-look.C:
			if !files.changed() {
				continue
			}
		}
		snap, err := files.read()
		if err == nil {
			err = engine.Apply(ctx, snap)
		}
		if err != nil {
			logger.Error("the snapshot is not served as written; what served before goes on", "err", err)
			continue
		}
		logger.Info("snapshot applied", "file", files.snapshot)
	}
}

// shutdown lets requests end, for a while.
func shutdown(engine Engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if err := engine.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil // what was still going on has been cut, as said
}
