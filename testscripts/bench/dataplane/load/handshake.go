//go:build linux

package load

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// handshakes is what the goroutines of a job share.
type handshakes struct {
	job       *Job
	measuring atomic.Bool
	stop      atomic.Bool

	mu      sync.Mutex
	result  Result
	latency histogram
}

// runHandshakes opens TLS connections one after the other in each of the job's goroutines, and asks once on each.
func runHandshakes(j *Job, started func()) (*Result, error) {
	h := &handshakes{job: j}
	var running sync.WaitGroup
	for i := range j.Connections {
		running.Go(func() { h.work(j.Targets[i%len(j.Targets)]) })
	}
	time.Sleep(j.Warmup)
	started()
	begin := time.Now()
	h.measuring.Store(true)
	time.Sleep(j.Duration)
	h.measuring.Store(false)
	elapsed := time.Since(begin)
	h.stop.Store(true)
	running.Wait()
	h.result.Elapsed, h.result.P50, h.result.P99 = elapsed, h.latency.at(0.5), h.latency.at(0.99)
	return &h.result, nil
}

// work opens connections until it is told to stop.
func (h *handshakes) work(t Target) {
	var cache tls.ClientSessionCache
	if h.job.Resume {
		cache = tls.NewLRUClientSessionCache(1)
	}
	config, ask := clientTLS(t.Host, cache), request(t, "Connection: close\r\n")
	for !h.stop.Load() {
		begin := time.Now()
		resumed, err := h.once(config, ask)
		took := time.Since(begin)
		if !h.measuring.Load() {
			continue
		}
		h.mu.Lock()
		switch {
		case err != nil:
			h.result.Failed++
			if h.result.FirstFailure == "" {
				h.result.FirstFailure = err.Error()
			}
		default:
			h.result.Requests++
			h.latency.add(took)
			if resumed {
				h.result.Resumed++
			}
		}
		h.mu.Unlock()
	}
}

// once opens a connection, asks, and reads the answer to the end of the connection.
func (h *handshakes) once(config *tls.Config, ask []byte) (resumed bool, err error) {
	plain, err := net.DialTimeout("tcp", h.job.Address, 5*time.Second)
	if err != nil {
		return false, err
	}
	defer plain.Close()
	_ = plain.SetDeadline(time.Now().Add(5 * time.Second))
	c := tls.Client(plain, config)
	if err := c.Handshake(); err != nil {
		return false, fmt.Errorf("TLS handshake: %w", err)
	}
	if _, err := c.Write(ask); err != nil {
		return false, err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return false, err
	}
	if contentLength(answer) <= 0 {
		return false, fmt.Errorf("the answer has no length: %.200s", answer)
	}
	return c.ConnectionState().DidResume, nil
}

// raiseFiles allows as many descriptors as the system lets this process have.
func raiseFiles() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
}
