package appliance

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/appliance/controllers/nginx"
	"github.com/alb-appliance/appliance/appliance/edge"
	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane"
)

// ExplainRequest asks what would happen to a request.
type ExplainRequest struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	// LoadBalancer names one: an AlbConfig, an instance's id, name or DNS name. Empty finds it by the URL's host.
	LoadBalancer string `json:"loadBalancer"`
	// Headers are "Name: value".
	Headers []string `json:"headers"`
}

// Explanation says what would happen, and why.
type Explanation struct {
	Request      string `json:"request"`
	LoadBalancer string `json:"loadBalancer"`
	ID           string `json:"id"`
	Listener     string `json:"listener"`
	// Certificate is what a client is shown, of a listener that speaks TLS.
	Certificate *ExplainedCertificate `json:"certificate,omitempty"`
	Rules       []ExplainedRule       `json:"rules"`
	ServerGroup string                `json:"serverGroup"`
	Servers     []ExplainedServer     `json:"servers"`
	Status      int                   `json:"status"` // 0: what the server answers
	Reason      string                `json:"reason"`
	Outcome     string                `json:"outcome"`
	// Recent are the last requests like this one that their server did not simply answer.
	Recent []ExplainedOutcome `json:"recent"`
}

// ExplainedCertificate is the certificate that a client is shown.
type ExplainedCertificate struct {
	ID       string    `json:"id"`
	Names    []string  `json:"names"`
	NotAfter time.Time `json:"notAfter"`
	Why      string    `json:"why"`
	// Problem is why a client that trusts its issuer refuses it all the same; empty when it does not.
	Problem string `json:"problem"`
}

// ExplainedRule is a rule that was tried.
type ExplainedRule struct {
	Name    string   `json:"name"`
	Source  string   `json:"source"`
	Matched bool     `json:"matched"`
	Why     []string `json:"why"`
}

// ExplainedServer is a member of the server group.
type ExplainedServer struct {
	Address string `json:"address"`
	Weight  int    `json:"weight"`
	Healthy bool   `json:"healthy"`
	Chosen  bool   `json:"chosen"`
}

// explain asks the same Decide that serves traffic.
func (a *Appliance) explain(ask ExplainRequest) (*Explanation, error) {
	request, port, err := explainedRequest(ask)
	if err != nil {
		return nil, badRequest{err}
	}
	way, err := a.findWay(cmp.Or(ask.LoadBalancer, hostOnly(request.Authority)), ask.LoadBalancer != "")
	if err != nil {
		return nil, badRequest{err}
	}
	e := &Explanation{
		Request: request.Method + " " + ask.URL, LoadBalancer: way.name, ID: way.id, Rules: []ExplainedRule{}, Servers: []ExplainedServer{}, Recent: []ExplainedOutcome{},
	}
	program := a.program()
	protocol := strings.ToUpper(request.Scheme)
	id, state := way.listener(protocol, port)
	if id == "" {
		id = e.otherProtocol(way, protocol, port)
		e.Recent = a.recent.of(id, hostOnly(request.Authority), request.Path)
		return e, nil
	}
	e.Listener = fmt.Sprintf("%s:%d %s", protocol, port, id)
	e.Recent = a.recent.of(id, hostOnly(request.Authority), request.Path)
	if _, served := program.Listener(id); !served {
		e.Reason, e.Outcome = "not_serving", "connection refused: the listener is "+state
		return e, nil
	}
	if !e.handshake(program, id, serverName(ask.URL), a.clock.Now()) {
		return e, nil
	}
	trace := &dataplane.Trace{}
	d := program.Decide(id, request, dataplane.Inputs{Now: a.clock.Now(), Healthy: a.engine.State().Healthy, Trace: trace})
	a.describe(e, &d, trace)
	return e, nil
}

// otherProtocol says what a client meets on a port where nobody speaks its protocol, and gives the listener that does
// speak there.
func (e *Explanation) otherProtocol(way *way, protocol string, port int) string {
	other := cloudsim.ProtocolHTTPS
	if protocol == cloudsim.ProtocolHTTPS {
		other = cloudsim.ProtocolHTTP
	}
	id, _ := way.listener(other, port)
	switch {
	case id == "":
		e.Reason = "no_listener"
		e.Outcome = fmt.Sprintf("connection refused: %s has no %s listener on port %d%s", e.LoadBalancer, protocol, port, way.mend)
	case other == cloudsim.ProtocolHTTPS:
		outcome := dataplane.OutcomeOf(dataplane.ClassALB, dataplane.ReasonPlainHTTP) // 400 in every class
		e.Listener, e.Status, e.Reason = fmt.Sprintf("%s:%d %s", other, port, id), outcome.Status, string(outcome.Reason)
		e.Outcome = fmt.Sprintf("%d: %s; use https://", outcome.Status, outcome.Reason.Why())
	default:
		e.Listener, e.Reason = fmt.Sprintf("%s:%d %s", other, port, id), "no_tls"
		e.Outcome = fmt.Sprintf("the TLS handshake fails: the listener on port %d speaks plain HTTP%s", port, way.mend)
	}
	return id
}

// handshake describes the certificate that a client is shown and tells whether the handshake gets that far. A listener
// without TLS needs none.
func (e *Explanation) handshake(program *dataplane.Program, listener, name string, now time.Time) bool {
	secure := program.ListenerTLS(listener)
	if secure == nil {
		return true
	}
	id, why := secure.Choose(dataplane.Hello{ServerName: name, ECC: true})
	if id == "" {
		e.Reason, e.Outcome = "no_certificate", "the TLS handshake fails: "+why
		return false
	}
	e.Certificate = &ExplainedCertificate{ID: id, Why: why, Names: []string{}}
	for _, c := range program.Snapshot().Certificates {
		if c.ID != id {
			continue
		}
		info, err := dataplane.Describe(c.Chain)
		if err != nil {
			break // the data plane has left it out and said so
		}
		e.Certificate.Names, e.Certificate.NotAfter = append(e.Certificate.Names, info.Names...), info.NotAfter
		e.Certificate.Problem = refusal(info, name, now)
	}
	return true
}

// refusal is why a client refuses a certificate even if it trusts the issuer.
func refusal(info dataplane.CertificateInfo, name string, now time.Time) string {
	_, rest, _ := strings.Cut(name, ".")
	switch {
	case now.After(info.NotAfter):
		return "it expired " + info.NotAfter.Format(time.DateTime)
	case now.Before(info.NotBefore):
		return "it is not valid before " + info.NotBefore.Format(time.DateTime)
	case name != "" && !slices.Contains(info.Names, name) && !slices.Contains(info.Names, "*."+rest):
		return "it is not for " + name
	}
	return ""
}

// serverName is the name that a client of the URL sends in its first message: the host, unless that is an address.
func serverName(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// way is a load balancer to explain: an ALB, or the NGINX Ingress Controller.
type way struct {
	name, id string
	// listener gives the id and state of a listener; "" when there is none.
	listener func(protocol string, port int) (id, state string)
	mend     string // what to do when there is no such listener
}

// findWay finds a load balancer by name, or by a host that its rules have: the cloud's first, as the name server does.
func (a *Appliance) findWay(name string, named bool) (*way, error) {
	i := a.cloud.Inventory()
	if a.isNGINX(name, named) {
		return &way{name: nginx.LoadBalancer, mend: ": it has 80 and 443", listener: func(protocol string, port int) (string, string) {
			id := nginx.ListenerID(protocol, port)
			if _, ok := a.program().Listener(id); !ok {
				return "", ""
			}
			return id, "served"
		}}, nil
	}
	lb, err := findLoadBalancer(i, name, named)
	if err != nil {
		return nil, err
	}
	return &way{
		name: albName(lb), id: lb.LoadBalancerID, mend: "; add it to spec.listeners of the AlbConfig",
		listener: func(protocol string, port int) (string, string) {
			l := a.explainedListener(i, lb, protocol, port)
			if l == nil {
				return "", ""
			}
			return l.ListenerID, string(l.Status)
		},
	}, nil
}

// isNGINX tells whether a name means the NGINX Ingress Controller: its own name or address, or a host that only it has.
func (a *Appliance) isNGINX(name string, named bool) bool {
	address := a.addresses.NGINX().String()
	if name == address || named && name == nginx.LoadBalancer {
		return true
	}
	return !named && slices.ContainsFunc(a.publisher.Names(), func(n edge.Name) bool {
		return strings.EqualFold(n.Name, name) && slices.Equal(n.Addresses, []string{address})
	})
}

func explainedRequest(ask ExplainRequest) (*dataplane.Request, int, error) {
	text := ask.URL
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, 0, fmt.Errorf("explain %q: it is not a URL; give one such as http://ingress-demo.com/coffee", ask.URL)
	}
	switch u.Scheme { // a WebSocket begins as a request
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	}
	port := 80
	if u.Scheme == "https" {
		port = 443
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return nil, 0, fmt.Errorf("explain %q: port %q is not a number", ask.URL, p)
		}
	}
	r := &dataplane.Request{
		Method: cmp.Or(ask.Method, "GET"), Scheme: u.Scheme, Authority: u.Host, Path: cmp.Or(u.EscapedPath(), "/"), Query: u.RawQuery,
		Peer: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), Proto: "HTTP/1.1",
	}
	for _, h := range ask.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, 0, fmt.Errorf("explain header %q: write it as \"Name: value\"", h)
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if strings.EqualFold(name, "Host") {
			r.Authority = value
			continue
		}
		r.Fields = append(r.Fields, dataplane.Field{Name: name, Value: value})
	}
	return r, port, nil
}

// findLoadBalancer finds an instance by any of its names, or by a host of its rules. When the host is unknown and there
// is only one instance, that is the one.
func findLoadBalancer(i *cloudsim.Inventory, name string, named bool) (*cloudsim.LoadBalancer, error) {
	var names []string
	for n := range i.LoadBalancers {
		lb := &i.LoadBalancers[n]
		own := []string{albName(lb), lb.LoadBalancerID, lb.Name, lb.DNSName}
		for _, z := range lb.ZoneMappings {
			own = append(own, z.Address)
		}
		if slices.ContainsFunc(own, func(s string) bool { return strings.EqualFold(s, name) }) {
			return lb, nil
		}
		names = append(names, albName(lb))
	}
	if named {
		return nil, fmt.Errorf("explain: there is no load balancer %s; there are: %s", name, strings.Join(names, ", "))
	}
	for n := range i.LoadBalancers {
		if slices.ContainsFunc(i.HostsOf(i.LoadBalancers[n].LoadBalancerID), func(h string) bool { return covers(h, name) }) {
			return &i.LoadBalancers[n], nil
		}
	}
	switch len(i.LoadBalancers) {
	case 0:
		return nil, fmt.Errorf("explain: there is no load balancer; apply an AlbConfig")
	case 1:
		return &i.LoadBalancers[0], nil
	}
	return nil, fmt.Errorf("explain: no rule has host %s, so name the load balancer with --lb: %s", name, strings.Join(names, ", "))
}

// covers tells whether a rule's host, which may have wildcards over any number of labels, stands for a name.
func covers(host, name string) bool {
	ok, err := path.Match(strings.ToLower(host), strings.ToLower(name))
	return ok && err == nil
}

// explainedListener is the listener on a port, or on the port of this machine that it is bound to.
func (a *Appliance) explainedListener(i *cloudsim.Inventory, lb *cloudsim.LoadBalancer, protocol string, port int) *cloudsim.Listener {
	on := func(at func(*cloudsim.Listener) bool) *cloudsim.Listener {
		for n := range i.Listeners {
			if l := &i.Listeners[n]; l.LoadBalancerID == lb.LoadBalancerID && l.Protocol == protocol && at(l) {
				return l
			}
		}
		return nil
	}
	if l := on(func(l *cloudsim.Listener) bool { return l.Port == port }); l != nil {
		return l
	}
	return on(func(l *cloudsim.Listener) bool {
		return slices.ContainsFunc(lb.ZoneMappings, func(z cloudsim.ZoneMapping) bool {
			return strings.HasSuffix(a.addresses.Socket(z.Address, l.Port), ":"+strconv.Itoa(port))
		})
	})
}

// describe turns a decision into words.
func (a *Appliance) describe(e *Explanation, d *dataplane.Decision, trace *dataplane.Trace) {
	for _, step := range trace.Steps {
		rule := ExplainedRule{Name: step.Route.Name, Source: step.Route.Source, Matched: step.Matched, Why: []string{}}
		for _, c := range step.Conditions {
			rule.Why = append(rule.Why, c.Text)
		}
		if step.LeftOut != "" {
			rule.Why = append(rule.Why, "left out: "+step.LeftOut)
		}
		e.Rules = append(e.Rules, rule)
	}
	if d.Upstream != nil {
		e.ServerGroup = d.Upstream.Name + " " + d.Upstream.ID
		for n := range d.Upstream.Endpoints {
			server := &d.Upstream.Endpoints[n]
			e.Servers = append(e.Servers, ExplainedServer{
				Address: server.Addr, Weight: server.Weight, Healthy: a.engine.State().Healthy(server.ID),
				Chosen: d.Endpoint != nil && d.Endpoint.ID == server.ID,
			})
		}
	}
	e.Status, e.Reason = d.Outcome.Status, string(d.Outcome.Reason)
	switch {
	case d.Kind == dataplane.KindForward:
		e.Outcome = "forwarded to " + d.Endpoint.Addr
	case d.Outcome.Reason == dataplane.ReasonNoEndpoints:
		e.Outcome = fmt.Sprintf("%d: %s; no ready pod is behind the Service: compare its selector with the pods' labels, and look at `kubectl get endpoints`", e.Status, d.Outcome.Reason.Why())
	case d.Location != "":
		e.Outcome = fmt.Sprintf("%d: to %s", e.Status, d.Location)
	default:
		e.Outcome = fmt.Sprintf("%d: %s", e.Status, d.Outcome.Reason.Why())
	}
}

func hostOnly(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority
}
