//go:build linux

package loop

import (
	"bytes"
	"io"
	"slices"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// tunnel is an upgraded connection: bytes both ways until both sides have closed, or neither has sent anything for
// the idle timeout (NGINX-FACTS 1, ALB-FACTS 4.4). It outlives changes of configuration, and while nothing passes it
// holds no buffer and no goroutine.
type tunnel struct {
	c *client
	u *upstream
	// idle is how long it may carry nothing, send how long the endpoint may leave bytes unread; zero for ever.
	idle, send time.Duration
	began      time.Time // of the attempt that became the tunnel
	started    time.Time // when the request's head was complete
	clientEnd  half      // what the client sends
	serverEnd  half
	sent       int64 // to the client
	// What the access log will say: what it tells of the request's head, to be parsed again at the end, and ids. There may be
	// thousands of tunnels for hours, so nothing else of the request is kept, nor of the snapshot that it went by.
	head                                      []byte
	listener, balancer, route, upstream, addr string
	port, length                              int // of the listener; of the request
}

// half is one direction's end.
type half uint8

const (
	halfOpen  half = iota
	halfEnded      // all has been read; the end is to be passed on when what is held has gone out
	halfClosed
)

// happened moves what there is to move.
func (t *tunnel) happened() {
	c, u := t.c, t.u
	c.timeWrite()
	u.timeWrite(t.send)
	if t.pass(&c.stream, &u.stream, &t.clientEnd, false) && t.pass(&u.stream, &c.stream, &t.serverEnd, true) {
		c.timeWrite()
		u.timeWrite(t.send)
	}
}

// pass moves bytes one way; false when the tunnel has ended.
func (t *tunnel) pass(from, to *stream, end *half, count bool) bool {
	budget := turnBudget
	for *end == halfOpen && !to.blocked() && budget > 0 {
		data, err := t.next(from)
		if err == errAgain {
			break
		}
		if err == io.EOF {
			*end = halfEnded
			break
		}
		if err != nil {
			t.end(dataplane.ReasonNone)
			return false
		}
		budget -= len(data)
		t.touch()
		if count {
			t.sent += int64(len(data))
		}
		if to.write(data) != nil {
			t.end(dataplane.ReasonNone)
			return false
		}
	}
	if budget <= 0 {
		from.goOn()
	}
	if *end == halfEnded && !to.blocked() {
		to.endWrite()
		*end = halfClosed
		if t.clientEnd == halfClosed && t.serverEnd == halfClosed {
			t.end(dataplane.ReasonNone)
			return false
		}
	}
	return true
}

// next gives the next bytes of one side: what the client sent along with its request comes first.
func (t *tunnel) next(from *stream) ([]byte, error) {
	if from == &t.c.stream && len(t.c.kept) > 0 {
		n := copy(t.c.l.plain, t.c.kept)
		t.c.keep(t.c.kept, n)
		return t.c.l.plain[:n], nil
	}
	n, err := from.read(t.c.l.plain)
	return t.c.l.plain[:n], err
}

// touch starts the idle timeout anew.
func (t *tunnel) touch() { t.c.timeRead(t.idle) }

// expired ends the tunnel: it was idle, or one side has stopped reading.
func (t *tunnel) expired(which timerKind) {
	if which == timerRead {
		t.end(dataplane.ReasonTunnelIdle)
		return
	}
	t.end(dataplane.ReasonTunnelStalled)
}

// end closes both sides and says why in the log.
func (t *tunnel) end(reason dataplane.Reason) {
	c, l := t.c, t.c.home
	t.u.end()
	c.t = nil
	l.server.Metrics.Tunnels(t.listener, -1)
	now, outcome := l.now(), dataplane.Outcome{Status: 101, Reason: c.endedBy(reason)}
	l.count.Request(t.listener, outcome, now.Sub(t.started))
	if access := l.server.Access; access != nil {
		access(t.record(now, outcome))
	}
	c.end()
}

// record is what the access log says.
func (t *tunnel) record(now time.Time, outcome dataplane.Outcome) *dataplane.AccessRecord {
	c := t.c
	r := dataplane.Request{Scheme: "http", Peer: c.peer, PeerIP: c.ip, TLS: c.info}
	if r.TLS != nil {
		r.Scheme = "https"
	}
	parseRequest(t.head, &r) // it was valid when it came
	rec := &dataplane.AccessRecord{
		Time: now, Status: outcome.Status, Reason: outcome.Reason, BodyBytesSent: t.sent, RequestLength: int64(t.length),
		RequestTime: now.Sub(c.began), ReadRequestTime: t.started.Sub(c.began), UpstreamResponseTime: now.Sub(t.began),
		UpstreamAddr: t.addr, UpstreamStatus: 101, VIPAddr: c.localIP(),
	}
	rec.Fill(&r, &dataplane.Decision{
		Listener: &dataplane.Listener{ID: t.listener, LoadBalancer: t.balancer, Port: t.port},
		Route:    &dataplane.Route{ID: t.route}, Upstream: &dataplane.Upstream{ID: t.upstream},
	})
	return rec
}

// loggedFields are what the access log tells of a request's fields (AccessRecord.Fill).
var loggedFields = [...]string{"referer", "user-agent", "x-forwarded-for", "x-real-ip"}

// logHead is a request's head without what the log does not tell.
func logHead(r *dataplane.Request) []byte {
	fields := []dataplane.Field{{Name: "Host", Value: r.Authority}}
	for _, f := range r.Fields {
		for _, name := range loggedFields {
			if equalFold(f.Name, name) {
				fields = append(fields, f)
			}
		}
	}
	head, err := dataplane.AppendRequestHead(nil, r.Method, r.Target(), fields)
	if err != nil {
		return nil // it could not have been sent on either
	}
	return slices.Clip(bytes.Clone(head))
}
