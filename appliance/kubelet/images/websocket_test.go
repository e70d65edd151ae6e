package images_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func (p *pod) dial(t *testing.T, at string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+at, &websocket.DialOptions{HTTPClient: p.client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return c
}

func TestEcho(t *testing.T) {
	t.Parallel()
	p := run(t, "websocket-echo-server", map[string]string{"BIND_PORT": "3000"})
	c := p.dial(t, "10.1.0.7:3000/any/path")
	for _, m := range []struct {
		kind websocket.MessageType
		data string
	}{{websocket.MessageText, "grüße"}, {websocket.MessageBinary, "\x00\xff"}, {websocket.MessageText, strings.Repeat("x", 65536)}, {websocket.MessageText, ""}} {
		if err := c.Write(t.Context(), m.kind, []byte(m.data)); err != nil {
			t.Fatal(err)
		}
		kind, data, err := c.Read(t.Context())
		if err != nil || kind != m.kind || string(data) != m.data {
			t.Fatalf("%v, %d bytes, %v; want %v, %d bytes", kind, len(data), err, m.kind, len(m.data))
		}
	}
	if err := c.Close(4001, "bye"); err != nil { // fails unless the same code comes back
		t.Errorf("close: %v", err)
	}
}

func TestMessageTooBig(t *testing.T) {
	t.Parallel()
	p := run(t, "websocket-echo-server", map[string]string{"MAX_MESSAGE_SIZE": "10"})
	c := p.dial(t, "10.1.0.7:1337/")
	if err := c.Write(t.Context(), websocket.MessageText, []byte("12345678901")); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Read(t.Context())
	if got := websocket.CloseStatus(err); got != websocket.StatusMessageTooBig {
		t.Errorf("close code %d (%v), want 1009", got, err)
	}
}

// raw opens a WebSocket by hand.
func (p *pod) raw(t *testing.T, at string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := p.network.DialContext(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	in := bufio.NewReader(c)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != 101 || response.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("handshake: %v, %v", response, err)
	}
	if response.Header.Get("Sec-WebSocket-Extensions") != "" || response.Header.Get("Sec-WebSocket-Protocol") != "" {
		t.Errorf("something was negotiated: %v", response.Header)
	}
	return c, in
}

func TestProtocolErrors(t *testing.T) {
	t.Parallel()
	p := run(t, "websocket-echo-server", nil)
	mask := "\x00\x00\x00\x00"
	for name, test := range map[string]struct{ frames, want string }{
		"not masked":               {"\x81\x01a", "\x88\x02\x03\xea"},
		"reserved bit":             {"\xc1\x81" + mask + "a", "\x88\x02\x03\xea"},
		"reserved opcode":          {"\x83\x80" + mask, "\x88\x02\x03\xea"},
		"continuation of nothing":  {"\x80\x80" + mask, "\x88\x02\x03\xea"},
		"text within a message":    {"\x01\x80" + mask + "\x81\x80" + mask, "\x88\x02\x03\xea"},
		"fragmented ping":          {"\x09\x80" + mask, "\x88\x02\x03\xea"},
		"long ping":                {"\x89\xfe\x00\x7e" + mask, "\x88\x02\x03\xea"},
		"text that is no UTF-8":    {"\x81\x81" + mask + "\xff", "\x88\x02\x03\xef"},
		"close with half a code":   {"\x88\x81" + mask + "\x03", "\x88\x02\x03\xea"},
		"close with a wrong code":  {"\x88\x82" + mask + "\x03\xed", "\x88\x02\x03\xea"},
		"close without a code":     {"\x88\x80" + mask, "\x88\x00"},
		"close with a code":        {"\x88\x82" + mask + "\x03\xe8", "\x88\x02\x03\xe8"},
		"ping":                     {"\x89\x82" + mask + "hi\x88\x80" + mask, "\x8a\x02hi\x88\x00"},
		"fragments with a ping in": {"\x01\x81" + mask + "a\x89\x80" + mask + "\x80\x81" + mask + "b\x88\x80" + mask, "\x8a\x00\x81\x02ab\x88\x00"},
		"huge frame":               {"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + mask, "\x88\x02\x03\xf1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, in := p.raw(t, "10.1.0.7:1337")
			io.WriteString(c, test.frames)
			c.(*net.TCPConn).CloseWrite()
			if got, err := io.ReadAll(in); err != nil || string(got) != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

// TestHeartbeat moves the clock: a client that answers pings stays, one that is silent is dropped.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	p := run(t, "websocket-echo-server", map[string]string{"HEARTBEAT_INTERVAL": "1000"})
	c, in := p.raw(t, "10.1.0.7:1337")
	ping := func() {
		t.Helper()
		b := make([]byte, 2)
		if _, err := io.ReadFull(in, b); err != nil || string(b) != "\x89\x00" {
			t.Fatalf("got %q, %v; want a ping", b, err)
		}
	}
	beat := func() {
		t.Helper()
		if err := p.clock.BlockUntilContext(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		p.clock.Advance(time.Second)
	}
	beat()
	ping()
	io.WriteString(c, "\x8a\x80\x00\x00\x00\x00"+"\x89\x80\x00\x00\x00\x00") // pong, and a ping to know that it was read
	b := make([]byte, 2)
	if _, err := io.ReadFull(in, b); err != nil || string(b) != "\x8a\x00" {
		t.Fatalf("got %q, %v; want a pong", b, err)
	}
	beat()
	ping()
	beat() // no sign since
	if got, err := io.ReadAll(in); err == nil && len(got) > 0 {
		t.Errorf("got %q, want the end", got)
	}
}

func TestRefusedHandshakes(t *testing.T) {
	t.Parallel()
	p := run(t, "websocket-echo-server", nil)
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version", "13"}
	for _, test := range []struct {
		method string
		with   []string
		status int
	}{
		{"POST", nil, 405},
		{"GET", []string{"Upgrade", "h2c"}, 400},
		{"GET", []string{"Sec-WebSocket-Key", "short"}, 400},
		{"GET", []string{"Sec-WebSocket-Version", "7"}, 400},
	} {
		response, _ := p.do(t, test.method, "10.1.0.7:1337/", "", append(upgrade[:len(upgrade):len(upgrade)], test.with...)...)
		if response.StatusCode != test.status {
			t.Errorf("%s %v: %d, want %d", test.method, test.with, response.StatusCode, test.status)
		}
	}
}

// TestSocketsOutliveStop: the twin ignores SIGTERM, so that open sockets live until the grace period ends.
func TestSocketsOutliveStop(t *testing.T) {
	t.Parallel()
	p := run(t, "websocket-echo-server", nil)
	c := p.dial(t, "10.1.0.7:1337/")
	p.stop()
	if err := c.Write(t.Context(), websocket.MessageText, []byte("still")); err != nil {
		t.Fatal(err)
	}
	if _, data, err := c.Read(t.Context()); err != nil || string(data) != "still" {
		t.Fatalf("%q, %v", data, err)
	}
	p.kill()
	if _, _, err := c.Read(context.Background()); err == nil {
		t.Error("the socket outlives the kill")
	}
	<-p.ended
}

func TestOtherSocketEchoes(t *testing.T) {
	t.Parallel()
	for image, at := range map[string]string{"whoami": "10.1.0.7:80/echo", "echo-basic": "10.1.0.7:3000/ws"} {
		p := run(t, image, nil)
		c := p.dial(t, at)
		if err := c.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, data, err := c.Read(t.Context()); err != nil || string(data) != "x" {
			t.Errorf("%s: %q, %v", image, data, err)
		}
		c.CloseNow()
	}
}
