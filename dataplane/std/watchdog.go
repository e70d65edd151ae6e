package std

import (
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// watchdog calls a function when nobody has re-armed or disarmed it in time. It goes by the clock it is given, so
// that a clock moved forward fires it at once; deadlines of the operating system know only their own clock. Arming
// an armed watchdog moves its deadline without touching the timer, which makes it cheap enough for every read.
type watchdog struct {
	clock clockwork.Clock
	fire  func()

	mu        sync.Mutex
	timer     clockwork.Timer
	deadline  time.Time // zero while disarmed
	scheduled time.Time // when the timer rings; zero while it is stopped
}

func newWatchdog(clock clockwork.Clock, fire func()) *watchdog {
	return &watchdog{clock: clock, fire: fire}
}

// arm gives d from now on; a d of zero or less disarms.
func (w *watchdog) arm(d time.Duration) {
	if d <= 0 {
		w.disarm()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = w.clock.Now().Add(d)
	if w.scheduled.IsZero() || w.scheduled.After(w.deadline) {
		w.schedule(d)
	}
}

// start arms the watchdog unless it is armed: its deadline stands.
func (w *watchdog) start(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deadline.IsZero() {
		w.deadline = w.clock.Now().Add(d)
		w.schedule(d)
	}
}

// schedule sets the timer; the caller holds mu.
func (w *watchdog) schedule(d time.Duration) {
	w.scheduled = w.deadline
	if w.timer == nil {
		w.timer = w.clock.AfterFunc(d, w.ring)
		return
	}
	w.timer.Reset(d)
}

// disarm stops the watchdog. A call of fire that has begun goes on.
func (w *watchdog) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = time.Time{}
	if !w.scheduled.IsZero() {
		w.timer.Stop()
		w.scheduled = time.Time{}
	}
}

// ring is the timer's function: it fires, or sleeps on if the deadline has moved.
func (w *watchdog) ring() {
	w.mu.Lock()
	w.scheduled = time.Time{}
	if w.deadline.IsZero() {
		w.mu.Unlock()
		return
	}
	if left := w.deadline.Sub(w.clock.Now()); left > 0 {
		w.schedule(left)
		w.mu.Unlock()
		return
	}
	w.deadline = time.Time{}
	w.mu.Unlock()
	w.fire()
}
