package appliance

import "net/netip"

// outside is what pods reach beside the cluster: the load balancers, by name and address.
type outside struct{ a *Appliance }

// Lookup implements kubelet.Outside.
func (o outside) Lookup(name string) ([]netip.Addr, bool) { return o.a.names.Lookup(name) }

// Socket implements kubelet.Outside. 127.0.0.1 is always the pod's own.
func (o outside) Socket(at netip.AddrPort) (string, bool) {
	if !o.a.addresses.Pool().Contains(at.Addr()) || at.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return "", false
	}
	return o.a.addresses.Socket(at.Addr().String(), int(at.Port())), true
}
