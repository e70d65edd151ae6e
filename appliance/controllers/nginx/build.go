package nginx

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/alb-appliance/appliance/dataplane"
)

// LoadBalancer is the name of the controller's one way in.
const LoadBalancer = "nginx"

// ListenerID is the data plane's id of a listener of the controller.
func ListenerID(protocol string, port int) string {
	return fmt.Sprintf("%s/%s:%d", LoadBalancer, protocol, port)
}

// Cluster is everything that Build looks at.
type Cluster struct {
	Ingresses []*networkingv1.Ingress // of the controller's class
	Services  map[string]*corev1.Service
	Slices    map[string][]*discoveryv1.EndpointSlice
	Secrets   map[string]*corev1.Secret
}

// Network is where the controller stands.
type Network struct {
	// Socket gives the socket to bind for a port.
	Socket func(port int) string
	// Open connects to an address of the cluster's network.
	Open func(address string) func(context.Context) (fd int, err error)
	// Fake is the self-signed certificate for hosts without one of their own.
	Fake dataplane.Certificate
	// Now tells expired certificates from good ones.
	Now time.Time
}

// Problem is why an Ingress, or a part of it, is left out.
type Problem struct {
	Ingress string // namespace/name
	Reason  string
	Message string
}

// Reasons of Events (NGINX-FACTS 7).
const (
	reasonSync       = "Sync"
	messageSync      = "Scheduled for sync"
	reasonAnnotation = "AnnotationParsingFailed"
	// Two of our own: the real controller only logs these.
	reasonPath        = "PathConflict"
	reasonCertificate = "CertificateNotUsed"
)

// forwarded are the fields that the controller adds to each request (NGINX-FACTS 5).
var forwarded = dataplane.ForwardHeaders{
	XForwardedFor: true, XForwardedProto: true, XForwardedPort: true, XForwardedHost: true, XRealIP: true, RequestID: true,
}

// workerShutdownTimeout is how long connections of before a reload go on (NGINX-FACTS 1).
const workerShutdownTimeout = 240 * time.Second

// strictTransport is on every answer over TLS (NGINX-FACTS 4).
var strictTransport = []dataplane.Field{{Name: "Strict-Transport-Security", Value: "max-age=31536000; includeSubDomains"}}

// clientLimits are those of every client connection (NGINX-FACTS 1).
var clientLimits = dataplane.ClientLimits{Idle: 75 * time.Second, Request: 60 * time.Second, HeaderBytes: 32 << 10, Requests: 1000}

// Build gives the listeners and upstreams of the controller. It is pure. A bad Ingress is left out, with a problem.
func Build(c *Cluster, n Network) (*dataplane.Snapshot, []Problem) {
	b := &build{cluster: c, network: n, hosts: map[string]*host{}, upstreams: map[string]bool{}}
	for _, ing := range oldestFirst(c.Ingresses) {
		s, err := readSettings(ing)
		if err != nil {
			b.problem(ing, reasonAnnotation, "Error parsing annotations: %v", err)
			continue
		}
		b.ingress(ing, s)
	}
	b.certificates()
	b.listener(80, dataplane.ProtocolHTTP)
	b.listener(443, dataplane.ProtocolHTTPS)
	b.setGeneration()
	return &b.snapshot, b.problems
}

// setGeneration marks what reloads the real controller: everything about routes, but neither endpoints, which are not
// part of listeners, nor what is in a certificate, which listeners name by id (NGINX-FACTS 1).
func (b *build) setGeneration() {
	h := fnv.New64a()
	_, _ = h.Write([]byte((&dataplane.Snapshot{Listeners: b.snapshot.Listeners}).String())) // never fails
	for i := range b.snapshot.Listeners {
		b.snapshot.Listeners[i].Generation = h.Sum64()
		b.snapshot.Listeners[i].CutAfter = workerShutdownTimeout
	}
}

// oldestFirst sorts by age, and of one second by namespace and name, descending (NGINX-FACTS 7): of two that want the
// same path the first has it.
func oldestFirst(ingresses []*networkingv1.Ingress) []*networkingv1.Ingress {
	return slices.SortedFunc(slices.Values(ingresses), func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), -strings.Compare(key(a), key(b)))
	})
}

type build struct {
	cluster   *Cluster
	network   Network
	hosts     map[string]*host
	order     []string
	upstreams map[string]bool
	snapshot  dataplane.Snapshot
	problems  []Problem
}

// host is one server block.
type host struct {
	locations []location
	regex     bool
	fallback  *location // the default backend of its oldest Ingress that has one
	tls       *tlsEntry // of its oldest Ingress with a TLS section
}

// tlsEntry is where a host's certificate comes from.
type tlsEntry struct {
	ingress *networkingv1.Ingress
	secret  string // empty: the fake certificate
}

func (b *build) problem(ing *networkingv1.Ingress, reason, format string, args ...any) {
	b.problems = append(b.problems, Problem{key(ing), reason, fmt.Sprintf(format, args...)})
}

// hostOf gives a host, "" being the catch-all.
func (b *build) hostOf(name string) *host {
	name = strings.ToLower(name)
	h, ok := b.hosts[name]
	if !ok {
		h = &host{}
		b.hosts[name] = h
		b.order = append(b.order, name)
	}
	return h
}

func (b *build) ingress(ing *networkingv1.Ingress, s settings) {
	var fallback *location
	if ing.Spec.DefaultBackend != nil {
		fallback = &location{path: "/", ingress: ing, rule: s, backend: *ing.Spec.DefaultBackend}
		if len(ing.Spec.Rules) == 0 {
			h := b.hostOf("")
			h.fallback = cmp.Or(h.fallback, fallback)
		}
	}
	for _, t := range ing.Spec.TLS {
		for _, name := range t.Hosts {
			h := b.hostOf(name)
			h.tls = cmp.Or(h.tls, &tlsEntry{ing, t.SecretName})
		}
	}
	for _, rule := range ing.Spec.Rules {
		h := b.hostOf(rule.Host)
		h.fallback = cmp.Or(h.fallback, fallback)
		h.regex = h.regex || s.useRegex || s.rewriteTarget != ""
		if rule.HTTP == nil {
			continue
		}
		for _, p := range rule.HTTP.Paths {
			b.path(h, rule.Host, newLocation(p, ing, s))
		}
	}
}

// path adds a location, unless an older Ingress has the very same.
func (b *build) path(h *host, name string, l location) {
	if l.backend.Service == nil {
		b.problem(l.ingress, reasonPath, "path %s of host %s has no Service; the default backend answers it", l.path, name)
		return
	}
	if l.rule.useRegex || l.rule.rewriteTarget != "" {
		if _, err := regexp.Compile(l.path); err != nil {
			b.problem(l.ingress, reasonPath, "path %s of host %s is left out: %v (this appliance takes RE2)", l.path, name, err)
			return
		}
	}
	for _, other := range h.locations {
		if other.path == l.path && other.exact == l.exact {
			b.problem(l.ingress, reasonPath, "host %q and path %q is already defined in ingress %s, which is older", name, l.path, key(other.ingress))
			return
		}
	}
	h.locations = append(h.locations, l)
}

// listener makes one listener with the routes of all hosts: exact hosts, then wildcards, then the catch-all.
func (b *build) listener(port int, protocol dataplane.Protocol) {
	l := dataplane.Listener{
		ID: ListenerID(string(protocol), port), Class: dataplane.ClassNGINX, LoadBalancer: LoadBalancer,
		Protocol: protocol, Port: port, Sockets: []string{b.network.Socket(port)}, Forward: forwarded, NoRoute: dataplane.Reply{Status: 404},
		Client: clientLimits,
	}
	if protocol == dataplane.ProtocolHTTPS {
		l.TLS, l.Response = b.tls(), strictTransport
	}
	names := slices.SortedStableFunc(slices.Values(b.order), func(x, y string) int { return cmp.Compare(rank(x), rank(y)) })
	for _, name := range names {
		l.Routes = append(l.Routes, b.routes(name, b.hosts[name], protocol)...)
	}
	b.snapshot.Listeners = append(b.snapshot.Listeners, l)
}

// rank orders hosts by how near they are.
func rank(host string) int {
	switch {
	case host == "":
		return 2
	case strings.HasPrefix(host, "*."):
		return 1
	}
	return 0
}

// routes are a host's, and last what answers the rest of the host: a request never falls through to another host.
func (b *build) routes(name string, h *host, protocol dataplane.Protocol) []dataplane.Route {
	sortLocations(h.locations)
	hosts := hostMatch(name)
	var routes []dataplane.Route
	add := func(r dataplane.Route, label string, paths []dataplane.PathMatch) {
		r.Match = dataplane.Match{Hosts: hosts, Paths: paths}
		r.ID, r.Name = cmp.Or(name, "_")+label, cmp.Or(name, "_")+label
		routes = append(routes, r)
	}
	for _, l := range h.locations {
		r := b.route(l, h.regex)
		if protocol == dataplane.ProtocolHTTP && l.redirects(h) {
			if l.covers(challengePath) {
				add(r, challengePath, []dataplane.PathMatch{{Kind: dataplane.PathPrefix, Value: challengePath}})
			}
			r.Action = dataplane.Action{Redirect: &dataplane.Redirect{Status: 308, Scheme: "https", TrimSlash: true}}
			r.Rewrite = nil
		}
		add(r, l.path+" "+kindOf(l), l.matches(h.regex))
	}
	rest := dataplane.Route{Action: dataplane.Action{Reply: &dataplane.Reply{Status: 404}}}
	if h.fallback != nil {
		rest = b.route(*h.fallback, false)
	}
	add(rest, " default backend", nil)
	return routes
}

func kindOf(l location) string {
	if l.exact {
		return "exact"
	}
	return "prefix"
}

func hostMatch(name string) []dataplane.HostMatch {
	switch rank(name) {
	case 0:
		return []dataplane.HostMatch{{Kind: dataplane.HostExact, Value: name}}
	case 1:
		return []dataplane.HostMatch{{Kind: dataplane.HostLabel, Value: name}}
	}
	return nil
}

// route is a location's action, without its conditions.
func (b *build) route(l location, regexHost bool) dataplane.Route {
	r := dataplane.Route{
		Source:    "Ingress " + key(l.ingress),
		Action:    dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: b.upstream(l), Weight: 1}}},
		Timeouts:  dataplane.Timeouts{Connect: l.rule.connect, Read: l.rule.read, Send: l.rule.send, Tunnel: l.rule.read},
		BodyBytes: l.rule.bodySize,
	}
	if regexHost && l.rule.rewriteTarget != "" {
		r.Rewrite = &dataplane.Rewrite{Regex: "(?i)^" + l.path, Replacement: l.rule.rewriteTarget}
	}
	return r
}

// upstream gives the id of a backend's upstream, and makes it: one for a Service port and protocol. A Service that is
// missing, or has no ready pod, is an upstream without endpoints: 503 (NGINX-FACTS 3).
func (b *build) upstream(l location) string {
	port := l.backend.Service.Port.Name
	if port == "" {
		port = strconv.Itoa(int(l.backend.Service.Port.Number))
	}
	scheme := "http"
	if l.rule.https {
		scheme = "https"
	}
	name := l.ingress.Namespace + "-" + l.backend.Service.Name + "-" + port
	id := LoadBalancer + "/" + name + "/" + scheme
	if b.upstreams[id] {
		return id
	}
	b.upstreams[id] = true
	up := dataplane.Upstream{ID: id, Name: name, Scheme: scheme, KeepAlive: true}
	for _, address := range b.endpoints(l.ingress.Namespace, *l.backend.Service) {
		up.Endpoints = append(up.Endpoints, dataplane.Endpoint{ID: id + "/" + address, Addr: address, Weight: 1, Open: b.network.Open(address)})
	}
	b.snapshot.Upstreams = append(b.snapshot.Upstreams, up)
	return id
}

// endpoints are the ready pods behind a Service port, sorted.
func (b *build) endpoints(namespace string, backend networkingv1.IngressServiceBackend) []string {
	name := namespace + "/" + backend.Name
	service := b.cluster.Services[name]
	if service == nil {
		return nil
	}
	var addresses []string
	for _, p := range service.Spec.Ports {
		if backend.Port.Name != "" && p.Name != backend.Port.Name || backend.Port.Name == "" && p.Port != backend.Port.Number {
			continue
		}
		for _, slice := range b.cluster.Slices[name] {
			addresses = append(addresses, readyAddresses(slice, p.Name)...)
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}

func readyAddresses(slice *discoveryv1.EndpointSlice, portName string) []string {
	var addresses []string
	for _, port := range slice.Ports {
		if port.Name == nil || *port.Name != portName || port.Port == nil {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || !*e.Conditions.Ready {
				continue
			}
			for _, ip := range e.Addresses {
				addresses = append(addresses, net.JoinHostPort(ip, strconv.Itoa(int(*port.Port))))
			}
		}
	}
	return addresses
}

// key is namespace/name.
func key(o interface {
	GetNamespace() string
	GetName() string
}) string {
	return o.GetNamespace() + "/" + o.GetName()
}
