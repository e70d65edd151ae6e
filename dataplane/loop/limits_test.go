//go:build linux

package loop

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// TestNoDescriptors: without a free descriptor nothing is accepted, what is served goes on, and accepting goes on later.
func TestNoDescriptors(t *testing.T) {
	w := newWorld(t, simSnapshot(dataplane.ClassALB), dataplane.Limits{})
	c := w.dial()
	w.net.noFiles = true
	late := w.dial()
	w.send(late, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n")
	w.send(c, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n")
	if got := c.got(); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("a connection that was there got %q", got)
	}
	if got := late.got(); got != "" {
		t.Errorf("a connection without a descriptor got %q", got)
	}
	w.net.noFiles = false
	w.advance(acceptPause)
	if got := late.got(); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("after the pause the waiting connection got %q", got)
	}
}

// TestConnectionsPerClient: one address cannot take all there is.
func TestConnectionsPerClient(t *testing.T) {
	w := newWorld(t, simSnapshot(dataplane.ClassALB), dataplane.Limits{ConnectionsPerClient: 2})
	first, second := w.dial(), w.dial()
	if third := w.dial(); !third.closed || first.closed || second.closed {
		t.Errorf("closed are %v %v %v, want the third only", first.closed, second.closed, third.closed)
	}
	w.end(first)
	if fourth := w.dial(); fourth.closed {
		t.Error("the place of one that has gone was not given again")
	}
}

// TestSlowReaders: clients that ask and do not read are cut when all together hold too much; the others are served.
func TestSlowReaders(t *testing.T) {
	const most = 1 << 20
	w := newWorld(t, simSnapshot(dataplane.ClassALB), dataplane.Limits{BufferedBytes: most})
	cut := 0
	for range 40 {
		c := w.dial()
		c.room = 0
		w.send(c, "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n")
		w.send(w.endpoint(), "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"+strings.Repeat("x", 100_000))
		if c.closed {
			cut++
		}
		if w.l.buffers.lent > most+2*bufferSize {
			t.Fatalf("%d bytes are held, the limit is %d", w.l.buffers.lent, most)
		}
	}
	if cut == 0 || cut == 40 {
		t.Errorf("%d of 40 slow readers were cut", cut)
	}
	c := w.dial()
	w.send(c, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n")
	if got := c.got(); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("a client that reads got %q", got)
	}
}

// TestSlowHeads: so are those that never end their heads.
func TestSlowHeads(t *testing.T) {
	const most = 1 << 20
	w := newWorld(t, simSnapshot(dataplane.ClassALB), dataplane.Limits{BufferedBytes: most})
	cut := 0
	for range 100 {
		c := w.dial()
		w.send(c, "GET / HTTP/1.1\r\nX-A: "+strings.Repeat("a", 20_000))
		if c.closed {
			cut++
		}
	}
	if cut == 0 || w.l.buffers.lent > most+2*bufferSize {
		t.Errorf("%d of 100 were cut, %d bytes are held", cut, w.l.buffers.lent)
	}
}

// TestBrokenConnections breaks a hundred thousand connections in every phase, in every way, and counts what is left:
// descriptors, buffers, timers, memory.
func TestBrokenConnections(t *testing.T) {
	snap := simSnapshot(dataplane.ClassALB)
	snap.Listeners[0].Routes[0].Timeouts.Read = 60 * time.Second
	w := newWorld(t, snap, dataplane.Limits{})
	w.quiet = true
	w.s.Access = nil
	count := 100_000
	if testing.Short() {
		count = 5_000
	}
	var before, after runtime.MemStats
	phases := []func(c *simSock){
		func(*simSock) {},
		func(c *simSock) { w.send(c, "GET / HT") },
		func(c *simSock) { w.send(c, "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n") },
		func(c *simSock) {
			w.send(c, "POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 10\r\n\r\nabc")
		},
		func(c *simSock) {
			w.send(c, "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n")
			w.send(w.endpoint(), "HTTP/1.1 200 OK\r\nContent-Le")
		},
		func(c *simSock) {
			w.send(c, "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n")
			w.send(w.endpoint(), "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		},
		func(c *simSock) {
			c.room = 5
			w.send(c, "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n")
			w.send(w.endpoint(), "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		},
		func(c *simSock) {
			w.send(c, "GET / HTTP/1.1\r\nHost: h.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			w.send(w.endpoint(), "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi")
		},
		func(c *simSock) { w.send(c, "bad\r\n\r\n") },
	}
	for i := range count {
		if i == count/10 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		c := w.dial()
		w.net.dialled = w.net.dialled[:0]
		phases[i%len(phases)](c)
		switch i / len(phases) % 4 {
		case 0:
			w.end(c)
		case 1:
			c.reset = true
			w.end(c)
		case 2:
			for _, u := range w.net.dialled {
				u.reset = true
				w.end(u)
			}
			w.end(c)
		case 3:
			w.advance(5 * time.Minute)
		}
		c.room = -1
		w.net.tell(c)
		w.settle()
	}
	w.advance(10 * time.Minute)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if w.net.open != 1 || w.l.buffers.lent != 0 || len(w.l.timers.heap) != 0 || len(w.net.misuse) != 0 {
		t.Errorf("left are %d descriptors (want the listener's), %d bytes of buffers, %d timers, misused calls %v",
			w.net.open, w.l.buffers.lent, len(w.l.timers.heap), w.net.misuse)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// TestStrictHeads is what is refused that others may take (RFC 9112), and what is taken though it looks odd.
func TestStrictHeads(t *testing.T) {
	const ok, bad, unsupported = 0, 400, 505
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"plain", "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n", ok},
		{"empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: h.example\r\n\r\n", ok},
		{"absolute form", "GET http://h.example/x HTTP/1.1\r\nHost: other\r\n\r\n", ok},
		{"absolute form without a path", "GET http://h.example?x HTTP/1.1\r\nHost: other\r\n\r\n", ok},
		{"tabs in a value", "GET / HTTP/1.1\r\nHost: h.example\r\nX-A: a\tb\t\r\n\r\n", ok},
		{"high bytes in a value", "GET / HTTP/1.1\r\nHost: h.example\r\nX-A: \xe4\r\n\r\n", ok},
		{"bare LF", "GET / HTTP/1.1\nHost: h.example\n\n", bad},
		{"one bare LF", "GET / HTTP/1.1\r\nHost: h.example\nX-A: 1\r\n\r\n", bad},
		{"folded line", "GET / HTTP/1.1\r\nHost: h.example\r\nX-A: 1\r\n 2\r\n\r\n", bad},
		{"space before the colon", "GET / HTTP/1.1\r\nHost: h.example\r\nX-A : 1\r\n\r\n", bad},
		{"no name", "GET / HTTP/1.1\r\nHost: h.example\r\n: 1\r\n\r\n", bad},
		{"CR in a value", "GET / HTTP/1.1\r\nHost: h.example\r\nX-A: a\rb\r\n\r\n", bad},
		{"NUL in a value", "GET / HTTP/1.1\r\nHost: h.example\r\nX-A: a\x00b\r\n\r\n", bad},
		{"no host", "GET / HTTP/1.1\r\n\r\n", bad},
		{"two hosts", "GET / HTTP/1.1\r\nHost: h.example\r\nHost: h.example\r\n\r\n", bad},
		{"a list of hosts", "GET / HTTP/1.1\r\nHost: h.example, evil\r\n\r\n", bad},
		{"user information in the host", "GET / HTTP/1.1\r\nHost: a@h.example\r\n\r\n", bad},
		{"length and coding", "POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad},
		{"two equal lengths", "POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", bad},
		{"a list of lengths", "POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 1, 1\r\n\r\na", bad},
		{"signed length", "POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: +1\r\n\r\na", bad},
		{"hexadecimal length", "POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 0x1\r\n\r\na", bad},
		{"endless length", "POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 99999999999999999999\r\n\r\na", bad},
		{"coding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: h.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad},
		{"two codings", "POST / HTTP/1.1\r\nHost: h.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad},
		{"unknown coding", "POST / HTTP/1.1\r\nHost: h.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", unsupported},
		{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: h.example\r\n\r\n", unsupported},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", unsupported},
		{"no version", "GET /\r\n\r\n", bad},
		{"space in the target", "GET /a b HTTP/1.1\r\nHost: h.example\r\n\r\n", bad},
		{"target without a slash", "GET x HTTP/1.1\r\nHost: h.example\r\n\r\n", bad},
		{"asterisk for GET", "GET * HTTP/1.1\r\nHost: h.example\r\n\r\n", bad},
		{"method that is no token", "G(T / HTTP/1.1\r\nHost: h.example\r\n\r\n", bad},
		{"another protocol", "\x16\x03\x01\x02\x00", bad},
	} {
		w := newWorld(t, simSnapshot(dataplane.ClassALB), dataplane.Limits{})
		s := w.dial()
		w.send(s, c.text)
		switch got := s.got(); {
		case c.want == ok && (got != "" || len(w.net.dialled) != 1):
			t.Errorf("%s: answered %q at once, want it passed on", c.name, got)
		case c.want != ok && (!strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", c.want)) || len(w.net.dialled) != 0):
			t.Errorf("%s: answered %q, %d endpoints asked, want %d", c.name, got, len(w.net.dialled), c.want)
		case c.want != ok && (!s.outEnd || !strings.Contains(got, "Connection: close\r\n")):
			t.Errorf("%s: the connection goes on after %q", c.name, got)
		}
	}
}

// TestBadChunks are chunked bodies that end a request, each before any answer of the endpoint.
func TestBadChunks(t *testing.T) {
	for name, body := range map[string]string{
		"no size": "\r\nabc\r\n", "extension without a size": ";x\r\n", "negative size": "-1\r\n", "bare LF": "3\nabc\r\n", "data too long": "3\r\nabcd\r\n",
		"LF after data": "3\r\nabc\n", "huge size": "fffffffffffffffff\r\n", "many zeros": strings.Repeat("0", 100) + "\r\n",
		"endless extension": "1;" + strings.Repeat("x", 5000), "bad trailer": "0\r\nno colon\r\n\r\n", "endless trailer": "0\r\nX-A: " + strings.Repeat("x", 20_000),
		"control byte in an extension": "1;\x01\r\n",
	} {
		w := newWorld(t, simSnapshot(dataplane.ClassALB), dataplane.Limits{})
		s := w.dial()
		w.send(s, "POST / HTTP/1.1\r\nHost: h.example\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
		if got := s.got(); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%s: answered %q", name, got)
		}
		if u := w.endpoint(); !u.closed || strings.Contains(string(u.out), "\r\n0\r\n\r\n") {
			t.Errorf("%s: the endpoint was told that the body is complete, or its connection goes on: %q", name, u.out)
		}
	}
}

// TestReplay: another attempt gets the body once more, as long as all of it is still there; a request that is not
// idempotent is not repeated (RFC 9110 section 9.2.2).
func TestReplay(t *testing.T) {
	for _, c := range []struct {
		name, method, framing, body, got string
		again                            bool
	}{
		{"PUT with a length", "PUT", "Content-Length: 5", "hello", "\r\n\r\nhello", true},
		{"PUT in chunks", "PUT", "Transfer-Encoding: chunked", "2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n", "\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", true},
		{"unfinished PUT", "PUT", "Content-Length: 9", "hello", "\r\n\r\nhello", true},
		{"large PUT", "PUT", fmt.Sprintf("Content-Length: %d", replayMost+1), strings.Repeat("x", replayMost+1), "", false},
		{"POST", "POST", "Content-Length: 5", "hello", "", false},
	} {
		w := newWorld(t, simSnapshot(dataplane.ClassNGINX), dataplane.Limits{})
		s := w.dial()
		w.send(s, c.method+" / HTTP/1.1\r\nHost: h.example\r\n"+c.framing+"\r\n\r\n"+c.body)
		w.end(w.endpoint())
		if again := len(w.net.dialled) == 2; again != c.again {
			t.Errorf("%s: %d endpoints were asked; the client got %q", c.name, len(w.net.dialled), s.got())
			continue
		}
		if got := string(w.endpoint().out); c.again && !strings.HasSuffix(got, c.got) {
			t.Errorf("%s: the second endpoint got %q, want it to end in %q", c.name, got, c.got)
		}
		if !c.again && !strings.HasPrefix(s.got(), "HTTP/1.1 502 ") {
			t.Errorf("%s: the client got %q", c.name, s.got())
		}
	}
}

// TestSlowClient: an endpoint is not blamed for a client that takes its answer slowly, but steadily; one that stalls is.
func TestSlowClient(t *testing.T) {
	for _, spliced := range []bool{false, true} {
		snap := simSnapshot(dataplane.ClassNGINX)
		snap.Listeners[0].Routes[0].Timeouts = dataplane.Timeouts{Read: 60 * time.Second, Send: 60 * time.Second}
		w := newWorld(t, snap, dataplane.Limits{})
		if spliced {
			w.l.spliceFrom = 1
		}
		body := strings.Repeat("x", 300_000)
		c := w.dial()
		c.room = 1000
		w.send(c, "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n")
		w.send(w.endpoint(), fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body)+10, body))
		for range 10 {
			w.advance(50 * time.Second)
			c.room = 1000
			w.net.tell(c)
			w.settle()
		}
		c.room = -1
		w.net.tell(c)
		w.settle()
		w.advance(50 * time.Second)
		w.send(w.endpoint(), "0123456789")
		if got := c.got(); !strings.HasSuffix(got, "0123456789") || len(w.log) != 1 || w.log[0].Reason != "" {
			t.Errorf("spliced %t: the client got %d bytes, the log says %+v", spliced, len(got), w.log)
		}
		w.send(c, "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n")
		w.send(w.endpoint(), "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		w.advance(61 * time.Second)
		if len(w.log) != 2 || w.log[1].Reason != dataplane.ReasonResponseStalled || !c.closed {
			t.Errorf("spliced %t: an endpoint that stalls: closed %t, the log says %+v", spliced, c.closed, w.log[1:])
		}
	}
}

// TestEmptyLines between requests are no request: the connection stays idle and ends so, without an answer.
func TestEmptyLines(t *testing.T) {
	w := newWorld(t, simSnapshot(dataplane.ClassALB), dataplane.Limits{})
	c := w.dial()
	w.send(c, "\r\n\r\n")
	w.advance(16 * time.Second)
	if got := c.got(); got != "" || !c.closed {
		t.Errorf("the connection got %q, closed %t", got, c.closed)
	}
}

// TestLeavesAtOnce: a client whose end comes together with its request is gone like one that leaves later.
func TestLeavesAtOnce(t *testing.T) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: h.example\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 2\r\n\r\nok",
		"POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 9\r\n\r\nok",
	} {
		w := newWorld(t, simSnapshot(dataplane.ClassALB), dataplane.Limits{})
		c := w.dial()
		c.inEnd = true
		w.send(c, text)
		if !c.closed || len(w.log) != 1 || w.log[0].Status != 499 || w.log[0].Reason != dataplane.ReasonClientClosed {
			t.Errorf("%q: closed %t, the log says %+v", text, c.closed, w.log)
		}
		for _, u := range w.net.dialled {
			if !u.closed {
				t.Errorf("%q: the endpoint's connection goes on", text)
			}
		}
	}
}
