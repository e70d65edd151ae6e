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
	x    *exchange
	read atomic.Int64
	done atomic.Bool
}

func newClientBody(x *exchange) *clientBody { return &clientBody{x: x} }

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
	watch := b.x.c.read
	watch.arm(b.x.limits.Request)
	n, err := b.x.r.Body.Read(p)
	watch.disarm()
	total := b.read.Add(int64(n))
	switch {
	case total > b.x.limits.BodyBytes:
		return n, &bodyError{dataplane.ReasonBodyTooLarge}
	case errors.Is(err, io.EOF), b.x.req.Length > 0 && total == b.x.req.Length:
		b.done.Store(true)
	case err == nil:
	case b.x.c.wasLate():
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
