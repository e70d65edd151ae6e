package images

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
)

// runWebSocketEcho is the sample of the WebSocket documents (NGINX-FACTS 8): it echoes every message on every path,
// pings its clients by the clock, and answers plain HTTP with 426. Its twin does not end before its clients do, but for
// the end of the grace period; without clients it ends at once.
func runWebSocketEcho(ctx context.Context, c *Container) error {
	number, err := port(c.env("BIND_PORT", "1337"))
	if err != nil {
		return c.exit(1, "RangeError [ERR_SOCKET_BAD_PORT]: options.port should be >= 0 and < 65536: BIND_PORT: %v", err)
	}
	sockets := newSockets(c, socketLimits{
		heartbeat: time.Duration(c.number("HEARTBEAT_INTERVAL", 30000)) * time.Millisecond,
		message:   c.number("MAX_MESSAGE_SIZE", 64*1024), upgradeOnly: true,
	})
	defer sockets.closeAll()
	listeners, err := c.listenOn(number)
	if err != nil {
		return c.exit(1, "Error: listen EADDRINUSE: address already in use :::%d (%v)", number, err)
	}
	address := c.env("BIND_ADDRESS", "::")
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	c.printf("Server listening on %s:%d", address, number)
	c.Started()
	err = c.serve(ctx, newServer(c, sockets), listeners)
	sockets.drain(c.Killed)
	return err
}

// number reads a variable as JavaScript's `+env.X || otherwise` does: what is no number, and 0, is the default.
func (c *Container) number(name string, otherwise int64) int64 {
	if n, err := strconv.ParseInt(strings.TrimSpace(c.Env[name]), 10, 64); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// socketLimits is how a WebSocket server treats its clients.
type socketLimits struct {
	heartbeat   time.Duration // between pings; 0 for none
	message     int64         // bytes; 0 for no limit
	upgradeOnly bool          // a request that is no upgrade gets 426, not 400
}

// sockets is a WebSocket server that echoes. It is an http.Handler.
type sockets struct {
	c      *Container
	limits socketLimits

	mu      sync.Mutex
	open    map[*socket]struct{}
	beat    clockwork.Timer // armed while a client is connected
	closed  bool
	drained chan struct{} // closed when the last client leaves after drain began; nil before
	running sync.WaitGroup
}

func newSockets(c *Container, limits socketLimits) *sockets {
	return &sockets{c: c, limits: limits, open: map[*socket]struct{}{}}
}

// ServeHTTP implements http.Handler.
func (s *sockets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !hasToken(r.Header, "Connection", "upgrade") || r.Header.Get("Upgrade") == "" {
		status := http.StatusBadRequest
		if s.limits.upgradeOnly {
			status = http.StatusUpgradeRequired
		}
		refuse(w, status, http.StatusText(status), "text/plain")
		return
	}
	key, ok := handshakeKey(w, r)
	if !ok {
		return
	}
	netConn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error(), "text/plain")
		return
	}
	client := &socket{conn: netConn, in: buffered.Reader, server: s}
	client.alive.Store(true)
	if !s.add(client) {
		netConn.Close()
		return
	}
	defer s.remove(client)
	if _, err := fmt.Fprintf(netConn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept(key)); err != nil {
		return // the client left
	}
	client.serve()
}

// handshakeKey checks an upgrade as the twin's library does and answers what it refuses.
func handshakeKey(w http.ResponseWriter, r *http.Request) (string, bool) {
	key := r.Header.Get("Sec-WebSocket-Key")
	nonce, err := base64.StdEncoding.DecodeString(key)
	version := r.Header.Get("Sec-WebSocket-Version")
	switch {
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, "Invalid HTTP method", "text/html")
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		refuse(w, http.StatusBadRequest, "Invalid Upgrade header", "text/html")
	case err != nil || len(nonce) != 16:
		refuse(w, http.StatusBadRequest, "Missing or invalid Sec-WebSocket-Key header", "text/html")
	case version != "13" && version != "8":
		w.Header().Set("Sec-WebSocket-Version", "13, 8")
		refuse(w, http.StatusBadRequest, "Missing or invalid Sec-WebSocket-Version header", "text/html")
	default:
		return key, true
	}
	return "", false
}

func refuse(w http.ResponseWriter, status int, body, contentType string) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	io.WriteString(w, body) // a client that left is no failure
}

func hasToken(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// accept is the answer to a handshake's key (RFC 6455 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (s *sockets) add(client *socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	s.open[client] = struct{}{}
	if s.limits.heartbeat > 0 && s.beat == nil {
		s.beat = s.c.Clock.AfterFunc(s.limits.heartbeat, s.heartbeat)
	}
	return true
}

func (s *sockets) remove(client *socket) {
	client.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, client)
	if len(s.open) == 0 {
		s.stopBeat()
		if s.drained != nil {
			close(s.drained)
			s.drained = nil
		}
	}
	s.running.Done()
}

func (s *sockets) stopBeat() {
	if s.beat != nil {
		s.beat.Stop()
		s.beat = nil
	}
}

// heartbeat drops clients that gave no sign since the last ping and pings the others.
func (s *sockets) heartbeat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beat == nil {
		return // stopped while it rang
	}
	for client := range s.open {
		if client.alive.Swap(false) {
			s.running.Go(client.ping)
		} else {
			client.conn.Close()
		}
	}
	s.beat = s.c.Clock.AfterFunc(s.limits.heartbeat, s.heartbeat)
}

// drain waits until every client has left, or killed is closed.
func (s *sockets) drain(killed <-chan struct{}) {
	s.mu.Lock()
	drained := make(chan struct{})
	s.drained = drained
	if len(s.open) == 0 {
		close(drained)
		s.drained = nil
	}
	s.mu.Unlock()
	select {
	case <-drained:
	case <-killed:
	}
}

// closeAll cuts every client and waits until their goroutines have ended.
func (s *sockets) closeAll() {
	s.mu.Lock()
	s.closed = true
	s.stopBeat()
	for client := range s.open {
		client.conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// socket is one client. Its reader owns everything but alive and what write guards.
type socket struct {
	conn   net.Conn
	in     *bufio.Reader
	server *sockets
	alive  atomic.Bool
	write  sync.Mutex
	closed bool // a close frame was sent; guarded by write
}

// ping queues behind a message that is being written, as the twin's would. A client that does not read stays silent
// and is dropped at the next heartbeat.
func (s *socket) ping() { s.send(opPing, nil) }

// serve reads until the client leaves or breaks a rule.
func (s *socket) serve() {
	for {
		op, message, err := s.read()
		if err == nil {
			s.alive.Store(true)
			err = s.send(op, message)
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

// closeTimeout is how long the twin waits for the other side's close.
const closeTimeout = 30 * time.Second

// end sends what the end calls for and waits until the other side has closed, so that nothing cuts off the close frame.
func (s *socket) end(err error) {
	code, tell := closeCodeOf(err)
	if !tell {
		return
	}
	if _, broken := errors.AsType[*violation](err); broken {
		s.server.c.printf("%v", err)
	}
	if s.sendClose(code) != nil {
		return
	}
	cut := s.server.c.Clock.AfterFunc(closeTimeout, func() { s.conn.Close() })
	defer cut.Stop()
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	io.Copy(io.Discard, s.in) // whatever still comes is of no use
}
