package std

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/alb-appliance/appliance/dataplane"
)

// socketKey tells sockets apart: by address, so that an open socket goes over to a new listener of the same address
// without being closed; by listener and position too when the port is 0, since each of those is a socket of its own.
type socketKey struct {
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
	s.metrics.Applied(old, prog, len(problems))
	s.state.Keep(prog)
	s.pool.Keep(prog)
	s.log.Debug("snapshot applied", "snapshot", prog.Generation(), "listeners", len(snap.Listeners), "problems", len(problems))
	for _, p := range problems {
		if slices.Contains(known, p) {
			continue // it was said when it was new
		}
		s.log.Error("part of the snapshot cannot be served", "snapshot", prog.Generation(), "listener", p.Listener, "route", p.Route, "err", p.Message)
	}
	return errors.Join(plan.errs...)
}

// plan is the set of sockets a snapshot asks for.
type plan struct {
	wanted   map[socketKey]*socket
	owner    map[socketKey]string // Listener.ID
	opened   []*socket
	statuses []dataplane.ListenerStatus
	errs     []error
}

// open finds or opens every socket of the snapshot.
func (s *Server) open(ctx context.Context, snap *dataplane.Snapshot) *plan {
	p := &plan{wanted: map[socketKey]*socket{}, owner: map[socketKey]string{}}
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
			sock, err := s.openOne(ctx, p, l, keyOf(l.ID, addr, j))
			if err != nil {
				p.errs = append(p.errs, err)
				st.Error = err.Error()
				if status.Error == "" {
					status.Error = st.Error
				}
			} else {
				st.Bound = sock.addr()
			}
			status.Sockets = append(status.Sockets, st)
		}
		p.statuses = append(p.statuses, status)
	}
	return p
}

// keyOf gives the key of a listener's socket.
func keyOf(listener, addr string, index int) socketKey {
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Port() == 0 {
		return socketKey{addr: addr, listener: listener, index: index}
	}
	return socketKey{addr: addr}
}

// openOne finds the socket among the open ones or opens it.
func (s *Server) openOne(ctx context.Context, p *plan, l *dataplane.Listener, key socketKey) (*socket, error) {
	if l.Protocol != dataplane.ProtocolHTTP {
		return nil, fmt.Errorf("listen on %s for listener %s: this engine does not serve %s yet; only HTTP listeners are opened", key.addr, l.ID, l.Protocol)
	}
	if owner, ok := p.owner[key]; ok {
		return nil, fmt.Errorf("listen on %s for listener %s: listener %s has the same address; give each its own", key.addr, l.ID, owner)
	}
	s.mu.Lock()
	sock := s.sockets[key]
	s.mu.Unlock()
	if sock == nil {
		var config net.ListenConfig
		ln, err := config.Listen(ctx, "tcp", key.addr)
		if err != nil {
			return nil, dataplane.NewBindError(key.addr, l.ID, err)
		}
		sock = newSocket(s, ln, l.ID)
		p.opened = append(p.opened, sock)
	}
	p.wanted[key], p.owner[key] = sock, l.ID
	return sock, nil
}

// swap puts a program and its sockets in force, in an order that loses no request: sockets that go away keep the old
// program, the new program is published, then new sockets are served and old ones closed.
func (s *Server) swap(prog *dataplane.Program, p *plan, problems []dataplane.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.program.Load()
	for key, sock := range s.sockets {
		if p.owner[key] != sock.listener() {
			sock.pin(old)
		}
	}
	s.program.Store(prog)
	for key, sock := range p.wanted {
		sock.bind(p.owner[key])
	}
	for key, sock := range s.sockets {
		if p.wanted[key] == nil {
			s.retire(key, sock)
		}
	}
	s.sockets = p.wanted
	for _, sock := range p.opened {
		sock.serve()
	}
	s.statuses, s.problems = p.statuses, problems
}

// retire closes a socket and lets its connections drain; the caller holds mu.
func (s *Server) retire(key socketKey, sock *socket) {
	delete(s.sockets, key)
	s.draining[sock] = struct{}{}
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
