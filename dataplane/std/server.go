// Package std is the portable engine of the data plane: listeners on net/http, endpoints on a small HTTP/1.1 client
// of its own that takes connected descriptors, timers by the clock of its Options. It serves HTTP/1.1 and tunnels,
// HTTP/2 on HTTPS listeners, and HTTP/3, by quic-go, on QUIC listeners; what requests mean is decided by package
// dataplane. One thing goes by the machine's clock: QUIC's own timers, below HTTP.
package std

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/dataplane"
)

// Options are what a Server is made from. Clock must be set; everything else has a default.
type Options struct {
	// Clock times everything the server does; moving it forward fires what is due.
	Clock clockwork.Clock
	// Logger gets what an operator should know; nil drops it.
	Logger *slog.Logger
	// Limits bounds clients and endpoints; zero fields mean the defaults of dataplane.Limits.
	Limits dataplane.Limits
	// Metrics counts; nil counts into a set that nobody reads.
	Metrics *dataplane.Metrics
	// State holds turns and health; nil makes an own one.
	State *dataplane.State
	// AccessLog, if set, is called at the end of every request and tunnel, from the goroutine that served it. It must
	// not block and must not keep the record.
	AccessLog func(*dataplane.AccessRecord)
	// Rand draws 64 random bits; nil uses a random source seeded by the system. It must be safe for concurrent use.
	Rand func() uint64
}

// Server serves snapshots. Its methods may be called from any goroutine.
type Server struct {
	clock   clockwork.Clock
	log     *slog.Logger
	quiet   *slog.Logger // for libraries whose news are details
	limits  dataplane.Limits
	metrics *dataplane.Metrics
	state   *dataplane.State
	access  func(*dataplane.AccessRecord)
	rand    func() uint64
	pool    *dataplane.Pool[*upstreamConn]
	sweeper *watchdog // armed while anything is pooled
	buffers sync.Pool

	program atomic.Pointer[dataplane.Program]
	// serving counts everything that runs on the server's behalf: accept loops, requests, tunnels, drains.
	serving sync.WaitGroup

	apply    sync.Mutex // held while a snapshot is applied
	mu       sync.Mutex // guards the rest
	sockets  map[socketKey]*socket
	draining map[*socket]socketKey
	statuses []dataplane.ListenerStatus
	problems []dataplane.Problem
	closed   bool
}

// errClosed is what Apply returns after Shutdown.
var errClosed = errors.New("apply snapshot: the data plane has been shut down")

// New makes a server without listeners; Apply gives it some. It panics if the clock is missing.
func New(o Options) *Server {
	if o.Clock == nil {
		panic("std.New: Options.Clock is nil")
	}
	s := &Server{
		clock: o.Clock, log: o.Logger, limits: o.Limits.WithDefaults(), metrics: o.Metrics, state: o.State,
		access: o.AccessLog, rand: o.Rand,
		sockets: map[socketKey]*socket{}, draining: map[*socket]socketKey{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.quiet = slog.New(slog.DiscardHandler)
	if s.metrics == nil {
		s.metrics = dataplane.NewMetrics(nil)
	}
	if s.state == nil {
		s.state = dataplane.NewState()
	}
	if s.rand == nil {
		s.rand = rand.Uint64
	}
	s.pool = dataplane.NewPool[*upstreamConn](s.limits.PoolPerEndpoint, s.limits.PoolIdle)
	s.sweeper = newWatchdog(s.clock, s.sweep)
	s.buffers.New = func() any { return new([copyBuffer]byte) }
	return s
}

// copyBuffer is how many bytes are moved at a time between client and endpoint.
const copyBuffer = 16 << 10

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

// inputs is what decisions are made from.
func (s *Server) inputs() dataplane.Inputs {
	return dataplane.Inputs{Now: s.clock.Now(), Rand: s.rand, Turn: s.state.Turn, Healthy: s.state.Healthy}
}

// pooled gives a connection back to the pool and sees to it that it is closed when nobody takes it.
func (s *Server) pooled(e *dataplane.Endpoint, u *upstreamConn) {
	s.pool.Put(e, u, s.clock.Now())
	s.sweeper.start(s.limits.PoolIdle + sweepSlack)
}

// sweepSlack is how much later than due a sweep comes: a connection may be taken until it is older than its time.
const sweepSlack = time.Millisecond

// sweep closes the connections that have been idle for too long and comes again when the next one will have been.
func (s *Server) sweep() {
	now := s.clock.Now()
	s.pool.Sweep(now)
	if oldest, ok := s.pool.Oldest(); ok {
		s.sweeper.start(oldest.Add(s.limits.PoolIdle + sweepSlack).Sub(now))
	}
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
	defer s.sweeper.disarm()
	defer s.pool.Close()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.cutDraining()
		<-done
		return ctx.Err()
	}
}

// run runs a request's helper in a goroutine. Its failure ends the request, not the program; broken is called then.
func (s *Server) run(do, broken func()) {
	s.serving.Go(func() {
		defer func() {
			if v := recover(); v != nil {
				s.metrics.Panic()
				s.log.Error("request's helper failed inside the data plane", "err", fmt.Sprint(v), "stack", string(debug.Stack()))
				broken()
			}
		}()
		do()
	})
}

// cutDraining closes what is left of the sockets that drain.
func (s *Server) cutDraining() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sock := range s.draining {
		sock.cut()
	}
}
