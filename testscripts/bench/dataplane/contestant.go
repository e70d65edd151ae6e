//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// ports are what a contestant listens on, all on 127.0.0.1.
type ports struct{ http, https, metrics int }

// kind knows how to run one sort of contestant.
type kind interface {
	// version asks the program; an error says why it cannot be measured.
	version(program string) (string, error)
	// configure writes configuration into a directory and gives the command line, without the program.
	configure(dir string, s *site, p ports) (args []string, err error)
	// logFile is where the access log is.
	logFile(dir string) string
	// metrics tells where the metrics are, and an expression whose first group is how many requests there were; the
	// counts of several matches add up.
	metrics() (path, requests string)
}

// ownLog is a kind whose access log cannot have the fields that the others have.
type ownLog interface {
	checkLog(line map[string]any, mark string) error
}

// contestant is a program under measurement.
type contestant struct {
	Name    string
	Version string

	kind    kind
	program string
	dir     string
	ports   ports
	process *process
	args    []string
}

// find makes the contestants that are there and says why the others are not.
func find(o *options) (found []*contestant, skipped []string, err error) {
	for name := range strings.SplitSeq(o.contestants, ",") {
		var k kind
		program := ""
		switch name {
		case "nginx":
			k, program = &nginx{}, o.nginx
		case "haproxy":
			k, program = &haproxy{}, o.haproxy
		case "caddy":
			k, program = &caddy{}, o.caddy
		default:
			k, program = &appliance{engine: name}, o.appliance
		}
		path, err := exec.LookPath(program)
		if err != nil {
			if _, own := k.(*appliance); own {
				return nil, nil, fmt.Errorf("%s: %w; build it with `make build`", program, err)
			}
			skipped = append(skipped, fmt.Sprintf("%s: not measured, for there is no %s on PATH (a path can be given by -%s)", name, program, name))
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil, nil, err
		}
		c := &contestant{Name: name, kind: k, program: path}
		if c.Version, err = k.version(path); err != nil {
			skipped = append(skipped, fmt.Sprintf("%s: not measured: %v", name, err))
			continue
		}
		found = append(found, c)
	}
	return found, skipped, nil
}

// prepare writes the configuration.
func (c *contestant) prepare(s *site, p ports) (err error) {
	c.dir, c.ports = filepath.Join(s.dir, c.Name), p
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	c.args, err = c.kind.configure(c.dir, s, p)
	return err
}

// start runs the contestant and waits until it listens.
func (c *contestant) start() (err error) {
	if c.process, err = startProcess(c.Name, c.dir, c.program, c.args...); err != nil {
		return err
	}
	for _, port := range []int{c.ports.http, c.ports.https, c.ports.metrics} {
		if err := c.process.awaitPort(port); err != nil {
			return err
		}
	}
	return nil
}

// stop ends it.
func (c *contestant) stop() {
	if c.process != nil {
		c.process.stop()
		c.process = nil
	}
}

// workers is how many threads or processes each contestant has.
func workers() int { return runtime.NumCPU() }

// output runs a program for what it prints, on stdout or stderr.
func output(program string, args ...string) (string, error) {
	raw, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, raw)
	}
	return string(raw), nil
}
