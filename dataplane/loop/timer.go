//go:build linux

package loop

import (
	"math"
	"time"

	"github.com/jonboulle/clockwork"
)

// expirer is told when one of its timers is due.
type expirer interface {
	expired(which timerKind)
	// abandon ends what the timer is about after a failure in expired.
	abandon(v any)
}

// timerKind tells the timers of one owner apart.
type timerKind uint8

// timer is one deadline. Setting it later, or stopping it, only notes so: the heap is put right when the old deadline
// comes, which makes a timer cheap enough to be set at every read.
type timer struct {
	owner expirer
	kind  timerKind
	place int32 // in the heap, from 1 on; 0 when it is not in it
	due   int64 // 0 while stopped
	rings int64 // when the heap comes to it; at most due
}

// timers are a loop's deadlines, in nanoseconds from the loop's start by its clock. One timer of the clock is set for
// the earliest; with none there is nothing that ticks.
type timers struct {
	clock clockwork.Clock
	start time.Time
	heap  []*timer
	alarm clockwork.Timer
	rings int64  // when the alarm rings; math.MaxInt64 while it is not set
	ring  func() // tells the loop
}

func newTimers(clock clockwork.Clock, ring func()) timers {
	return timers{clock: clock, start: clock.Now().Add(-1), rings: math.MaxInt64, ring: ring}
}

// at gives a moment as the heap counts: from 1 on, since 0 means none.
func (ts *timers) at(t time.Time) int64 { return int64(t.Sub(ts.start)) }

// set has a timer fire d after now; a d of zero or less stops it.
func (ts *timers) set(t *timer, now time.Time, d time.Duration) {
	if d <= 0 {
		t.due = 0
		return
	}
	t.due = ts.at(now) + int64(d)
	switch {
	case t.place == 0:
		t.rings = t.due
		ts.heap = append(ts.heap, t)
		t.place = int32(len(ts.heap))
		ts.up(len(ts.heap) - 1)
	case t.due < t.rings:
		t.rings = t.due
		ts.up(int(t.place) - 1)
	}
	ts.arm(now)
}

// isSet tells whether a timer runs.
func (t *timer) isSet() bool { return t.due != 0 }

// drop takes a timer out for good.
func (ts *timers) drop(t *timer) {
	t.due = 0
	if t.place == 0 {
		return
	}
	i, last := int(t.place)-1, len(ts.heap)-1
	ts.heap[i] = ts.heap[last]
	ts.heap[i].place = int32(i + 1)
	ts.heap[last] = nil
	ts.heap = ts.heap[:last]
	t.place = 0
	if i < last {
		ts.up(i)
		ts.down(i)
	}
}

// turn tells the owner that the time has come.
func (t *timer) turn() { t.owner.expired(t.kind) }

func (t *timer) abandon(v any) { t.owner.abandon(v) }

// fire does what is due and sets the alarm for the next.
func (ts *timers) fire(now time.Time, do func(task)) {
	ts.rings = math.MaxInt64
	at := ts.at(now)
	for len(ts.heap) > 0 && ts.heap[0].rings <= at {
		t := ts.heap[0]
		switch {
		case t.due == 0:
			ts.drop(t)
		case t.due > at:
			t.rings = t.due
			ts.down(0)
		default:
			ts.drop(t)
			do(t)
		}
	}
	ts.arm(now)
}

// arm sets the clock's timer if it would ring too late.
func (ts *timers) arm(now time.Time) {
	if len(ts.heap) == 0 || ts.heap[0].rings >= ts.rings {
		return
	}
	ts.rings = ts.heap[0].rings
	d := time.Duration(ts.rings - ts.at(now))
	if ts.alarm == nil {
		ts.alarm = ts.clock.AfterFunc(d, ts.ring)
		return
	}
	ts.alarm.Reset(d)
}

// stop ends the clock's timer.
func (ts *timers) stop() {
	if ts.alarm != nil {
		ts.alarm.Stop()
	}
}

// The heap has four children a node: fewer levels, and neighbours share cache lines.
const arity = 4

func (ts *timers) up(i int) {
	t := ts.heap[i]
	for i > 0 {
		parent := (i - 1) / arity
		if ts.heap[parent].rings <= t.rings {
			break
		}
		ts.heap[i] = ts.heap[parent]
		ts.heap[i].place = int32(i + 1)
		i = parent
	}
	ts.heap[i] = t
	t.place = int32(i + 1)
}

func (ts *timers) down(i int) {
	t := ts.heap[i]
	for {
		first := i*arity + 1
		if first >= len(ts.heap) {
			break
		}
		least := first
		for c := first + 1; c < min(first+arity, len(ts.heap)); c++ {
			if ts.heap[c].rings < ts.heap[least].rings {
				least = c
			}
		}
		if ts.heap[least].rings >= t.rings {
			break
		}
		ts.heap[i] = ts.heap[least]
		ts.heap[i].place = int32(i + 1)
		i = least
	}
	ts.heap[i] = t
	t.place = int32(i + 1)
}
