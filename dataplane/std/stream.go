package std

import (
	"net/http"
	"sync/atomic"

	"github.com/alb-appliance/appliance/dataplane"
)

// stopper ends the reading of one request's body.
type stopper interface {
	// cutReading makes reads of the body fail from now on; late says that the client was too slow.
	cutReading(late bool)
	// wasLate reports whether that happened.
	wasLate() bool
}

// stream is one request of an HTTP/2 or HTTP/3 connection. Its reads and writes are timed one by one, since a client
// may stall one stream and go on with the others.
type stream struct {
	control *http.ResponseController
	read    *watchdog
	write   *watchdog
	late    atomic.Bool
}

func newStream(s *Server, w http.ResponseWriter) *stream {
	m := &stream{control: http.NewResponseController(w)}
	m.read = newWatchdog(s.Clock, func() { m.cutReading(true) })
	m.write = newWatchdog(s.Clock, func() { _ = m.control.SetWriteDeadline(past) })
	return m
}

func (m *stream) cutReading(late bool) {
	if late {
		m.late.Store(true)
	}
	_ = m.control.SetReadDeadline(past)
}

func (m *stream) wasLate() bool { return m.late.Load() }

// end stops the stream's timers.
func (m *stream) end() {
	m.read.disarm()
	m.write.disarm()
}

// write writes part of the answer's body; flush sends on what is buffered. HTTP/1.1 is timed by its connection.
func (x *exchange) write(p []byte, flush bool) error {
	if x.stream != nil {
		x.stream.write.arm(x.limits.ClientWrite)
		defer x.stream.write.disarm()
	}
	if len(p) > 0 {
		n, err := x.w.Write(p)
		x.record.BodyBytesSent += int64(n)
		if err != nil {
			return err
		}
	}
	if flush {
		return http.NewResponseController(x.w).Flush()
	}
	return nil
}

// settle ends an HTTP/2 or HTTP/3 request. Its answer is flushed within the time for writes, since what is left would
// be written without a limit; one that is incomplete is reset, which net/http and http3 do for this panic.
func (x *exchange) settle() {
	if x.stream == nil {
		return
	}
	if x.wrote && !x.broken && x.write(nil, true) != nil {
		x.outcome.Reason, x.broken = dataplane.ReasonClientClosed, true
	}
	x.stream.end()
}
