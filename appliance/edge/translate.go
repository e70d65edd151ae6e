package edge

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane"
)

// Limits of an ALB listener (ALB-FACTS 4.4).
const (
	albConnectTimeout        = 5 * time.Second
	albHeaderBytes           = 32 << 10
	albRequestsPerConn       = 100
	albRequestsPerSecureConn = 1000 // HTTPS and QUIC
)

// Tags by which the ALB controller marks the Ingress that a server group, and so a rule, comes from (ALB-FACTS 3.7).
const (
	namespaceTag = "ingress.k8s.alibaba/service_ns"
	ingressTag   = "ingress.k8s.alibaba/ingress_name"
)

// Opener gives the function that connects to an address of the cluster's network, "192.168.0.12:80".
type Opener func(address string) func(context.Context) (fd int, err error)

// Translate turns the cloud's inventory into what the data plane serves. It is pure; what is not in a serving state
// (an instance that is Provisioning, a server that is Adding) is left out.
func Translate(i *cloudsim.Inventory, a *Addresses, open Opener) *dataplane.Snapshot {
	t := &translation{inventory: i, addresses: a, open: open, used: map[string]bool{}, shown: map[string]bool{}, groups: map[string]map[string]string{}}
	for _, g := range i.ServerGroups {
		tags := map[string]string{}
		for _, tag := range g.Tags {
			tags[tag.Key] = strings.TrimPrefix(tag.Value, "_") // the cloud reserves some values; see ALB-FACTS 3.7
		}
		t.groups[g.ServerGroupID] = tags
	}
	for _, lb := range i.LoadBalancers {
		if lb.Status != cloudsim.StatusActive && lb.Status != cloudsim.StatusConfiguring {
			continue
		}
		for _, l := range i.Listeners {
			if l.LoadBalancerID == lb.LoadBalancerID && serves(l.Status, cloudsim.StatusRunning) {
				t.snapshot.Listeners = append(t.snapshot.Listeners, t.listener(&lb, &l))
			}
		}
	}
	for _, g := range i.ServerGroups {
		if t.used[g.ServerGroupID] {
			t.snapshot.Upstreams = append(t.snapshot.Upstreams, t.upstream(&g))
		}
	}
	for _, c := range i.Certificates {
		if t.shown[c.CertificateID] {
			t.snapshot.Certificates = append(t.snapshot.Certificates, dataplane.Certificate{ID: c.CertificateID, Chain: c.Chain, Key: dataplane.PrivateKey(c.Key)})
		}
	}
	return &t.snapshot
}

// serves tells whether a resource acts: in its final state, and while it is being changed.
func serves(s, final cloudsim.Status) bool { return s == final || s == cloudsim.StatusConfiguring }

type translation struct {
	inventory *cloudsim.Inventory
	addresses *Addresses
	open      Opener
	groups    map[string]map[string]string // tags by server group
	used      map[string]bool              // server groups that routes refer to
	shown     map[string]bool              // certificates that listeners show
	snapshot  dataplane.Snapshot
}

func (t *translation) listener(lb *cloudsim.LoadBalancer, l *cloudsim.Listener) dataplane.Listener {
	out := dataplane.Listener{
		ID: l.ListenerID, Class: dataplane.ClassALB, LoadBalancer: lb.LoadBalancerID,
		Protocol: dataplane.Protocol(l.Protocol), Port: l.Port,
		Client: dataplane.ClientLimits{
			Idle: seconds(l.IdleTimeout), Request: seconds(l.RequestTimeout), HeaderBytes: albHeaderBytes, Requests: albRequestsPerConn,
		},
		Forward: dataplane.ForwardHeaders{
			XForwardedFor: l.XForwardedFor.Enabled, XForwardedProto: l.XForwardedFor.ProtoEnabled, XForwardedPort: l.XForwardedFor.SLBPortEnabled,
			XForwardedHost: l.XForwardedFor.HostEnabled, ClientSrcPort: l.XForwardedFor.ClientSrcPortEnabled, SLBID: l.XForwardedFor.SLBIDEnabled,
			Trace: true,
		},
		// The default action forwards to an empty group: 503 (ALB-FACTS 3.5).
		NoRoute: dataplane.Reply{Status: 503},
	}
	if l.Protocol != cloudsim.ProtocolHTTP {
		out.Client.Requests = albRequestsPerSecureConn
		out.TLS, out.QUIC = t.tls(l), t.quic(l)
	}
	for _, z := range lb.ZoneMappings {
		if z.Status == cloudsim.StatusActive {
			out.Sockets = append(out.Sockets, t.addresses.Socket(z.Address, l.Port))
		}
	}
	for _, r := range t.inventory.RulesOf(l.ListenerID) {
		if serves(r.Status, cloudsim.StatusAvailable) {
			out.Routes = append(out.Routes, t.route(l, &r))
		}
	}
	if route, ok := t.defaultRoute(l); ok {
		out.Routes = append(out.Routes, route)
	}
	return out
}

// tls is how a listener speaks TLS: its certificates in the order in which they were put on it, one the default.
func (t *translation) tls(l *cloudsim.Listener) *dataplane.TLS {
	out := &dataplane.TLS{Policy: l.SecurityPolicyID, HTTP2: l.HTTP2Enabled}
	for _, c := range l.Certificates {
		t.shown[c.CertificateID] = true
		out.Certificates = append(out.Certificates, c.CertificateID)
		if c.IsDefault {
			out.Default = c.CertificateID
		}
	}
	return out
}

// quic is the QUIC listener that an HTTPS listener tells its clients of, while that one serves.
func (t *translation) quic(l *cloudsim.Listener) string {
	if !l.QUICConfig.UpgradeEnabled {
		return ""
	}
	for _, o := range t.inventory.Listeners {
		if o.ListenerID == l.QUICConfig.ListenerID && serves(o.Status, cloudsim.StatusRunning) {
			return o.ListenerID
		}
	}
	return ""
}

func (t *translation) route(l *cloudsim.Listener, r *cloudsim.Rule) dataplane.Route {
	out := dataplane.Route{ID: r.RuleID, Name: r.Name, Timeouts: timeouts(l), Source: t.source(r)}
	for _, c := range r.Conditions {
		for _, v := range c.Values {
			switch c.Type {
			case cloudsim.ConditionHost:
				out.Match.Hosts = append(out.Match.Hosts, hostMatch(v))
			case cloudsim.ConditionPath:
				out.Match.Paths = append(out.Match.Paths, pathMatch(v))
			}
		}
	}
	for _, action := range r.Actions {
		if to := action.Redirect; to != nil {
			out.Action.Redirect = &dataplane.Redirect{
				Status: to.HTTPCode, Scheme: strings.ToLower(to.Protocol), Host: to.Host, Port: to.Port, Path: to.Path, Query: to.Query,
			}
		}
		for _, g := range action.ServerGroups {
			t.used[g.ServerGroupID] = true
			out.Action.Forward = append(out.Action.Forward, dataplane.WeightedUpstream{Upstream: g.ServerGroupID, Weight: g.Weight})
		}
	}
	return out
}

// source names the Ingress behind a rule, by the rule's tags, or by those of the group it forwards to.
func (t *translation) source(r *cloudsim.Rule) string {
	own := map[string]string{}
	for _, tag := range r.Tags {
		own[tag.Key] = strings.TrimPrefix(tag.Value, "_")
	}
	if own[ingressTag] != "" {
		return "Ingress " + own[namespaceTag] + "/" + own[ingressTag]
	}
	for _, action := range r.Actions {
		for _, target := range action.ServerGroups {
			tags := t.groups[target.ServerGroupID]
			if tags[ingressTag] != "" {
				return "Ingress " + tags[namespaceTag] + "/" + tags[ingressTag]
			}
		}
	}
	return ""
}

// defaultRoute is the listener's default action, when its group has servers.
func (t *translation) defaultRoute(l *cloudsim.Listener) (dataplane.Route, bool) {
	for _, g := range t.inventory.ServerGroups {
		if g.ServerGroupID == l.DefaultServerGroupID && len(g.Servers) > 0 {
			t.used[g.ServerGroupID] = true
			return dataplane.Route{
				ID: "rule-default-" + l.ListenerID, Name: "default", Timeouts: timeouts(l),
				Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: g.ServerGroupID, Weight: 100}}},
			}, true
		}
	}
	return dataplane.Route{}, false
}

// timeouts are a listener's, for each of its routes. That the request timeout also bounds a stall in the middle of an
// upload or an answer is inferred: without it such a request would stay until its client leaves.
func timeouts(l *cloudsim.Listener) dataplane.Timeouts {
	request := seconds(l.RequestTimeout)
	return dataplane.Timeouts{Connect: albConnectTimeout, Request: request, Read: request, Send: request, Tunnel: seconds(l.IdleTimeout)}
}

func hostMatch(v string) dataplane.HostMatch {
	if strings.ContainsAny(v, "*?") {
		return dataplane.HostMatch{Kind: dataplane.HostGlob, Value: v}
	}
	return dataplane.HostMatch{Kind: dataplane.HostExact, Value: v}
}

func pathMatch(v string) dataplane.PathMatch {
	if !strings.ContainsAny(v, "*?") {
		return dataplane.PathMatch{Kind: dataplane.PathExact, Value: v}
	}
	if prefix, ok := strings.CutSuffix(v, "*"); ok && !strings.ContainsAny(prefix, "*?") {
		return dataplane.PathMatch{Kind: dataplane.PathPrefix, Value: prefix}
	}
	return dataplane.PathMatch{Kind: dataplane.PathGlob, Value: v}
}

func (t *translation) upstream(g *cloudsim.ServerGroup) dataplane.Upstream {
	out := dataplane.Upstream{ID: g.ServerGroupID, Name: g.Name, Scheme: strings.ToLower(g.Protocol), KeepAlive: true}
	for _, s := range g.Servers {
		if !serves(s.Status, cloudsim.StatusAvailable) {
			continue
		}
		address := net.JoinHostPort(s.ServerIP, strconv.Itoa(s.Port))
		out.Endpoints = append(out.Endpoints, dataplane.Endpoint{
			ID: g.ServerGroupID + "/" + address, Addr: address, Weight: s.Weight, Open: t.open(address),
		})
	}
	return out
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// Name is a name that the name server answers.
type Name struct {
	Name string
	// Target is the load balancer's name that a host is an alias of; empty for a load balancer itself.
	Target string
	// Addresses are a load balancer's, one per zone.
	Addresses []string
	// Text are TXT records, of names that prove something.
	Text []string `json:",omitempty"`
}

// Names gives the load balancers' names and the hosts of their rules, each host once: the oldest load balancer has it.
// Hosts with wildcards other than a leading "*." are no names.
func Names(i *cloudsim.Inventory) []Name {
	var names []Name
	var seen []string
	for _, lb := range i.LoadBalancers {
		n := Name{Name: lb.DNSName}
		for _, z := range lb.ZoneMappings {
			if z.Status == cloudsim.StatusActive {
				n.Addresses = append(n.Addresses, z.Address)
			}
		}
		names = append(names, n)
		for _, host := range hostsOf(i, lb.LoadBalancerID) {
			if !slices.Contains(seen, host) {
				seen = append(seen, host)
				names = append(names, Name{Name: host, Target: lb.DNSName})
			}
		}
	}
	return names
}

// hostsOf are a load balancer's hosts that are names.
func hostsOf(i *cloudsim.Inventory, loadBalancerID string) []string {
	return slices.DeleteFunc(i.HostsOf(loadBalancerID), func(h string) bool {
		return strings.ContainsAny(strings.TrimPrefix(h, "*."), "*?~")
	})
}

// withOffered adds the hosts of a part that does not come from the cloud, which all lead to one address. A name that the
// cloud's load balancers have stays theirs.
func withOffered(names []Name, part *dataplane.Snapshot, address string) []Name {
	known := map[string]bool{}
	for _, n := range names {
		known[n.Name] = true
	}
	for _, l := range part.Listeners {
		for _, r := range l.Routes {
			for _, h := range r.Match.Hosts {
				if !known[h.Value] {
					known[h.Value] = true
					names = append(names, Name{Name: h.Value, Addresses: []string{address}})
				}
			}
		}
	}
	return names
}
