package cloudsim_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/alb-appliance/appliance/cloudsim"
)

// rung tells whether a channel has a value.
func rung(ch <-chan time.Time) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestClockAdvance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cloudsim.NewClock()
		began := c.Now()
		early, late, called := c.NewTimer(time.Minute), c.NewTimer(time.Hour), make(chan struct{})
		c.AfterFunc(30*time.Second, func() { close(called) })
		c.Advance(time.Minute)
		<-called
		if !rung(early.Chan()) || rung(late.Chan()) {
			t.Error("a minute rings the minute's timer and not the hour's")
		}
		if c.Since(began) != time.Minute || c.Offset() != time.Minute {
			t.Errorf("since %s, offset %s", c.Since(began), c.Offset())
		}
		if c.Advance(-time.Hour); c.Offset() != time.Minute {
			t.Error("the clock went back")
		}
		if !late.Stop() || late.Stop() {
			t.Error("the first Stop finds the timer set, the second does not")
		}
		c.Advance(2 * time.Hour)
		if rung(late.Chan()) {
			t.Error("a stopped timer rang")
		}
	})
}

func TestClockGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cloudsim.NewClock()
		c.Advance(time.Hour)
		timer := c.NewTimer(10 * time.Second)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if rung(timer.Chan()) {
			t.Error("it rang early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !rung(timer.Chan()) {
			t.Error("it did not ring in time")
		}
		if timer.Reset(time.Second) {
			t.Error("Reset says that a timer which rang was set")
		}
		c.Sleep(time.Second)
		synctest.Wait()
		if !rung(timer.Chan()) {
			t.Error("it did not ring after Reset")
		}
	})
}

func TestClockTicker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cloudsim.NewClock()
		ticker := c.NewTicker(time.Second)
		c.Advance(time.Hour)
		if !rung(ticker.Chan()) || rung(ticker.Chan()) {
			t.Error("an hour passed at once is one tick")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !rung(ticker.Chan()) {
			t.Error("it stopped ticking")
		}
		ticker.Stop()
		c.Advance(time.Hour)
		if rung(ticker.Chan()) {
			t.Error("a stopped ticker ticked")
		}
	})
}
