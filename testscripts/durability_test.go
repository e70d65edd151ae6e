package testscripts

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How much of the tests that kill is done, and from where: `make soak` sets both. A failure names the seed and the
// round. The seed fixes what is written and when is killed, counted in answers; how goroutines and processes take
// turns it cannot fix.
const (
	roundsVariable = "SOAK_ROUNDS"
	seedVariable   = "SOAK_SEED"
)

// soak tells how many rounds to go, and the seed.
func soak(t *testing.T, rounds int) (int, uint64) {
	t.Helper()
	seed := uint64(1)
	for _, v := range []struct {
		name string
		set  func(uint64)
	}{
		{roundsVariable, func(n uint64) { rounds = int(n) }}, {seedVariable, func(n uint64) { seed = n }},
	} {
		if text := os.Getenv(v.name); text != "" {
			n, err := strconv.ParseUint(text, 10, 63)
			if err != nil {
				t.Fatalf("%s=%s is not a number", v.name, text)
			}
			v.set(n)
		}
	}
	return rounds, seed
}

// server is an appliance in a process of its own, on a directory that outlives it.
type server struct {
	data, vips string
	cmd        *exec.Cmd
	said       *buffer
	ended      chan error
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{
		data: filepath.Join(t.TempDir(), "data"),
		vips: fmt.Sprintf("127.%d.%d.0/24", 100+os.Getpid()%150, ranges.Add(1)),
	}
	t.Cleanup(func() {
		if s.cmd != nil {
			s.kill()
		}
	})
	return s
}

// launch starts the process; ready is closed when it says so.
func (s *server) launch(t *testing.T, args ...string) (ready <-chan struct{}) {
	t.Helper()
	s.cmd = exec.Command("appliance", append([]string{
		"serve", "--data-dir", s.data, "--listen", "127.0.0.1:0", "--vip-range", s.vips, "--address-mode", "ports", "--log-level", "error", "--no-access-log",
	}, args...)...)
	s.said, s.ended = &buffer{}, make(chan error, 1)
	s.cmd.Stderr = s.said
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, cmd, ended := make(chan struct{}), s.cmd, s.ended
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "ready" {
				close(said)
			}
		}
		ended <- cmd.Wait()
	}()
	return said
}

// start launches the process and waits until it serves.
func (s *server) start(t *testing.T, args ...string) *rest.Config {
	t.Helper()
	limit := time.NewTimer(readyLimit)
	defer limit.Stop()
	select {
	case <-s.launch(t, args...):
	case err := <-s.ended:
		s.cmd = nil
		t.Fatalf("the appliance does not start: %v\n%s", err, s.said)
	case <-limit.C:
		t.Fatalf("the appliance is not ready after %s\n%s", readyLimit, s.said)
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(s.data, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1 // writers write as fast as they can
	return config
}

// kill ends the process as a crash would.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
	s.cmd = nil
}

// stop ends the process as Ctrl-C does.
func (s *server) stop() error {
	defer func() { s.cmd = nil }()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return <-s.ended
}

// command runs another command on the same directory.
func (s *server) command(args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command("appliance", append([]string{"--data-dir", s.data}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), errors.New(errs.String())
	}
	return out.String(), nil
}

// query runs a command that prints JSON.
func (s *server) query(t *testing.T, into any, args ...string) {
	t.Helper()
	out, err := s.command(args...)
	if err == nil {
		err = json.Unmarshal([]byte(out), into)
	}
	if err != nil {
		t.Fatalf("appliance %s: %v\n%s", strings.Join(args, " "), err, s.said)
	}
}

// TestKilledServerLosesNothing kills the server at random moments of a write load, and while it starts. Every write
// that was acknowledged, or that a watch has shown, is there afterwards; one that was under way may be; nothing else
// is; no resource version comes twice or goes back; and each AlbConfig has exactly one load balancer.
func TestKilledServerLosesNothing(t *testing.T) {
	t.Parallel()
	rounds, seed := soak(t, 3)
	t.Logf("%s=%d", seedVariable, seed)
	s := newServer(t)
	l := newLedger()
	began, acknowledged := time.Now(), 0
	for round := range rounds {
		random := rand.New(rand.NewPCG(seed, uint64(round)))
		what := fmt.Sprintf("%s=%d, round %d", seedVariable, seed, round)
		if random.IntN(4) == 0 {
			dieStarting(t, s, random)
		}
		config := s.start(t)
		l.learnZones(t, s)
		l.verify(t, config, what)
		l.verifyCloud(t, s, what)
		acknowledged += dieWriting(t, s, l, config, random)
		if rounds > 10 && round%10 == 9 {
			t.Logf("round %d of %d: %d writes acknowledged, none lost, at resource version %d, %s", round+1, rounds, acknowledged, l.newest, time.Since(began).Round(time.Second))
		}
		if t.Failed() {
			t.Fatalf("%s", what)
		}
	}
	last := fmt.Sprintf("%s=%d, after the last round", seedVariable, seed)
	l.verify(t, s.start(t), last)
	l.verifyCloud(t, s, last)
	if acknowledged == 0 {
		t.Fatal("nothing was written: the test proves nothing")
	}
}

// dieStarting starts the process and kills it before, while or soon after it gets ready.
func dieStarting(t *testing.T, s *server, random *rand.Rand) {
	t.Helper()
	ready := s.launch(t)
	timer := time.NewTimer(time.Duration(random.IntN(400)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ready:
	case <-timer.C:
	case err := <-s.ended:
		t.Fatalf("the appliance does not start: %v\n%s", err, s.said)
	}
	s.kill()
}

// dieWriting lets writers write until a random number of writes is acknowledged, and a random moment longer.
func dieWriting(t *testing.T, s *server, l *ledger, config *rest.Config, random *rand.Rand) int {
	t.Helper()
	const writers = 8
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var working sync.WaitGroup
	answers := make(chan struct{}, writers)
	follow := l.follow(ctx, t, config)
	for n := range writers {
		w := newWriter(t, l, config, n, rand.New(rand.NewPCG(random.Uint64(), uint64(n))))
		working.Go(func() { w.write(ctx, answers) })
	}
	limit, longer := 1+random.IntN(300), time.Duration(random.IntN(3000))*time.Microsecond
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for n := 0; n < limit; n++ {
		select {
		case <-answers:
		case <-patience.C:
			t.Fatalf("no more than %d writes in a minute\n%s", n, s.said)
		}
	}
	more := time.NewTimer(longer)
	for waiting := true; waiting; {
		select {
		case <-answers:
			limit++
		case <-more.C:
			waiting = false
		}
	}
	s.kill()
	cancel()
	go func() {
		working.Wait()
		close(answers)
	}()
	for range answers {
		limit++
	}
	follow.Wait()
	return limit
}
