// Package clockqueue makes work queues whose delays follow the one clock (DESIGN D11).
package clockqueue

import (
	"time"

	"github.com/jonboulle/clockwork"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
)

// New makes a queue that retries an item after least, doubling up to most.
func New[T comparable](c clockwork.Clock, least, most time.Duration) workqueue.TypedRateLimitingInterface[T] {
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[T](least, most), workqueue.TypedRateLimitingQueueConfig[T]{Clock: queueClock{c}})
}

type queueClock struct{ clockwork.Clock }

func (c queueClock) NewTimer(d time.Duration) clock.Timer   { return queueTimer{c.Clock.NewTimer(d)} }
func (c queueClock) NewTicker(d time.Duration) clock.Ticker { return queueTicker{c.Clock.NewTicker(d)} }

func (c queueClock) Tick(d time.Duration) <-chan time.Time { return c.Clock.NewTicker(d).Chan() }

type queueTimer struct{ clockwork.Timer }

func (t queueTimer) C() <-chan time.Time { return t.Chan() }

type queueTicker struct{ clockwork.Ticker }

func (t queueTicker) C() <-chan time.Time { return t.Chan() }
