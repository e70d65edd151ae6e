// Package cloudsim is Alibaba Cloud, simulated: a region with its zones, a VPC with vSwitches, and ALB instances with
// their listeners, rules and server groups. It refuses what the real API refuses, with the real API's words, and
// passes resources through the real states. It knows neither Kubernetes nor sockets.
//
// Everything there is, is one immutable Inventory. A call checks, writes one SQLite transaction and publishes the next
// Inventory; who wants to follow asks Watch. What takes time on the real cloud is a job: the resource shows its
// transitional state at once and its final one when the job is done (DESIGN D13).
package cloudsim

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/state/sqlite"
)

//go:embed schema/*.sql
var schema embed.FS

// Migrations is the schema, for sqlite.Open.
func Migrations() fs.FS {
	sub, err := fs.Sub(schema, "schema")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return sub
}

// Delays says how long jobs take.
type Delays string

// The kinds of delay (DESIGN D13).
const (
	DelaysNone Delays = "none"
	DelaysReal Delays = "real"
)

// Options is what a Cloud needs. All fields are required.
type Options struct {
	// Region is a region id of Regions.
	Region string
	Clock  clockwork.Clock
	Delays Delays
	// Addresses is the pool of load balancers' addresses.
	Addresses netip.Prefix
	// Reserved are addresses of the pool that load balancers never get.
	Reserved []netip.Addr
	// Issue is the authority of the certificate service.
	Issue  Issue
	Logger *slog.Logger
}

// Cloud is one account's resources in one region. Its methods are safe for concurrent use; what they return are copies.
type Cloud struct {
	db      *sqlite.DB
	options Options

	mu        sync.Mutex // held by whoever changes something
	inventory atomic.Pointer[Inventory]

	watchers watchers
	jobs     jobs
}

// Open reads the cloud from its database; an empty database gets the VPC that a new cluster has.
func Open(ctx context.Context, db *sqlite.DB, o Options) (*Cloud, error) {
	if _, ok := Regions[o.Region]; !ok {
		return nil, fmt.Errorf("open the cloud: there is no region %s; choose one of %s", o.Region, regionList())
	}
	c := &Cloud{db: db, options: o, jobs: newJobs()}
	c.inventory.Store(&Inventory{Region: o.Region})
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	if len(c.Inventory().VPCs) == 0 {
		return c, c.createNetwork(ctx)
	}
	return c, nil
}

// Inventory is all there is now.
func (c *Cloud) Inventory() *Inventory { return c.inventory.Load() }

// change is one step of a transaction: how it is stored, and what the next inventory is.
type change struct {
	store func(*sqlite.Tx) error
	apply func(*Inventory)
}

// commit stores changes in one transaction and publishes what comes of them. The caller holds c.mu.
func (c *Cloud) commit(ctx context.Context, changes ...change) error {
	err := c.db.Update(ctx, func(tx *sqlite.Tx) error {
		for _, ch := range changes {
			if err := ch.store(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store in the cloud: %w", err)
	}
	next := *c.inventory.Load()
	next.Revision++
	for _, ch := range changes {
		ch.apply(&next)
	}
	c.inventory.Store(&next)
	c.watchers.notify()
	c.jobs.look()
	return nil
}

// Hold calls f while nothing changes in the cloud: calls that would change something wait until it returns.
func (c *Cloud) Hold(f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f()
}

// watchers are the channels of Watch.
type watchers struct {
	mu  sync.Mutex
	all map[chan struct{}]struct{}
}

// Watch gives a channel with one slot that gets a value after every change, until ctx ends. A value means: look again.
func (c *Cloud) Watch(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	w := &c.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[chan struct{}]struct{}{}
	}
	w.all[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, ch)
	})
	return ch
}

func (w *watchers) notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.all {
		select {
		case ch <- struct{}{}:
		default: // it has not looked since the last one
		}
	}
}
