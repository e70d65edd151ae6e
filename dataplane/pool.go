package dataplane

import (
	"io"
	"slices"
	"sync"
	"time"
)

// Pool keeps idle connections by endpoint, whatever a connection is to its engine. It outlives snapshots. The
// newest is given first, so that a burst's surplus ages and goes. Safe for concurrent use.
type Pool[C io.Closer] struct {
	perKey int
	maxAge time.Duration

	mu     sync.Mutex
	idle   map[PoolKey][]pooled[C]
	closed bool
}

// PoolKey tells what idle connections lead to. The upstream belongs to it, which says how an endpoint is spoken to, and
// the address, so that an endpoint that moved gets no old connection.
type PoolKey struct{ Upstream, Endpoint, Addr string }

// PoolKeyOf gives the key of an upstream's endpoint.
func PoolKeyOf(u *Upstream, e *Endpoint) PoolKey { return PoolKey{u.ID, e.ID, e.Addr} }

// In tells whether a program has the upstream with the endpoint at the address.
func (k PoolKey) In(p *Program) bool {
	u := p.upstreams[k.Upstream]
	return u != nil && slices.ContainsFunc(u.conf.Endpoints, func(e Endpoint) bool { return e.ID == k.Endpoint && e.Addr == k.Addr })
}

// pooled is an idle connection and since when it is.
type pooled[C io.Closer] struct {
	conn  C
	since time.Time
}

// NewPool returns a pool that keeps at most perEndpoint connections to each endpoint, each idle for at most maxIdle.
func NewPool[C io.Closer](perEndpoint int, maxIdle time.Duration) *Pool[C] {
	return &Pool[C]{perKey: perEndpoint, maxAge: maxIdle, idle: map[PoolKey][]pooled[C]{}}
}

// Get takes the newest connection to an endpoint; those too old by now are closed.
func (p *Pool[C]) Get(key PoolKey, now time.Time) (C, bool) {
	p.mu.Lock()
	list := p.idle[key]
	var conn C
	found := false
	if n := len(list); n > 0 {
		conn, found = list[n-1].conn, now.Sub(list[n-1].since) <= p.maxAge
		if found {
			p.idle[key], list = list[:n-1], nil
		} else {
			delete(p.idle, key) // the newest is too old, so all are
		}
	}
	p.mu.Unlock()
	closeAll(list)
	if !found {
		var zero C
		return zero, false
	}
	return conn, true
}

// Put gives a connection back; it is closed when there is no room.
func (p *Pool[C]) Put(key PoolKey, conn C, now time.Time) {
	p.mu.Lock()
	room := !p.closed && len(p.idle[key]) < p.perKey
	if room {
		p.idle[key] = append(p.idle[key], pooled[C]{conn, now})
	}
	p.mu.Unlock()
	if !room {
		conn.Close()
	}
}

// Sweep closes the connections that have been idle for too long.
func (p *Pool[C]) Sweep(now time.Time) {
	p.drop(func(_ PoolKey, since time.Time) bool { return now.Sub(since) > p.maxAge })
}

// Oldest gives since when the connection that has been idle longest is; false when nothing is pooled.
func (p *Pool[C]) Oldest() (since time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		for _, c := range list {
			if !ok || c.since.Before(since) {
				since, ok = c.since, true
			}
		}
	}
	return since, ok
}

// Keep closes the connections to endpoints that a program no longer has.
func (p *Pool[C]) Keep(prog *Program) {
	p.drop(func(key PoolKey, _ time.Time) bool { return !key.In(prog) })
}

// Close closes all connections and those put back later.
func (p *Pool[C]) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop(func(PoolKey, time.Time) bool { return true })
}

// drop closes the connections that a test selects.
func (p *Pool[C]) drop(gone func(key PoolKey, since time.Time) bool) {
	var out []pooled[C]
	p.mu.Lock()
	for key, list := range p.idle {
		var kept []pooled[C]
		for _, c := range list {
			if gone(key, c.since) {
				out = append(out, c)
			} else {
				kept = append(kept, c)
			}
		}
		if p.idle[key] = kept; len(kept) == 0 {
			delete(p.idle, key)
		}
	}
	p.mu.Unlock()
	closeAll(out)
}

// closeAll closes connections outside of the lock.
func closeAll[C io.Closer](list []pooled[C]) {
	for _, c := range list {
		c.conn.Close()
	}
}
