package testscripts

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/alb-appliance/appliance/dataplane/engines"
)

// readyLimit bounds how long `serve` may take on a busy machine.
const readyLimit = 60 * time.Second

type processKey struct{}

// process is the appliance that a scenario runs.
type process struct {
	mode, vips, data string
	cmd              *exec.Cmd
	done             chan error
	log              *buffer
	later            string       // how far the next request moves the clock
	held             net.Listener // of hold
	sent             func()       // called once the next request is on its way
}

func processOf(ts *testscript.TestScript) *process { return ts.Value(processKey{}).(*process) }

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve starts the appliance and returns when it says ready; `! serve` wants it to fail and keeps what it says.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	p := processOf(ts)
	start(ts, neg, append([]string{"serve", "--data-dir", p.data, "--listen", "127.0.0.1:0", "--vip-range", p.vips, "--address-mode", p.mode, "--engine", engineName()}, args...))
}

// engineName is the data plane's engine of this run.
func engineName() string { return cmp.Or(os.Getenv(engineVariable), engines.Default()) }

// engine starts the data plane alone, as serve starts all, and puts its first socket into $SOCKET and the address of its
// metrics into $METRICS.
func engine(ts *testscript.TestScript, neg bool, args []string) {
	start(ts, neg, append([]string{"dataplane", "--engine", engineName()}, args...))
	if neg {
		return
	}
	lines := strings.Split(processOf(ts).log.String(), "\n")
	for _, line := range slices.Backward(lines) {
		if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[2], "127.") {
			ts.Setenv(map[bool]string{true: "METRICS", false: "SOCKET"}[f[0] == "metrics"], f[2])
		}
	}
}

// hup asks for the snapshot to be read again, and waits until that is done.
func hup(ts *testscript.TestScript, neg bool, _ []string) {
	p := processOf(ts)
	if neg || p.cmd == nil {
		ts.Fatalf("hup: nothing runs")
	}
	before := len(p.log.String())
	ts.Check(p.cmd.Process.Signal(syscall.SIGHUP))
	for end := time.Now().Add(awaitLimit); ; time.Sleep(10 * time.Millisecond) {
		if said := p.log.String()[before:]; strings.Contains(said, "snapshot") {
			_, _ = io.WriteString(ts.Stdout(), said)
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("hup: after %s it says nothing new\n%s", awaitLimit, p.log)
		}
	}
}

// start starts a command of the appliance that stays and returns when it says ready; with neg it wants it to fail and keeps
// what it says.
func start(ts *testscript.TestScript, neg bool, all []string) {
	p := processOf(ts)
	if p.cmd != nil {
		ts.Fatalf("%s: an appliance runs already", all[0])
	}
	cmd := exec.Command("appliance", all...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH"), "XDG_DATA_HOME=" + ts.Getenv("XDG_DATA_HOME")}
	cmd.Path = lookPath(ts, "appliance")
	p.log = &buffer{}
	cmd.Stderr = p.log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		said := false
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			_, _ = io.WriteString(p.log, lines.Text()+"\n")
			if lines.Text() == "ready" && !said {
				said = true
				close(ready)
			}
		}
		done <- cmd.Wait()
	}()
	timer := time.NewTimer(readyLimit)
	defer timer.Stop()
	select {
	case <-ready:
		p.cmd, p.done = cmd, done
		if neg {
			ts.Fatalf("%s: it started, but should have failed", all[0])
		}
	case err := <-done:
		_, _ = io.WriteString(ts.Stdout(), p.log.String())
		if !neg {
			ts.Fatalf("%s: %v\n%s", all[0], err, p.log)
		}
		if err == nil {
			ts.Fatalf("%s: it ended without an error", all[0])
		}
	case <-timer.C:
		_ = cmd.Process.Kill()
		ts.Fatalf("%s: not ready after %s\n%s", all[0], readyLimit, p.log)
	}
}

func lookPath(ts *testscript.TestScript, name string) string {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		if info, err := os.Stat(dir + "/" + name); err == nil && !info.IsDir() {
			return dir + "/" + name
		}
	}
	ts.Fatalf("there is no %s in PATH", name)
	return ""
}

// stop interrupts the appliance and wants it to end well and soon. With curl's arguments it does so while that request
// is in flight, and wants its answer.
func stop(ts *testscript.TestScript, neg bool, args []string) {
	p := processOf(ts)
	if neg || p.cmd == nil {
		ts.Fatalf("stop: no appliance runs")
	}
	if len(args) == 0 {
		ts.Check(p.cmd.Process.Signal(os.Interrupt))
	} else {
		process := p.cmd.Process
		// The request has left the client; give the pod, which takes longer than this, time to get it.
		p.sent = func() { time.AfterFunc(300*time.Millisecond, func() { _ = process.Signal(os.Interrupt) }) }
		curl(ts, false, args)
	}
	select {
	case err := <-p.done:
		if err != nil {
			ts.Fatalf("stop: %v\n%s", err, p.log)
		}
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.done
		ts.Fatalf("stop: it still ran after 30 s\n%s", p.log)
	}
	p.cmd = nil
}

// kill9 ends the appliance as a crash would.
func kill9(ts *testscript.TestScript, neg bool, _ []string) {
	p := processOf(ts)
	if neg || p.cmd == nil {
		ts.Fatalf("kill9: no appliance runs")
	}
	ts.Check(p.cmd.Process.Kill())
	<-p.done
	p.cmd = nil
}

// end is the last thing of a scenario. An appliance that has ended by itself has its log shown.
func (p *process) end(t testscript.T) {
	if p.cmd == nil {
		return
	}
	select {
	case err := <-p.done:
		t.Log("the appliance ended by itself:", err, "\n", p.log)
	default:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
