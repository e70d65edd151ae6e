//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/load"
)

// settle is how long a contestant is left alone before its memory is taken: programs with a garbage collector give back
// what they do not need.
const settle = 3 * time.Second

// memoryRounds are fewer than others: memory is not noisy.
const memoryRounds = 2

// measureMemory opens sockets through freshly started contestants and divides what they then have more by their number.
// It is memory of the processes; what the kernel has for the sockets is the same for all, and not counted.
func (b *bench) measureMemory(ctx context.Context, r row, job load.Job) ([]*result, error) {
	memory := newResult(r.id, fmt.Sprintf("%s, of %d", r.title, job.Connections), r.unit, r.aim)
	for range min(b.options.rounds, memoryRounds) {
		for _, c := range b.contestants {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			before, after, err := b.idle(c, job)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			memory.add(c.Name, float64(after-before)/1024/float64(job.Connections))
			memory.addMore(c.Name, "MiB before", float64(before)/(1<<20))
		}
	}
	return []*result{memory}, nil
}

// idle gives a fresh contestant's memory without the job's sockets and with them. A few sockets come and go before, so
// that what is made once is there.
func (b *bench) idle(c *contestant, job load.Job) (before, after int64, err error) {
	c.stop()
	if err := c.start(); err != nil {
		return 0, 0, err
	}
	few := job
	few.Connections = 50
	if _, err := b.hold(c, few, 0); err != nil {
		return 0, 0, err
	}
	time.Sleep(settle)
	if before, err = c.process.memory(); err != nil {
		return 0, 0, err
	}
	after, err = b.hold(c, job, settle)
	return before, after, err
}

// hold opens the job's sockets, waits, and gives the memory that there is then.
func (b *bench) hold(c *contestant, job load.Job, wait time.Duration) (int64, error) {
	l, err := b.startJob(c.aimed(job))
	if err != nil {
		return 0, err
	}
	time.Sleep(wait)
	memory, err := c.process.memory()
	if err != nil {
		return 0, err
	}
	return memory, l.wait()
}
