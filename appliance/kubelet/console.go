package kubelet

import (
	"context"
	"io"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/alb-appliance/appliance/appliance/kubelet/shell"
)

// console is the input and output of a container that runs a command: what it prints goes into the log and to everybody
// who is attached, what they type is its input. It is safe for concurrent use.
type console struct {
	log  *logBuffer
	once bool // the input ends with the first who was attached

	in    *io.PipeReader // nil without input
	typed *io.PipeWriter
	sizes chan shell.Size

	mu      sync.Mutex
	screens map[*screen]struct{}
}

// screen is somebody who is attached.
type screen struct{ out, err io.Writer }

func newConsole(spec *corev1.Container, log *logBuffer) *console {
	c := &console{log: log, once: spec.StdinOnce, screens: map[*screen]struct{}{}, sizes: make(chan shell.Size)}
	if spec.Stdin {
		c.in, c.typed = io.Pipe()
	}
	return c
}

// streams are the container's side.
func (c *console) streams(tty bool) shell.Streams {
	s := shell.Streams{
		Out: consoleWriter{c, func(s *screen) io.Writer { return s.out }}, Err: consoleWriter{c, func(s *screen) io.Writer { return s.err }},
		TTY: tty, Sizes: c.sizes,
	}
	if c.in != nil {
		s.In = c.in
	} else {
		s.TTY = false // nobody can type
	}
	return s
}

// consoleWriter is one of the two outputs.
type consoleWriter struct {
	console *console
	of      func(*screen) io.Writer
}

// Write implements io.Writer. It never fails: who cannot be written to is no longer attached.
func (w consoleWriter) Write(p []byte) (int, error) {
	c := w.console
	c.log.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.screens {
		if to := w.of(s); to != nil {
			if _, err := to.Write(p); err != nil {
				delete(c.screens, s)
			}
		}
	}
	return len(p), nil
}

// attach connects somebody until the container or ctx ends.
func (c *console) attach(ctx context.Context, ended <-chan struct{}, s shell.Streams) {
	here := &screen{s.Out, s.Err}
	if s.TTY {
		here.err = s.Out
	}
	c.mu.Lock()
	c.screens[here] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.screens, here)
		c.mu.Unlock()
	}()
	if s.In != nil && c.typed != nil {
		go func() { // it ends with the stream, or with the container
			io.Copy(c.typed, s.In)
			if c.once {
				c.typed.Close()
			}
		}()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case size, ok := <-s.Sizes:
			if !ok {
				s.Sizes = nil
				continue
			}
			select {
			case c.sizes <- size:
			case <-ended:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// close ends the input.
func (c *console) close() {
	if c.in != nil {
		c.in.Close()
	}
}
