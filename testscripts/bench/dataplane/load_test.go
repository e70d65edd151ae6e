//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/backend"
	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/load"
)

// startTestBackend runs a backend on one port for the time of a test and gives its address.
func startTestBackend(t *testing.T) string {
	t.Helper()
	in, stop := io.Pipe()
	out, says := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- backend.Main(1, in, says) }()
	t.Cleanup(func() {
		_ = stop.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strings.TrimSpace(strings.TrimPrefix(line, backend.Ready))
}

func runJob(t *testing.T, job load.Job) (*load.Result, error) {
	t.Helper()
	raw, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := load.Main(string(raw), strings.NewReader(""), &out); err != nil {
		return nil, err
	}
	_, result, _ := strings.Cut(out.String(), load.Started+"\n")
	r := &load.Result{}
	return r, json.Unmarshal([]byte(result), r)
}

// TestLoadAgainstBackend has the benchmark's own programs speak to each other, without a proxy.
func TestLoadAgainstBackend(t *testing.T) {
	t.Parallel()
	at := startTestBackend(t)
	for name, job := range map[string]load.Job{
		"keep-alive":     {Kind: load.KeepAlive, Targets: targets("hello")},
		"big body":       {Kind: load.KeepAlive, Targets: targets("big")},
		"websocket":      {Kind: load.WebSocket, Targets: targets("ws"), Message: messageBytes},
		"idle websocket": {Kind: load.IdleWebSocket, Targets: targets("ws"), Message: messageBytes},
	} {
		job.Address, job.Connections, job.Warmup, job.Duration = at, 4, 10*time.Millisecond, 500*time.Millisecond
		r, err := runJob(t, job)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Requests == 0 || r.Failed != 0 {
			t.Errorf("%s: %d answered, %d failed: %s", name, r.Requests, r.Failed, r.FirstFailure)
		}
		if want := r.Requests * backend.BigBytes; name == "big body" && r.Bytes < want {
			t.Errorf("%s: %d bytes for %d answers, want %d and more", name, r.Bytes, r.Requests, want)
		}
	}
}

// TestOpenLoopKeepsItsRate wants as many requests as are due, and the wait of those that came too early for a connection
// counted.
func TestOpenLoopKeepsItsRate(t *testing.T) {
	t.Parallel()
	job := load.Job{
		Kind: load.KeepAlive, Targets: targets("hello"), Address: startTestBackend(t), Connections: 2, Rate: 500,
		Warmup: 50 * time.Millisecond, Duration: 400 * time.Millisecond,
	}
	r, err := runJob(t, job)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests < 100 || r.Requests > 300 { // 200, on a machine that may have other things to do
		t.Errorf("%d requests in 0.4 s at 500 a second", r.Requests)
	}
	if r.P50 <= 0 || r.P99 < r.P50 {
		t.Errorf("p50 %s, p99 %s", r.P50, r.P99)
	}
}

// TestLoadSaysWhatFailed wants an error for a port that nobody listens on, and a count for answers that are not good.
func TestLoadSaysWhatFailed(t *testing.T) {
	t.Parallel()
	job := load.Job{Kind: load.Connect, Targets: targets("hello"), Address: "127.0.0.1:1", Connections: 1, Duration: 50 * time.Millisecond}
	r, err := runJob(t, job)
	if err == nil {
		err = check(r, job)
	}
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("err = %v", err)
	}
	err = check(&load.Result{Requests: 100, Failed: 1, FirstFailure: "the answer is not 200"}, job)
	if err == nil || !strings.Contains(err.Error(), "1 of 101 requests failed, the first one: the answer is not 200") {
		t.Errorf("err = %v", err)
	}
	if err := check(&load.Result{Requests: 100, Resumed: 3}, job); err == nil {
		t.Error("sessions were resumed that should not have been, and nobody says so")
	}
}
