package dataplane

import "slices"

// scheduleLimit bounds the length of a precomputed schedule; upstreams whose weights need more are drawn by weight.
const scheduleLimit = 1024

// upstreamProgram is an upstream ready for choosing an endpoint.
type upstreamProgram struct {
	conf *Upstream
	// schedule lists positions of endpoints in smooth weighted round-robin order; each turn takes the next.
	schedule []int32
}

// newUpstreamProgram prepares an upstream; old, which may be nil, lends its schedule if the weights are the same.
func newUpstreamProgram(old *upstreamProgram, u *Upstream) *upstreamProgram {
	if old != nil && old.conf == u {
		return old
	}
	if old != nil && sameWeights(old.conf, u) {
		return &upstreamProgram{conf: u, schedule: old.schedule}
	}
	weights := make([]int, len(u.Endpoints))
	for i := range u.Endpoints {
		weights[i] = max(0, u.Endpoints[i].Weight)
	}
	return &upstreamProgram{conf: u, schedule: smoothSchedule(weights)}
}

// sameWeights reports whether two versions of an upstream share their endpoints' weights, place by place.
func sameWeights(a, b *Upstream) bool {
	return slices.EqualFunc(a.Endpoints, b.Endpoints, func(x, y Endpoint) bool { return x.Weight == y.Weight })
}

// smoothSchedule spreads positions so that each occurs in proportion to its weight and heavy ones do not come in
// runs: at every step all gain their weight, the highest is taken and pays the total.
func smoothSchedule(weights []int) []int32 {
	weights, total := reduceWeights(weights)
	out := make([]int32, 0, total)
	credit := make([]int, len(weights))
	for range total {
		best := -1
		for i, w := range weights {
			credit[i] += w
			if w > 0 && (best < 0 || credit[i] > credit[best]) {
				best = i
			}
		}
		credit[best] -= total
		out = append(out, int32(best))
	}
	return out
}

// reduceWeights divides weights by what they have in common, and by more if the schedule would exceed its limit;
// small weights are rounded up then, so that none is starved. It returns their new sum.
func reduceWeights(weights []int) (reduced []int, sum int) {
	total, divisor := 0, 0
	for _, w := range weights {
		total += w
		divisor = gcd(divisor, w)
	}
	if total == 0 {
		return nil, 0
	}
	if limit := max(scheduleLimit, len(weights)); total/divisor > limit {
		divisor = (total + limit - 1) / limit
	}
	reduced = make([]int, len(weights))
	for i, w := range weights {
		reduced[i] = (w + divisor - 1) / divisor
		sum += reduced[i]
	}
	return reduced, sum
}

// gcd is the greatest common divisor; gcd(0, n) is n.
func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// pick gives the endpoint of a turn: the scheduled one, or the next that is healthy and not yet tried. When all are
// unhealthy the health is ignored (ALB-FACTS 4.5: all members unhealthy, still forwarded); when all have been tried
// one of them is given again (NGINX-FACTS 1). Nil when the upstream has no endpoint with a weight.
func (u *upstreamProgram) pick(turn uint64, healthy func(string) bool, tried []string) *Endpoint {
	n := uint64(len(u.schedule))
	if n == 0 {
		return nil
	}
	var best *Endpoint
	bestRank := -1
	for i := range n {
		e := &u.conf.Endpoints[u.schedule[(turn+i)%n]]
		rank := 0
		if healthy == nil || healthy(e.ID) {
			rank += 2
		}
		if !slices.Contains(tried, e.ID) {
			rank++
		}
		if rank == 3 {
			return e
		}
		if rank > bestRank {
			best, bestRank = e, rank
		}
	}
	return best
}

// pickUpstream draws one target by weight; random is any number. Nil when no target has a weight.
func pickUpstream(targets []WeightedUpstream, random func() uint64) *WeightedUpstream {
	total, only := uint64(0), -1
	for i := range targets {
		if targets[i].Weight > 0 {
			total += uint64(targets[i].Weight)
			only = i
		}
	}
	if total == 0 {
		return nil
	}
	if uint64(targets[only].Weight) == total {
		return &targets[only]
	}
	left := random() % total
	for i := range targets {
		w := uint64(max(0, targets[i].Weight))
		if left < w {
			return &targets[i]
		}
		left -= w
	}
	return &targets[only]
}
