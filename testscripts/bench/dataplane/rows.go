//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/load"
)

// row is one thing that is measured.
type row struct {
	id, title string
	// unit is what the figure counts.
	unit string
	// aim is the largest ratio of ours to the best peer.
	aim float64
	// job is what is asked; units are counted for each of its requests.
	job   load.Job
	units float64
	// latency says that p50 and p99 at fixed rates are measured, too.
	latency bool
	// measure is how a row is measured that is no job for contestants.
	measure func(context.Context, *bench, row) ([]*result, error)
	// connections, where they are not those of the command line.
	connections int
}

// Units of the figures.
const (
	perRequest   = "µs CPU/request"
	perHandshake = "µs CPU/handshake"
	perMiB       = "µs CPU/MiB"
	perMessage   = "µs CPU/message"
	perSocket    = "KiB/socket"
	perLookup    = "ns/lookup"
	perChange    = "ms/change"
)

// Sizes of what is asked for in some rows.
const (
	bigConnections = 8
	handshakers    = 8
	messageBytes   = 32
	echoMessages   = 2 // the message and its echo
	idleSockets    = 4000
)

// rows lists everything, in the order of the report.
func rows() []row {
	hello, big, echo := targets("hello"), targets("big"), targets("ws")
	return []row{
		{id: "keepalive", title: "HTTP/1.1 keep-alive, GET 1 KiB", unit: perRequest, aim: 0.80, latency: true, job: load.Job{Kind: load.KeepAlive, Targets: hello}},
		{id: "https", title: "HTTPS keep-alive, GET 1 KiB", unit: perRequest, aim: 0.80, latency: true, job: load.Job{Kind: load.KeepAlive, Targets: hello, TLS: true}},
		{id: "connect", title: "New connection per request", unit: perRequest, aim: 0.95, job: load.Job{Kind: load.Connect, Targets: hello}},
		{id: "handshake", title: "TLS handshake, full, with a request", unit: perHandshake, aim: 0.90, connections: handshakers,
			job: load.Job{Kind: load.Handshake, Targets: hello, TLS: true}},
		{id: "resume", title: "TLS handshake, resumed, with a request", unit: perHandshake, aim: 0.90, connections: handshakers,
			job: load.Job{Kind: load.Handshake, Targets: hello, TLS: true, Resume: true}},
		{id: "big", title: "1 MiB body", unit: perMiB, aim: 0.75, connections: bigConnections, job: load.Job{Kind: load.KeepAlive, Targets: big}},
		{id: "bigtls", title: "1 MiB body over TLS", unit: perMiB, aim: 0.85, connections: bigConnections, job: load.Job{Kind: load.KeepAlive, Targets: big, TLS: true}},
		{id: "websocket", title: "WebSocket echo of small messages", unit: perMessage, aim: 1.05, units: echoMessages,
			job: load.Job{Kind: load.WebSocket, Targets: echo, Message: messageBytes}},
		{id: "idle", title: "Memory of an idle WebSocket", unit: perSocket, aim: 0.25, connections: idleSockets,
			job: load.Job{Kind: load.IdleWebSocket, Targets: echo, Message: messageBytes}},
		{id: "idletls", title: "Memory of an idle WebSocket over TLS", unit: perSocket, aim: 0.80, connections: idleSockets,
			job: load.Job{Kind: load.IdleWebSocket, Targets: echo, Message: messageBytes, TLS: true}},
		{id: "lookup", title: "Route by host and path", unit: perLookup, measure: measureLookups},
		{id: "change", title: "One changed Ingress of 10,000, until it serves", unit: perChange, aim: 10, measure: measureChanges},
		{id: "serve", title: "All of `appliance serve`, its pods answer: HTTP/1.1 keep-alive GET", unit: perRequest, measure: measureServe,
			job: load.Job{Kind: load.KeepAlive, Targets: serveTargets()}},
	}
}

func rowIDs() []string {
	var ids []string
	for _, r := range rows() {
		ids = append(ids, r.id)
	}
	return ids
}

// chooseRows finds rows by id; none stands for all.
func chooseRows(ids string) ([]row, error) {
	if ids == "" {
		return rows(), nil
	}
	var chosen []row
	for id := range strings.SplitSeq(ids, ",") {
		i := slices.IndexFunc(rows(), func(r row) bool { return r.id == id })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q; take some of %s", id, strings.Join(rowIDs(), ", "))
		}
		chosen = append(chosen, rows()[i])
	}
	return chosen, nil
}

// warmup is how long a turn runs before it is measured.
const warmup = 300 * time.Millisecond

// measure measures a row: its cost, and latency if it has any.
func (b *bench) measure(ctx context.Context, r row) ([]*result, error) {
	if r.measure != nil {
		return r.measure(ctx, b, r)
	}
	job := r.job
	job.Warmup, job.Duration = warmup, b.options.duration
	if job.Connections = r.connections; job.Connections == 0 {
		job.Connections = b.options.connections
	}
	if r.units == 0 {
		r.units = 1
	}
	if job.Kind == load.IdleWebSocket {
		return b.measureMemory(ctx, r, job)
	}
	cost := newResult(r.id, r.title, r.unit, r.aim)
	for range b.options.rounds {
		for _, c := range b.contestants {
			t, err := b.turn(c, job, r.units)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			cost.add(c.Name, t.cost)
			cost.addMore(c.Name, "units/s", t.throughput)
			if t.instructions > 0 {
				cost.addMore(c.Name, "user instructions", t.instructions)
			}
		}
	}
	results := []*result{cost}
	if r.latency && b.options.latency && ctx.Err() == nil {
		latency, err := b.measureLatency(r, job, slowest(cost))
		return append(results, latency...), err
	}
	return results, ctx.Err()
}

// slowest is the least throughput of all.
func slowest(r *result) float64 {
	least := 0.
	for _, name := range r.Order {
		if t := r.More[name]["units/s"].median(); least == 0 || t < least {
			least = t
		}
	}
	return least
}

// shares of the slowest contestant's throughput at which latency is measured.
var shares = []float64{0.5, 0.8}

// measureLatency asks all at the same rates, whether answers come or not.
func (b *bench) measureLatency(r row, job load.Job, throughput float64) ([]*result, error) {
	var results []*result
	for _, share := range shares {
		job.Rate = share * throughput / r.units
		p99 := newResult(r.id, fmt.Sprintf("%s: p99 at %.0f/s, %.0f %% of the slowest", r.title, job.Rate, 100*share), "µs", 1)
		for range b.options.rounds {
			for _, c := range b.contestants {
				t, err := b.turn(c, job, r.units)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", c.Name, err)
				}
				p99.add(c.Name, float64(t.p99.Nanoseconds())/1000)
				p99.addMore(c.Name, "p50 µs", float64(t.p50.Nanoseconds())/1000)
				p99.addMore(c.Name, "µs CPU", t.cost)
			}
		}
		results = append(results, p99)
	}
	return results, nil
}
