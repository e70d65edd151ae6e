package dataplane

import "time"

// Inputs is everything besides the request that a decision depends on. The zero value is usable: no randomness, all
// healthy, no explanation.
type Inputs struct {
	Now time.Time
	// Rand draws 64 random bits: for weights among upstreams and for request ids. Nil draws 0.
	Rand func() uint64
	// Turn gives an upstream's next round-robin turn (State.Turn). Nil uses Rand.
	Turn func(upstreamID string) uint64
	// Healthy tells whether an endpoint may be preferred (State.Healthy). Nil takes all for healthy.
	Healthy func(endpointID string) bool
	// AltSvc is the value of Alt-Svc that answers on the request's socket carry; empty for none. Engines know it
	// (AltSvcH3), since they know which port a QUIC listener is bound to.
	AltSvc string
	// Trace, if set, gets a record of every route tried and why it did or did not match.
	Trace *Trace
}

// rand draws, or gives 0.
func (in *Inputs) rand() uint64 {
	if in.Rand == nil {
		return 0
	}
	return in.Rand()
}

// turn gives the next turn of an upstream.
func (in *Inputs) turn(upstreamID string) uint64 {
	if in.Turn == nil {
		return in.rand()
	}
	return in.Turn(upstreamID)
}

// Kind says what an engine has to do with a request.
type Kind string

// The kinds of decision.
const (
	// KindForward sends the request to Decision.Endpoint.
	KindForward Kind = "forward"
	// KindReply sends Decision.Reply.
	KindReply Kind = "reply"
	// KindRedirect sends Decision.Reply with Decision.Location as its Location field.
	KindRedirect Kind = "redirect"
)

// Decision says what happens to a request and why.
type Decision struct {
	Kind Kind
	// Listener is nil when the program has no such listener.
	Listener *Listener
	// Route is nil when no route matched.
	Route *Route
	// Upstream and Endpoint are set where they were reached, so that logs can name them.
	Upstream *Upstream
	Endpoint *Endpoint
	Timeouts Timeouts
	// Reply is the answer of our own, complete with body (KindReply, KindRedirect).
	Reply    Reply
	Location string
	Outcome  Outcome
	// Upgrade is the protocol a client asks to switch to and may, "websocket"; empty for none.
	Upgrade string
	// RequestID is what X-Request-ID will say; empty when the listener adds none.
	RequestID string
	// Target is the request target that the endpoint gets when the route rewrites it; empty when it gets the client's.
	Target string
	// BodyBytes is the route's bound on the request's body, 0 for none of its own. Decide has compared a length known
	// beforehand; the engine counts what comes without one.
	BodyBytes int64
	// AltSvc is Inputs.AltSvc.
	AltSvc string

	listener *listenerProgram
	upstream *upstreamProgram
}

// Class is the class whose manners the answer has.
func (d *Decision) Class() Class {
	if d.Listener == nil {
		return ClassALB
	}
	return d.Listener.Class
}

// Decide says what happens to a request that came in on a listener. It is pure given its inputs: the same program,
// request and draws give the same decision.
func (p *Program) Decide(listenerID string, r *Request, in Inputs) Decision {
	lp, ok := p.listeners[listenerID]
	if !ok {
		d := Decision{}
		d.refuse(ReasonNoRoute)
		return d
	}
	d := Decision{Listener: lp.conf, listener: lp, AltSvc: in.AltSvc}
	if r.Method == "TRACE" || r.Method == "CONNECT" {
		d.refuse(ReasonMethod)
		return d
	}
	host, path := hostOf(r.Authority), matchPath(lp.conf.Class, r.Path)
	route := lp.find(host, path)
	if in.Trace != nil {
		in.Trace.record(lp.conf, route, host, path)
	}
	if route == nil {
		d.noRoute()
		return d
	}
	d.Route = &route.Route
	d.Timeouts, d.BodyBytes = route.Timeouts, route.BodyBytes
	if d.BodyBytes > 0 && r.Length > d.BodyBytes {
		d.refuse(ReasonBodyTooLarge)
		return d
	}
	d.act(p, r, &in)
	if d.Kind == KindForward && route.rewrite != nil {
		d.Target = route.rewrite.target(lp.conf.Class, path, r)
	}
	return d
}

// TunnelIdle is how long an upgraded connection may carry nothing, given the limits of its listener; zero for ever.
func (d *Decision) TunnelIdle(l Limits) time.Duration {
	switch {
	case d.Timeouts.Tunnel > 0:
		return d.Timeouts.Tunnel
	case d.Class() == ClassNGINX:
		return d.Timeouts.Read
	}
	return l.Idle
}

// TargetFor gives the request target that the endpoint gets: the client's, unless the route rewrites it.
func (d *Decision) TargetFor(r *Request) string {
	if d.Target != "" {
		return d.Target
	}
	return r.Target()
}

// act carries out the route's action.
func (d *Decision) act(p *Program, r *Request, in *Inputs) {
	a := &d.Route.Action
	switch {
	case d.Listener.Forward.Trace && isLoop(r, d.Route):
		d.refuse(ReasonLoop)
	case a.Reply != nil:
		d.Kind, d.Reply = KindReply, *a.Reply
		d.Outcome = Outcome{Status: a.Reply.Status, Reason: ReasonReply}
	case a.Redirect != nil:
		d.redirect(a.Redirect, r)
	case len(a.Forward) > 0:
		d.forward(p, r, in)
	default:
		d.refuse(ReasonNoAction)
	}
}

// forward picks upstream and endpoint.
func (d *Decision) forward(p *Program, r *Request, in *Inputs) {
	target := pickUpstream(d.Route.Action.Forward, in.rand)
	if target == nil {
		d.refuse(ReasonNoEndpoints)
		return
	}
	up, ok := p.upstreams[target.Upstream]
	if !ok {
		d.refuse(ReasonNoUpstream)
		return
	}
	d.upstream, d.Upstream = up, up.conf
	d.Endpoint = up.pick(in.turn(up.conf.ID), in.Healthy, nil)
	if d.Endpoint == nil {
		d.refuse(ReasonNoEndpoints)
		return
	}
	d.Kind = KindForward
	d.Upgrade = upgradeOf(d.Listener.Class, r)
	if d.Listener.Forward.RequestID {
		d.RequestID = requestID(r, in)
	}
}

// NextEndpoint gives the endpoint for another attempt after those in tried (Endpoint.ID) failed; nil when the
// decision does not forward.
func (d *Decision) NextEndpoint(in Inputs, tried []string) *Endpoint {
	if d.upstream == nil {
		return nil
	}
	return d.upstream.pick(in.turn(d.Upstream.ID), in.Healthy, tried)
}

// refuse answers with the class's page for a reason.
func (d *Decision) refuse(reason Reason) {
	d.Kind = KindReply
	d.Outcome = OutcomeOf(d.Class(), reason)
	d.Reply = reasonPage(d.Class(), d.Outcome)
}

// noRoute answers as the listener says, or as its class does when the listener says nothing.
func (d *Decision) noRoute() {
	d.refuse(ReasonNoRoute)
	if own := d.Listener.NoRoute; own.Status != 0 {
		d.Outcome.Status = own.Status
		d.Reply = own
		if own.Body == "" {
			d.Reply = ErrorPage(d.Class(), own.Status)
		}
	}
}

// Refusal gives the decision for a reason found by an engine, such as a header over its limit or an endpoint that
// refuses: the same page and status as everywhere. Route and upstream of d, which may be the zero value, are kept.
func (d Decision) Refusal(reason Reason) Decision {
	d.refuse(reason)
	return d
}
