package shell

import (
	"context"
	"net/netip"
)

// runLookup is nslookup NAME [SERVER].
func runLookup(_ context.Context, p *process) int {
	args := p.args[1:]
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		args = args[1:] // types and debug: addresses are asked for whatever they say
	}
	if len(args) == 0 || len(args) > 2 {
		return p.fail(1, "usage: nslookup HOST [DNS_SERVER]")
	}
	r := p.Network.Resolver()
	if len(args) == 2 && !p.isServer(r, args[1]) {
		p.printf(";; connection timed out; no servers could be reached\n\n")
		return 1
	}
	p.printf("Server:\t\t%s\nAddress:\t%s\n\n", r.Server, netip.AddrPortFrom(r.Server, 53))
	a := r.lookup(args[0])
	if a.Code != NoError {
		p.printf("** server can't find %s: %s\n\n", args[0], a.Code)
		return 1
	}
	for _, address := range a.Addresses {
		p.printf("Name:\t%s\nAddress: %s\n", a.Name, address)
	}
	if len(a.Addresses) == 0 {
		p.printf("*** Can't find %s: No answer\n", args[0])
	}
	p.printf("\n")
	return 0
}

// isServer says whether a name or address is the cluster's name server.
func (p *process) isServer(r *Resolver, server string) bool {
	for _, a := range r.addresses(server) {
		if a == r.Server {
			return true
		}
	}
	return false
}
