package dataplane

import (
	"errors"
	"fmt"
	"syscall"
)

// ListenerStatus says where a listener can be reached.
type ListenerStatus struct {
	ID      string
	Sockets []SocketStatus
	// Error says in a line why the listener is not, or not everywhere, reachable; empty when all is well.
	Error string
}

// SocketStatus is one socket of a listener.
type SocketStatus struct {
	// Configured is the address as the snapshot has it, Bound the real one ("127.0.0.1:0" gets a port); Bound is
	// empty while the socket is not open.
	Configured string
	Bound      string
	Error      string
}

// NewBindError says which address could not be bound, why, and what to do.
func NewBindError(addr, listener string, err error) *BindError {
	why, mend := err.Error(), "check the address"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		why, mend = "address already in use", "stop the program that listens there or take another address"
	case errors.Is(err, syscall.EACCES):
		why, mend = "permission denied", "allow low ports to ordinary users or take high ones"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		why, mend = "this machine does not have the address", "add it to the loopback interface or take another"
	}
	return &BindError{Addr: addr, Listener: listener, why: why, mend: mend, err: err}
}

// BindError is a socket that could not be opened.
type BindError struct {
	Addr      string
	Listener  string
	why, mend string
	err       error
}

// Error says what, why and what to do in one line.
func (e *BindError) Error() string {
	return fmt.Sprintf("listen on %s for listener %s: %s; %s", e.Addr, e.Listener, e.why, e.mend)
}

// Unwrap gives the operating system's error.
func (e *BindError) Unwrap() error { return e.err }
