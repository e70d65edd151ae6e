package shell

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
)

// screen is what a terminal shows; it tells when something was waited for.
type screen struct {
	mu      sync.Mutex
	shown   bytes.Buffer
	changed chan struct{}
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.shown.Write(b)
}

// await waits until the terminal shows a text.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	for {
		s.mu.Lock()
		found, changed := strings.Contains(s.shown.String(), text), s.changed
		s.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatalf("%q is not shown, but %q", text, s.shown.String())
		}
	}
}

func TestConverse(t *testing.T) {
	t.Parallel()
	c := world(t)
	typed, keys := io.Pipe()
	s := &screen{changed: make(chan struct{})}
	sizes := make(chan Size, 1)
	sizes <- Size{Width: 200, Height: 50}
	codes := make(chan int)
	go func() {
		code, _ := c.Run(t.Context(), []string{"sh"}, Streams{In: typed, Out: s, TTY: true, Sizes: sizes})
		codes <- code
	}()
	defer keys.Close()
	for _, step := range []struct{ typed, shown string }{
		{"echo one$TERM\r", "onexterm\r\n"},
		{"for i in 1 2\r", "> "},
		{"do echo number $i; done\r", "number 2\r\n"},
		{"cd /etc\r", "web-0:/etc# "},
		{"( \x03echo cut line\r", "cut line\r\n"},
		{"sleep 100; echo never\r", "sleep 100; echo never\r\n"},
	} {
		io.WriteString(keys, step.typed)
		s.await(t, step.shown)
	}
	if err := c.Clock.(*clockwork.FakeClock).BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	io.WriteString(keys, "\x03")
	io.WriteString(keys, "echo $((40+2))\r")
	s.await(t, "\n42\r\n")
	io.WriteString(keys, "exit 5\r")
	if code := <-codes; code != 5 || strings.Contains(s.shown.String(), "\nnever") {
		t.Errorf("code %d, shown %q", code, s.shown.String())
	}
}

func TestConverseEndsWithItsInput(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	code, err := world(t).Run(t.Context(), []string{"bash"}, Streams{In: strings.NewReader("false\r"), Out: &out, TTY: true})
	if code != 1 || err != nil {
		t.Errorf("%d, %v, %q", code, err, out.String())
	}
}
