package dataplane

import (
	"context"
	"time"
)

// Snapshot is everything the data plane serves, as one immutable value: a producer builds it whole, hands it over
// and never changes it again. Its canonical text form is Snapshot.String.
type Snapshot struct {
	Listeners []Listener
	Upstreams []Upstream
	// Certificates are what listeners of protocol HTTPS and QUIC show, by id.
	Certificates []Certificate
}

// Class names the product whose manners a listener has (DESIGN 4c): header rules, status codes and idle rules differ.
type Class string

// The classes of listener.
const (
	ClassALB   Class = "alb"
	ClassNGINX Class = "nginx"
)

// Protocol is what clients speak to a listener.
type Protocol string

// The protocols of a listener, in the cloud's spelling.
const (
	ProtocolHTTP  Protocol = "HTTP"
	ProtocolHTTPS Protocol = "HTTPS"
	ProtocolQUIC  Protocol = "QUIC"
)

// Listener is one protocol and port of one load balancer, with its ordered routes: the first match wins.
type Listener struct {
	// ID is stable across snapshots; sockets, counters and pools are kept by it. For an ALB it is the listener id.
	ID    string
	Class Class
	// LoadBalancer is the id (ALB) or name (NGINX) of the load balancer, as shown in logs and explanations.
	LoadBalancer string
	Protocol     Protocol
	// Port is the port clients ask for; the sockets may be others (address mode ports).
	Port int
	// Sockets are the addresses to bind, "127.77.0.2:80": TCP, and UDP for protocol QUIC.
	Sockets []string
	Client  ClientLimits
	// TLS is needed for HTTPS and QUIC and has no meaning for HTTP.
	TLS *TLS
	// QUIC is the id of a QUIC listener of the snapshot that an HTTPS listener advertises as HTTP/3 with Alt-Svc
	// (ALB-FACTS 4.8: quicUpgradeEnabled); empty for none. The port told is the one that listener is bound to, and
	// nothing is told while it is not bound.
	QUIC    string
	Forward ForwardHeaders
	// Response fields are set on every answer of the listener, those of our own included; an endpoint's fields of
	// the same names give way.
	Response []Field
	// Generation counts the changes that reload the real product (NGINX-FACTS 1); what a reload does to connections
	// begun before it is said at Reload. A producer whose product never reloads leaves it 0.
	Generation uint64
	// CutAfter is how long connections begun before a reload may go on (class nginx: worker-shutdown-timeout, 240 s);
	// zero for ever.
	CutAfter time.Duration
	Routes   []Route
	// NoRoute answers a request that no route matches: ALB 503, NGINX 404 (DESIGN 4c).
	NoRoute Reply
}

// ClientLimits bounds what one client connection may do. Zero means the default of Limits.
type ClientLimits struct {
	// Idle is how long a connection may wait for its next request, and how long an upgraded connection of class
	// alb may carry nothing (ALB-FACTS 4.4: 15 s, 1 to 600).
	Idle time.Duration
	// Request bounds reading one request (class alb: ALB-FACTS 4.4, 60 s), and a TLS handshake.
	Request time.Duration
	// HeaderBytes bounds the request line and header together (ALB-FACTS 4.4: 32 KiB).
	HeaderBytes int
	// Requests is how many requests one connection may carry (ALB-FACTS 4.4: 100 on HTTP, 1000 on HTTPS).
	Requests int
}

// ForwardHeaders says which fields about the client are added to a forwarded request (ALB-FACTS 4.6).
type ForwardHeaders struct {
	XForwardedFor   bool
	XForwardedProto bool
	XForwardedPort  bool
	XForwardedHost  bool
	// ClientSrcPort adds X-Forwarded-Client-srcport.
	ClientSrcPort bool
	// SLBID adds SLB-ID with the load balancer's id.
	SLBID bool
	// Trace appends the matched route to ALICLOUD-ALB-TRACE and refuses loops with 463 (ALB-FACTS 4.5, 4.6).
	Trace bool
	// XRealIP adds X-Real-IP (class nginx).
	XRealIP bool
	// RequestID adds X-Request-ID (class nginx).
	RequestID bool
}

// Route is one rule: what it matches and what is done then.
type Route struct {
	// ID is stable across snapshots and unique in the listener; for an ALB it is the rule id.
	ID string
	// Name is for people: "rule-80-1".
	Name string
	// Source names the object that asked for the route: "Ingress default/coffee-ingress".
	Source   string
	Match    Match
	Action   Action
	Timeouts Timeouts
	// Rewrite changes the path that the endpoint gets; nil passes it on as sent.
	Rewrite *Rewrite
	// BodyBytes bounds a request's body (NGINX-FACTS 3: 413); zero leaves it to Limits.BodyBytes.
	BodyBytes int64
	// Response fields are set on every answer of the route; they go before the listener's of the same names.
	Response []Field
}

// Match holds the conditions of a route: all must hold, and in each any one value.
type Match struct {
	// Hosts is empty when any host will do.
	Hosts []HostMatch
	// Paths is empty when any path will do.
	Paths []PathMatch
}

// HostKind is how a host condition compares. Comparison is always case-insensitive and without the port.
type HostKind string

// The kinds of host condition.
const (
	HostExact HostKind = "exact"
	// HostGlob takes * for any run of characters, dots included, and ? for one (ALB-FACTS 3.3).
	HostGlob HostKind = "glob"
	// HostLabel is "*.rest" where * is exactly one label (NGINX-FACTS 2).
	HostLabel HostKind = "label"
)

// HostMatch is one value of a host condition.
type HostMatch struct {
	Kind  HostKind
	Value string
}

// PathKind is how a path condition compares. Comparison is case-sensitive unless the kind says otherwise.
type PathKind string

// The kinds of path condition.
const (
	PathExact PathKind = "exact"
	// PathPrefix compares characters, not segments: producers write "/coffee" exact plus "/coffee/" prefix.
	PathPrefix PathKind = "prefix"
	// PathGlob takes * for any run of characters and ? for one (ALB-FACTS 3.3).
	PathGlob PathKind = "glob"
	// PathRegex is an RE2 expression, matched anywhere unless it is anchored, and with regard to case unless it begins
	// with (?i): NGINX Ingress writes "(?i)^/path" (NGINX-FACTS 2).
	PathRegex PathKind = "regex"
)

// PathMatch is one value of a path condition.
type PathMatch struct {
	Kind  PathKind
	Value string
}

// Action is what a route does. Exactly one of its fields is set.
type Action struct {
	Forward  []WeightedUpstream
	Redirect *Redirect
	Reply    *Reply
}

// WeightedUpstream is one target of a forward; a weight of 0 gets nothing.
type WeightedUpstream struct {
	Upstream string // Upstream.ID
	Weight   int
}

// Redirect answers with a Location. Empty parts keep what the client asked for.
type Redirect struct {
	Status int
	Scheme string
	Host   string
	Port   int
	Path   string
	Query  string
	// TrimSlash drops one slash at the very end of what follows the host, as class nginx does (NGINX-FACTS 4).
	TrimSlash bool
}

// Reply is a fixed answer.
type Reply struct {
	Status      int
	ContentType string
	Body        string
}

// Timeouts are a route's own. Zero means none.
type Timeouts struct {
	// Connect bounds opening a connection to an endpoint (ALB 5 s, NGINX 5 s): 504.
	Connect time.Duration
	// Request bounds the time from the request's last byte sent to the response's header (ALB 60 s): 504.
	Request time.Duration
	// Read bounds the gap between two reads from the endpoint (NGINX 60 s): 504 before the header, a cut after.
	Read time.Duration
	// Send bounds the gap between two writes to the endpoint (NGINX 60 s).
	Send time.Duration
	// Tunnel bounds how long an upgraded connection may carry no byte in either direction (NGINX: Read; ALB: the
	// listener's idle timeout).
	Tunnel time.Duration
}

// Head is how long the endpoint may take to its answer's head: the shorter of the timeouts that apply; zero for ever.
func (t Timeouts) Head() time.Duration {
	if t.Request == 0 || t.Read != 0 && t.Read < t.Request {
		return t.Read
	}
	return t.Request
}

// Upstream is a set of endpoints that serve the same thing.
type Upstream struct {
	// ID is stable across snapshots: pools, weights and health are kept by it.
	ID string
	// Name is for people: "default-coffee-svc-80".
	Name string
	// Scheme is "http" or "https".
	Scheme    string
	KeepAlive bool
	Endpoints []Endpoint
}

// Endpoint is one server of an upstream.
type Endpoint struct {
	// ID is stable across snapshots.
	ID string
	// Addr is the address people know, "192.168.0.12:80"; it goes into logs, never to a dialler.
	Addr   string
	Weight int
	// Open gives a connected, non-blocking stream socket, owned by the caller, so that an event loop can own it.
	// It returns soon after ctx is done. An error that wraps syscall.ECONNREFUSED means that nothing listens there.
	Open func(ctx context.Context) (fd int, err error)
}
