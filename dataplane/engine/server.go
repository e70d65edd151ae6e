// Package engine is what every engine of the data plane stands on: it applies snapshots, owns the sockets that they ask
// for and hands them over, drains and reloads them. What a socket carries is its front's matter, and fronts are what
// engines are made of.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/dataplane"
)

// Options are what an engine is made from. Clock must be set; everything else has a default.
type Options struct {
	// Clock times everything the engine does; moving it forward fires what is due.
	Clock clockwork.Clock
	// Logger gets what an operator should know; nil drops it.
	Logger *slog.Logger
	// Limits bounds clients and endpoints; zero fields mean the defaults of dataplane.Limits.
	Limits dataplane.Limits
	// Metrics counts; nil counts into a set that nobody reads.
	Metrics *dataplane.Metrics
	// State holds turns and health; nil makes an own one.
	State *dataplane.State
	// AccessLog, if set, is called at the end of every request and tunnel, by whatever served it. It must not block and
	// must not keep the record, nor its strings (AccessRecord.Clone).
	AccessLog func(*dataplane.AccessRecord)
	// Rand draws 64 random bits; nil uses a random source seeded by the system. It must be safe for concurrent use.
	Rand func() uint64
}

// Opener opens a socket at an address for listener k.Listener, without serving it yet.
type Opener func(ctx context.Context, k *Socket, addr string) (Front, error)

// Fronts are how an engine speaks with the network.
type Fronts struct {
	// TCP opens the sockets of listeners of protocol HTTP and HTTPS, UDP those of QUIC.
	TCP, UDP Opener
	// Applied is told each program once it is in force.
	Applied func(*dataplane.Program)
}

// Server serves snapshots by fronts. Its methods may be called from any goroutine; its fields are read-only.
type Server struct {
	Clock   clockwork.Clock
	Log     *slog.Logger
	Limits  dataplane.Limits
	Metrics *dataplane.Metrics
	// Access is Options.AccessLog, nil if there is none.
	Access func(*dataplane.AccessRecord)
	Rand   func() uint64

	state  *dataplane.State
	fronts Fronts

	program atomic.Pointer[dataplane.Program]
	// serving counts everything that runs on the server's behalf: accept loops, connections, drains.
	serving sync.WaitGroup

	apply    sync.Mutex // held while a snapshot is applied
	mu       sync.Mutex // guards the rest
	sockets  map[socketKey]*Socket
	draining map[*Socket]socketKey
	statuses []dataplane.ListenerStatus
	problems []dataplane.Problem
	closed   bool
}

// errClosed is what Apply returns after Shutdown.
var errClosed = errors.New("apply snapshot: the data plane has been shut down")

// New makes a server without listeners; Apply gives it some. It panics if the clock is missing.
func New(o Options, fronts Fronts) *Server {
	if o.Clock == nil {
		panic("engine.New: Options.Clock is nil")
	}
	s := &Server{
		Clock: o.Clock, Log: o.Logger, Limits: o.Limits.WithDefaults(), Metrics: o.Metrics, Access: o.AccessLog, Rand: o.Rand,
		state: o.State, fronts: fronts,
		sockets: map[socketKey]*Socket{}, draining: map[*Socket]socketKey{},
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Metrics == nil {
		s.Metrics = dataplane.NewMetrics(nil)
	}
	if s.state == nil {
		s.state = dataplane.NewState()
	}
	if s.Rand == nil {
		s.Rand = rand.Uint64
	}
	return s
}

// Program returns the program in force, for explanations; nil before the first Apply.
func (s *Server) Program() *dataplane.Program { return s.program.Load() }

// State returns the server's state, so that health checks can report to it.
func (s *Server) State() *dataplane.State { return s.state }

// Problems returns what of the current snapshot cannot be served as written.
func (s *Server) Problems() []dataplane.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problems
}

// Inputs is what decisions are made from.
func (s *Server) Inputs() dataplane.Inputs {
	return dataplane.Inputs{Now: s.Clock.Now(), Rand: s.Rand, Turn: s.state.Turn, Healthy: s.state.Healthy}
}

// Go runs something on the server's behalf in a goroutine; Shutdown waits for it.
func (s *Server) Go(do func()) { s.serving.Go(do) }

// Guard runs a request's helper in a goroutine. Its failure ends the request, not the program; broken is called then.
func (s *Server) Guard(do, broken func()) {
	s.serving.Go(func() {
		defer func() {
			if v := recover(); v != nil {
				s.Failed("request's helper failed inside the data plane", v)
				broken()
			}
		}()
		do()
	})
}

// Failed reports a failure of the data plane itself, recovered as v.
func (s *Server) Failed(what string, v any, args ...any) {
	s.Metrics.Panic()
	s.Log.Error(what, append(args, "err", fmt.Sprint(v), "stack", string(debug.Stack()))...)
}

// Run waits until ctx is done, then shuts down gracefully and returns once everything the server started has ended.
// Sockets are open from Apply on, whether Run has been called or not.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	return s.Shutdown(context.WithoutCancel(ctx))
}

// Shutdown closes the listening sockets and idle connections, gives requests and tunnels Limits.Drain to end, then
// cuts them. It returns when all have ended; if ctx ends before, they are cut at once and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.apply.Lock()
	defer s.apply.Unlock()
	s.mu.Lock()
	s.closed = true
	for key, sock := range s.sockets {
		s.retire(key, sock)
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.cutDraining()
		<-done
		return ctx.Err()
	}
}

// cutDraining closes what is left of the sockets that drain.
func (s *Server) cutDraining() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sock := range s.draining {
		sock.cut()
	}
}
