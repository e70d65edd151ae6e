// Package startup is the garbage collector's part of a quick start. It imports nothing that takes time to initialize, so
// that Go initializes it before the thousand packages that do: they allocate 12 MB.
package startup

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// The first collection comes when the heap has firstHeap bytes, which is after a start: nearly all that a start
// allocates stays. Those after it are rare until the appliance is ready, and frequent then, for an idle appliance
// should be small. Measured by `make bench`: a start takes 60 ms less CPU, and idle memory is a quarter less.
const (
	leastHeap   = 4 << 20 // Go's, at 100 %
	firstHeap   = 96 << 20
	laterGOGC   = 400
	idleGOGC    = 50
	settleTime  = time.Second
	percentFull = 100
)

// tuned is false when the user has set GOGC, which stays in charge.
var tuned = os.Getenv("GOGC") == ""

// settled is set before the first collection of a heap so small that it comes with Settle: what follows is not a start's.
var settled atomic.Bool

func init() {
	if !tuned {
		return
	}
	debug.SetGCPercent(firstHeap / leastHeap * percentFull)
	collected := new([]byte) // unreachable at once
	runtime.AddCleanup(collected, func(percent int) {
		if !settled.Load() {
			debug.SetGCPercent(percent)
		}
	}, laterGOGC)
}

// Settle is called once everything serves. It gives back what the start left over when first requests are through.
func Settle() {
	if !tuned {
		return
	}
	time.AfterFunc(settleTime, func() {
		settled.Store(true)
		debug.SetGCPercent(idleGOGC)
		debug.FreeOSMemory()
	})
}
