package enginetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// backend is an endpoint that does with its connections whatever a test says.
type backend struct {
	ln    net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

// peer is one end of a connection.
type peer struct {
	net.Conn
	br *bufio.Reader
}

// message is a request or an answer as it came.
type message struct {
	first   string // request line or status line
	fields  textproto.MIMEHeader
	body    string
	trailer textproto.MIMEHeader
	err     error // what cut it short
}

// status is the answer's status, 0 if there is none.
func (m message) status() int {
	parts := strings.SplitN(m.first, " ", 3)
	if len(parts) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(parts[1])
	return n
}

// newBackend starts an endpoint; each connection is handed to serve in a goroutine and closed after it.
func newBackend(t *testing.T, serve func(*peer)) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{ln: ln}
	b.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, conn)
			b.mu.Unlock()
			b.wg.Go(func() {
				defer conn.Close()
				serve(&peer{conn, bufio.NewReader(conn)})
			})
		}
	})
	t.Cleanup(b.close)
	return b
}

// close ends the endpoint and its connections.
func (b *backend) close() {
	b.ln.Close()
	b.mu.Lock()
	for _, c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// accepted counts the connections the endpoint has had.
func (b *backend) accepted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns)
}

// endpoint is the backend as a snapshot has it.
func (b *backend) endpoint(id string) dataplane.Endpoint {
	addr := b.ln.Addr().String()
	return dataplane.Endpoint{ID: id, Addr: addr, Weight: 100, Open: dataplane.OpenTCP(addr)}
}

// refusing is an endpoint on which nothing listens.
func refusing(id string) dataplane.Endpoint {
	return dataplane.Endpoint{ID: id, Addr: "192.0.2.1:80", Weight: 100, Open: func(context.Context) (int, error) {
		return -1, fmt.Errorf("connect: %w", syscall.ECONNREFUSED)
	}}
}

// echo answers every request with 200 and the request as it came, as text.
func echo(p *peer) { named("")(p) }

// named is echo with the backend's name in field X-Backend.
func named(name string) func(*peer) {
	return func(p *peer) {
		for {
			m := p.read(true, "")
			if m.err != nil {
				return
			}
			p.answer(200, "X-Backend: "+name+"\r\n", m.text())
		}
	}
}

// answers gives the same text for every request.
func answers(text string) func(*peer) {
	return func(p *peer) {
		for p.read(true, "").err == nil {
			p.send(text)
		}
	}
}

// text renders a request: its line, its fields by name, its body.
func (m message) text() string {
	var b strings.Builder
	b.WriteString(m.first + "\n")
	for _, name := range slices.Sorted(maps.Keys(m.fields)) {
		for _, v := range m.fields[name] {
			b.WriteString(name + ": " + v + "\n")
		}
	}
	b.WriteString("\n" + m.body)
	for _, name := range slices.Sorted(maps.Keys(m.trailer)) {
		b.WriteString("\ntrailer " + name + ": " + m.trailer.Get(name))
	}
	return b.String()
}

// send writes text; a peer that has gone is no error here, what is read next tells.
func (p *peer) send(text string) { _, _ = io.WriteString(p, text) }

// answer writes a complete answer; fields are whole lines.
func (p *peer) answer(status int, fields, body string) {
	p.send(fmt.Sprintf("HTTP/1.1 %d Text\r\n%sContent-Length: %d\r\n\r\n%s", status, fields, len(body), body))
}

// dial connects to the engine.
func (f *fixture) dial(listener string) *peer {
	f.Helper()
	conn, err := net.Dial("tcp", f.addr(listener))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	p := &peer{conn, bufio.NewReader(conn)}
	// A safety net in real time, so that a fault fails the test instead of hanging it.
	p.SetReadDeadline(time.Now().Add(2 * patience))
	return p
}

// do sends a request and reads its answer.
func (p *peer) do(method, target string, fields ...string) message {
	p.send(request(method, target, fields...))
	return p.read(false, method)
}

// request is the text of a request without a body; host "test.example" unless fields name one.
func request(method, target string, fields ...string) string {
	host := "Host: test.example\r\n"
	for _, f := range fields {
		if strings.HasPrefix(f, "Host:") {
			host = ""
		}
	}
	text := method + " " + target + " HTTP/1.1\r\n" + host
	for _, f := range fields {
		text += f + "\r\n"
	}
	return text + "\r\n"
}

// get sends one request on a connection of its own.
func (f *fixture) get(target string, fields ...string) message {
	f.Helper()
	p := f.dial("l")
	defer p.Close()
	return p.do("GET", target, fields...)
}

// read reads one message; method is that of the request an answer is for.
func (p *peer) read(isRequest bool, method string) message {
	var m message
	tp := textproto.NewReader(p.br)
	if m.first, m.err = tp.ReadLine(); m.err != nil {
		return m
	}
	if m.fields, m.err = tp.ReadMIMEHeader(); m.err != nil {
		return m
	}
	status := m.status()
	switch length := m.fields.Get("Content-Length"); {
	case method == "HEAD" || !isRequest && (status < 200 || status == 204 || status == 304):
	case m.fields.Get("Transfer-Encoding") == "chunked":
		m.body, m.trailer, m.err = readChunked(tp)
	case length != "":
		n, _ := strconv.Atoi(length)
		body := make([]byte, n)
		n, m.err = io.ReadFull(p.br, body)
		m.body = string(body[:n])
	case !isRequest:
		var body []byte
		body, m.err = io.ReadAll(p.br)
		m.body = string(body)
	}
	return m
}

// readChunked reads a chunked body and its trailers.
func readChunked(tp *textproto.Reader) (string, textproto.MIMEHeader, error) {
	var body strings.Builder
	for {
		line, err := tp.ReadLine()
		if err != nil {
			return body.String(), nil, errors.Join(io.ErrUnexpectedEOF, err)
		}
		n, err := strconv.ParseInt(line, 16, 64)
		if err != nil {
			return body.String(), nil, fmt.Errorf("chunk size %q: %w", line, err)
		}
		if n == 0 {
			trailer, err := tp.ReadMIMEHeader()
			return body.String(), trailer, err
		}
		if _, err := io.CopyN(&body, tp.R, n); err != nil {
			return body.String(), nil, err
		}
		if _, err := tp.ReadLine(); err != nil {
			return body.String(), nil, err
		}
	}
}

// ended reads until the connection ends and reports whether it ended with the peer's leave rather than by our
// safety net.
func (p *peer) ended() (rest string, ok bool) {
	b, err := io.ReadAll(p.br)
	var network net.Error
	return string(b), err == nil || !(errors.As(err, &network) && network.Timeout())
}
