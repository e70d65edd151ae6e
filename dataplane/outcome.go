package dataplane

// Reason names why the data plane answered a request itself or broke one off. The empty reason means that an
// endpoint's answer went through untouched. Reasons are stable: logs, metrics and explanations use them.
type Reason string

// The reasons.
const (
	ReasonNone            Reason = ""
	ReasonNoRoute         Reason = "no_route"
	ReasonRedirect        Reason = "redirect"
	ReasonReply           Reason = "reply"
	ReasonNoAction        Reason = "no_action"
	ReasonNoUpstream      Reason = "no_upstream"
	ReasonNoEndpoints     Reason = "no_endpoints"
	ReasonConnectRefused  Reason = "connect_refused"
	ReasonConnectFailed   Reason = "connect_failed"
	ReasonConnectTimeout  Reason = "connect_timeout"
	ReasonSendTimeout     Reason = "send_timeout"
	ReasonResponseTimeout Reason = "response_timeout"
	ReasonResponseStalled Reason = "response_stalled"
	ReasonBadResponse     Reason = "bad_response"
	ReasonUpstreamClosed  Reason = "upstream_closed"
	ReasonResponseCut     Reason = "response_cut"
	ReasonBadRequest      Reason = "bad_request"
	ReasonPlainHTTP       Reason = "plain_http"
	ReasonHeaderTooLarge  Reason = "header_too_large"
	ReasonTooManyFields   Reason = "too_many_fields"
	ReasonURITooLong      Reason = "uri_too_long"
	ReasonBodyTooLarge    Reason = "body_too_large"
	ReasonClientTimeout   Reason = "client_timeout"
	ReasonClientClosed    Reason = "client_closed"
	ReasonMethod          Reason = "method_refused"
	ReasonUnsupported     Reason = "unsupported_protocol"
	ReasonLoop            Reason = "loop"
	ReasonTunnelIdle      Reason = "tunnel_idle"
	ReasonTunnelStalled   Reason = "tunnel_stalled"
	ReasonShutdown        Reason = "shutdown"
	ReasonReload          Reason = "reload"
	ReasonFault           Reason = "fault"
	ReasonInternal        Reason = "internal"
)

// Outcome is the status a client sees, or that the access log shows where the client cannot see one, and why.
type Outcome struct {
	Status int
	Reason Reason
}

// outcomeRow is one line of THE table of outcomes. A status of 0 means that the status was decided elsewhere: by
// the route, by the endpoint's head already sent, or by the listener.
type outcomeRow struct {
	reason     Reason
	alb, nginx int
	why        string
}

// outcomeRows is the table of every answer we make ourselves (ALB-FACTS 4.5, NGINX-FACTS 3). Read-only.
var outcomeRows = [...]outcomeRow{
	{ReasonNone, 0, 0, "the endpoint answered"},
	{ReasonNoRoute, 503, 404, "no route of the listener matches the host and path"},
	{ReasonRedirect, 0, 0, "the route redirects"},
	{ReasonReply, 0, 0, "the route has a fixed answer"},
	{ReasonNoAction, 503, 503, "the route has no action"},
	{ReasonNoUpstream, 503, 503, "the route's upstream does not exist"},
	{ReasonNoEndpoints, 503, 503, "the upstream has no endpoint that may get requests: none registered, or every weight is 0"},
	{ReasonConnectRefused, 502, 502, "the endpoint refused the connection: nothing listens on its port"},
	{ReasonConnectFailed, 502, 502, "no connection to the endpoint could be opened"},
	{ReasonConnectTimeout, 504, 504, "the endpoint did not accept a connection within the connect timeout"},
	{ReasonSendTimeout, 504, 504, "the endpoint stopped reading the request for longer than the send timeout"},
	{ReasonResponseTimeout, 504, 504, "the endpoint took the request but sent no response header in time"},
	{ReasonResponseStalled, 0, 0, "the endpoint stopped in the middle of its response for longer than the read timeout; the answer was cut"},
	{ReasonBadResponse, 502, 502, "the endpoint's answer is not a valid HTTP response"},
	{ReasonUpstreamClosed, 502, 502, "the endpoint closed the connection before it sent a response header"},
	{ReasonResponseCut, 0, 0, "the endpoint closed the connection in the middle of its response; the answer was cut"},
	{ReasonBadRequest, 400, 400, "the request is not valid HTTP"},
	{ReasonPlainHTTP, 400, 400, "the request came as plain HTTP to a port that speaks HTTPS"},
	{ReasonHeaderTooLarge, 400, 400, "the request's header is larger than the listener accepts"},
	{ReasonTooManyFields, 400, 400, "the request has more header fields than the listener accepts"},
	{ReasonURITooLong, 414, 414, "the request's target is longer than the listener accepts"},
	{ReasonBodyTooLarge, 413, 413, "the request's body is larger than the route or the listener accepts"},
	{ReasonClientTimeout, 408, 408, "the client was too slow to send its request"},
	{ReasonClientClosed, 499, 499, "the client went away before it had its answer"},
	{ReasonMethod, 405, 405, "the method is refused: TRACE and CONNECT are never forwarded"},
	{ReasonUnsupported, 505, 505, "the protocol version or transfer coding is not supported"},
	{ReasonLoop, 463, 463, "the request has passed this load balancer too often: ALICLOUD-ALB-TRACE repeats a rule or has more than 16 entries"},
	{ReasonTunnelIdle, 0, 0, "the upgraded connection carried no byte for its idle timeout"},
	{ReasonTunnelStalled, 0, 0, "one side of the upgraded connection stopped reading for longer than the send timeout"},
	{ReasonShutdown, 0, 0, "the listener went away and its grace period is over"},
	{ReasonReload, 0, 0, "the listener was reloaded, and the grace period of connections begun before is over"},
	{ReasonFault, 500, 500, "a fault was injected on purpose"},
	{ReasonInternal, 500, 500, "the data plane itself failed; its log has the details"},
}

// row gives the table's line for the reason.
func (r Reason) row() *outcomeRow {
	for i := range outcomeRows {
		if outcomeRows[i].reason == r {
			return &outcomeRows[i]
		}
	}
	return &outcomeRows[len(outcomeRows)-1]
}

// Why gives the reason as a sentence for people, without a full stop.
func (r Reason) Why() string { return r.row().why }

// OutcomeOf gives the outcome that a class answers for a reason. The status is 0 where the reason does not decide it.
func OutcomeOf(class Class, r Reason) Outcome {
	row := r.row()
	if class == ClassNGINX {
		return Outcome{Status: row.nginx, Reason: r}
	}
	return Outcome{Status: row.alb, Reason: r}
}

// Reasons lists every reason of the table, in its order.
func Reasons() []Reason {
	out := make([]Reason, 0, len(outcomeRows))
	for i := range outcomeRows {
		out = append(out, outcomeRows[i].reason)
	}
	return out
}
