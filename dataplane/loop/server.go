//go:build linux

// Package loop is the engine of the data plane on Linux: one event loop for each processor, which owns the descriptors
// of its connections and carries HTTP/1.1, TLS and tunnels without a goroutine or a buffer for what is idle. HTTP/2 and
// HTTP/3 are carried beside it by package std. ARCHITECTURE.md, "The event loop", is the way in.
package loop

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/std"
)

// Server serves snapshots. Its methods may be called from any goroutine.
type Server struct {
	*engine.Server
	beside *std.Server
	loops  []*loop
	start  sync.Once
}

// New makes a server without listeners; Apply gives it some. It panics if the clock is missing. An error says that the
// system has no event loop to offer; it names what failed.
func New(o engine.Options) (*Server, error) {
	s := &Server{}
	s.Server = engine.New(o, engine.Fronts{
		TCP: s.openTCP,
		UDP: func(ctx context.Context, k *engine.Socket, addr string) (engine.Front, error) {
			return s.beside.OpenQUIC(ctx, k, addr)
		},
		Applied: s.applied,
	})
	s.beside = std.Beside(s.Server)
	for range runtime.GOMAXPROCS(0) {
		p, err := newEpoll()
		if err != nil {
			for _, l := range s.loops {
				l.poll.close()
			}
			return nil, fmt.Errorf("make an event loop: %w; the limit on open files (ulimit -n) may be too low", err)
		}
		s.loops = append(s.loops, newLoop(s, linux{}, p))
	}
	for _, l := range s.loops {
		l.buffers.most = s.Limits.BufferedBytes / len(s.loops)
	}
	return s, nil
}

// run starts the loops, once there is something for them to do.
func (s *Server) run() {
	s.start.Do(func() {
		for _, l := range s.loops {
			go l.run()
		}
	})
}

// applied closes the pooled connections to endpoints that a program does not have.
func (s *Server) applied(p *dataplane.Program) {
	s.beside.Applied(p)
	for _, l := range s.loops {
		l.post(call(func() { l.idle.keep(p) }))
	}
}

// Run waits until ctx is done, then shuts down gracefully: engine.Server.Run with this server's Shutdown.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	return s.Shutdown(context.WithoutCancel(ctx))
}

// Shutdown is engine.Server.Shutdown, and ends the loops.
func (s *Server) Shutdown(ctx context.Context) error {
	s.run() // or a server that never served would have loops that cannot end
	err := s.Server.Shutdown(ctx)
	s.beside.Close()
	for _, l := range s.loops {
		l.end()
	}
	return err
}

// end has a loop end, and waits for it.
func (l *loop) end() {
	l.post(call(l.shut))
	<-l.ended
}
