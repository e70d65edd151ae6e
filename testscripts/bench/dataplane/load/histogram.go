//go:build linux

package load

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 1/64 wide of what they hold.
type histogram struct {
	buckets [64 * subBuckets]int64
	total   int64
}

const (
	subBits    = 6
	subBuckets = 1 << subBits
)

func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(uint64(max(d, 0)))]++
	h.total++
}

func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return shift*subBuckets + int(v>>shift)
}

// at gives the duration that a share of all do not exceed.
func (h *histogram) at(share float64) time.Duration {
	rest := int64(share * float64(h.total))
	for i, n := range h.buckets {
		if rest -= n; rest < 0 {
			return upperBound(i)
		}
	}
	return 0
}

// upperBound is the largest value of a bucket.
func upperBound(i int) time.Duration {
	if i < subBuckets {
		return time.Duration(i)
	}
	shift := i/subBuckets - 1
	return time.Duration((uint64(i-shift*subBuckets)+1)<<shift - 1)
}
