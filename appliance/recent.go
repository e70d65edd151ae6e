package appliance

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// recentOutcomes is how many answers of our own are remembered for explain.
const recentOutcomes = 256

// recent remembers the last requests that were not simply answered by their server, and why: what explain cannot
// foresee (a server that is slow, a client that leaves) it can tell of afterwards.
type recent struct {
	mu   sync.Mutex
	ring []dataplane.AccessRecord
	next int
}

// note remembers a record if there is a reason to.
func (r *recent) note(record *dataplane.AccessRecord) {
	if record.Reason == dataplane.ReasonNone {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ring) < recentOutcomes {
		r.ring = append(r.ring, *record.Clone())
		return
	}
	r.ring[r.next] = *record.Clone()
	r.next = (r.next + 1) % recentOutcomes
}

// ExplainedOutcome is a request of late that its server did not simply answer.
type ExplainedOutcome struct {
	Time    time.Time `json:"time"`
	Request string    `json:"request"`
	Status  int       `json:"status"`
	Reason  string    `json:"reason"`
	Why     string    `json:"why"`
	Server  string    `json:"server"` // empty when none was asked
}

// shownOutcomes is how many of them an explanation holds.
const shownOutcomes = 3

// of gives the last outcomes of a host and path on a listener, and of requests there that were not understood, the
// newest first.
func (r *recent) of(listener, host, path string) []ExplainedOutcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := []ExplainedOutcome{}
	for n := range r.ring {
		record := &r.ring[(r.next+len(r.ring)-1-n)%len(r.ring)]
		asked, _, _ := strings.Cut(record.URI, "?")
		same := strings.EqualFold(record.Host, host) && (asked == path || record.Route == "")
		if record.Listener != listener || !same && record.Host != "" || len(found) == shownOutcomes {
			continue
		}
		found = append(found, ExplainedOutcome{
			Time: record.Time, Request: strings.TrimSpace(record.Method + " " + record.HTTPHost + shorten(record.URI)),
			Status: record.Status, Reason: string(record.Reason), Why: record.Reason.Why(), Server: record.UpstreamAddr,
		})
	}
	return slices.Clip(found)
}

// shorten keeps the beginning of a text that may be very long.
func shorten(text string) string {
	const most = 60
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
