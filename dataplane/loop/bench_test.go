//go:build linux

package loop

import (
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/dataplane"
)

// BenchmarkExchange is what one request costs of our own: everything but the kernel. The access record is made and
// written as JSON, as `serve` does.
func BenchmarkExchange(b *testing.B) {
	w := newWorld(b, simSnapshot(dataplane.ClassALB), dataplane.Limits{})
	w.quiet = true
	line := make([]byte, 0, 4096)
	w.s.Access = func(r *dataplane.AccessRecord) { line = r.AppendJSON(line[:0]) }
	const request = "GET /p1/1k?x=1 HTTP/1.1\r\nHost: h.example\r\nUser-Agent: bench/1.0 (linux)\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\nCookie: session=0123456789abcdef\r\n\r\n"
	answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\nDate: Fri, 02 Jan 2026 03:04:05 GMT\r\nServer: pod\r\n\r\n" + strings.Repeat("x", 1024)
	c := w.dial()
	give := func(s *simSock, text string) {
		s.in = append(s.in[:0], text...)
		w.net.tell(s)
		n, _ := w.l.poll.wait(w.l.events, false)
		w.l.cycle(n)
	}
	w.send(c, request)
	u := w.endpoint()
	w.send(u, answer)
	if got := c.got(); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got, "xxx") {
		b.Fatalf("answer is %q", got)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.out, u.out = c.out[:0], u.out[:0]
		give(c, request)
		give(u, answer)
	}
	if len(c.out) < 1024 {
		b.Fatalf("answer is %q", c.out)
	}
}
