package cloudsim

import (
	"context"
	"fmt"
	"time"

	"github.com/jonboulle/clockwork"
)

// realDelays are the durations of jobs under DelaysReal: the middle of what users report (ALB-FACTS 3.8; the shares of
// the parts are inferred).
var realDelays = map[Status]time.Duration{
	StatusCreating:     2 * time.Second,  // server group
	StatusProvisioning: 15 * time.Second, // load balancer; listeners and rules take a tenth
	StatusConfiguring:  2 * time.Second,
	StatusAdding:       3 * time.Second,
	StatusRemoving:     3 * time.Second,
}

// jobs finishes what is in a transitional state. Which resources are, the inventory itself says: nothing is lost by a
// restart, only begun anew.
type jobs struct {
	wake chan struct{}
}

func newJobs() jobs { return jobs{wake: make(chan struct{}, 1)} }

// look makes Run look at the inventory again.
func (j jobs) look() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Run finishes jobs until ctx ends.
func (c *Cloud) Run(ctx context.Context) error {
	due := map[string]time.Time{}
	var timer clockwork.Timer
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	c.jobs.look()
	for {
		var ring <-chan time.Time
		if timer != nil {
			ring = timer.Chan()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.jobs.wake:
		case <-ring:
		}
		next, err := c.finish(ctx, due)
		if err != nil && ctx.Err() == nil {
			c.options.Logger.Error("finish cloud jobs", "err", err)
			next = c.options.Clock.Now().Add(time.Second)
		}
		if timer != nil {
			timer.Stop()
			timer = nil
		}
		if !next.IsZero() {
			timer = c.options.Clock.NewTimer(max(next.Sub(c.options.Clock.Now()), 0))
		}
	}
}

// finish completes every job that is due, in one transaction, and tells when the next one is.
func (c *Cloud) finish(ctx context.Context, due map[string]time.Time) (next time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.options.Clock.Now()
	pending := map[string]bool{}
	ready := func(id string, status Status, share time.Duration) bool {
		key := id + " " + string(status)
		pending[key] = true
		at, known := due[key]
		if !known {
			at = now.Add(c.delay(status) / share)
			due[key] = at
		}
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
		return !at.After(now)
	}
	changes := c.completed(ready)
	for key := range due {
		if !pending[key] {
			delete(due, key)
		}
	}
	if len(changes) == 0 {
		return next, nil
	}
	return next, c.commit(ctx, changes...)
}

func (c *Cloud) delay(s Status) time.Duration {
	if c.options.Delays == DelaysNone {
		return 0
	}
	return realDelays[s]
}

// completed gives the changes that bring every resource whose job is ready into its final state.
func (c *Cloud) completed(ready func(id string, s Status, share time.Duration) bool) []change {
	const whole, tenth = 1, 10
	i := c.Inventory()
	var changes []change
	for _, lb := range i.LoadBalancers {
		if lb.Status != StatusActive && ready(lb.LoadBalancerID, lb.Status, whole) {
			lb.Status = StatusActive
			changes = append(changes, updateLoadBalancer(lb))
		}
	}
	for _, l := range i.Listeners {
		if l.Status != StatusRunning && ready(l.ListenerID, l.Status, tenth) {
			l.Status = StatusRunning
			changes = append(changes, updateListener(l))
		}
	}
	for _, r := range i.Rules {
		if r.Status != StatusAvailable && ready(r.RuleID, r.Status, tenth) {
			r.Status = StatusAvailable
			changes = append(changes, updateRule(r))
		}
	}
	for _, g := range i.ServerGroups {
		if next, changed := completedGroup(g, ready); changed {
			changes = append(changes, updateServerGroup(next))
		}
	}
	return changes
}

func completedGroup(g ServerGroup, ready func(string, Status, time.Duration) bool) (ServerGroup, bool) {
	changed := false
	if g.Status != StatusAvailable && ready(g.ServerGroupID, g.Status, 1) {
		g.Status, changed = StatusAvailable, true
	}
	var servers []Server
	for _, s := range g.Servers {
		if s.Status != StatusAvailable && ready(fmt.Sprintf("%s/%s/%s:%d", g.ServerGroupID, s.ServerID, s.ServerIP, s.Port), s.Status, 1) {
			changed = true
			if s.Status == StatusRemoving {
				continue
			}
			s.Status = StatusAvailable
		}
		servers = append(servers, s)
	}
	g.Servers = servers
	return g, changed
}
