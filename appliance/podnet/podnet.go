// Package podnet is the cluster's network without a cluster: it turns the addresses that pods and Services have into
// sockets of this machine (DESIGN 4, Addresses). It is a leaf: it imports nothing of ours.
//
// A pod that listens on its own address and port listens on a free loopback port; whoever wants that address asks here.
// Only TCP is carried.
package podnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// Network holds who listens where. Its methods are safe for concurrent use.
type Network struct {
	mu        sync.RWMutex
	listeners map[netip.AddrPort]*listener
	placed    map[netip.AddrPort]string

	services atomic.Pointer[map[netip.AddrPort]*service]
}

// New gives an empty network.
func New() *Network {
	n := &Network{listeners: map[netip.AddrPort]*listener{}, placed: map[netip.AddrPort]string{}}
	n.services.Store(&map[netip.AddrPort]*service{})
	return n
}

// Place has an address and port of the cluster lead to a socket of this machine, HOST:PORT, that somebody else opened.
func (n *Network) Place(at netip.AddrPort, socket string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.placed[at] = socket
}

// service is what an address of a Service leads to. The endpoints take turns.
type service struct {
	endpoints []netip.AddrPort
	turn      atomic.Uint32
}

func (s *service) next() (netip.AddrPort, bool) {
	if len(s.endpoints) == 0 {
		return netip.AddrPort{}, false
	}
	return s.endpoints[(s.turn.Add(1)-1)%uint32(len(s.endpoints))], true
}

// SetServices replaces what Services' addresses lead to: cluster IPs and node ports to the endpoints behind them. The
// network keeps the map; the caller does not change it afterwards. Callers take turns.
func (n *Network) SetServices(services map[netip.AddrPort][]netip.AddrPort) {
	before, next := *n.services.Load(), make(map[netip.AddrPort]*service, len(services))
	for at, endpoints := range services {
		s := &service{endpoints: endpoints}
		if old := before[at]; old != nil {
			s.turn.Store(old.turn.Load()) // a change elsewhere does not favour the first endpoint
		}
		next[at] = s
	}
	n.services.Store(&next)
}

// Resolve gives the socket of this machine, HOST:PORT, behind an address and port of the cluster. Without a listener it
// fails with ECONNREFUSED, as a connection to such a pod would.
func (n *Network) Resolve(at netip.AddrPort) (string, error) {
	target := at
	if s := (*n.services.Load())[at]; s != nil {
		endpoint, ok := s.next()
		if !ok {
			return "", refused(at)
		}
		target = endpoint
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if l := n.listeners[target]; l != nil {
		return l.socket, nil
	}
	if socket := n.placed[target]; socket != "" {
		return socket, nil
	}
	return "", refused(target)
}

func refused(at netip.AddrPort) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// DialContext connects to an address and port (IP:PORT) inside the cluster.
func (n *Network) DialContext(ctx context.Context, address string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s inside the cluster: %w; give IP:PORT", address, err)
	}
	socket, err := n.Resolve(at)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", socket)
}
