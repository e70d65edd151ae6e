package enginetest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/alb-appliance/appliance/dataplane"
)

// What follows has the clients and servers that people use talk through the engine.

// serve starts a net/http server and applies a snapshot that forwards everything to it; it gives the engine's URL.
func (f *fixture) serve(handler http.HandlerFunc) string {
	f.Helper()
	server := httptest.NewServer(handler)
	f.Cleanup(server.Close)
	s := simple(dataplane.ClassALB)
	addr := server.Listener.Addr().String()
	s.Upstreams[0].Endpoints = []dataplane.Endpoint{{ID: "e", Addr: addr, Weight: 1, Open: dataplane.OpenTCP(addr)}}
	f.apply(s)
	return "http://" + f.addr("l")
}

// client is an HTTP client whose connections end with the test.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// testWebSocket has a real WebSocket client and server talk through the engine.
func testWebSocket(f *fixture) {
	url := f.serve(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, data); err != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, strings.Replace(url, "http:", "ws:", 1)+"/ws", &websocket.DialOptions{HTTPClient: client(f.T)})
	if err != nil {
		f.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for _, text := range []string{"hello", strings.Repeat("x", 300_000)} {
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			f.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != text {
			f.Fatalf("echo is %d bytes (%v), want %d", len(got), err, len(text))
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
		f.Errorf("close handshake: %v", err)
	}
}

// testStreaming passes parts of an answer and of a request on as they come, both at once.
func testStreaming(f *fixture) {
	url := f.serve(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		buf := make([]byte, 64)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			_ = rc.Flush()
			if err != nil {
				return
			}
		}
	})
	in, out := io.Pipe()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/", in)
	if err != nil {
		f.Fatal(err)
	}
	go io.WriteString(out, "first")
	resp, err := client(f.T).Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 5)
	for _, next := range []string{"again", ""} {
		if _, err := io.ReadFull(resp.Body, buf); err != nil {
			f.Fatal(err)
		}
		if next != "" {
			_, _ = io.WriteString(out, next)
		}
	}
	out.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 || string(buf) != "again" {
		f.Errorf("read %q then %q (%v)", buf, rest, err)
	}
}

// testLargeBodies moves megabytes both ways.
func testLargeBodies(f *fixture) {
	url := f.serve(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	body := strings.Repeat("0123456789abcdef", 1<<18)
	c := client(f.T)
	c.Timeout = 2 * patience
	resp, err := c.Post(url+"/", "text/plain", io.NopCloser(strings.NewReader(body)))
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
		f.Errorf("got %d bytes (%v), want %d", len(got), err, len(body))
	}
}

// testPoolSweep: a connection that nobody takes is closed when its time is over, not before.
func testPoolSweep(f *fixture) {
	closed := make(chan bool, 1)
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, func(p *peer) {
		echo(p)
		closed <- true
	})))
	f.want(f.get("/"), 200)
	timed(f, 60*time.Second, func() bool { return <-closed })
}
