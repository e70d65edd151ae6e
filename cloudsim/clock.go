package cloudsim

import (
	"container/heap"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// Clock is the one clock (DESIGN D11): it goes as the machine's does, and Advance moves it forward. A timer rings when
// the clock passes it, by going or by being moved. It is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	offset time.Duration
	alarms alarms
	wake   *time.Timer // rings for the first alarm
}

var _ clockwork.Clock = (*Clock)(nil)

// NewClock gives a clock that shows the machine's time.
func NewClock() *Clock { return &Clock{} }

// alarm is one timer or ticker that is set. It does not block.
type alarm struct {
	at    time.Time
	ring  func(now time.Time)
	index int // in the heap; -1 when not set
}

type alarms []*alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}
func (a *alarms) Push(x any) {
	x.(*alarm).index = len(*a)
	*a = append(*a, x.(*alarm))
}
func (a *alarms) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	last.index = -1
	return last
}

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time { return time.Now().Add(c.offset) }

// Offset is how far the clock is ahead of the machine's.
func (c *Clock) Offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// Advance moves the clock forward and rings every timer that this passes, in order, before it returns.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	c.offset += max(d, 0)
	c.mu.Unlock()
	c.ringDue()
}

// ringDue rings what is due and sets the machine's timer for what comes next.
func (c *Clock) ringDue() {
	for {
		c.mu.Lock()
		now := c.now()
		if len(c.alarms) == 0 || c.alarms[0].at.After(now) {
			c.arm(now)
			c.mu.Unlock()
			return
		}
		a := heap.Pop(&c.alarms).(*alarm)
		c.mu.Unlock()
		a.ring(now)
	}
}

// arm sets the machine's timer to the first alarm. c.mu is held.
func (c *Clock) arm(now time.Time) {
	if len(c.alarms) == 0 {
		return // a stale ring finds nothing
	}
	wait := c.alarms[0].at.Sub(now)
	if c.wake == nil {
		c.wake = time.AfterFunc(wait, c.ringDue)
		return
	}
	c.wake.Reset(wait)
}

func (c *Clock) set(a *alarm, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	a.at = now.Add(d)
	if a.index >= 0 {
		heap.Fix(&c.alarms, a.index)
	} else {
		heap.Push(&c.alarms, a)
	}
	if a.index == 0 {
		c.arm(now)
	}
}

// unset tells whether the alarm was set.
func (c *Clock) unset(a *alarm) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.index < 0 {
		return false
	}
	heap.Remove(&c.alarms, a.index)
	return true
}

// Since is Now less t.
func (c *Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Until is t less Now.
func (c *Clock) Until(t time.Time) time.Duration { return t.Sub(c.Now()) }

// After gives a channel that gets the time once.
func (c *Clock) After(d time.Duration) <-chan time.Time { return c.NewTimer(d).Chan() }

// Sleep waits until the clock has gone on by d.
func (c *Clock) Sleep(d time.Duration) { <-c.After(d) }

// NewTimer gives a timer with a channel.
func (c *Clock) NewTimer(d time.Duration) clockwork.Timer {
	ch := make(chan time.Time, 1)
	t := &timer{clock: c, channel: ch}
	t.alarm = &alarm{index: -1, ring: func(now time.Time) {
		select {
		case ch <- now:
		default:
		}
	}}
	c.set(t.alarm, d)
	return t
}

// AfterFunc calls f in its own goroutine.
func (c *Clock) AfterFunc(d time.Duration, f func()) clockwork.Timer {
	t := &timer{clock: c, alarm: &alarm{index: -1, ring: func(time.Time) { go f() }}}
	c.set(t.alarm, d)
	return t
}

// NewTicker gives a ticker; d must be positive.
func (c *Clock) NewTicker(d time.Duration) clockwork.Ticker {
	if d <= 0 {
		panic("cloudsim: a ticker needs a positive interval")
	}
	t := &ticker{clock: c, channel: make(chan time.Time, 1), every: d}
	t.alarm = &alarm{index: -1, ring: t.ring}
	c.set(t.alarm, d)
	return t
}

type timer struct {
	clock   *Clock
	alarm   *alarm
	channel chan time.Time
}

func (t *timer) Chan() <-chan time.Time { return t.channel }
func (t *timer) Stop() bool             { return t.clock.unset(t.alarm) }
func (t *timer) Reset(d time.Duration) bool {
	was := t.clock.unset(t.alarm)
	t.clock.set(t.alarm, d)
	return was
}

type ticker struct {
	clock   *Clock
	alarm   *alarm
	channel chan time.Time

	mu      sync.Mutex
	every   time.Duration
	stopped bool
}

func (t *ticker) ring(now time.Time) {
	select {
	case t.channel <- now:
	default:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped {
		t.clock.set(t.alarm, t.every)
	}
}

func (t *ticker) Chan() <-chan time.Time { return t.channel }

func (t *ticker) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.clock.unset(t.alarm)
}

func (t *ticker) Reset(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.every, t.stopped = d, false
	t.clock.unset(t.alarm)
	t.clock.set(t.alarm, d)
}
