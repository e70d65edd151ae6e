package kubelet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/alb-appliance/appliance/appliance/kubelet/shell"
)

// Outside is what there is beside the cluster: load balancers and their names.
type Outside interface {
	// Lookup gives the addresses of a name; false when it is not known.
	Lookup(name string) ([]netip.Addr, bool)
	// Socket gives the socket of this machine behind an address and port; false when the address is none of its own.
	Socket(at netip.AddrPort) (string, bool)
}

func (o *Options) outside(name string) ([]netip.Addr, bool) {
	if o.Outside == nil {
		return nil, false
	}
	return o.Outside.Lookup(name)
}

// reach is the network as a pod sees it.
type reach struct {
	*runtime
	ip       netip.Addr
	resolver *shell.Resolver
}

// Resolver implements shell.Network.
func (r reach) Resolver() *shell.Resolver { return r.resolver }

// Dial implements shell.Network. Loopback addresses are the pod itself, but for those of load balancers, which are
// loopback addresses of this machine. There is no way to the Internet.
func (r reach) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if r.options.Outside != nil {
		if socket, ok := r.options.Outside.Socket(to); ok {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", socket)
		}
	}
	if to.Addr().IsLoopback() {
		to = netip.AddrPortFrom(r.ip, to.Port())
	}
	socket, err := r.options.Network.Resolve(to)
	if err != nil {
		if !to.Addr().IsPrivate() {
			err = &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}
		}
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", socket)
}

func atoi(s string, otherwise int) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return otherwise
}
