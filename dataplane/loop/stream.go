//go:build linux

package loop

import (
	"errors"
	"io"
	"syscall"
)

// streamOwner is whose connection a stream is.
type streamOwner interface {
	// happened follows news of the stream: bytes to read, an end, or that what was held has been written.
	happened()
	// abandon ends what the stream is about after a failure of ours.
	abandon(v any)
}

// stream is a connected socket that a loop owns, with or without TLS. Only its loop uses it, and nothing uses the
// descriptor after close.
type stream struct {
	l     *loop
	owner streamOwner
	fd    int32
	gen   uint32

	heldAt  int32 // how much of held has gone out
	canRead bool  // the kernel may have bytes for us
	ending  bool  // the other side has ended its half, or there is an error
	drained bool  // what was held has been written since the owner was told last
	closed  bool
	later   bool // the owner goes on in the next turn
	piped   bool // a pipe holds bytes that the kernel has not taken yet

	held   []byte // what the kernel has not taken yet; ciphertext with TLS
	broken error  // of a write: nothing more is written
	tls    *secure
}

// errAgain says that there is nothing to read now. It is a temporary net.Error, after which crypto/tls can go on.
var errAgain error = again{}

type again struct{}

func (again) Error() string   { return "nothing to read yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// note takes in what the poller says.
func (s *stream) note(ev *ready) {
	if ev.in || ev.end {
		s.canRead = true
	}
	if ev.end {
		s.ending = true
	}
	if ev.out && len(s.held) > 0 {
		s.drained = s.flush() || s.drained
	}
	s.drained = s.drained || ev.out && s.piped
}

// turn tells the owner.
func (s *stream) turn() {
	s.later = false
	if !s.closed {
		s.owner.happened()
	}
}

func (s *stream) abandon(v any) { s.owner.abandon(v) }

// goOn has the owner told once more in the next turn, after it has used up its budget.
func (s *stream) goOn() {
	if !s.later {
		s.later = true
		s.l.later(s)
	}
}

// read reads what there is: errAgain if there is nothing now, io.EOF at the end.
func (s *stream) read(p []byte) (int, error) {
	if s.tls != nil {
		return s.tls.read(p)
	}
	return s.receive(p)
}

// receive reads from the socket. A short count means that the kernel has no more: its next news say so (epoll(7)).
func (s *stream) receive(p []byte) (int, error) {
	for s.canRead && !s.closed {
		n, errno := s.l.kernel.read(int(s.fd), p)
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			s.canRead = false
		case errno != 0:
			s.canRead = false
			return 0, errno
		case n == 0:
			// An end stays an end: whoever reads again is told again.
			return 0, io.EOF
		default:
			s.canRead = n == len(p) || s.ending
			return n, nil
		}
	}
	return 0, errAgain
}

// write sends p; what the kernel does not take is held and sent when it can be. Who sees blocked has to wait with more.
// After a failure nothing is sent any more; reading may still give what the other side sent before it.
func (s *stream) write(p []byte) error {
	if s.tls != nil {
		return s.tls.write(p)
	}
	return s.send(p)
}

// send writes to the socket.
func (s *stream) send(p []byte) error {
	if s.broken != nil || s.closed {
		return s.broken
	}
	if len(s.held) > 0 {
		s.hold(p)
		return s.broken
	}
	n, err := s.push(p)
	if n < len(p) && err == nil {
		s.hold(p[n:])
		err = s.broken
	}
	return err
}

// push gives the kernel what it takes.
func (s *stream) push(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, errno := s.l.kernel.write(int(s.fd), p[done:])
		switch errno {
		case 0:
			done += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return done, nil
		default:
			s.broken = errno
			s.release()
			return done, errno
		}
	}
	return done, nil
}

// hold keeps what cannot be sent yet. When too much is held by all, this connection is the one that is given up.
func (s *stream) hold(p []byte) {
	if s.l.buffers.full() {
		s.broken = errFull
		s.release()
		return
	}
	s.held = s.l.buffers.add(s.held, p)
}

// errFull breaks a connection off: see Limits.BufferedBytes.
var errFull = errors.New("too much waits in memory for readers that do not read (Limits.BufferedBytes)")

// flush sends what is held; it reports whether some has gone out, or the connection is broken.
func (s *stream) flush() bool {
	if len(s.held) == 0 || s.closed {
		return false
	}
	n, err := s.push(s.held[s.heldAt:])
	if err != nil {
		return true
	}
	s.heldAt += int32(n)
	if int(s.heldAt) == len(s.held) {
		s.release()
	}
	return n > 0
}

// release gives the buffer of what was held back.
func (s *stream) release() {
	if s.held != nil {
		s.l.buffers.put(s.held)
	}
	s.held, s.heldAt = nil, 0
}

// blocked tells that what was written has not all gone out.
func (s *stream) blocked() bool { return len(s.held) > 0 || s.piped }

// progressed tells, once, that some of what was held has gone out, or failed to.
func (s *stream) progressed() bool {
	p := s.drained
	s.drained = false
	return p
}

// endWrite tells the other side that nothing more comes. The caller has seen to it that nothing is held.
func (s *stream) endWrite() {
	if s.closed || s.broken != nil {
		return
	}
	if s.tls != nil {
		s.tls.endWrite()
		return
	}
	_ = s.l.kernel.closeWrite(int(s.fd))
}

// close ends the connection; what is held is lost. It may be called again.
func (s *stream) close() {
	if s.closed {
		return
	}
	if s.tls != nil {
		s.tls.close()
	}
	s.closed = true
	s.release()
	s.l.streams[s.fd] = nil
	s.l.kernel.close(int(s.fd))
}

// detach gives the descriptor away: the loop does not watch it any more.
func (s *stream) detach() int {
	s.closed = true
	s.l.poll.remove(int(s.fd))
	s.l.streams[s.fd] = nil
	return int(s.fd)
}
