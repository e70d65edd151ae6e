//go:build linux

package loop

import (
	"io"
	"syscall"

	"github.com/alb-appliance/appliance/dataplane"
)

// spliceFrom is from which size on the rest of a body moves from socket to socket through a pipe, without being copied
// to us. Below it the system calls cost more than the copying.
const spliceFrom = 128 << 10

// pipeSize is how much a pipe takes: as much as the system grants without privileges.
const pipeSize = 1 << 20

// pipe is a kernel's pipe. Only empty ones are pooled: bytes that were left would go to another client.
type pipe struct{ r, w, full int }

// pooledPipes bounds how many a loop keeps.
const pooledPipes = 16

// pipe gives an empty pipe, nil if the system has none to give.
func (l *loop) pipe() *pipe {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p
	}
	r, w, errno := l.kernel.pipe(pipeSize)
	if errno != 0 {
		return nil
	}
	return &pipe{r: r, w: w}
}

// putPipe takes a pipe back.
func (l *loop) putPipe(p *pipe) {
	if p.full == 0 && len(l.pipes) < pooledPipes && !l.over {
		l.pipes = append(l.pipes, p)
		return
	}
	l.kernel.close(p.r)
	l.kernel.close(p.w)
}

// closePipes ends the pooled pipes.
func (l *loop) closePipes() {
	for _, p := range l.pipes {
		l.kernel.close(p.r)
		l.kernel.close(p.w)
	}
	l.pipes = nil
}

// splices tells whether the rest of the answer's body goes through a pipe, and takes one.
func (x *exchange) splices() bool {
	if x.pipe != nil {
		return true
	}
	if x.stage != stageBody || x.body.kind != framingLength || x.body.left < x.l.spliceFrom || x.c.tls != nil || x.up.tls != nil || x.l.noSplice {
		return false
	}
	if x.pipe = x.l.pipe(); x.pipe == nil {
		x.l.noSplice = true // too many open files, or no such call: bodies are copied from now on
	}
	return x.pipe != nil
}

// splice moves what the endpoint has sent to the client; false when there is nothing more to do now.
func (x *exchange) splice(budget *int) bool {
	if !x.drainPipe() {
		return false
	}
	if x.body.left == 0 {
		x.endPipe()
		x.answered()
		return false
	}
	u := x.up
	if !u.canRead {
		x.awaitMore()
		return false
	}
	n, errno := x.l.kernel.splice(int(u.fd), x.pipe.w, int(min(x.body.left, pipeSize)))
	switch {
	case errno == syscall.EINTR:
		return true
	case errno == syscall.EAGAIN:
		u.canRead = u.ending
		if u.ending {
			return x.spliceEnded(io.EOF)
		}
		x.awaitMore()
		return false
	case errno != 0:
		return x.spliceEnded(errno)
	case n == 0:
		return x.spliceEnded(io.EOF)
	}
	x.pipe.full += n
	x.body.left -= int64(n)
	*budget -= n
	return true
}

// spliceEnded follows the end of the endpoint's connection in the middle of a body.
func (x *exchange) spliceEnded(err error) bool {
	x.upstreamEnded(err)
	return false
}

// drainPipe empties the pipe to the client; false when the client takes no more now, or has gone.
func (x *exchange) drainPipe() bool {
	p, c := x.pipe, x.c
	for p.full > 0 {
		n, errno := x.l.kernel.splice(p.r, int(c.fd), p.full)
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			c.piped = true
			c.timeWrite()
			x.awaitClient()
			return false
		case errno != 0 || n == 0:
			x.breakOff(dataplane.ReasonClientClosed)
			return false
		default:
			p.full -= n
			x.record.BodyBytesSent += int64(n)
		}
	}
	c.piped = false
	c.timeWrite()
	return true
}

// endPipe gives the pipe back, or ends it with what is in it.
func (x *exchange) endPipe() {
	if x.pipe != nil {
		x.l.putPipe(x.pipe)
		x.pipe, x.c.piped = nil, false
	}
}
