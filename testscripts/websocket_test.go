package testscripts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/coder/websocket"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/alb-appliance/appliance/appliance"
)

// ws opens a WebSocket, taking any certificate, sends each text and prints what comes back: ws URL text…
func ws(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: ws url text...")
	}
	ctx, cancel := context.WithTimeout(context.Background(), awaitLimit)
	defer cancel()
	conn, err := dialWebSocket(ctx, ts, args[0])
	if (err != nil) != neg {
		ts.Fatalf("ws: %v\n%s", err, logOf(ts))
	}
	if err != nil {
		fmt.Fprintln(ts.Stderr(), err)
		return
	}
	defer conn.CloseNow()
	for _, text := range args[1:] {
		ts.Check(conn.Write(ctx, websocket.MessageText, []byte(text)))
		_, reply, err := conn.Read(ctx)
		ts.Check(err)
		fmt.Fprintf(ts.Stdout(), "%s\n", reply)
	}
	ts.Check(conn.Close(websocket.StatusNormalClosure, ""))
}

// wsidle opens a WebSocket, leaves it idle, moves the clock and wants the load balancer to cut it: wsidle URL DURATION.
// `wsidle -after SHORTER URL DURATION` wants it to outlive a shorter time before.
func wsidle(ts *testscript.TestScript, neg bool, args []string) {
	shorter := ""
	if len(args) == 4 && args[0] == "-after" {
		shorter, args = args[1], args[2:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: wsidle [-after shorter] url duration")
	}
	ctx, cancel := context.WithTimeout(context.Background(), awaitLimit)
	defer cancel()
	conn, err := dialWebSocket(ctx, ts, args[0])
	ts.Check(err)
	defer conn.CloseNow()
	echo(ctx, ts, conn)
	if shorter != "" {
		var view appliance.Clock
		ts.Check(query(ts, &view, "cloud", "clock", "advance", "-o", "json", shorter))
		echo(ctx, ts, conn)
	}
	cut, moving := make(chan struct{}), sync.WaitGroup{}
	if args[1] != "0s" { // else the wall clock does it
		moving.Go(func() { advance(ts, args[1], cut) })
	}
	_, _, err = conn.Read(ctx)
	close(cut)
	moving.Wait()
	// The stream ends without a close frame: nobody speaks WebSocket between the two.
	if !errors.Is(err, io.EOF) {
		ts.Fatalf("wsidle: want the end of the stream, got %v\n%s", err, logOf(ts))
	}
	fmt.Fprintln(ts.Stdout(), "cut without a close frame")
}

func echo(ctx context.Context, ts *testscript.TestScript, conn *websocket.Conn) {
	ts.Check(conn.Write(ctx, websocket.MessageText, []byte("hello")))
	_, _, err := conn.Read(ctx)
	ts.Check(err)
}

func dialWebSocket(ctx context.Context, ts *testscript.TestScript, url string) (*websocket.Conn, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: dialer(ts), TLSClientConfig: tlsConfig(ts, true, "")}}
	conn, response, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client})
	if err != nil && response != nil {
		return nil, fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	return conn, err
}

// hold listens on an address until the scenario ends, as another program would: hold ADDRESS.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold address")
	}
	l, err := net.Listen("tcp", args[0])
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	processOf(ts).held = l
}

// release gives back what hold took.
func release(ts *testscript.TestScript, neg bool, args []string) {
	p := processOf(ts)
	if neg || len(args) != 0 || p.held == nil {
		ts.Fatalf("usage: release, after hold")
	}
	ts.Check(p.held.Close())
	p.held = nil
}
