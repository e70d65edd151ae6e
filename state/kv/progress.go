package kv

import (
	"time"

	"github.com/jonboulle/clockwork"
)

// progressTimer fires when a watch that wants to hear of progress has been
// silent for the store's ProgressInterval. The zero value never fires.
type progressTimer struct {
	timer    clockwork.Timer
	interval time.Duration
}

func (w *watch) newProgressTimer() progressTimer {
	interval := w.store.opts.ProgressInterval
	if !w.progressNotify || interval < 0 {
		return progressTimer{}
	}
	return progressTimer{timer: w.store.clock.NewTimer(interval), interval: interval}
}

func (t progressTimer) due() <-chan time.Time {
	if t.timer == nil {
		return nil
	}
	return t.timer.Chan()
}

func (t progressTimer) reset() {
	if t.timer != nil {
		t.timer.Reset(t.interval)
	}
}

func (t progressTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
}
