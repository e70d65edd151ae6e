//go:build linux

package load

import (
	"bytes"
	"fmt"
	"io"
)

// upgrade makes a WebSocket of a connection.
func upgrade(stream io.ReadWriter, t Target) error {
	ask := request(t, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
	if _, err := stream.Write(ask); err != nil {
		return fmt.Errorf("WebSocket handshake: %w", err)
	}
	var head []byte
	buffer := make([]byte, 4096)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		n, err := stream.Read(buffer)
		if err != nil {
			return fmt.Errorf("WebSocket handshake: %w after %q", err, head)
		}
		head = append(head, buffer[:n]...)
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) || !bytes.Contains(head, []byte("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) {
		return fmt.Errorf("WebSocket handshake: the answer is %q", head)
	}
	return nil
}

// frame is a client's binary message of n bytes, less than 126, under a mask that changes nothing.
func frame(n int) []byte {
	f := make([]byte, 6+n)
	f[0], f[1] = 0x82, 0x80|byte(n)
	for i := range n {
		f[6+i] = byte(i)
	}
	return f
}

// echoHead is how many bytes are before the payload of an echo.
const echoHead = 2

// receivedFrame takes a part of an echo: frame and length are known, so bytes are counted.
func (c *conn) receivedFrame(data []byte) {
	if c.body < 0 {
		c.body = int64(echoHead + c.loop.job.Message)
		if data[0] != 0x82 {
			c.broken(fmt.Sprintf("the echo begins with %#x", data[0]))
			return
		}
	}
	if c.body -= int64(len(data)); c.body == 0 {
		c.done()
	} else if c.body < 0 {
		c.broken("more bytes came than the echo has")
	}
}

// runIdle opens WebSockets, exchanges a message on each, and holds them until the input ends.
func runIdle(j *Job, in io.Reader, started func()) (*Result, error) {
	raiseFiles()
	asWebSockets := *j
	asWebSockets.Kind = WebSocket
	l, err := newLoop(&asWebSockets)
	if err != nil {
		return nil, err
	}
	defer l.close()
	for i := range j.Connections {
		c := newConn(l, j.Targets[i%len(j.Targets)])
		if err := c.connect(); err != nil {
			return nil, fmt.Errorf("socket %d: %w", i, err)
		}
		if _, err := c.stream.Write(c.request); err != nil {
			return nil, fmt.Errorf("socket %d: %w", i, err)
		}
		for left := echoHead + j.Message; left > 0; {
			n, err := c.stream.Read(l.buffer)
			if err != nil && err != errAgain {
				return nil, fmt.Errorf("socket %d: %w", i, err)
			}
			left -= n
		}
	}
	started()
	_, _ = io.Copy(io.Discard, in)
	return &Result{Requests: int64(j.Connections)}, nil
}
