package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/alb-appliance/appliance/dataplane"
)

// socketKey tells sockets apart: by network and address, so that an open socket goes over to a new listener of the same
// address without being closed; by listener and position too when the port is 0, since each of those is a socket of
// its own.
type socketKey struct {
	network  string // "tcp" or "udp"
	addr     string
	listener string
	index    int
}

// Apply makes a snapshot the one in force and returns when it is. New sockets are opened first; those that cannot be
// are named in the returned error, one line each, and everything else goes live all the same (a later Apply tries
// them again). Sockets that are not in the snapshot any more are then closed, and their connections drain in the
// background under the program they began with. Problems of the snapshot itself are no errors: see Problems.
func (s *Server) Apply(ctx context.Context, snap *dataplane.Snapshot) error {
	s.apply.Lock()
	defer s.apply.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("apply snapshot: %w", err)
	}
	s.mu.Lock()
	closed, known := s.closed, s.problems
	s.mu.Unlock()
	if closed {
		return errClosed
	}
	old := s.program.Load()
	prog, problems := dataplane.Compile(old, snap)
	plan := s.open(ctx, snap)
	s.swap(prog, plan, problems)
	s.Metrics.Applied(old, prog, len(problems))
	s.state.Keep(prog)
	if s.fronts.Applied != nil {
		s.fronts.Applied(prog)
	}
	s.Log.Debug("snapshot applied", "snapshot", prog.Generation(), "listeners", len(snap.Listeners), "problems", len(problems))
	for _, p := range problems {
		if slices.Contains(known, p) {
			continue // it was said when it was new
		}
		s.Log.Error("part of the snapshot cannot be served", "snapshot", prog.Generation(), "listener", p.Listener, "route", p.Route, "err", p.Message)
	}
	return errors.Join(plan.errs...)
}

// plan is the set of sockets a snapshot asks for.
type plan struct {
	wanted   map[socketKey]*Socket
	owner    map[socketKey]*dataplane.Listener
	opened   []*Socket
	statuses []dataplane.ListenerStatus
	errs     []error
}

// open finds or opens every socket of the snapshot.
func (s *Server) open(ctx context.Context, snap *dataplane.Snapshot) *plan {
	p := &plan{wanted: map[socketKey]*Socket{}, owner: map[socketKey]*dataplane.Listener{}}
	seen := map[string]bool{}
	for i := range snap.Listeners {
		l := &snap.Listeners[i]
		if seen[l.ID] {
			continue
		}
		seen[l.ID] = true
		status := dataplane.ListenerStatus{ID: l.ID}
		for j, addr := range l.Sockets {
			st := dataplane.SocketStatus{Configured: addr}
			sock, err := s.openOne(ctx, p, l, keyOf(l, addr, j))
			if err != nil {
				p.errs = append(p.errs, err)
				st.Error = err.Error()
				if status.Error == "" {
					status.Error = st.Error
				}
			} else {
				st.Bound = sock.front.Addr()
			}
			status.Sockets = append(status.Sockets, st)
		}
		p.statuses = append(p.statuses, status)
	}
	return p
}

// keyOf gives the key of a listener's socket.
func keyOf(l *dataplane.Listener, addr string, index int) socketKey {
	key := socketKey{network: "tcp", addr: addr}
	if l.Protocol == dataplane.ProtocolQUIC {
		key.network = "udp"
	}
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Port() == 0 {
		key.listener, key.index = l.ID, index
	}
	return key
}

// openOne finds the socket among the open ones or opens it.
func (s *Server) openOne(ctx context.Context, p *plan, l *dataplane.Listener, key socketKey) (*Socket, error) {
	if owner, ok := p.owner[key]; ok {
		return nil, fmt.Errorf("listen on %s for listener %s: listener %s has the same address; give each its own", key.addr, l.ID, owner.ID)
	}
	s.mu.Lock()
	sock := s.sockets[key]
	s.mu.Unlock()
	if sock == nil {
		var err error
		if sock, err = s.listen(ctx, l, key); err != nil {
			return nil, dataplane.NewBindError(key.addr, l.ID, err)
		}
		p.opened = append(p.opened, sock)
	}
	p.wanted[key], p.owner[key] = sock, l
	return sock, nil
}

// listen opens a socket.
func (s *Server) listen(ctx context.Context, l *dataplane.Listener, key socketKey) (*Socket, error) {
	open := s.fronts.TCP
	if key.network == "udp" {
		s.freeUDP(key)
		open = s.fronts.UDP
	}
	k := newSocket(s, l.ID)
	var err error
	k.front, err = open(ctx, k, key.addr)
	return k, err
}

// freeUDP cuts what still drains on a UDP address that is wanted again: unlike TCP, it is not free before.
func (s *Server) freeUDP(key socketKey) {
	var held *Socket
	s.mu.Lock()
	for sock, k := range s.draining {
		if k == key && key.listener == "" {
			held = sock
		}
	}
	s.mu.Unlock()
	if held != nil {
		held.cut()
		<-held.gone
	}
}

// altSvc gives the value of Alt-Svc for a listener's socket; "" when the listener advertises no QUIC listener, or that
// one is not bound. A client goes to the same host, so the port told is that of the QUIC listener's socket in the same
// place of its list, where producers put the same address.
func (p *plan) altSvc(l *dataplane.Listener, key socketKey) string {
	if l.QUIC == "" || l.Protocol != dataplane.ProtocolHTTPS {
		return ""
	}
	place := slices.Index(l.Sockets, key.addr)
	if key.listener != "" {
		place = key.index
	}
	for _, status := range p.statuses {
		if status.ID != l.QUIC || place >= len(status.Sockets) {
			continue
		}
		if bound, err := netip.ParseAddrPort(status.Sockets[place].Bound); err == nil {
			return dataplane.AltSvcH3(bound.Port())
		}
	}
	return ""
}

// swap puts a program and its sockets in force, in an order that loses no request: sockets that go away keep the old
// program, the new program is published, then new sockets are served and old ones closed.
func (s *Server) swap(prog *dataplane.Program, p *plan, problems []dataplane.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.program.Load()
	for key, sock := range s.sockets {
		if owner := p.owner[key]; owner == nil || owner.ID != sock.Listener() {
			sock.pin(old)
		}
	}
	s.program.Store(prog)
	for key, sock := range p.wanted {
		sock.bind(p.owner[key].ID, p.altSvc(p.owner[key], key))
	}
	s.reload(old, p)
	for key, sock := range s.sockets {
		if p.wanted[key] == nil {
			s.retire(key, sock)
		}
	}
	s.sockets = p.wanted
	for _, sock := range p.opened {
		sock.front.Serve()
	}
	s.statuses, s.problems = p.statuses, problems
}

// reload makes the connections of reloaded listeners leave; the caller holds mu. Those of new sockets have none.
func (s *Server) reload(old *dataplane.Program, p *plan) {
	if old == nil {
		return
	}
	for key, sock := range p.wanted {
		before, _ := old.Listener(p.owner[key].ID)
		if after, ok := dataplane.Reload(before, p.owner[key]); ok {
			sock.retire(after)
		}
	}
}

// retire closes a socket and lets its connections drain; the caller holds mu.
func (s *Server) retire(key socketKey, sock *Socket) {
	delete(s.sockets, key)
	s.draining[sock] = key
	sock.drain(func() {
		s.mu.Lock()
		delete(s.draining, sock)
		s.mu.Unlock()
	})
}

// Listeners tells where the listeners of the current snapshot can be reached, in its order.
func (s *Server) Listeners() []dataplane.ListenerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statuses
}
