//go:build linux

package loop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// worldsVariable sets how many random worlds are lived through, worldSeedVariable the first one's seed.
const (
	worldsVariable    = "LOOP_WORLDS"
	worldSeedVariable = "LOOP_WORLD_SEED"
)

// TestRandomWorlds lets clients and endpoints do what they like, with a kernel that fails at random: short counts,
// EAGAIN, resets at every call. Whatever happens, nobody gets another's bytes, endpoints get the requests that were
// meant, no descriptor is used after its end, and when all is over nothing is left.
func TestRandomWorlds(t *testing.T) {
	worlds, first := 400, uint64(1)
	if v, err := strconv.Atoi(os.Getenv(worldsVariable)); err == nil {
		worlds = v
	}
	if v, err := strconv.ParseUint(os.Getenv(worldSeedVariable), 10, 64); err == nil {
		first = v
	}
	for seed := first; seed < first+uint64(worlds); seed++ {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { liveThrough(t, seed) }) {
			t.Fatalf("world %d fails; %s=%d %s=1 repeats it", seed, worldSeedVariable, seed, worldsVariable)
		}
	}
}

// actor is a simulated client.
type actor struct {
	sock  *simSock
	sent  []meant
	plan  []byte // still to be sent
	got   []byte
	ended bool
}

// meant is a request as its client means it.
type meant struct {
	id     string
	method string
	body   string
	tunnel bool
}

// life is one random world.
type life struct {
	*world
	r       *rand.Rand
	clients []*actor
	// requests are those sent so far, by id.
	requests map[string]meant
	served   map[*simSock]int // how much of what was written to an endpoint has been served
	tunnels  map[*simSock]bool
	answers  map[*simSock][]byte // still to be sent by an endpoint
}

func liveThrough(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	class := []dataplane.Class{dataplane.ClassALB, dataplane.ClassNGINX}[r.IntN(2)]
	snap := simSnapshot(class)
	snap.Listeners[0].Routes[0].Match.Hosts = nil
	snap.Listeners[0].Routes[0].Timeouts.Read, snap.Listeners[0].Routes[0].Timeouts.Send = 60*time.Second, 60*time.Second
	w := &life{
		world: newWorld(t, snap, dataplane.Limits{PoolPerEndpoint: 1 + r.IntN(3)}), r: r,
		requests: map[string]meant{}, served: map[*simSock]int{}, tunnels: map[*simSock]bool{}, answers: map[*simSock][]byte{},
	}
	w.net.faults = &faults{rand: r, short: 0.3 * r.Float64(), again: 0.2 * r.Float64(), reset: []float64{0, 0, 0.01, 0.05}[r.IntN(4)]}
	if r.IntN(2) == 0 {
		w.l.spliceFrom = 1
	}
	for range 20 + r.IntN(150) {
		w.step()
	}
	w.finish()
}

// step does one thing at random.
func (w *life) step() {
	switch n := w.r.IntN(100); {
	case n < 8 || len(w.clients) == 0:
		w.clients = append(w.clients, &actor{sock: w.dial()})
	case n < 30:
		w.ask(w.client())
	case n < 60:
		w.sendSome(w.client())
	case n < 90:
		w.serveSome()
	case n < 93:
		w.room(w.client().sock)
	case n < 95:
		w.leave(w.client())
	case n < 97:
		w.breakEndpoint()
	case n < 99:
		w.advance(time.Duration(w.r.IntN(20)) * time.Second)
	default:
		w.apply(w.s.Program().Snapshot())
	}
	w.takeIn()
}

func (w *life) client() *actor { return w.clients[w.r.IntN(len(w.clients))] }

// takeIn has clients note what has come, before their descriptors may be used again.
func (w *life) takeIn() {
	for _, c := range w.clients {
		c.got = append(c.got, c.sock.out...)
		c.sock.out = c.sock.out[:0]
	}
}

// ask has a client plan a request.
func (w *life) ask(c *actor) {
	if c.ended || len(c.sent) > 0 && c.sent[len(c.sent)-1].tunnel {
		return
	}
	m := meant{id: fmt.Sprintf("id%d", len(w.requests)), method: []string{"GET", "POST", "PUT", "HEAD"}[w.r.IntN(4)]}
	head := fmt.Sprintf("%s /%s HTTP/1.1\r\nHost: h.example\r\nX-Id: %s\r\n", m.method, m.id, m.id)
	switch w.r.IntN(6) {
	case 0:
		m.method, m.tunnel = "GET", true
		c.plan = append(c.plan, fmt.Sprintf("GET /%s HTTP/1.1\r\nHost: h.example\r\nX-Id: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", m.id, m.id)...)
	case 1, 2:
		m.body = strings.Repeat(m.id+";", w.r.IntN(2000))
		c.plan = append(c.plan, fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(m.body), m.body)...)
	case 3:
		m.body = strings.Repeat(m.id+",", 1+w.r.IntN(500))
		c.plan = append(c.plan, head+"Transfer-Encoding: chunked\r\n\r\n"...)
		for rest := m.body; rest != ""; {
			n := 1 + w.r.IntN(len(rest))
			c.plan = append(c.plan, fmt.Sprintf("%x;ext=1\r\n%s\r\n", n, rest[:n])...)
			rest = rest[n:]
		}
		c.plan = append(c.plan, "0\r\nX-Sum: 1\r\n\r\n"...)
	default:
		c.plan = append(c.plan, head+"\r\n"...)
	}
	c.sent = append(c.sent, m)
	w.requests[m.id] = m
}

// sendSome has a client send a part of what it plans.
func (w *life) sendSome(c *actor) {
	if c.sock.closed || c.ended || len(c.plan) == 0 {
		return
	}
	n := 1 + w.r.IntN(len(c.plan))
	part := string(c.plan[:n])
	c.plan = c.plan[n:]
	w.send(c.sock, part)
}

// room changes how much may be written to a client.
func (w *life) room(s *simSock) {
	if s.closed {
		return
	}
	s.room = []int{-1, 0, 10, 1000}[w.r.IntN(4)]
	w.net.tell(s)
	w.settle()
}

func (w *life) leave(c *actor) {
	if c.sock.closed || c.ended {
		return
	}
	c.ended = true
	if w.r.IntN(2) == 0 {
		c.sock.reset = true
	}
	w.end(c.sock)
}

// serveSome has an endpoint take a request and send a part of its answer.
func (w *life) serveSome() {
	var open []*simSock
	for _, u := range w.net.dialled {
		if !u.closed {
			open = append(open, u)
		}
	}
	if len(open) == 0 {
		return
	}
	u := open[w.r.IntN(len(open))]
	if len(w.answers[u]) == 0 {
		w.takeRequest(u)
	}
	if part := w.answers[u]; len(part) > 0 {
		n := 1 + w.r.IntN(len(part))
		w.answers[u] = part[n:]
		w.send(u, string(part[:n]))
	}
}

// takeRequest reads a request as another program would, and plans the answer.
func (w *life) takeRequest(u *simSock) {
	data := u.out[w.served[u]:]
	if w.tunnels[u] {
		w.answers[u] = append(w.answers[u], data...)
		w.served[u] = len(u.out)
		return
	}
	if !bytes.Contains(data, []byte("\r\n\r\n")) {
		return
	}
	in := bytes.NewReader(data)
	buffered := bufio.NewReader(in)
	req, err := http.ReadRequest(buffered)
	if err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			w.t.Fatalf("an endpoint got what is no request: %v\n%q", err, data)
		}
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return
		}
		w.t.Fatalf("an endpoint got a body that is none: %v\n%q", err, data)
	}
	w.served[u] += len(data) - in.Len() - buffered.Buffered()
	m, ok := w.requests[req.Header.Get("X-Id")]
	if !ok || req.URL.Path != "/"+m.id || req.Method != m.method || string(body) != m.body {
		w.t.Fatalf("an endpoint got %s %s %v with %d bytes, meant was %+v", req.Method, req.URL, req.Header, len(body), m)
	}
	w.answers[u] = w.answer(u, m)
}

// answer plans an answer to a request, nearly always a valid one.
func (w *life) answer(u *simSock, m meant) []byte {
	if m.tunnel && w.r.IntN(3) > 0 {
		w.tunnels[u] = true
		return []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Id: " + m.id + "\r\n\r\n")
	}
	body := answerBody(m.id)
	if m.method == "HEAD" {
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n", m.id, len(body))
	}
	switch w.r.IntN(8) {
	case 0:
		out := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n", m.id)
		for rest := body; rest != ""; {
			n := 1 + w.r.IntN(len(rest))
			out = fmt.Appendf(out, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		return append(out, "0\r\n\r\n"...)
	case 1:
		return fmt.Appendf(nil, "HTTP/1.1 103 Early Hints\r\nX-Id: %s\r\n\r\nHTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", m.id, m.id, len(body), body)
	case 2:
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%ssurplus", m.id, len(body), body)
	case 3:
		return []byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")
	case 4:
		return fmt.Appendf(nil, "HTTP/1.1 204 No Content\r\nX-Id: %s\r\n\r\n", m.id)
	}
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", m.id, len(body), body)
}

// answerBody is what endpoints answer a request with.
func answerBody(id string) string {
	n, _ := strconv.Atoi(strings.TrimPrefix(id, "id"))
	return strings.Repeat("answer to "+id+".", 1+n*n%397)
}

// breakEndpoint ends or resets a connection to an endpoint.
func (w *life) breakEndpoint() {
	if len(w.net.dialled) == 0 {
		return
	}
	u := w.net.dialled[w.r.IntN(len(w.net.dialled))]
	if u.closed {
		return
	}
	u.reset = w.r.IntN(2) == 0
	w.end(u)
}

// finish lets every client leave and all time pass, and looks at what is left.
func (w *life) finish() {
	w.net.faults = nil
	for _, c := range w.clients {
		if !c.sock.closed {
			c.sock.room = -1
			w.net.tell(c.sock)
		}
	}
	w.settle()
	w.takeIn()
	for range 100 { // each request that waits is given up in its turn
		w.advance(10 * time.Minute)
	}
	w.takeIn()
	for _, c := range w.clients {
		w.check(c)
	}
	if len(w.net.misuse) > 0 {
		w.t.Fatalf("calls on closed descriptors: %v", w.net.misuse)
	}
	w.l.closePipes()
	if w.net.open != 1 {
		for _, s := range w.l.streams {
			if s != nil {
				w.t.Logf("left: %T %+v", s.owner, s.owner)
			}
		}
		w.t.Fatalf("%d descriptors are open, want the listener's only", w.net.open)
	}
	if n := w.l.buffers.lent; n != 0 {
		w.t.Fatalf("%d bytes of buffers are still lent", n)
	}
	if n := len(w.l.timers.heap); n != 0 {
		w.t.Fatalf("%d timers are left", n)
	}
	for key, list := range w.l.idle.idle {
		if len(list) > 0 {
			w.t.Fatalf("connections to %v are left in the pool", key)
		}
	}
}

// check reads what a client has got: answers to its requests in their order, the last one perhaps cut.
func (w *life) check(c *actor) {
	in := bufio.NewReaderSize(bytes.NewReader(c.got), len(c.got)+16)
	for i := 0; ; i++ {
		if rest, _ := in.Peek(1); len(rest) > 0 && i >= len(c.sent) {
			w.t.Fatalf("a client got an answer that it had not asked for: %q", c.got)
		}
		if i == len(c.sent) {
			return
		}
		m := c.sent[i]
		var resp *http.Response
		for {
			if rest, _ := in.Peek(len(c.got)); !bytes.Contains(rest, []byte("\r\n\r\n")) {
				return // nothing more, or a head that was cut
			}
			var err error
			if resp, err = http.ReadResponse(in, &http.Request{Method: m.method}); err != nil {
				if errors.Is(err, io.ErrUnexpectedEOF) {
					return
				}
				w.t.Fatalf("a client got what is no answer: %v\n%q", err, c.got)
			}
			if resp.StatusCode >= 200 || resp.StatusCode == 101 {
				break
			}
		}
		id := resp.Header.Get("X-Id")
		if id != "" && id != m.id {
			w.t.Fatalf("answer %d to a client is for %s, want %s", i, id, m.id)
		}
		if resp.StatusCode == 101 {
			return
		}
		body, err := io.ReadAll(resp.Body)
		if id != "" && m.method != "HEAD" && resp.StatusCode == 200 && !strings.HasPrefix(answerBody(m.id), string(body)) {
			w.t.Fatalf("the answer to %s is %q", m.id, body)
		}
		if err != nil {
			return
		}
		if resp.Close && !slices.Contains([]int{200, 204}, resp.StatusCode) {
			// A request that never became one is answered with a body, whatever its method was to be.
			if rest, _ := io.ReadAll(in); len(rest) > 0 && m.method != "HEAD" {
				w.t.Fatalf("after the last answer came %q", rest)
			}
			return
		}
	}
}
