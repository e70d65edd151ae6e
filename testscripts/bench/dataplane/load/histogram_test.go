//go:build linux

package load

import (
	"testing"
	"time"
)

func TestHistogramKeepsValuesWithinABucket(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, 1, 63, 64, 65, 127, 128, 1000, 12345, time.Millisecond, 3 * time.Second, time.Hour} {
		var h histogram
		h.add(d)
		got := h.at(0.5)
		if got < d || float64(got) > float64(d)*(1+1.0/subBuckets)+1 {
			t.Errorf("%d becomes %d", d, got)
		}
	}
}

func TestHistogramQuantiles(t *testing.T) {
	t.Parallel()
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for share, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond} {
		if got := h.at(share); got < want*98/100 || got > want*102/100 {
			t.Errorf("at %v: %s, want about %s", share, got, want)
		}
	}
}
