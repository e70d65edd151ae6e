package enginetest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// soakText is what bodies are parts of, so that each shows where it is from.
func soakText(r *rand.Rand) string {
	var b strings.Builder
	for b.Len() < 2<<20 {
		fmt.Fprintf(&b, "%x\n", r.Uint64())
	}
	return b.String()
}

// part gives a part of the text: mostly small, sometimes large.
func (s *soak) part(r *rand.Rand) (from, n int) {
	switch k := r.IntN(100); {
	case k < 75:
		n = r.IntN(2 << 10)
	case k < 97:
		n = r.IntN(64 << 10)
	default:
		n = r.IntN(1 << 20)
	}
	return r.IntN(len(s.text) - n), n
}

// pod is an endpoint on net/http that can be closed gracefully.
type pod struct {
	name, addr string
	server     *http.Server
	ended      chan error
}

// newPod starts a pod of a service: it answers a GET with the part of the text that is asked for and a POST with its
// body, and says whose it is.
func (s *soak) newPod(sv *service) *pod {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	s.started++
	p := &pod{name: fmt.Sprintf("%s-%d", sv.name, s.started), addr: ln.Addr().String(), ended: make(chan error, 1)}
	p.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.FormValue("from"))
		n, _ := strconv.Atoi(r.FormValue("n"))
		body := s.text[from : from+n]
		if r.Method == "POST" {
			got, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			body = string(got)
		}
		w.Header().Set("X-Service", sv.name)
		if r.FormValue("chunked") == "" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		_, _ = io.WriteString(w, body)
	})}
	if sv.secure {
		pair, err := keyPair(newCertificate(s.T, dataplane.KeyECC, "pod", "pod.example"))
		if err != nil {
			s.Fatal(err)
		}
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	go func() { p.ended <- p.server.Serve(ln) }()
	return p
}

// closePod closes a pod once its requests have ended.
func (s *soak) closePod(p *pod) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.server.Shutdown(ctx); err != nil {
		s.fail("pod %s does not end: %v", p.name, err)
		p.server.Close()
	}
	if err := <-p.ended; !errors.Is(err, http.ErrServerClosed) {
		s.fail("pod %s: %v", p.name, err)
	}
}

// dial connects to an address; over TLS it sees that the certificate is not one from before its renewal.
func (s *soak) dial(addr string, secure bool) (*peer, error) {
	least := s.renewed.Load()
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(patience))
	s.connections.Add(1)
	if !secure {
		return &peer{raw, bufio.NewReader(raw)}, nil
	}
	conn := tls.Client(raw, clientTLS("http/1.1"))
	if err := conn.Handshake(); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	name := conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	if n, err := strconv.ParseInt(name, 10, 64); err != nil || n < least {
		conn.Close()
		return nil, fmt.Errorf("certificate %s is shown while %d was in force", name, least)
	}
	return &peer{conn, bufio.NewReader(conn)}, nil
}

// probe asks for a path on a connection of its own, and wants it answered or refused by the listener.
func (s *soak) probe(addr, path string, served bool) {
	p, err := s.dial(addr, false)
	if err != nil {
		s.fail("probe: %v", err)
		return
	}
	defer p.Close()
	want, count := 503, &s.refused
	if served {
		want, count = 200, &s.requests
	}
	if m := p.do("GET", path+"?n=10", "Connection: close"); m.err != nil || m.status() != want {
		s.fail("%s answers %q (%v), want %d", path, m.first, m.err, want)
		return
	}
	count.Add(1)
}

// soakClient sends requests one after the other, on one connection as long as the engine lets it.
type soakClient struct {
	s      *soak
	secure bool
	rand   *rand.Rand
	busy   sync.Mutex // held during a request
	p      *peer
}

// startLoad starts the clients and has the tunnels talk.
func (s *soak) startLoad() {
	for i := range s.o.Clients {
		c := &soakClient{s: s, secure: i%2 == 1, rand: rand.New(rand.NewPCG(s.o.Seed, uint64(i+1)))}
		s.clients = append(s.clients, c)
		s.load.Go(c.run)
	}
	for _, t := range s.open {
		s.load.Go(t.run)
	}
}

// paced calls do again and again, with pauses that are mean on average, until the run is over or do fails.
func (s *soak) paced(r *rand.Rand, mean time.Duration, do func() error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Duration(r.Int64N(int64(2 * mean))))
		select {
		case <-timer.C:
		case <-s.stop:
			return nil
		case <-s.failed:
			return nil
		}
		if err := do(); err != nil {
			return err
		}
	}
}

func (c *soakClient) run() {
	err := c.s.paced(c.rand, 4*time.Millisecond, c.request)
	if err != nil {
		c.s.fail("client (TLS: %t): %v", c.secure, err)
	}
	if c.p != nil {
		c.p.Close()
	}
}

// await waits until the request that is under way has ended.
func (c *soakClient) await() {
	c.busy.Lock()
	defer c.busy.Unlock()
}

// request sends one request and reads its answer.
func (c *soakClient) request() error {
	c.busy.Lock()
	defer c.busy.Unlock()
	if c.p == nil {
		var err error
		if c.p, err = c.s.dial(c.s.addrs[btoi(c.secure)], c.secure); err != nil {
			return err
		}
	}
	_ = c.p.SetDeadline(time.Now().Add(patience))
	from, n := c.s.part(c.rand)
	body := c.s.text[from : from+n]
	service := fmt.Sprintf("s%d", c.rand.IntN(len(c.s.services)))
	target := "/" + service + "/x?from=" + strconv.Itoa(from) + "&n=" + strconv.Itoa(n)
	if c.rand.IntN(4) == 0 {
		target += "&chunked=1"
	}
	var fields []string
	if c.rand.IntN(50) == 0 {
		fields = append(fields, "Connection: close")
	}
	text, method := "", "GET"
	switch c.rand.IntN(4) {
	case 0:
		method = "POST"
		text = request(method, target, append(fields, "Content-Length: "+strconv.Itoa(n))...) + body
	case 1:
		method = "POST"
		half := n / 2
		text = request(method, target, append(fields, "Transfer-Encoding: chunked")...) + chunk(body[:half]) + chunk(body[half:]) + "0\r\n\r\n"
	default:
		text = request(method, target, fields...)
	}
	if _, err := io.WriteString(c.p, text); err != nil {
		return fmt.Errorf("%s %s of %d bytes: %w", method, target, n, err)
	}
	m := c.p.read(false, method)
	if m.err != nil || m.status() != 200 || m.fields.Get("X-Service") != service || m.body != body {
		return fmt.Errorf("%s %s is answered by %q of service %q with %d bytes (%v), which are right: %t", method, target, m.first,
			m.fields.Get("X-Service"), len(m.body), m.err, m.body == body)
	}
	c.s.requests.Add(1)
	if m.fields.Get("Connection") == "close" {
		c.p.Close()
		c.p = nil
	}
	return nil
}

// chunk is text as one chunk, nothing if it is empty.
func chunk(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("%x\r\n%s\r\n", len(text), text)
}

// btoi is 1 for true.
func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// soakEcho is wsEcho that needs no pipe for each tunnel.
func soakEcho(p *peer) {
	if m := p.read(true, ""); m.err != nil || m.fields.Get("Upgrade") != "websocket" {
		return
	}
	p.send(switched + "hi")
	_, _ = io.CopyBuffer(struct{ io.Writer }{p.Conn}, struct{ io.Reader }{p.br}, make([]byte, 4<<10))
	p.send("bye")
}

// soakTunnel is one of the tunnels.
type soakTunnel struct {
	s    *soak
	name string
	p    *peer
	rand *rand.Rand
}

// openTunnels opens all tunnels.
func (s *soak) openTunnels() {
	s.apply()
	s.renewed.Add(1)
	if s.Failed() {
		s.FailNow()
	}
	for i := range s.o.WebSockets {
		secure := i%2 == 1
		p, err := s.dial(s.addrs[btoi(secure)], secure)
		if err != nil {
			s.Fatalf("tunnel %d: %v", i, err)
		}
		t := &soakTunnel{s, fmt.Sprintf("tunnel %d (TLS: %t)", i, secure), p, rand.New(rand.NewPCG(s.o.Seed, uint64(1e6+i)))}
		p.send(strings.Replace(upgrade(), "/ws", "/ws/", 1))
		if m := p.read(false, ""); m.err != nil || m.status() != 101 {
			s.Fatalf("%s: handshake's answer is %q (%v)", t.name, m.first, m.err)
		}
		if err := t.want("hi"); err != nil {
			s.Fatal(err)
		}
		s.open = append(s.open, t)
	}
}

// want reads exactly a text.
func (t *soakTunnel) want(text string) error {
	got := make([]byte, len(text))
	if n, err := io.ReadFull(t.p.br, got); err != nil || string(got) != text {
		return fmt.Errorf("%s read %d bytes of %d (%w), right: %t", t.name, n, len(text), err, string(got[:n]) == text[:n])
	}
	return nil
}

// run exchanges messages; all tunnels together some hundreds each second.
func (t *soakTunnel) run() {
	if err := t.s.paced(t.rand, time.Duration(t.s.o.WebSockets)*2*time.Millisecond, t.message); err != nil {
		t.s.fail("%v", err)
	}
}

// message sends a message and reads its echo.
func (t *soakTunnel) message() error {
	_ = t.p.SetDeadline(time.Now().Add(patience))
	n := t.rand.IntN(2 << 10)
	if t.rand.IntN(50) == 0 {
		n = t.rand.IntN(64 << 10)
	}
	from := t.rand.IntN(len(t.s.text) - n)
	if _, err := io.WriteString(t.p, t.s.text[from:from+n]); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	if err := t.want(t.s.text[from : from+n]); err != nil {
		return err
	}
	t.s.messages.Add(1)
	return nil
}

// endTunnels sees that each tunnel still carries a message, and that its halves end in order.
func (s *soak) endTunnels() {
	for _, t := range s.open {
		if err := t.message(); err != nil {
			s.fail("at the end: %v", err)
		} else {
			_ = t.p.Conn.(interface{ CloseWrite() error }).CloseWrite()
			if rest, ok := t.p.ended(); rest != "bye" || !ok {
				s.fail("after its end %s read %q (%t), want bye", t.name, rest, ok)
			}
		}
		t.p.Close()
	}
}
