package std

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/alb-appliance/appliance/dataplane"
)

// clientBody is a request's body, read within the limits of time and size. The client is timed only while it is being
// read from, so that a slow endpoint is not its fault.
type clientBody struct {
	x     *exchange
	watch *watchdog
	stop  stopper
	read  atomic.Int64
	done  atomic.Bool
	// early is what peek has read, and its error.
	early    []byte
	earlyErr error
}

func newClientBody(x *exchange) *clientBody {
	if x.h1 != nil {
		return &clientBody{x: x, watch: x.h1.read, stop: x.h1}
	}
	return &clientBody{x: x, watch: x.stream.read, stop: x.stream}
}

// limit is the bound on the body's bytes: the route's if it has one.
func (b *clientBody) limit() int64 {
	if n := b.x.dec.BodyBytes; n > 0 {
		return min(n, b.x.limits.BodyBytes)
	}
	return b.x.limits.BodyBytes
}

// peek waits for the body's first byte and reports whether there is one, or an error to be met by Read.
func (b *clientBody) peek() bool {
	buf := make([]byte, 512)
	b.watch.arm(b.x.limits.Request)
	n, err := b.x.r.Body.Read(buf)
	b.watch.disarm()
	b.early, b.earlyErr = buf[:n], err
	return n > 0 || !errors.Is(err, io.EOF)
}

// next reads on, what peek has read first.
func (b *clientBody) next(p []byte) (int, error) {
	if len(b.early) > 0 {
		n := copy(p, b.early)
		b.early = b.early[n:]
		return n, nil
	}
	if err := b.earlyErr; err != nil {
		return 0, err
	}
	b.watch.arm(b.x.limits.Request)
	defer b.watch.disarm()
	return b.x.r.Body.Read(p)
}

// complete reports whether all of the body has been read.
func (b *clientBody) complete() bool { return b.done.Load() }

// bodyError is a request that cannot be passed on whole, by the client's doing.
type bodyError struct{ reason dataplane.Reason }

func (e *bodyError) Error() string { return "pass the request on: " + e.reason.Why() }

// Read reads the next bytes; its errors are io.EOF and *bodyError.
func (b *clientBody) Read(p []byte) (int, error) {
	if b.done.Load() {
		return 0, io.EOF
	}
	n, err := b.next(p)
	total := b.read.Add(int64(n))
	switch {
	case total > b.limit():
		return n, &bodyError{dataplane.ReasonBodyTooLarge}
	case errors.Is(err, io.EOF), b.x.req.Length > 0 && total == b.x.req.Length:
		b.done.Store(true)
	case err == nil:
	case b.stop.wasLate():
		return n, &bodyError{dataplane.ReasonClientTimeout}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, &bodyError{dataplane.ReasonClientClosed}
	case b.x.r.Context().Err() != nil:
		return n, &bodyError{dataplane.ReasonClientClosed}
	default:
		return n, &bodyError{bodyFault(err)}
	}
	return n, err
}

// bodyFault tells a broken connection from a body that is not valid chunked coding.
func bodyFault(err error) dataplane.Reason {
	var network interface{ Timeout() bool }
	if errors.As(err, &network) {
		return dataplane.ReasonClientClosed
	}
	return dataplane.ReasonBadRequest
}
