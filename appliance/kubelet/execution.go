package kubelet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/alb-appliance/appliance/appliance/kubelet/images"
	"github.com/alb-appliance/appliance/appliance/kubelet/shell"
)

// execution is one run of a container's program, in a goroutine of its own.
type execution struct {
	id     string
	image  images.Image
	env    map[string]string
	stop   context.CancelFunc // SIGTERM
	killed chan struct{}      // SIGKILL
	once   sync.Once
	ended  context.Context // ends when the program does
	// console is the input and output of a command; nil for an image with a program of its own.
	console *console
	// scratch is the container's /tmp, which is gone with it.
	scratch shell.Scratch
}

// kill cuts the program. It may be called from any goroutine, more than once.
func (e *execution) kill() {
	e.once.Do(func() { close(e.killed) })
	e.stop()
}

// newID is a container's id, as a runtime names it.
func newID() string {
	id := make([]byte, 32)
	rand.Read(id) // never fails
	return "builtin://" + hex.EncodeToString(id)
}

// execute runs the image; start and end are posted to the pod.
func (c *container) execute(image images.Image, env map[string]string, args []string) {
	p := c.pod
	ctx, stop := context.WithCancel(context.Background())
	ended, end := context.WithCancel(context.Background())
	e := &execution{id: newID(), image: image, env: env, stop: stop, killed: make(chan struct{}), ended: ended}
	c.execution = e
	out := c.logs.begin(p.options.Clock)
	run := image.Run
	if len(image.Command) > 0 {
		e.console = newConsole(c.spec, out)
		run = c.target().command(args, e.console)
	}
	sockets := &sockets{listen: p.options.Network.Listen, ip: p.ip, open: map[net.Conn]struct{}{}}
	name := c.spec.Image // the pod's goroutine may exchange the spec
	p.executions.Go(func() {
		defer stop()
		defer end()
		err := run(ctx, &images.Container{
			Image: name, Env: env, Args: args, PodIP: p.ip, Hostname: env["HOSTNAME"], Stdout: out,
			Listen: sockets.Listen, Clock: p.options.Clock, Killed: e.killed,
			Started: sync.OnceFunc(func() { p.post(func() { c.onStarted(e) }) }),
		})
		sockets.close()
		if e.console != nil {
			e.console.close()
		}
		code, startErr := exitOf(err, e, out)
		out.end()
		p.post(func() { c.onExit(e, code, startErr) })
	})
}

// exitOf gives the exit code of what Run returned.
func exitOf(err error, e *execution, out *logBuffer) (int32, error) {
	var exit *images.ExitError
	var start *images.StartError
	switch {
	case errors.As(err, &start):
		return 128, start
	case errors.As(err, &exit):
		return exit.Code, nil
	case err != nil:
		out.line(err.Error())
		return 1, nil
	}
	select {
	case <-e.killed:
		return 137, nil
	default:
		return 0, nil
	}
}

// sockets are a container's listeners and connections: none is left when it ends. It is safe for concurrent use.
type sockets struct {
	listen func(netip.AddrPort) (net.Listener, error)
	ip     netip.Addr

	mu        sync.Mutex
	listeners []net.Listener
	open      map[net.Conn]struct{}
	closed    bool
}

// Listen opens a port of the pod.
func (s *sockets) Listen(port uint16) (net.Listener, error) {
	l, err := s.listen(netip.AddrPortFrom(s.ip, port))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, l)
	return &listener{Listener: l, sockets: s}, nil
}

func (s *sockets) close() {
	s.mu.Lock()
	s.closed = true
	listeners, open := s.listeners, s.open
	s.open = map[net.Conn]struct{}{}
	s.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for c := range open {
		c.Close()
	}
}

// listener remembers what it accepts.
type listener struct {
	net.Listener
	sockets *sockets
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, sockets: l.sockets}
	l.sockets.mu.Lock()
	defer l.sockets.mu.Unlock()
	if l.sockets.closed {
		inner.Close()
		return nil, net.ErrClosed
	}
	l.sockets.open[c] = struct{}{}
	return c, nil
}

// conn forgets itself when it is closed.
type conn struct {
	net.Conn
	sockets *sockets
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.sockets.mu.Lock()
	delete(c.sockets.open, c)
	c.sockets.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends what this side sends.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
