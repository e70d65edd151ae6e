package dataplane

// nginxTries is how many endpoints class nginx tries for one request (NGINX-FACTS 1).
const nginxTries = 3

// Attempt describes one failed try to have a request answered by an endpoint.
type Attempt struct {
	// N counts the tries so far, this one included; the first is 1. Tries on a stale pooled connection do not count.
	N int
	// Reason is why it failed.
	Reason Reason
	Method string
	// Sent is true once any byte of the request was written to the endpoint.
	Sent bool
	// BodySent is true once any byte of the request's body was taken from the client: it cannot be sent again.
	BodySent bool
	// Answered is true once any byte of a response was read, though its head never became complete.
	Answered bool
	// Reused is true when the connection came from a pool: the endpoint may have closed it just then.
	Reused bool
}

// Retry reports whether the request may be tried once more; the client has had nothing of an answer so far. A request is
// never repeated after body bytes are gone. A pooled connection that died is replaced for both classes; beyond that
// class nginx goes on to another endpoint after an error or a timeout before the answer's head is complete
// (NGINX-FACTS 1), and class alb answers at once (ALB-FACTS 4.5). A method that is not idempotent is repeated only if
// nothing of it was sent.
func Retry(d *Decision, a Attempt) bool {
	if a.BodySent || a.Sent && !isIdempotent(a.Method) {
		return false
	}
	if a.Reused && !a.Answered && (a.Reason == ReasonUpstreamClosed || a.Reason == ReasonConnectFailed) {
		return true
	}
	if d.Class() != ClassNGINX || a.N >= nginxTries {
		return false
	}
	switch a.Reason {
	case ReasonConnectRefused, ReasonConnectFailed, ReasonConnectTimeout,
		ReasonSendTimeout, ReasonResponseTimeout, ReasonUpstreamClosed:
		return true
	}
	return false
}

// isIdempotent reports whether a method may be repeated: all but POST, LOCK and PATCH (NGINX-FACTS 1).
func isIdempotent(method string) bool {
	switch method {
	case "POST", "LOCK", "PATCH":
		return false
	}
	return true
}
