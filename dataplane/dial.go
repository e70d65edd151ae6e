package dataplane

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenTCP gives an Endpoint.Open that connects to a TCP address, "127.0.0.1:8080". The descriptor is non-blocking
// and is not inherited by programs that are started.
func OpenTCP(addr string) func(ctx context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return -1, err
		}
		defer conn.Close()
		return duplicate(conn)
	}
}

// duplicate gives a descriptor of its own for a connection.
func duplicate(conn net.Conn) (int, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("duplicate descriptor: %T has none", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", err)
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", dupErr)
	}
	return fd, nil
}
