package shell

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Network is what commands connect through.
type Network interface {
	// Dial connects to an address and port, as seen from the container.
	Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// Resolver is how names become addresses.
	Resolver() *Resolver
}

// Code is how a name server answers.
type Code string

// The codes, as programs print them.
const (
	NoError     Code = "NOERROR"
	NoSuchName  Code = "NXDOMAIN"
	ServerFails Code = "SERVFAIL"
)

// Answer is what a name server knows of a name.
type Answer struct {
	Code Code
	// Name is the name that has the addresses: another one than asked for when that is an alias.
	Name      string
	Addresses []netip.Addr
}

// Resolver is a container's way to find names: /etc/hosts, then a name server with a search list.
type Resolver struct {
	// Hosts are the names of /etc/hosts.
	Hosts map[string]netip.Addr
	// Server is the name server's address, and Ask asks it for a full name without last dot.
	Server netip.Addr
	Ask    func(name string) Answer
	// Search are the domains that are tried behind a name, first those when it has fewer dots than Ndots.
	Search []string
	Ndots  int
}

// Config is /etc/resolv.conf.
func (r *Resolver) Config() string {
	var b strings.Builder
	if len(r.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.Search, " "))
	}
	fmt.Fprintf(&b, "nameserver %s\n", r.Server)
	if r.Ndots != 1 {
		fmt.Fprintf(&b, "options ndots:%d\n", r.Ndots)
	}
	return b.String()
}

// candidates are the full names that a name may mean, in the order in which they are tried.
func (r *Resolver) candidates(name string) []string {
	if full, ok := strings.CutSuffix(name, "."); ok {
		return []string{full}
	}
	var all []string
	for _, domain := range r.Search {
		all = append(all, name+"."+domain)
	}
	if strings.Count(name, ".") >= r.Ndots {
		return append([]string{name}, all...)
	}
	return append(all, name)
}

// lookup asks the name server; the first candidate with an address is it.
func (r *Resolver) lookup(name string) Answer {
	worst := Answer{Code: NoSuchName}
	for _, candidate := range r.candidates(name) {
		a := r.Ask(candidate)
		if a.Code == NoError && len(a.Addresses) > 0 {
			return a
		}
		if a.Code == NoError || a.Code == ServerFails && worst.Code != NoError {
			worst = a
		}
	}
	return worst
}

// addresses gives the addresses of a host as programs see them.
func (r *Resolver) addresses(host string) []netip.Addr {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{a}
	}
	if a, ok := r.Hosts[strings.ToLower(host)]; ok {
		return []netip.Addr{a}
	}
	return r.lookup(host).Addresses
}

// dial connects to the first address that takes the connection.
func (c *Container) dial(ctx context.Context, all []netip.Addr, port uint16, trace func(byte, string)) (net.Conn, netip.Addr, error) {
	err := error(syscall.EHOSTUNREACH)
	for _, a := range all {
		trace('*', fmt.Sprintf("  Trying %s...", netip.AddrPortFrom(a, port)))
		conn, failed := c.Network.Dial(ctx, netip.AddrPortFrom(a, port))
		if failed == nil {
			return conn, a, nil
		}
		trace('*', fmt.Sprintf("connect to %s port %d failed: %s", a, port, cause(failed)))
		if err = failed; ctx.Err() != nil {
			break
		}
	}
	return nil, netip.Addr{}, err
}

// errTimeout ends a command's requests.
var errTimeout = errors.New("timed out")

// within gives a context that ends with errTimeout after a time by the clock; none when that is zero.
func (c *Container) within(ctx context.Context, d time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if d <= 0 {
		return ctx, func() { cancel(nil) }
	}
	timer := c.Clock.AfterFunc(d, func() { cancel(errTimeout) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// wait waits by the clock; false when ctx ended first.
func (c *Container) wait(ctx context.Context, d time.Duration) bool {
	timer := c.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.Chan():
		return true
	case <-ctx.Done():
		return false
	}
}
