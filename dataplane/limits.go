package dataplane

import "time"

// Limits bounds what clients and endpoints may make the data plane hold. Each field names what it guards against. A
// field of zero means the default; a listener's ClientLimits go before them.
type Limits struct {
	// HeaderBytes bounds request line and fields together: a client that sends an endless header fills memory.
	// Default 32 KiB (ALB-FACTS 4.4).
	HeaderBytes int
	// HeaderFields bounds how many fields a request has: thousands of tiny ones cost far more than their bytes.
	// Default 200.
	HeaderFields int
	// URIBytes bounds the request target. Default 32 KiB (ALB-FACTS 4.4).
	URIBytes int
	// BodyBytes bounds a request's body: an endless upload occupies an endpoint. Default 50 GiB (ALB-FACTS 4.4).
	BodyBytes int64
	// ResponseHeaderBytes bounds an endpoint's response head: a broken endpoint fills memory. Default 64 KiB.
	ResponseHeaderBytes int
	// Idle is how long a client connection may wait for its next request: idle ones hold descriptors. Default 15 s
	// (ALB-FACTS 4.4).
	Idle time.Duration
	// Request is how long a client may take to send a header, and the longest gap in its body: trickled requests
	// ("slowloris") hold connections. Default 60 s.
	Request time.Duration
	// ClientWrite is the longest a client may leave an answer unread: stalled readers hold buffers and endpoints.
	// Default 60 s.
	ClientWrite time.Duration
	// Requests is how many requests one client connection may carry: everlasting connections escape drains and
	// balancing. Default 1000.
	Requests int
	// Connections is how many client connections a listener holds at once: a flood would use up all descriptors;
	// further ones are closed at once. Default 10000.
	Connections int
	// ConnectionsPerClient is how many of them may come from one address: one client alone would keep out all others.
	// Default 5000.
	ConnectionsPerClient int
	// BufferedBytes bounds, over all connections, what waits for readers that do not read and what there is of unfinished
	// heads: thousands of stalled ones would fill memory. The connection that would go beyond it is cut. Default 256 MiB.
	BufferedBytes int
	// PoolPerEndpoint is how many idle connections are kept to one endpoint. Default 32.
	PoolPerEndpoint int
	// PoolIdle is how long an idle connection to an endpoint is kept. Default 60 s (NGINX-FACTS 1).
	PoolIdle time.Duration
	// Drain is how long requests may finish when a listener goes away or the server stops. Default 5 s.
	Drain time.Duration
}

// WithDefaults fills the fields that are zero.
func (l Limits) WithDefaults() Limits {
	setDefault(&l.HeaderBytes, 32<<10)
	setDefault(&l.HeaderFields, 200)
	setDefault(&l.URIBytes, 32<<10)
	setDefault(&l.BodyBytes, 50<<30)
	setDefault(&l.ResponseHeaderBytes, 64<<10)
	setDefault(&l.Idle, 15*time.Second)
	setDefault(&l.Request, 60*time.Second)
	setDefault(&l.ClientWrite, 60*time.Second)
	setDefault(&l.Requests, 1000)
	setDefault(&l.Connections, 10000)
	setDefault(&l.ConnectionsPerClient, 5000)
	setDefault(&l.BufferedBytes, 256<<20)
	setDefault(&l.PoolPerEndpoint, 32)
	setDefault(&l.PoolIdle, 60*time.Second)
	setDefault(&l.Drain, 5*time.Second)
	return l
}

// setDefault sets a value that is zero.
func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// For gives the limits of a listener: its own where it has them, else these.
func (l Limits) For(c ClientLimits) Limits {
	own := l
	if c.Idle > 0 {
		own.Idle = c.Idle
	}
	if c.Request > 0 {
		own.Request = c.Request
	}
	if c.HeaderBytes > 0 {
		own.HeaderBytes = c.HeaderBytes
	}
	if c.Requests > 0 {
		own.Requests = c.Requests
	}
	return own
}

// Check gives the reason to refuse a request's head, or ReasonNone. The target is looked at first, so that a long
// URI is 414 and not 400.
func (l Limits) Check(r *Request) Reason {
	switch {
	case len(r.Path)+1+len(r.Query) > l.URIBytes:
		return ReasonURITooLong
	case r.HeadBytes() > l.HeaderBytes:
		return ReasonHeaderTooLarge
	case len(r.Fields) > l.HeaderFields:
		return ReasonTooManyFields
	case r.Length > l.BodyBytes:
		return ReasonBodyTooLarge
	}
	return ReasonNone
}
