package dataplane

import "fmt"

// Trace is the record of how a request found its route, for `explain`: every route tried, in order, up to the one
// that matched. It uses the very conditions that matching uses. Not safe for concurrent use.
type Trace struct {
	// Host and Path are what was compared: lower-cased without port, and normalised as the class does.
	Host  string
	Path  string
	Steps []TraceStep
}

// TraceStep is one route tried.
type TraceStep struct {
	Route   *Route
	Matched bool
	// Conditions says one by one how the route's conditions compared. Of values that are alternatives, only the
	// one that held is listed, or all when none did. Empty when the route has no conditions or was left out.
	Conditions []TraceCondition
	// LeftOut says why Compile left the route out; empty when it did not.
	LeftOut string
}

// TraceCondition is one comparison.
type TraceCondition struct {
	Matched bool
	// Text is for people: "path /tea: not under /coffee/".
	Text string
}

// record walks the listener's routes up to the one that was found.
func (t *Trace) record(l *Listener, found *compiledRoute, host, path string) {
	t.Host, t.Path, t.Steps = host, path, nil
	for i := range l.Routes {
		r := &l.Routes[i]
		step := traceRoute(r, host, path)
		step.Matched = step.LeftOut == "" && step.Matched
		t.Steps = append(t.Steps, step)
		if found != nil && step.Matched && equalRoute(&found.Route, r) {
			return
		}
	}
}

// traceRoute compares the conditions of one route and says how.
func traceRoute(r *Route, host, path string) TraceStep {
	step := TraceStep{Route: r}
	c, err := compileRoute(r)
	if err != nil {
		step.LeftOut = err.Error()
		return step
	}
	hostOK := traceAny(&step, len(r.Match.Hosts), func(i int) TraceCondition {
		h := r.Match.Hosts[i]
		ok := h.matches(host)
		return TraceCondition{ok, fmt.Sprintf("host %s: %s", host, h.describe(ok))}
	})
	pathOK := traceAny(&step, len(c.paths), func(i int) TraceCondition {
		ok := c.paths[i].matches(path)
		return TraceCondition{ok, fmt.Sprintf("path %s: %s", path, c.paths[i].describe(ok))}
	})
	step.Matched = hostOK && pathOK
	return step
}

// traceAny compares alternatives: it notes the first that holds, or all of them.
func traceAny(step *TraceStep, n int, compare func(int) TraceCondition) bool {
	start := len(step.Conditions)
	for i := range n {
		c := compare(i)
		if c.Matched {
			step.Conditions = append(step.Conditions[:start], c)
			return true
		}
		step.Conditions = append(step.Conditions, c)
	}
	return n == 0
}
