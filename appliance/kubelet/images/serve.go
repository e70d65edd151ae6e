package images

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// logTime is how Go's log package stamps lines.
const logTime = "2006/01/02 15:04:05"

// printf prints one line.
func (c *Container) printf(format string, a ...any) {
	fmt.Fprintf(c.Stdout, format+"\n", a...) // the log never fails
}

// logf prints one line as Go's log package does.
func (c *Container) logf(format string, a ...any) {
	c.printf(c.Clock.Now().UTC().Format(logTime)+" "+format, a...)
}

// env gives a variable, or a default when it is unset or empty.
func (c *Container) env(name, otherwise string) string {
	if v := c.Env[name]; v != "" {
		return v
	}
	return otherwise
}

// exit prints why and ends the container.
func (c *Container) exit(code int32, format string, a ...any) error {
	c.printf(format, a...)
	return &ExitError{Code: code}
}

// port reads a port number.
func port(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q: it must be a number between 1 and 65535", s)
	}
	return uint16(n), nil
}

// listenOn opens ports, all or none.
func (c *Container) listenOn(ports ...uint16) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, p := range ports {
		l, err := c.Listen(p)
		if err != nil {
			for _, open := range listeners {
				open.Close()
			}
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// serveHTTP opens ports, reports the start, and answers until ctx ends. Requests in flight are then finished.
func (c *Container) serveHTTP(ctx context.Context, h http.Handler, ports ...uint16) error {
	listeners, err := c.listenOn(ports...)
	if err != nil {
		return err
	}
	c.Started()
	return c.serve(ctx, newServer(c, h), listeners)
}

func newServer(c *Container, h http.Handler) *http.Server {
	s := &http.Server{Handler: h, ErrorLog: log.New(c.Stdout, "", 0), Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	return s
}

// serve answers on open listeners until ctx ends, then shuts down.
func (c *Container) serve(ctx context.Context, s *http.Server, listeners []net.Listener) error {
	ended := make(chan error, len(listeners))
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() { ended <- s.Serve(l) })
	}
	var err error
	select {
	case <-ctx.Done():
		c.shutdown(s)
	case err = <-ended:
	}
	s.Close()
	serving.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// shutdown waits for requests in flight, but not past the grace period.
func (c *Container) shutdown(s *http.Server) {
	graceful, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-c.Killed:
			cancel()
		case <-graceful.Done():
		}
	}()
	if err := s.Shutdown(graceful); err != nil && !errors.Is(err, context.Canceled) {
		c.printf("shut down: %v", err)
	}
	cancel()
	<-done
}

// sleep waits by the clock, or until ctx ends.
func (c *Container) sleep(ctx context.Context, d time.Duration) {
	t := c.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.Chan():
	case <-ctx.Done():
	}
}

// clientHost is the peer's address without its port.
func clientHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// hostOnly is a Host header without its port.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.TrimSuffix(host, ":")
}

// recorder counts what a handler answers, for access logs.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController see through.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
