package podnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
)

// listener forgets its address when it is closed.
type listener struct {
	*net.TCPListener
	network *Network
	at      netip.AddrPort // inside the cluster
	socket  string         // on this machine
	once    sync.Once
}

// Listen opens an address and port inside the cluster. A second listener there is refused as a kernel would.
func (n *Network) Listen(at netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[at] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	real, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("open a loopback socket for %s: %w", at, err)
	}
	l := &listener{TCPListener: real, network: n, at: at, socket: real.Addr().String()}
	n.listeners[at] = l
	return l, nil
}

// Addr is the address inside the cluster.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// Accept gives connections that say the cluster's address as their own.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return &conn{TCPConn: c, local: l.at}, nil
}

// Close frees the address at once.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		delete(l.network.listeners, l.at)
	})
	return l.TCPListener.Close()
}

// conn is an accepted connection.
type conn struct {
	*net.TCPConn
	local netip.AddrPort
}

// LocalAddr is the address inside the cluster.
func (c *conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }
