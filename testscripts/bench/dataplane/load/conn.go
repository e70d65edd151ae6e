//go:build linux

package load

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// conn is one connection, with at most one request on its way.
type conn struct {
	loop    *loop
	target  Target
	request []byte // of WebSockets a frame
	fd      int
	stream  io.ReadWriter // the descriptor, or TLS on it
	secure  bool

	pending []byte // what is still to be written
	since   time.Duration
	busy    bool
	head    []byte // of the answer, while it is not complete
	body    int64  // bytes of it still to come; -1 while the head is not complete
	closing bool   // the answer said that the connection ends
}

func newConn(l *loop, t Target) *conn {
	c := &conn{loop: l, target: t, fd: -1, body: -1}
	switch l.job.Kind {
	case Connect:
		c.request = request(t, "Connection: close\r\n")
	case WebSocket:
		c.request = frame(l.job.Message)
	default:
		c.request = request(t, "")
	}
	return c
}

// connect opens the connection, TLS and WebSocket included, and waits for all that.
func (c *conn) connect() error {
	fd, err := c.loop.dial(true)
	if err != nil {
		return err
	}
	c.fd, c.stream = fd, descriptor(fd)
	if c.loop.job.TLS {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	if c.loop.job.Kind == WebSocket {
		if err := upgrade(c.stream, c.target); err != nil {
			return err
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("set non-blocking: %w", err)
	}
	c.loop.idle = append(c.loop.idle, c)
	return c.loop.watch(c, unix.EPOLLIN)
}

// handshake puts TLS on the descriptor.
func (c *conn) handshake() error {
	secure := tls.Client(socket{descriptor(c.fd)}, clientTLS(c.target.Host, nil))
	if err := secure.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.stream, c.secure = secure, true
	return nil
}

// start begins a request that was due at a time.
func (c *conn) start(at time.Duration) {
	c.since, c.busy, c.pending, c.body, c.head = at, true, c.request, -1, c.head[:0]
	if c.fd >= 0 {
		c.write()
		return
	}
	if err := c.reopen(); err != nil {
		c.loop.fatal = err // whoever refuses connections will refuse the next one, too
	}
}

// reopen opens the connection anew: without waiting, unless it is TLS.
func (c *conn) reopen() error {
	c.closing = false
	if c.loop.job.TLS {
		if err := c.connect(); err != nil {
			return err
		}
		c.loop.idle = c.loop.idle[:len(c.loop.idle)-1] // it is not
		c.write()
		return nil
	}
	fd, err := c.loop.dial(false)
	if err != nil {
		return err
	}
	c.fd, c.stream = fd, descriptor(fd)
	return c.loop.watch(c, unix.EPOLLOUT) // writes once it is connected
}

// write sends what is pending.
func (c *conn) write() {
	n, err := c.stream.Write(c.pending)
	c.pending = c.pending[max(n, 0):]
	if err != nil && err != errAgain {
		c.broken("write: " + err.Error())
		return
	}
	if len(c.pending) > 0 {
		_ = c.loop.watch(c, unix.EPOLLIN|unix.EPOLLOUT)
	}
}

// ready is called when the descriptor can be written to or read from.
func (c *conn) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 && len(c.pending) > 0 {
		c.write()
		if c.fd >= 0 && len(c.pending) == 0 {
			_ = c.loop.watch(c, unix.EPOLLIN)
		}
		return
	}
	for c.fd >= 0 {
		n, err := c.stream.Read(c.loop.buffer)
		if n > 0 {
			c.loop.result.Bytes += int64(n)
			c.received(c.loop.buffer[:n])
			if !c.secure && n < len(c.loop.buffer) {
				return // level-triggered: what is left is told again
			}
			continue
		}
		if err == errAgain {
			return
		}
		c.ended(err)
	}
}

// ended is called when the other side has closed.
func (c *conn) ended(err error) {
	if c.busy && c.loop.job.Kind == Connect && c.body == 0 {
		c.finish()
		return
	}
	if c.busy {
		c.broken(fmt.Sprintf("the connection ended in the middle of an answer: %v", err))
		return
	}
	c.loop.forget(c) // it was idle; the next request opens it anew
}

// received takes a part of an answer.
func (c *conn) received(data []byte) {
	if c.loop.job.Kind == WebSocket {
		c.receivedFrame(data)
		return
	}
	if c.body < 0 {
		if data = c.receivedHead(data); c.body < 0 {
			return
		}
	}
	if c.body -= int64(len(data)); c.body > 0 {
		return
	}
	if c.body < 0 {
		c.broken("more bytes came than the answer has")
		return
	}
	c.done()
}

// receivedHead takes a part of an answer's head and gives what is after it.
func (c *conn) receivedHead(data []byte) (rest []byte) {
	whole := data
	if len(c.head) > 0 {
		c.head = append(c.head, data...)
		whole = c.head
	}
	end := bytes.Index(whole, []byte("\r\n\r\n"))
	if end < 0 {
		if len(c.head) == 0 {
			c.head = append(c.head, data...)
		}
		return nil
	}
	head := whole[:end+2]
	if c.body = contentLength(head); c.body < 0 || !bytes.HasPrefix(head, []byte("HTTP/1.1 200")) {
		c.broken("the answer is not 200 with a length: " + string(head))
		c.body = -1
		return nil
	}
	c.closing = bytes.Contains(head, []byte("onnection: close\r\n"))
	return whole[end+4:]
}

// contentLength reads the field of that name; -1 if there is none.
func contentLength(head []byte) int64 {
	for _, name := range []string{"\r\nContent-Length: ", "\r\ncontent-length: "} {
		if _, after, ok := bytes.Cut(head, []byte(name)); ok {
			value, _, _ := bytes.Cut(after, []byte("\r\n"))
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// done is called at the end of an answer. A connection for one request is then closed by the other side, which so has
// the socket that waits (TIME-WAIT): this side would run out of ports.
func (c *conn) done() {
	c.loop.answered(c.since)
	if c.loop.job.Kind != Connect {
		c.finish()
	}
}

// broken is called when a request has no good answer.
func (c *conn) broken(why string) {
	c.loop.failed(why)
	c.closing = true
	c.finish()
}

// finish makes the connection ready for its next request.
func (c *conn) finish() {
	c.busy = false
	if c.fd >= 0 && (c.closing || c.loop.job.Kind == Connect) {
		c.loop.forget(c)
	}
	c.loop.free(c)
}
