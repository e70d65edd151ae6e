package dataplane

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the data plane's counters. Labels are ids and reasons, never anything a client sends. Safe for
// concurrent use.
type Metrics struct {
	requests    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	connections *prometheus.GaugeVec
	refused     *prometheus.CounterVec
	handshakes  *prometheus.CounterVec
	tunnels     *prometheus.GaugeVec
	attempts    *prometheus.CounterVec
	panics      prometheus.Counter
	generation  prometheus.Gauge
	problems    prometheus.Gauge

	// forgotten counts how often series were deleted; recorders drop what they remember then.
	forgotten atomic.Uint64
}

// NewMetrics makes the counters and registers them with reg; nil registers them nowhere. It panics if reg holds
// counters of the same names: one registry, one data plane.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "dataplane", Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), labels)
	}
	m := &Metrics{
		requests: counter("requests_total", "Requests ended, by status and by the reason of answers of our own.", "listener", "status", "reason"),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "dataplane", Name: "request_duration_seconds", Help: "Time from a request's header to the end of its answer; tunnels are left out.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"listener"}),
		connections: gauge("connections", "Client connections open.", "listener"),
		refused:     counter("connections_refused_total", "Client connections closed at once because the listener held its maximum.", "listener"),
		handshakes:  counter("tls_handshakes_failed_total", "TLS handshakes that ended without a session.", "listener"),
		tunnels:     gauge("tunnels", "Upgraded connections open.", "listener"),
		attempts:    counter("upstream_attempts_total", "Tries to have a request answered by an endpoint, by result.", "upstream", "result"),
		panics:      prometheus.NewCounter(prometheus.CounterOpts(opts("panics_total", "Requests in which the data plane itself failed."))),
		generation:  prometheus.NewGauge(prometheus.GaugeOpts(opts("snapshot_generation", "How many snapshots were applied."))),
		problems:    prometheus.NewGauge(prometheus.GaugeOpts(opts("snapshot_problems", "Parts of the current snapshot that cannot be served as written."))),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.durations, m.connections, m.refused, m.handshakes, m.tunnels, m.attempts, m.panics, m.generation, m.problems)
	}
	return m
}

// Request counts one request at its end. A tunnel's duration says nothing about speed and is left out.
func (m *Metrics) Request(listener string, o Outcome, took time.Duration) {
	m.requests.WithLabelValues(listener, strconv.Itoa(o.Status), string(o.Reason)).Inc()
	if o.Status != 101 {
		m.durations.WithLabelValues(listener).Observe(took.Seconds())
	}
}

// Connections gives the gauge of a listener's open client connections.
func (m *Metrics) Connections(listener string) prometheus.Gauge {
	return m.connections.WithLabelValues(listener)
}

// ConnectionRefused counts a client connection over the listener's maximum.
func (m *Metrics) ConnectionRefused(listener string) { m.refused.WithLabelValues(listener).Inc() }

// HandshakeFailed counts a TLS handshake that ended without a session.
func (m *Metrics) HandshakeFailed(listener string) { m.handshakes.WithLabelValues(listener).Inc() }

// Tunnels adds n to the open upgraded connections of a listener.
func (m *Metrics) Tunnels(listener string, n int) {
	m.tunnels.WithLabelValues(listener).Add(float64(n))
}

// Attempt counts one try; the reason is ReasonNone if it was answered.
func (m *Metrics) Attempt(upstream string, reason Reason) {
	m.attempts.WithLabelValues(upstream, attemptResult(reason)).Inc()
}

// attemptResult names a try's result.
func attemptResult(reason Reason) string {
	if reason == ReasonNone {
		return "answered"
	}
	return string(reason)
}

// Panic counts a failure of the data plane itself.
func (m *Metrics) Panic() { m.panics.Inc() }

// Applied notes a new program and forgets the series of listeners and upstreams that are gone, so that what is kept
// does not grow with every change. Old may be nil.
func (m *Metrics) Applied(old, p *Program, problems int) {
	m.generation.Set(float64(p.generation))
	m.problems.Set(float64(problems))
	if old == nil {
		return
	}
	defer m.forgotten.Add(1)
	for id := range old.listeners {
		if _, ok := p.listeners[id]; !ok {
			gone := prometheus.Labels{"listener": id}
			m.requests.DeletePartialMatch(gone)
			m.durations.DeletePartialMatch(gone)
			m.refused.DeletePartialMatch(gone)
			m.handshakes.DeletePartialMatch(gone)
		}
	}
	for id := range old.upstreams {
		if _, ok := p.upstreams[id]; !ok {
			m.attempts.DeletePartialMatch(prometheus.Labels{"upstream": id})
		}
	}
}

// Recorder counts like Metrics, and remembers the series it has counted in, which saves finding them by their labels.
// It is for one goroutine.
type Recorder struct {
	m        *Metrics
	as       uint64 // Metrics.forgotten when it was last looked at
	requests map[requestSeries]requestCounters
	attempts map[attemptSeries]prometheus.Counter
}

type requestSeries struct {
	listener string
	outcome  Outcome
}

type requestCounters struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

type attemptSeries struct {
	upstream string
	reason   Reason
}

// recorderSeries bounds what a recorder remembers: ids come and go.
const recorderSeries = 4096

// Recorder makes a recorder.
func (m *Metrics) Recorder() *Recorder {
	r := &Recorder{m: m}
	r.forget()
	return r
}

func (r *Recorder) forget() {
	r.requests, r.attempts = map[requestSeries]requestCounters{}, map[attemptSeries]prometheus.Counter{}
}

// current drops what is remembered if it may be gone.
func (r *Recorder) current() {
	if now := r.m.forgotten.Load(); now != r.as || len(r.requests) > recorderSeries || len(r.attempts) > recorderSeries {
		r.as = now
		r.forget()
	}
}

// Request is Metrics.Request.
func (r *Recorder) Request(listener string, o Outcome, took time.Duration) {
	r.current()
	key := requestSeries{listener, o}
	c, ok := r.requests[key]
	if !ok {
		c = requestCounters{r.m.requests.WithLabelValues(listener, strconv.Itoa(o.Status), string(o.Reason)), r.m.durations.WithLabelValues(listener)}
		r.requests[key] = c
	}
	c.requests.Inc()
	if o.Status != 101 {
		c.duration.Observe(took.Seconds())
	}
}

// Attempt is Metrics.Attempt.
func (r *Recorder) Attempt(upstream string, reason Reason) {
	r.current()
	key := attemptSeries{upstream, reason}
	c, ok := r.attempts[key]
	if !ok {
		c = r.m.attempts.WithLabelValues(upstream, attemptResult(reason))
		r.attempts[key] = c
	}
	c.Inc()
}
