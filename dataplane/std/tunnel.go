package std

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// tunnel is an upgraded connection: bytes both ways until both sides have closed, or neither has sent anything for
// the idle timeout (NGINX-FACTS 1, ALB-FACTS 4.4). It outlives changes of configuration.
type tunnel struct {
	x    *exchange
	a    *answer
	idle time.Duration
	// watch is re-armed by bytes in either direction.
	watch *watchdog

	mu     sync.Mutex
	reason dataplane.Reason
}

// tunnel takes the client's connection over and carries bytes until the end.
func (x *exchange) tunnel(a *answer) {
	defer a.u.Close()
	a.detach() // from here on the client is read by us, and its end is an end of file
	conn, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.s.Log.Error("connection cannot be upgraded", "listener", x.c.socket().Listener(), "err", err)
		x.refuse(dataplane.ReasonInternal)
		return
	}
	x.hijacked, x.wrote = true, true
	listener := x.c.socket().Listener()
	x.s.Metrics.Tunnels(listener, 1)
	defer x.s.Metrics.Tunnels(listener, -1)

	fields := dataplane.ResponseHead(nil, &dataplane.Response{Status: 101, Fields: fieldsOf(a.Header)}, &x.dec)
	if _, err := conn.Write(dataplane.AppendResponseHead(nil, 101, fields)); err != nil {
		x.outcome.Reason = dataplane.ReasonClientClosed
		return
	}
	t := &tunnel{x: x, a: a, idle: x.dec.TunnelIdle(x.limits)}
	t.watch = newWatchdog(x.s.Clock, func() { t.end(dataplane.ReasonTunnelIdle) })
	early := make([]byte, rw.Reader.Buffered())
	_, _ = io.ReadFull(rw.Reader, early)
	t.run(io.MultiReader(bytes.NewReader(early), x.h1.Conn))
}

// run copies both ways and returns when both have ended.
func (t *tunnel) run(client io.Reader) {
	t.watch.arm(t.idle)
	defer t.watch.disarm()
	up := make(chan struct{})
	t.x.s.Guard(func() {
		defer close(up)
		t.copy(upstreamWriter{t}, client, nil)
		t.a.u.closeWrite()
	}, func() { t.end(dataplane.ReasonInternal) })
	t.copy(t.x.h1, t.a.u.br, &t.x.record.BodyBytesSent)
	_ = t.x.h1.CloseWrite()
	<-up
	t.mu.Lock()
	defer t.mu.Unlock()
	t.x.outcome.Reason = t.reason
	t.x.record.UpstreamResponseTime = t.x.s.Clock.Now().Sub(t.a.began)
}

// copy moves bytes one way until the source ends; a failure to write ends both ways.
func (t *tunnel) copy(dst io.Writer, src io.Reader, count *int64) {
	buf := t.x.s.buffers.Get().(*[copyBuffer]byte)
	defer t.x.s.buffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			t.watch.arm(t.idle)
			if count != nil {
				*count += int64(n)
			}
			if _, werr := dst.Write(buf[:n]); werr != nil {
				t.stalledOrGone()
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.end(dataplane.ReasonNone)
			}
			return
		}
	}
}

// stalledOrGone ends the tunnel after a failed write.
func (t *tunnel) stalledOrGone() {
	if t.a.u.late.Load() {
		t.end(dataplane.ReasonTunnelStalled)
		return
	}
	t.end(dataplane.ReasonNone)
}

// end closes both sides; the first reason counts.
func (t *tunnel) end(reason dataplane.Reason) {
	t.mu.Lock()
	if t.reason == dataplane.ReasonNone {
		t.reason = reason
	}
	t.mu.Unlock()
	t.a.u.abort()
	t.x.h1.Close()
}

// upstreamWriter writes to the endpoint within the send timeout, which runs only while a write is stalled.
type upstreamWriter struct{ t *tunnel }

func (w upstreamWriter) Write(p []byte) (int, error) {
	return w.t.a.u.writeTimed(p, w.t.x.dec.Timeouts.Send)
}
