package std

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// lingering is how long a request's body may still come in after its answer is complete, before the connection is
// cut: the last bytes of a body often cross the answer.
const lingering = 50 * time.Millisecond

// sender moves a request's body to the endpoint while the answer is awaited.
type sender struct {
	x    *exchange
	u    *upstreamConn
	done chan struct{}
	ok   bool // all was sent; valid after done
	// fault is why the client did not deliver its body, as a dataplane.Reason; empty if it is not to blame.
	fault atomic.Value
}

// sendHead writes the request's head and starts its body, if it has one.
func (x *exchange) sendHead(u *upstreamConn) (*sender, error) {
	fields := dataplane.RequestHead(make([]dataplane.Field, 0, len(x.req.Fields)+10), &x.req, &x.dec)
	if !x.dec.Upstream.KeepAlive && x.dec.Upgrade == "" {
		fields = append(fields, dataplane.Field{Name: "Connection", Value: "close"})
	}
	if x.req.Length < 0 {
		fields = append(fields, dataplane.Field{Name: "Transfer-Encoding", Value: "chunked"})
	}
	head, err := dataplane.AppendRequestHead(make([]byte, 0, 1024), x.req.Method, x.dec.TargetFor(&x.req), fields)
	if err != nil {
		x.s.Log.Debug("request cannot be passed on", "listener", x.c.socket().Listener(), "err", err)
		return nil, &bodyError{dataplane.ReasonBadRequest}
	}
	if _, err := u.writeTimed(head, x.dec.Timeouts.Send); err != nil {
		return nil, err
	}
	if x.body == nil {
		u.awaitHead(x.dec.Timeouts.Head())
		return nil, nil
	}
	// Without it net/http would swallow the rest of the body before the answer's first byte.
	_ = http.NewResponseController(x.w).EnableFullDuplex()
	b := &sender{x: x, u: u, done: make(chan struct{})}
	x.s.Guard(b.run, u.abort)
	return b, nil
}

// run sends the body, then starts the clock on the answer.
func (b *sender) run() {
	defer close(b.done)
	buf := b.x.s.buffers.Get().(*[copyBuffer]byte)
	defer b.x.s.buffers.Put(buf)
	if err := b.copy(buf[:]); err != nil {
		var fault *bodyError
		if errors.As(err, &fault) {
			b.fault.Store(fault.reason)
			b.u.abort()
		}
		// An endpoint that stopped reading may have answered all the same; reading tells.
		return
	}
	b.ok = true
	b.u.awaitHead(b.x.dec.Timeouts.Head())
}

// copy moves the body, chunked if its length is not known.
func (b *sender) copy(buf []byte) error {
	gap := b.x.dec.Timeouts.Send
	chunked := b.x.req.Length < 0
	const room = 16 // for a chunk's size line
	for {
		n, err := b.x.body.Read(buf[room : len(buf)-2])
		if n > 0 {
			part := buf[room : room+n]
			if chunked {
				part = frame(buf, room, n)
			}
			if _, werr := b.u.writeTimed(part, gap); werr != nil {
				return werr
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if chunked {
				_, err := b.u.writeTimed(b.trailer(), gap)
				return err
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// frame puts a chunk's size before the n bytes at room, and its end behind them, and gives the whole.
func frame(buf []byte, room, n int) []byte {
	var size [18]byte
	line := append(strconv.AppendInt(size[:0], int64(n), 16), '\r', '\n')
	start := room - len(line)
	copy(buf[start:], line)
	buf[room+n], buf[room+n+1] = '\r', '\n'
	return buf[start : room+n+2]
}

// trailer is the end of a chunked body with the client's trailers (RFC 9112 section 7.1.2).
func (b *sender) trailer() []byte {
	out := []byte("0\r\n")
	for _, name := range slices.Sorted(maps.Keys(b.x.r.Trailer)) {
		for _, v := range b.x.r.Trailer[name] {
			if dataplane.FieldOK(dataplane.Field{Name: name, Value: v}) {
				out = append(out, name+": "+v+"\r\n"...)
			}
		}
	}
	return append(out, '\r', '\n')
}

// reason is why the client did not deliver its body, or ReasonNone. A nil sender has nothing to deliver.
func (b *sender) reason() dataplane.Reason {
	if b == nil {
		return dataplane.ReasonNone
	}
	r, _ := b.fault.Load().(dataplane.Reason)
	return r
}

// stop waits for the body's end; a client that has more to send is cut off after its answer. It reports whether the
// endpoint got the whole request.
func (b *sender) stop(answered bool) bool {
	if b == nil {
		return true
	}
	if !answered {
		b.u.abort()
	}
	timer := b.x.s.Clock.NewTimer(lingering)
	defer timer.Stop()
	select {
	case <-b.done:
		return b.ok
	case <-timer.Chan():
	}
	b.u.abort()
	b.x.body.stop.cutReading(false)
	<-b.done
	return false
}
