// Package std is the portable engine of the data plane: listeners on net/http, endpoints on a small HTTP/1.1 client
// of its own that takes connected descriptors, timers by the clock of its Options. It serves HTTP/1.1 and tunnels,
// HTTP/2 on HTTPS listeners, and HTTP/3, by quic-go, on QUIC listeners; what requests mean is decided by package
// dataplane. One thing goes by the machine's clock: QUIC's own timers, below HTTP.
package std

import (
	"context"
	"sync"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
)

// Server serves snapshots. Its methods may be called from any goroutine.
type Server struct {
	*engine.Server
	pool    *dataplane.Pool[*upstreamConn]
	sweeper *watchdog // armed while anything is pooled
	buffers sync.Pool
}

// New makes a server without listeners; Apply gives it some. It panics if the clock is missing.
func New(o engine.Options) *Server {
	s := &Server{}
	return s.on(engine.New(o, engine.Fronts{TCP: s.OpenTCP, UDP: s.OpenQUIC, Applied: s.Applied}))
}

// Beside makes a server that carries for another engine, on that one's sockets, what the engine leaves to it: it opens
// QUIC sockets (OpenQUIC) and adopts connections (Adopt). The engine calls Applied for each program, and Close at its
// end; it applies snapshots itself.
func Beside(e *engine.Server) *Server { return new(Server).on(e) }

// on completes a server.
func (s *Server) on(e *engine.Server) *Server {
	s.Server = e
	s.pool = dataplane.NewPool[*upstreamConn](s.Limits.PoolPerEndpoint, s.Limits.PoolIdle)
	s.sweeper = newWatchdog(s.Clock, s.sweep)
	s.buffers.New = func() any { return new([copyBuffer]byte) }
	return s
}

// copyBuffer is how many bytes are moved at a time between client and endpoint.
const copyBuffer = 16 << 10

// Applied closes the pooled connections to endpoints that a program does not have.
func (s *Server) Applied(p *dataplane.Program) { s.pool.Keep(p) }

// pooled gives a connection back to the pool and sees to it that it is closed when nobody takes it.
func (s *Server) pooled(key dataplane.PoolKey, u *upstreamConn) {
	s.pool.Put(key, u, s.Clock.Now())
	s.sweeper.start(s.Limits.PoolIdle + sweepSlack)
}

// sweepSlack is how much later than due a sweep comes: a connection may be taken until it is older than its time.
const sweepSlack = time.Millisecond

// sweep closes the connections that have been idle for too long and comes again when the next one will have been.
func (s *Server) sweep() {
	now := s.Clock.Now()
	s.pool.Sweep(now)
	if oldest, ok := s.pool.Oldest(); ok {
		s.sweeper.start(oldest.Add(s.Limits.PoolIdle + sweepSlack).Sub(now))
	}
}

// Run waits until ctx is done, then shuts down gracefully: engine.Server.Run with this server's Shutdown.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	return s.Shutdown(context.WithoutCancel(ctx))
}

// Shutdown is engine.Server.Shutdown, and closes what is pooled.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.Close()
	return s.Server.Shutdown(ctx)
}

// Close closes the pooled connections and those that come back later.
func (s *Server) Close() {
	s.pool.Close()
	s.sweeper.disarm()
}

// socket is a socket of this engine.
type socket struct {
	*engine.Socket
	server *Server
}
