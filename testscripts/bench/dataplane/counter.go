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

// stop gives how many instructions ran in each nanosecond of CPU time; 0 if they were not counted. perf begins a little later
// than the measurement, so that the count alone would be too small.
func (c *counter) stop() float64 {
	if c.cmd == nil {
		return 0
	}
	_ = c.cmd.Process.Signal(syscall.SIGINT)
	_ = c.cmd.Wait()
	raw, _ := os.ReadFile(c.file)
	return instructionRate(string(raw))
}

// instructionRate reads what `perf stat -x,` writes: count, unit, event, and for how many nanoseconds of CPU time it counted.
func instructionRate(text string) float64 {
	for line := range strings.Lines(text) {
		f := strings.Split(line, ",")
		if len(f) < 4 || !strings.HasPrefix(f[2], "instructions") {
			continue
		}
		count, err := strconv.ParseFloat(f[0], 64)
		took, timeErr := strconv.ParseFloat(f[3], 64)
		if err == nil && timeErr == nil && took > 0 {
			return count / took
		}
	}
	return 0
}
