package accesslog

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/dataplane"
)

// TestAccessLog wants each record on a line of its own, on disk a second later by the clock, and the rest at the end.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "access.log")
	clock := &calledClock{FakeClock: clockwork.NewFakeClock(), called: make(chan struct{}, 1)}
	l := New(name, clock, slog.New(slog.DiscardHandler))
	lines := func() []string {
		raw, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	}
	l.Write(&dataplane.AccessRecord{Host: "one"})
	l.Write(&dataplane.AccessRecord{Host: "two"})
	if got := lines(); len(got) != 1 || got[0] != "" {
		t.Errorf("at once there is %q", got)
	}
	clock.Advance(flushDelay)
	<-clock.called
	got := lines()
	if len(got) != 2 {
		t.Fatalf("a second later there is %q", got)
	}
	for n, host := range []string{"one", "two"} {
		var record struct{ Host string }
		if err := json.Unmarshal([]byte(got[n]), &record); err != nil || record.Host != host {
			t.Errorf("line %d is %q: %v", n, got[n], err)
		}
	}
	l.Write(&dataplane.AccessRecord{Host: "three"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines(); len(got) != 3 {
		t.Errorf("at the end there is %q", got)
	}
}

// calledClock tells when a function that it was given has returned.
type calledClock struct {
	*clockwork.FakeClock
	called chan struct{}
}

func (c *calledClock) AfterFunc(d time.Duration, f func()) clockwork.Timer {
	return c.FakeClock.AfterFunc(d, func() {
		f()
		c.called <- struct{}{}
	})
}

// TestAccessLogWithoutRoom says that lines are lost, and goes on.
func TestAccessLogWithoutRoom(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	name := filepath.Join(t.TempDir(), "file", "access.log")
	if err := os.WriteFile(filepath.Dir(name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := New(name, clockwork.NewFakeClock(), slog.New(slog.NewTextHandler(&log, nil)))
	l.Write(&dataplane.AccessRecord{Host: "one"})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "access log lines are lost") {
		t.Errorf("log: %s", &log)
	}
}
