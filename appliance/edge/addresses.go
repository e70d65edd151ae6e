package edge

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// Mode is how an address and port of a load balancer becomes a socket (DESIGN section 4, Addresses).
type Mode string

// The address modes.
const (
	// ModeAuto takes ModeNative where this machine permits it.
	ModeAuto Mode = "auto"
	// ModeNative binds the address and port themselves.
	ModeNative Mode = "native"
	// ModePorts binds a high port that is always the same for an address and port.
	ModePorts Mode = "ports"
)

// Ports of mode ports: low ones are moved up by portOffset; where only 127.0.0.1 exists an address and port hash into
// the range below the system's ephemeral ports.
const (
	portOffset     = 20000
	lowPorts       = 1024
	hashedPortBase = 20000
	hashedPorts    = 12000
)

// Addresses turns addresses of the pool into sockets. It is immutable.
type Addresses struct {
	pool   netip.Prefix
	mode   Mode
	shared bool // only 127.0.0.1 can be bound
}

// NewAddresses looks at what this machine permits. Mode native is refused where it does not.
func NewAddresses(pool netip.Prefix, mode Mode) (*Addresses, error) {
	probe := pool.Masked().Addr().Next()
	native := bindable(netip.AddrPortFrom(probe, 80))
	a := &Addresses{pool: pool.Masked(), mode: mode, shared: errors.Is(bindable(netip.AddrPortFrom(probe, 0)), syscall.EADDRNOTAVAIL)}
	// A port that somebody holds is no reason against native mode: that listener says so, the others serve.
	permitted := native == nil || errors.Is(native, syscall.EADDRINUSE)
	switch {
	case mode == ModeAuto && permitted:
		a.mode = ModeNative
	case mode == ModeAuto:
		a.mode = ModePorts
	case mode == ModeNative && !permitted:
		return nil, fmt.Errorf("bind port 80 on %s: %w; `appliance doctor` tells how to permit it, --address-mode ports does without", probe, native)
	}
	return a, nil
}

func bindable(at netip.AddrPort) error {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return err
	}
	return l.Close()
}

// Mode is the mode taken: native or ports.
func (a *Addresses) Mode() Mode { return a.mode }

// Pool is where addresses come from.
func (a *Addresses) Pool() netip.Prefix { return a.pool }

// Addresses of the pool that are not the cloud's, counted from its base.
const (
	dnsAddress   = 53
	nginxAddress = 80
)

// DNS is the name server's own address in the pool: the pool's base plus 53.
func (a *Addresses) DNS() netip.Addr { return a.at(dnsAddress) }

// NGINX is the address of the NGINX Ingress Controller: the pool's base plus 80.
func (a *Addresses) NGINX() netip.Addr { return a.at(nginxAddress) }

func (a *Addresses) at(n int) netip.Addr {
	address := a.pool.Addr()
	for range n {
		address = address.Next()
	}
	return address
}

// Socket is what to bind, and to connect to, for an address and port of the pool.
func (a *Addresses) Socket(address string, port int) string {
	if a.mode == ModeNative {
		return net.JoinHostPort(address, strconv.Itoa(port))
	}
	if a.shared {
		h := fnv.New32a()
		fmt.Fprintf(h, "%s:%d", address, port)
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(hashedPortBase+int(h.Sum32()%hashedPorts)))
	}
	if port < lowPorts {
		port += portOffset
	}
	return net.JoinHostPort(address, strconv.Itoa(port))
}
