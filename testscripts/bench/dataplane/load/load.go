//go:build linux

// Package load asks a proxy for things and times the answers. It costs little CPU itself: one thread and one epoll
// descriptor for all connections, but for handshakes, which crypto/tls does in goroutines.
package load

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// Kind is what a job does again and again.
type Kind string

// The kinds of job.
const (
	// KeepAlive sends requests on connections that stay.
	KeepAlive Kind = "keepalive"
	// Connect opens a connection for each request.
	Connect Kind = "connect"
	// Handshake opens a TLS connection for each request, and resumes a session if the job says so.
	Handshake Kind = "handshake"
	// WebSocket sends a message and waits for its echo, on sockets that stay.
	WebSocket Kind = "websocket"
	// IdleWebSocket opens sockets, exchanges one message on each, and leaves them alone until its input ends.
	IdleWebSocket Kind = "idle"
)

// Job says what to ask, and how.
type Job struct {
	Kind    Kind
	Address string
	TLS     bool
	Resume  bool
	// Targets are asked for in turn, each connection has its own.
	Targets     []Target
	Connections int
	// Rate is how many requests begin in a second, whether or not those before have ended (open loop); 0 lets each
	// connection begin its next one when the last has ended (closed loop).
	Rate float64
	// Message is how many bytes a WebSocket message has, less than 126.
	Message int
	// Warmup is not measured.
	Warmup, Duration time.Duration
}

// Target is a resource.
type Target struct{ Host, Path string }

// Result is what a job measured.
type Result struct {
	Requests int64
	// Failed are requests without a good answer; FirstFailure says why the first was.
	Failed       int64
	FirstFailure string
	Bytes        int64
	Resumed      int64
	Elapsed      time.Duration
	// P50 and P99 are from the moment a request was due (open loop) or began (closed loop) to the end of its answer.
	P50, P99 time.Duration
}

// Started is the line that a job prints when what follows is measured.
const Started = "started"

// Main carries out a job given as JSON. It prints Started, and at the end the result as a line of JSON.
func Main(job string, in io.Reader, out io.Writer) error {
	var j Job
	if err := json.Unmarshal([]byte(job), &j); err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	r, err := run(&j, in, func() { fmt.Fprintln(out, Started) })
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

func run(j *Job, in io.Reader, started func()) (*Result, error) {
	switch j.Kind {
	case Handshake:
		return runHandshakes(j, started)
	case IdleWebSocket:
		return runIdle(j, in, started)
	}
	return runLoop(j, started)
}

// request is the head that a browser might send.
func request(t Target, more string) []byte {
	return []byte("GET " + t.Path + " HTTP/1.1\r\nHost: " + t.Host + "\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: identity\r\nReferer: http://" + t.Host + "/\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n" + more + "\r\n")
}

// parseAddress reads an address of IPv4 and a port.
func parseAddress(address string) (*net.TCPAddr, error) {
	a, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", address, err)
	}
	return a, nil
}
