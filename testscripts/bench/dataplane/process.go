//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that was started, with those that it started itself.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // once done
}

// startProcess runs a program whose output goes to a file of its directory. It has no more threads than there are
// workers, if it is in Go, and ends with this program.
func startProcess(name, dir, program string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, "output"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "GOMAXPROCS="+strconv.Itoa(workers()))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// startLimit is how long a program may take until it listens.
const startLimit = 20 * time.Second

// awaitPort waits until somebody listens on a port of 127.0.0.1.
func (p *process) awaitPort(port int) error {
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it listened: %v\n%s", p.name, p.err, p.said())
		default:
		}
		if c, err := net.DialTimeout("tcp", address(port), time.Second); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("%s does not listen on %s after %s\n%s", p.name, address(port), startLimit, p.said())
}

func (p *process) said() string {
	raw, _ := os.ReadFile(p.log)
	return string(raw)
}

// stop asks the program to end, and after a while makes it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the group that it leads
		<-p.done
	}
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// family lists a process and those below it.
func family(pid int) []int {
	all := []int{pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		raw, _ := os.ReadFile(t)
		for child := range strings.FieldsSeq(string(raw)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, family(n)...)
			}
		}
	}
	return all
}

// cpu is the CPU time that the process and those below it have used, in user mode and in the kernel.
func (p *process) cpu() (time.Duration, error) {
	const perSecond = 100 // the kernel's USER_HZ on every architecture Go runs on
	var ticks int64
	for _, pid := range family(p.cmd.Process.Pid) {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("%s: %w; it has ended\n%s", p.name, err, p.said())
		}
		fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / perSecond, nil
}

// memory is the proportional set size in bytes of the process and those below it: what several share counts once.
func (p *process) memory() (bytes int64, err error) {
	for _, pid := range family(p.cmd.Process.Pid) {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
		_, rest, _ := strings.Cut(string(raw), "\nPss:")
		kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, err := strconv.ParseInt(kib, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: smaps_rollup: %w", p.name, err)
		}
		bytes += n << 10
	}
	return bytes, nil
}
