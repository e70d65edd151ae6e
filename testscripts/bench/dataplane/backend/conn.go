//go:build linux

package backend

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// conn is a connection from a proxy.
type conn struct {
	server    *server
	fd        int
	received  []byte // what is not dealt with yet
	pending   []byte // what is still to be written
	webSocket bool
	watches   bool // for room to write
}

func (c *conn) close() {
	c.server.conns[c.fd] = nil
	_ = unix.Close(c.fd)
}

// ready is called when the descriptor can be written to or read from.
func (c *conn) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		c.send(nil)
	}
	if events&^unix.EPOLLOUT == 0 || c.server.conns[c.fd] != c {
		return
	}
	n, err := unix.Read(c.fd, c.server.buffer)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case n <= 0:
		c.close()
		return
	}
	data := c.server.buffer[:n]
	if len(c.received) > 0 {
		c.received = append(c.received, data...)
		data = c.received
	}
	rest := c.take(data)
	if c.server.conns[c.fd] == c {
		c.received = append(c.received[:0], rest...)
		if len(rest) == 0 {
			c.received = nil
		}
	}
}

// take deals with whole messages and gives what is left.
func (c *conn) take(data []byte) (rest []byte) {
	for len(data) > 0 {
		n := 0
		if c.webSocket {
			n = c.frame(data)
		} else {
			n = c.request(data)
		}
		if n == 0 {
			return data
		}
		data = data[n:]
	}
	return nil
}

// request answers the request at the beginning of data and gives its length; 0 if it is not complete.
func (c *conn) request(data []byte) int {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	head := data[:end+4]
	length := len(head) + contentLength(head)
	if len(data) < length {
		return 0
	}
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	path := bytes.TrimSuffix(line, []byte(" HTTP/1.1"))
	switch {
	case bytes.HasSuffix(path, []byte("/hello")):
		c.send(c.server.hello)
	case bytes.HasSuffix(path, []byte("/big")):
		c.send(c.server.big)
	case bytes.HasSuffix(path, []byte("/ws")):
		c.send(fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			accept(field(head, "sec-websocket-key"))))
		c.webSocket = true
	default:
		c.send(answer(string(head)))
	}
	return length
}

func contentLength(head []byte) int {
	if bytes.HasPrefix(head, []byte("GET ")) {
		return 0
	}
	n, _ := strconv.Atoi(field(head, "content-length"))
	return max(n, 0)
}

// field gives the value of a field, whose name is lower case.
func field(head []byte, name string) string {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if key, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(key, []byte(name)) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// accept answers the key of a WebSocket handshake (RFC 6455 section 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// frame sends back the WebSocket frame at the beginning of data, less than 126 bytes, and gives its length; 0 if it is
// not complete.
func (c *conn) frame(data []byte) int {
	if len(data) < 6 {
		return 0
	}
	n := int(data[1] & 0x7f)
	if n > 125 || data[1]&0x80 == 0 {
		c.close()
		return 0
	}
	if len(data) < 6+n {
		return 0
	}
	var echo [2 + 125]byte
	echo[0], echo[1] = data[0], byte(n)
	for i := range n {
		echo[2+i] = data[6+i] ^ data[2+i&3]
	}
	c.send(echo[:2+n])
	return 6 + n
}

// send writes, and keeps what there is no room for.
func (c *conn) send(data []byte) {
	if len(c.pending) > 0 {
		c.pending = append(c.pending, data...)
		data = c.pending
	}
	n, err := unix.Write(c.fd, data)
	if err != nil && err != unix.EAGAIN && err != unix.EINTR {
		c.close()
		return
	}
	c.keep(data[max(n, 0):])
}

// keep remembers what is still to be written. What is left of a fixed answer is not copied: nothing is appended to it
// before it is gone, for a proxy sends one request at a time.
func (c *conn) keep(rest []byte) {
	c.pending = rest[:len(rest):len(rest)]
	if watch := len(rest) > 0; watch != c.watches {
		c.watches = watch
		events := uint32(unix.EPOLLIN)
		if watch {
			events |= unix.EPOLLOUT
		}
		_ = unix.EpollCtl(c.server.epoll, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: events, Fd: int32(c.fd)})
	}
}
