//go:build linux

// Package backend is what the proxies of the benchmark are in front of: an HTTP/1.1 server with fixed answers that costs
// little CPU, one thread and one epoll descriptor for all connections.
//
// A path that ends in /hello answers with 1 KiB, one in /big with 1 MiB, one in /echo with the request's head; one in /ws
// becomes a WebSocket that sends back each message.
package backend

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Sizes of the bodies.
const (
	HelloBytes = 1 << 10
	BigBytes   = 1 << 20
)

// Ready is the first word of the line that Main prints once it listens; the ports follow.
const Ready = "ready"

// server holds the connections by descriptor.
type server struct {
	epoll     int
	listeners map[int]bool
	conns     []*conn
	buffer    []byte
	hello     []byte
	big       []byte
}

// Main serves on n ports of 127.0.0.1 that the system picks, until its input ends.
func Main(n int, in io.Reader, out io.Writer) error {
	runtime.LockOSThread()
	s := &server{listeners: map[int]bool{}, buffer: make([]byte, 64<<10), hello: answer(body(HelloBytes)), big: answer(body(BigBytes))}
	var err error
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	ready := Ready
	for range n {
		port, err := s.listen()
		if err != nil {
			return err
		}
		ready += fmt.Sprint(" ", port)
	}
	fmt.Fprintln(out, ready)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}()
	return s.serve(ended)
}

// body is text that compresses badly enough.
func body(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d\n", i*2654435761)
	}
	return b.String()[:n]
}

// answer is a whole answer with a body.
func answer(body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Cache-Control: no-cache\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func (s *server) listen() (port int, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return 0, fmt.Errorf("listen: %w", err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("getsockname: %w", err)
	}
	s.listeners[fd] = true
	return at.(*unix.SockaddrInet4).Port, unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// serve runs until ended is closed; it looks twice a second.
func (s *server) serve(ended <-chan struct{}) error {
	events := make([]unix.EpollEvent, 256)
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		n, err := unix.EpollWait(s.epoll, events, 500)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			switch fd := int(e.Fd); {
			case s.listeners[fd]:
				s.accept(fd)
			case s.conns[fd] != nil:
				s.conns[fd].ready(e.Events)
			}
		}
	}
}

func (s *server) accept(listener int) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for len(s.conns) <= fd {
			s.conns = append(s.conns, nil)
		}
		s.conns[fd] = &conn{server: s, fd: fd}
		_ = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	}
}
