//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/backend"
	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/load"
)

// The program runs itself for what has to be a process of its own.
const (
	asLoad    = "load"
	asBackend = "backend"
)

// options are the command line.
type options struct {
	rows        string
	contestants string
	rounds      int
	duration    time.Duration
	connections int
	latency     bool
	appliance   string
	nginx       string
	haproxy     string
	caddy       string
	write       string
	keep        bool
}

func parseOptions() *options {
	o := &options{}
	flag.StringVar(&o.rows, "rows", "", "rows to measure, by id and separated by commas (default: all): "+strings.Join(rowIDs(), ", "))
	flag.StringVar(&o.contestants, "contestants", "nginx,haproxy,caddy,std,loop", "who is measured; std and loop are engines of the appliance")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each contestant has its turn in each row")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long a turn is measured")
	flag.IntVar(&o.connections, "connections", 64, "client connections at a time")
	flag.BoolVar(&o.latency, "latency", true, "measure p50 and p99 at fixed rates, too")
	flag.StringVar(&o.appliance, "appliance", "bin/appliance", "the appliance")
	flag.StringVar(&o.nginx, "nginx", "nginx", "nginx, on PATH or by its path")
	flag.StringVar(&o.haproxy, "haproxy", "haproxy", "HAProxy, the same")
	flag.StringVar(&o.caddy, "caddy", "caddy", "Caddy, the same")
	flag.StringVar(&o.write, "write", "", "file whose data-plane section is replaced by the result")
	flag.BoolVar(&o.keep, "keep", false, "keep the directory with configurations and logs, and print its name")
	flag.Parse()
	return o
}

func main() {
	if err := dispatch(); err != nil {
		fmt.Fprintln(os.Stderr, "bench-dataplane:", err)
		os.Exit(1)
	}
}

func dispatch() error {
	if len(os.Args) > 2 && os.Args[1] == asLoad {
		return load.Main(os.Args[2], os.Stdin, os.Stdout)
	}
	if len(os.Args) > 1 && os.Args[1] == asBackend {
		return backend.Main(endpointsPerUpstream, os.Stdin, os.Stdout)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, parseOptions())
}

// run starts everything, measures row by row, and stops everything.
func run(ctx context.Context, o *options) error {
	rows, err := chooseRows(o.rows)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.start(); err != nil {
		return err
	}
	r := &report{Date: time.Now().UTC(), Machine: machine(), Contestants: b.contestants, Skipped: b.skipped, Notes: notes(), Rounds: o.rounds, Duration: o.duration}
	r.printHead(os.Stdout)
	for _, row := range rows {
		results, err := b.measure(ctx, row)
		if err != nil {
			return fmt.Errorf("row %s: %w", row.id, err)
		}
		for _, result := range results {
			r.Results = append(r.Results, result)
			result.print(os.Stdout)
		}
	}
	if o.write == "" {
		return nil
	}
	return r.writeSection(o.write)
}

// notes are what a reader should know about this run.
func notes() (all []string) {
	if !counting() {
		all = append(all, "instructions are not counted: perf has no counter for them on this machine")
	}
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return all
	}
	one, _, _ := strings.Cut(string(raw), " ")
	if busy, err := strconv.ParseFloat(one, 64); err == nil && busy > float64(runtime.NumCPU())/4 {
		all = append(all, fmt.Sprintf("the machine had other things to do: its load was %s on %d cores before the run; p50 and p99 say little then", one, runtime.NumCPU()))
	}
	return all
}

// machine describes where this ran.
func machine() string {
	kernel := "Linux"
	if raw, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel += " " + strings.TrimSpace(string(raw))
	}
	return fmt.Sprintf("%s, %s, %d cores, %s", kernel, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}
