package kubelet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/alb-appliance/appliance/appliance/kubelet/shell"
)

// Limits of streams, the kubelet's own.
const (
	streamIdle     = 4 * time.Hour
	streamCreation = 30 * time.Second
)

// serveExec runs a command: the streams are upstream's, over SPDY or WebSocket.
func (k *Kubelet) serveExec(w http.ResponseWriter, r *http.Request) {
	k.serveStreams(w, r, func(w http.ResponseWriter, r *http.Request, t *target, o *remotecommand.Options) {
		remotecommand.ServeExec(w, r, executor{t}, t.name.Name, "", t.spec.Name, r.URL.Query()["command"], o, streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
	})
}

// serveAttach passes on what a container prints from now on, and what is typed to a command.
func (k *Kubelet) serveAttach(w http.ResponseWriter, r *http.Request) {
	k.serveStreams(w, r, func(w http.ResponseWriter, r *http.Request, t *target, o *remotecommand.Options) {
		remotecommand.ServeAttach(w, r, executor{t}, t.name.Name, "", t.spec.Name, o, streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
	})
}

// serveStreams finds the container whose streams are asked for, and serves them as long as the connection lasts.
func (k *Kubelet) serveStreams(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, *http.Request, *target, *remotecommand.Options)) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t, status, err := k.find(r.Context(), r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	watched, r, done := watchConnection(w, r)
	defer done()
	serve(watched, r, t, options)
}

// servePortForward connects streams to ports of a pod.
func (k *Kubelet) servePortForward(w http.ResponseWriter, r *http.Request) {
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t, status, err := k.find(r.Context(), r.PathValue("namespace"), r.PathValue("pod"), "")
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	watched, r, done := watchConnection(w, r)
	defer done()
	portforward.ServePortForward(watched, r, forwarder{t, r.Context()}, t.name.Name, "", options,
		streamIdle, streamCreation, portforward.SupportedProtocols)
}

// executor is a container for upstream's streams.
type executor struct{ *target }

// ExecInContainer implements remotecommand.Executor.
func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, err io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	defer closeAll(out, err)
	code, failed := e.execute(ctx, command, streamsOf(ctx, in, out, err, tty, resize))
	switch {
	case failed != nil:
		return failed
	case code != 0:
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

// streamsOf leaves out what was not asked for: a nil stream inside an interface would not be nil.
func streamsOf(ctx context.Context, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) shell.Streams {
	s := shell.Streams{In: in, TTY: tty}
	if out != nil {
		s.Out = out
	}
	if err != nil {
		s.Err = err
	}
	if !tty || resize == nil {
		return s
	}
	sizes := make(chan shell.Size)
	s.Sizes = sizes
	go func() {
		for {
			select {
			case size, ok := <-resize:
				if !ok {
					return
				}
				select {
				case sizes <- shell.Size{Width: int(size.Width), Height: int(size.Height)}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

func closeAll(all ...io.WriteCloser) {
	for _, c := range all {
		if c != nil {
			c.Close()
		}
	}
}

// AttachContainer implements remotecommand.Attacher.
func (e executor) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	defer closeAll(out, err)
	if e.run.console != nil {
		e.run.console.attach(ctx, e.run.ended.Done(), streamsOf(ctx, in, out, err, tty, resize))
		return nil
	}
	if out == nil {
		return errors.New("attach without output: the programs of built-in images read no input")
	}
	e.log.copy(ctx, out, func() error { return nil }, logOptions{follow: true, limit: -1, tail: 0})
	return nil
}

// forwarder is a pod for upstream's port-forward. Upstream gives it no context that ends, so it has its own.
type forwarder struct {
	*target
	ctx context.Context
}

// namespace is what the pod's network namespace would be called.
func (f forwarder) namespace() string { return "/var/run/netns/cni-" + string(f.pod.uid) }

// PortForward implements portforward.PortForwarder.
func (f forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	defer context.AfterFunc(f.run.ended, cancel)()
	conn, err := f.reach.Dial(ctx, netip.AddrPortFrom(f.reach.ip, uint16(port)))
	if err != nil {
		return fmt.Errorf("failed to execute portforward in network namespace %q: failed to connect to localhost:%d inside namespace %q: dial tcp4 127.0.0.1:%d: connect: connection refused",
			f.namespace(), port, f.namespace(), port)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() { // it ends with the stream, at the latest
		io.Copy(conn, stream)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}()
	io.Copy(stream, conn)
	return nil
}

// watchConnection has the request's context end when the connection does, which net/http no longer looks at once it is taken over.
func watchConnection(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	return &watched{ResponseWriter: w, gone: cancel}, r.WithContext(ctx), cancel
}

type watched struct {
	http.ResponseWriter
	gone context.CancelFunc
}

// Hijack implements http.Hijacker.
func (w *watched) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	c := &watchedConn{Conn: conn, gone: w.gone}
	return c, bufio.NewReadWriter(bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), c)), bufio.NewWriter(c)), nil
}

// watchedConn tells when it ends.
type watchedConn struct {
	net.Conn
	gone context.CancelFunc
}

// Read implements net.Conn.
func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.gone()
	}
	return n, err
}

// Close implements net.Conn.
func (c *watchedConn) Close() error {
	c.gone()
	return c.Conn.Close()
}
