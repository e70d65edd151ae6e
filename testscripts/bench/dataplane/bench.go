//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/backend"
	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/load"
)

// bench is one run: a backend, and contestants in front of it.
type bench struct {
	ctx         context.Context
	options     *options
	self        string // this program
	dir         string
	site        *site
	backend     *exec.Cmd
	input       io.Closer // of the backend, which ends with it
	contestants []*contestant
	skipped     []string
}

// newBench starts the backend and writes every contestant's configuration.
func newBench(ctx context.Context, o *options) (b *bench, err error) {
	b = &bench{ctx: ctx, options: o}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.self, err = os.Executable(); err != nil {
		return b, err
	}
	if b.contestants, b.skipped, err = find(o); err != nil {
		return b, err
	}
	if b.dir, err = os.MkdirTemp("", "bench-dataplane-"); err != nil {
		return b, err
	}
	backends, err := b.startBackend()
	if err != nil {
		return b, err
	}
	if b.site, err = newSite(b.dir, backends); err != nil {
		return b, err
	}
	for _, c := range b.contestants {
		p, err := freePorts()
		if err != nil {
			return b, err
		}
		if err := c.prepare(b.site, p); err != nil {
			return b, fmt.Errorf("configure %s: %w", c.Name, err)
		}
	}
	return b, nil
}

// startBackend runs the backend and gives its ports.
func (b *bench) startBackend() ([]int, error) {
	b.backend = exec.Command(b.self, asBackend)
	b.backend.Stderr = os.Stderr
	b.backend.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := b.backend.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := b.backend.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.backend.Start(); err != nil {
		return nil, fmt.Errorf("start the backend: %w", err)
	}
	b.input = in
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the backend ended before it listened: %w", err)
	}
	var ports []int
	for text := range strings.FieldsSeq(strings.TrimPrefix(line, backend.Ready)) {
		port, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("the backend says %q: %w", line, err)
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// freePorts asks the system for ports that nobody has.
func freePorts() (p ports, err error) {
	for _, port := range []*int{&p.http, &p.https, &p.metrics} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return p, err
		}
		defer l.Close() // after the last one, so that they differ
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}

// start starts the contestants and has each prove that it does what it is to be measured at.
func (b *bench) start() error {
	for _, c := range b.contestants {
		if err := c.start(); err != nil {
			return err
		}
		if err := probe(c); err != nil {
			return fmt.Errorf("%s does not do what is measured: %w", c.Name, err)
		}
	}
	return nil
}

// close stops all that was started.
func (b *bench) close() {
	for _, c := range b.contestants {
		c.stop()
	}
	if b.input != nil {
		_ = b.input.Close()
		_ = b.backend.Wait() // it has nothing more to tell
	}
	if b.options.keep {
		fmt.Fprintln(os.Stderr, "kept:", b.dir)
	} else if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// loading is a running job.
type loading struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

// startJob runs a job in a process of its own and returns when what follows is measured.
func (b *bench) startJob(job load.Job) (*loading, error) {
	raw, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	l := &loading{cmd: exec.CommandContext(b.ctx, b.self, asLoad, string(raw))}
	l.cmd.Stderr = os.Stderr
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the load: %w", err)
	}
	l.lines = bufio.NewReader(out)
	if line, err := l.lines.ReadString('\n'); err != nil || strings.TrimSpace(line) != load.Started {
		return nil, errors.Join(fmt.Errorf("the load ended before it was under way: %q", line), l.cmd.Wait())
	}
	return l, nil
}

// result waits for the end of the job.
func (l *loading) result() (*load.Result, error) {
	line, err := l.lines.ReadBytes('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the load ended without a result: %w", err), l.cmd.Wait())
	}
	r := &load.Result{}
	return r, json.Unmarshal(line, r)
}

// wait lets the process end.
func (l *loading) wait() error {
	_ = l.in.Close()
	return l.cmd.Wait()
}

// turn is what one contestant's turn gave.
type turn struct {
	cost       float64 // µs of CPU for each unit
	throughput float64 // units in a second
	p50, p99   time.Duration
	// instructions in user mode for each unit; 0 where they cannot be counted.
	instructions float64
}

// maxFailed is the share of requests that may fail before a turn is no measurement.
const maxFailed = 0.001

// turn runs a job against one contestant.
func (b *bench) turn(c *contestant, job load.Job, units float64) (*turn, error) {
	t, err := b.timed(c.process, c.aimed(job), units)
	if err != nil {
		return nil, err
	}
	return t, c.trimLog()
}

// aimed gives the job the contestant's address.
func (c *contestant) aimed(job load.Job) load.Job {
	job.Address = address(c.ports.http)
	if job.TLS {
		job.Address = address(c.ports.https)
	}
	return job
}

// timed runs a job against a process. The CPU time counted is that of the process alone, from the first measured request
// to the last.
func (b *bench) timed(p *process, job load.Job, units float64) (*turn, error) {
	l, err := b.startJob(job)
	if err != nil {
		return nil, err
	}
	counter := startCounter(p)
	before, err := p.cpu()
	if err != nil {
		return nil, err
	}
	r, err := l.result()
	if err != nil {
		return nil, err
	}
	after, err := p.cpu()
	if err != nil {
		return nil, err
	}
	rate := counter.stop()
	if err := l.wait(); err != nil {
		return nil, err
	}
	if err := check(r, job); err != nil {
		return nil, err
	}
	n, cpu := float64(r.Requests)*units, float64((after - before).Nanoseconds())
	return &turn{cost: cpu / 1000 / n, throughput: n / r.Elapsed.Seconds(), p50: r.P50, p99: r.P99, instructions: rate * cpu / n}, nil
}

// check refuses a measurement in which something else was measured.
func check(r *load.Result, job load.Job) error {
	switch {
	case r.Requests == 0:
		return fmt.Errorf("nothing was answered: %s", r.FirstFailure)
	case float64(r.Failed) > maxFailed*float64(r.Requests):
		return fmt.Errorf("%d of %d requests failed, the first one: %s", r.Failed, r.Failed+r.Requests, r.FirstFailure)
	case job.Resume && float64(r.Resumed) < 0.99*float64(r.Requests):
		return fmt.Errorf("only %d of %d sessions were resumed", r.Resumed, r.Requests)
	case !job.Resume && r.Resumed > 0:
		return fmt.Errorf("%d sessions were resumed, but none should have been", r.Resumed)
	}
	return nil
}

// maxLog is how long an access log may become.
const maxLog = 64 << 20

// trimLog empties a log that has become long; HAProxy's has its size for ever.
func (c *contestant) trimLog() error {
	name := c.kind.logFile(c.dir)
	info, err := os.Stat(name)
	if err != nil || info.Size() < maxLog {
		return nil
	}
	return os.Truncate(name, 0)
}
