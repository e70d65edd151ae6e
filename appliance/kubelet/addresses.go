package kubelet

import (
	"fmt"
	"net/netip"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// addresses gives out pod addresses, each to one pod of all nodes. It is safe for concurrent use.
type addresses struct {
	mu    sync.Mutex
	taken map[netip.Addr]types.UID
	last  map[netip.Prefix]netip.Addr // the next search starts behind it, so that an address rests before it is used again
}

func newAddresses(nodes []Node) *addresses {
	a := &addresses{taken: map[netip.Addr]types.UID{}, last: map[netip.Prefix]netip.Addr{}}
	for _, n := range nodes {
		a.taken[n.Address] = types.UID("node/" + n.Name)
	}
	return a
}

// reserve takes one address; false when another pod has it.
func (a *addresses) reserve(ip netip.Addr, owner types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if holder, ok := a.taken[ip]; ok {
		return holder == owner
	}
	a.taken[ip] = owner
	return true
}

// allocate takes a free address of a range: not its first, nor its last when it is IPv4 (network and broadcast).
func (a *addresses) allocate(from netip.Prefix, owner types.UID) (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	from = from.Masked()
	start := a.last[from]
	if !start.IsValid() {
		start = from.Addr()
	}
	for ip := start.Next(); ; ip = ip.Next() {
		if !from.Contains(ip) {
			ip = from.Addr() // around
		}
		if _, used := a.taken[ip]; !used && !isEdge(from, ip) {
			a.taken[ip], a.last[from] = owner, ip
			return ip, nil
		}
		if ip == start {
			return netip.Addr{}, fmt.Errorf("no address is free in %s: every one has a pod; delete pods or give the nodes a larger range", from)
		}
	}
}

// isEdge says whether an address is the range's network or broadcast address.
func isEdge(from netip.Prefix, ip netip.Addr) bool {
	return ip == from.Addr() || ip.Is4() && !from.Contains(ip.Next())
}

// of gives the address that a pod holds.
func (a *addresses) of(ip netip.Addr, owner types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.taken[ip] == owner
}

// release takes an address back from its owner.
func (a *addresses) release(ip netip.Addr, owner types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.taken[ip] == owner {
		delete(a.taken, ip)
	}
}
