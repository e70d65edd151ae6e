//go:build linux

package loop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/std"
)

// front is a listening TCP address: a socket in each loop, among which the kernel spreads connections (SO_REUSEPORT).
type front struct {
	s      *Server
	k      *engine.Socket
	addr   netip.AddrPort
	ip     string // of addr
	tls    *tls.Config
	h2     *std.HTTP2
	places []*place
}

// backlog is how many connections wait to be accepted; the system bounds it by net.core.somaxconn.
const backlog = 4096

// openTCP opens an address: an engine.Opener.
func (s *Server) openTCP(_ context.Context, k *engine.Socket, addr string) (engine.Front, error) {
	at, err := resolve(addr)
	if err != nil {
		return nil, err
	}
	f := &front{s: s, k: k, tls: k.TLSConfig(), h2: s.beside.NewHTTP2(k)}
	// Sockets that share a port share it with any program of the same user. A first one that does not share finds out
	// whether somebody else has it.
	first, at, err := listen(at, false)
	if err != nil {
		return nil, err
	}
	unix.Close(first)
	for _, l := range s.loops {
		fd, bound, err := listen(at, true)
		if err != nil {
			f.closeUnserved()
			return nil, err
		}
		f.addr, f.ip = bound, bound.Addr().String()
		f.places = append(f.places, &place{f: f, home: l, number: fd})
	}
	return f, nil
}

// resolve reads an address and port; names are for hosts files such as localhost's.
func resolve(addr string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(addr); err == nil {
		return at, nil
	}
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	at := tcp.AddrPort()
	if !at.Addr().IsValid() {
		at = netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port())
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
}

// listen opens a listening socket, alone or sharing its address.
func listen(at netip.AddrPort, share bool) (fd int, bound netip.AddrPort, err error) {
	family, name := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(at.Port())})
	if at.Addr().Is4() {
		name.(*unix.SockaddrInet4).Addr = at.Addr().As4()
	} else {
		family, name = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, at, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	options := []int{unix.SO_REUSEADDR}
	if share {
		options = append(options, unix.SO_REUSEPORT)
	}
	for _, option := range options {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return -1, at, fmt.Errorf("setsockopt: %w", err)
		}
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // connections inherit it
	if err = unix.Bind(fd, name); err != nil {
		return -1, at, fmt.Errorf("bind: %w", err)
	}
	if err = unix.Listen(fd, backlog); err != nil {
		return -1, at, fmt.Errorf("listen: %w", err)
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return -1, at, fmt.Errorf("getsockname: %w", err)
	}
	return fd, addrPortFrom(own), nil
}

// addrPortFrom turns a socket address into an address and port.
func addrPortFrom(name unix.Sockaddr) netip.AddrPort {
	switch sa := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// closeUnserved closes sockets that no loop has got.
func (f *front) closeUnserved() {
	for _, p := range f.places {
		unix.Close(p.number)
	}
}

// Addr is the bound address.
func (f *front) Addr() string { return f.addr.String() }

// localIP is the address that a connection came to: the front's, unless that is every one of the machine's.
func (f *front) localIP(fd int) string {
	if !f.addr.Addr().IsUnspecified() {
		return f.ip
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return f.ip
	}
	return addrPortFrom(name).Addr().Unmap().String()
}

// Serve has the loops accept connections.
func (f *front) Serve() {
	f.s.run()
	for _, p := range f.places {
		p.home.post(call(p.open))
	}
}

// Stop closes the listening sockets; the address is free when it returns. Connections that wait are accepted first.
func (f *front) Stop() {
	f.s.run()
	var all sync.WaitGroup
	for _, p := range f.places {
		all.Go(func() { p.home.ask(p.stop) })
	}
	all.Wait()
	f.h2.Stop()
}

// Close frees what is left.
func (f *front) Close() { f.h2.Close() }

// place is a front's socket in one loop.
type place struct {
	stream
	f      *front
	home   *loop
	number int // of the descriptor, until the loop has it
	opened bool
	pause  timer
	warned bool
}

// open begins to accept.
func (p *place) open() {
	p.opened = true
	p.pause.owner = p
	if err := p.home.adopt(&p.stream, p.number, p); err != nil {
		p.home.server.Log.Error("connections cannot be accepted", "listener", p.f.k.Listener(), "err", err)
	}
}

// stop accepts what waits and closes the socket.
func (p *place) stop() {
	if !p.opened {
		unix.Close(p.number)
		return
	}
	p.canRead = true
	p.accept(backlog)
	p.home.timers.drop(&p.pause)
	p.close()
}

// acceptsPerTurn is how many connections are taken in before others have their turn.
const acceptsPerTurn = 64

// acceptPause is how long accepting rests after an error such as too many open files.
const acceptPause = 50 * time.Millisecond

// happened takes connections in.
func (p *place) happened() {
	if !p.pause.isSet() {
		p.accept(acceptsPerTurn)
	}
	if p.canRead && !p.pause.isSet() {
		p.goOn()
	}
}

// accept takes up to n connections in.
func (p *place) accept(n int) {
	l := p.home
	for ; n > 0 && p.canRead && !p.closed; n-- {
		fd, peer, errno := l.kernel.accept(int(p.fd))
		switch errno {
		case 0:
			p.warned = false
			l.accepted(p.f, fd, peer)
		case syscall.EAGAIN:
			p.canRead = false
		case syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO:
		default:
			p.rest(errno)
			return
		}
	}
}

// rest lets an error pass, such as too many open files. What is served goes on.
func (p *place) rest(errno syscall.Errno) {
	if !p.warned {
		p.warned = true
		why := errno.Error()
		if errors.Is(errno, syscall.EMFILE) {
			why += "; raise the limit (ulimit -n) or lower the number of connections"
		}
		p.home.server.Log.Error("connections cannot be accepted for now", "listener", p.f.k.Listener(), "err", why)
	}
	p.home.timers.set(&p.pause, p.home.now(), acceptPause)
}

// expired goes on after a rest.
func (p *place) expired(timerKind) {
	if !p.closed {
		p.happened()
	}
}

// abandon does nothing: accepting goes on with the next connection.
func (p *place) abandon(any) {}
