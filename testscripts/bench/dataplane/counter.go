//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// counter has perf count the instructions of a process in user mode.
type counter struct {
	cmd  *exec.Cmd
	file string
}

// counting reports whether perf can count instructions: many virtual machines have no such counter.
var counting = sync.OnceValue(func() bool {
	out, err := exec.Command("perf", "stat", "-x,", "-e", "instructions:u", "true").CombinedOutput()
	return err == nil && !strings.Contains(string(out), "not supported") && !strings.Contains(string(out), "not counted")
})

// startCounter counts from now on, where that is possible.
func startCounter(p *process) *counter {
	c := &counter{}
	if !counting() {
		return c
	}
	var pids []string
	for _, pid := range family(p.cmd.Process.Pid) {
		pids = append(pids, strconv.Itoa(pid))
	}
	c.file = filepath.Join(filepath.Dir(p.log), "perf")
	c.cmd = exec.Command("perf", "stat", "-x,", "-e", "instructions:u", "-o", c.file, "-p", strings.Join(pids, ","))
	if c.cmd.Start() != nil {
		c.cmd = nil
	}
	return c
}

// stop gives the count; 0 if there is none.
func (c *counter) stop() float64 {
	if c.cmd == nil {
		return 0
	}
	_ = c.cmd.Process.Signal(syscall.SIGINT)
	_ = c.cmd.Wait()
	raw, _ := os.ReadFile(c.file)
	for line := range strings.Lines(string(raw)) {
		if count, _, ok := strings.Cut(line, ","); ok {
			if n, err := strconv.ParseFloat(count, 64); err == nil {
				return n
			}
		}
	}
	return 0
}
