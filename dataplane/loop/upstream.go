//go:build linux

package loop

import (
	"context"
	"crypto/tls"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/alb-appliance/appliance/dataplane"
)

// upstream is a connection to an endpoint. It belongs to one exchange or tunnel at a time, or to the pool.
type upstream struct {
	stream
	key     dataplane.PoolKey
	shaking bool // in its TLS handshake
	x       *exchange
	t       *tunnel

	readTimer, writeTimer timer
}

// happened goes on with whatever the connection is doing.
func (u *upstream) happened() {
	progressed := u.progressed()
	switch {
	case u.shaking:
		u.shake()
	case u.x != nil:
		u.x.upstreamHappened(progressed)
	case u.t != nil:
		u.t.happened()
	default:
		// Pooled: an endpoint that says something now, be it good-bye, cannot be asked any more.
		if !u.quiet() {
			u.l.idle.forget(u)
			u.end()
		}
	}
}

// quiet tells that the endpoint has said nothing.
func (u *upstream) quiet() bool {
	if u.ending {
		return false
	}
	if !u.canRead {
		return true
	}
	_, err := u.read(u.l.plain[:1])
	return err == errAgain
}

// shake goes on with the handshake.
func (u *upstream) shake() {
	switch err := u.tls.shake(); err {
	case nil:
		u.shaking = false
		u.timeRead(0)
		u.x.use(u)
	case errAgain:
	default:
		u.l.server.Log.Debug("endpoint not reached", "endpoint", u.key.Endpoint, "err", err)
		u.x.attemptFailed(dataplane.ReasonConnectFailed)
	}
}

func (u *upstream) timeRead(d time.Duration) { u.l.timers.set(&u.readTimer, u.l.now(), d) }

// timeWrite times the endpoint's reading of what is held.
func (u *upstream) timeWrite(d time.Duration) {
	if u.blocked() {
		u.l.timers.set(&u.writeTimer, u.l.now(), d)
	} else if u.writeTimer.isSet() {
		u.l.timers.set(&u.writeTimer, time.Time{}, 0)
	}
}

// expired ends what the endpoint was too slow for.
func (u *upstream) expired(which timerKind) {
	switch {
	case u.x != nil && u.shaking:
		u.x.attemptFailed(dataplane.ReasonConnectTimeout)
	case u.x != nil:
		u.x.upstreamLate(which)
	case u.t != nil:
		u.t.expired(which)
	default:
		u.l.idle.forget(u)
		u.end()
	}
}

// abandon ends the connection, after a failure of ours.
func (u *upstream) abandon(v any) {
	switch {
	case u.x != nil:
		u.x.failed()
	case u.t != nil:
		u.t.end(dataplane.ReasonInternal)
	default:
		u.l.idle.forget(u)
		u.end()
	}
}

// end closes the connection for good.
func (u *upstream) end() {
	u.x, u.t = nil, nil
	u.l.timers.drop(&u.readTimer)
	u.l.timers.drop(&u.writeTimer)
	u.close()
}

// dialing is an attempt to connect. The endpoint is opened in a goroutine, since it may be anywhere; what comes of it is
// posted to the loop.
type dialing struct {
	l      *loop
	x      *exchange // nil once nobody waits for it
	key    dataplane.PoolKey
	secure bool
	cancel context.CancelFunc
	timer  timer

	// Set by the goroutine before it posts.
	fd     int
	err    error
	failed bool // by a failure of ours
}

// dial begins to connect to an endpoint.
func (l *loop) dial(x *exchange, e *dataplane.Endpoint) *dialing {
	d := &dialing{l: l, x: x, key: dataplane.PoolKeyOf(x.dec.Upstream, e), secure: x.dec.Upstream.Scheme == "https", fd: -1}
	d.timer = timer{owner: d, kind: timerRead}
	l.timers.set(&d.timer, l.now(), x.dec.Timeouts.Connect)
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	open := e.Open
	l.spawn(func() {
		if d.fd, d.err = -1, errNoOpen; open != nil {
			d.fd, d.err = open(ctx)
		}
		d.deliver()
	}, func() {
		d.failed = true
		d.deliver()
	})
	return d
}

var errNoOpen = errors.New("the endpoint has no way to be opened")

// deliver gives the result to the loop, or drops it when there is none any more.
func (d *dialing) deliver() {
	if !d.l.post(d) && d.err == nil && d.fd >= 0 {
		unix.Close(d.fd)
	}
}

// turn takes the result.
func (d *dialing) turn() {
	d.cancel()
	d.l.timers.drop(&d.timer)
	x := d.x
	d.x = nil
	switch {
	case x == nil:
		if d.err == nil && d.fd >= 0 {
			d.l.kernel.close(d.fd)
		}
	case d.failed:
		x.dial = nil
		x.failed()
	case d.err != nil:
		x.dial = nil
		d.l.server.Log.Debug("endpoint not reached", "endpoint", d.key.Endpoint, "err", d.err)
		x.attemptFailed(dialReason(d.err))
	default:
		x.dial = nil
		d.connected(x)
	}
}

// connected makes a connection of the descriptor.
func (d *dialing) connected(x *exchange) {
	u := &upstream{key: d.key, x: x}
	u.readTimer = timer{owner: u, kind: timerRead}
	u.writeTimer = timer{owner: u, kind: timerWrite}
	_ = unix.SetNonblock(d.fd, true)
	x.up = u
	if err := d.l.adopt(&u.stream, d.fd, u); err != nil {
		x.attemptFailed(dataplane.ReasonConnectFailed)
		return
	}
	if !d.secure {
		x.use(u)
		return
	}
	// As the real products do by default, the endpoint's certificate is not verified: pods sign their own.
	u.secureClient(endpointTLS)
	u.shaking = true
	if t := x.dec.Timeouts.Connect; t > 0 {
		u.timeRead(max(time.Nanosecond, t-d.l.now().Sub(x.attemptAt)))
	}
	u.shake()
}

// endpointTLS is how endpoints are spoken to; it remembers no sessions, so that nothing is resumed under other terms.
var endpointTLS = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, DynamicRecordSizingDisabled: true}

// expired gives up.
func (d *dialing) expired(timerKind) {
	x := d.x
	d.giveUp()
	if x != nil {
		x.dial = nil
		x.attemptFailed(dataplane.ReasonConnectTimeout)
	}
}

// giveUp ends the attempt; its result, if there will be one, is dropped.
func (d *dialing) giveUp() {
	d.x = nil
	d.cancel()
	d.l.timers.drop(&d.timer)
}

func (d *dialing) abandon(any) {
	if d.x != nil {
		d.x.failed()
	}
}

// dialReason names why a dial failed.
func dialReason(err error) dataplane.Reason {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return dataplane.ReasonConnectTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return dataplane.ReasonConnectRefused
	}
	return dataplane.ReasonConnectFailed
}

// idlePool keeps a loop's idle connections to endpoints. The newest is given first, so that a burst's surplus ages and
// goes.
type idlePool struct {
	l    *loop
	idle map[dataplane.PoolKey][]*upstream
}

func (p *idlePool) init(l *loop) { p.l, p.idle = l, map[dataplane.PoolKey][]*upstream{} }

// take gives the newest connection to an endpoint, nil if there is none.
func (p *idlePool) take(key dataplane.PoolKey) *upstream {
	for list := p.idle[key]; len(list) > 0; list = p.idle[key] {
		u := list[len(list)-1]
		list[len(list)-1] = nil
		p.idle[key] = list[:len(list)-1]
		if u.quiet() {
			u.timeRead(0)
			return u
		}
		u.end()
	}
	return nil
}

// put takes a connection in; it is closed when there is no room, or the endpoint has said more than it should.
func (p *idlePool) put(u *upstream) {
	u.x = nil
	list := p.idle[u.key]
	if len(list) >= p.l.server.Limits.PoolPerEndpoint || !u.quiet() {
		u.end()
		return
	}
	p.idle[u.key] = append(list, u)
	u.timeRead(p.l.server.Limits.PoolIdle)
}

// forget takes a connection out.
func (p *idlePool) forget(u *upstream) {
	list := p.idle[u.key]
	for i := range list {
		if list[i] == u {
			copy(list[i:], list[i+1:])
			list[len(list)-1] = nil
			p.idle[u.key] = list[:len(list)-1]
			return
		}
	}
}

// keep closes the connections to endpoints that a program does not have.
func (p *idlePool) keep(prog *dataplane.Program) {
	for key, list := range p.idle {
		if len(list) > 0 && key.In(prog) {
			continue
		}
		for _, u := range list {
			u.end()
		}
		delete(p.idle, key)
	}
}

func (p *idlePool) closeAll() {
	for key, list := range p.idle {
		for _, u := range list {
			u.end()
		}
		delete(p.idle, key)
	}
}
