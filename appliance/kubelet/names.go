package kubelet

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"

	"github.com/alb-appliance/appliance/appliance/kubelet/shell"
)

// clusterDomain is what the names of Services end in.
const clusterDomain = "cluster.local"

// names is the cluster's name server, which answers as CoreDNS does on a new cluster: Services, the pods behind headless
// ones, and addresses of pods. What is outside of the cluster it asks others for.
type names struct {
	services serviceLister
	slices   discoverylisters.EndpointSliceLister
	// outside gives the addresses of other names; false when it does not know.
	outside func(name string) ([]netip.Addr, bool)
}

// aliasLimit is how many names one may lead over.
const aliasLimit = 8

// ask answers for one full name without last dot.
func (n names) ask(name string) shell.Answer {
	name = strings.ToLower(name)
	for range aliasLimit {
		inner, ours := strings.CutSuffix(name, "."+clusterDomain)
		if !ours {
			return n.beyond(name)
		}
		a, alias := n.cluster(inner)
		if alias == "" {
			a.Name = name
			return a
		}
		name = strings.ToLower(strings.TrimSuffix(alias, "."))
	}
	return shell.Answer{Code: shell.ServerFails, Name: name}
}

// beyond asks for a name outside of the cluster. One that nobody here knows may exist in the world: no answer is given,
// as by a name server without a way out. One without a dot, or behind whose last dot is a namespace, does not.
func (n names) beyond(name string) shell.Answer {
	if n.outside != nil {
		if all, ok := n.outside(name); ok {
			return shell.Answer{Code: shell.NoError, Name: name, Addresses: all}
		}
	}
	top := name[strings.LastIndexByte(name, '.')+1:]
	if inside, err := n.services.Services(top).List(labels.Everything()); top == name || top == "svc" || err == nil && len(inside) > 0 {
		return shell.Answer{Code: shell.NoSuchName, Name: name}
	}
	return shell.Answer{Code: shell.ServerFails, Name: name}
}

// cluster answers for a name inside the cluster's domain, or says which name it is an alias of.
func (n names) cluster(name string) (a shell.Answer, alias string) {
	none := shell.Answer{Code: shell.NoSuchName}
	parts := strings.Split(name, ".")
	slices.Reverse(parts)
	switch {
	case len(parts) == 3 && parts[0] == "pod":
		ip, err := netip.ParseAddr(strings.ReplaceAll(parts[2], "-", "."))
		if err != nil {
			return none, ""
		}
		return shell.Answer{Addresses: []netip.Addr{ip}, Code: shell.NoError}, ""
	case (len(parts) != 3 && len(parts) != 4) || parts[0] != "svc":
		return none, ""
	}
	s, err := n.services.Services(parts[1]).Get(parts[2])
	if err != nil {
		return none, ""
	}
	host := ""
	if len(parts) == 4 {
		host = parts[3]
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName && host == "" {
		return a, s.Spec.ExternalName
	}
	a.Code = shell.NoError
	switch ip, err := netip.ParseAddr(s.Spec.ClusterIP); {
	case err == nil && host == "":
		a.Addresses = []netip.Addr{ip}
	case err != nil && s.Spec.ClusterIP == corev1.ClusterIPNone:
		a.Addresses = n.endpoints(s, host)
	}
	if len(a.Addresses) == 0 {
		return none, ""
	}
	return a, ""
}

// endpoints gives the addresses behind a headless Service: all that are ready, or those of one host.
func (n names) endpoints(s *corev1.Service, host string) []netip.Addr {
	found, err := n.slices.EndpointSlices(s.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: s.Name}))
	if err != nil {
		return nil
	}
	var all []netip.Addr
	for _, slice := range found {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for _, text := range e.Addresses {
				ip, err := netip.ParseAddr(text)
				if err == nil && (host == "" || host == hostOf(e, ip)) {
					all = append(all, ip)
				}
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// hostOf is the name of an endpoint behind a headless Service: its own, or its address with dashes.
func hostOf(e discoveryv1.Endpoint, ip netip.Addr) string {
	if e.Hostname != nil && *e.Hostname != "" {
		return strings.ToLower(*e.Hostname)
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(ip.String())
}

// resolver is how names become addresses in a pod, by its dnsPolicy.
func (p *pod) resolver() *shell.Resolver {
	spec := &p.object.Spec
	ask := names{services: p.services, slices: p.slices, outside: p.options.outside}
	r := &shell.Resolver{Server: p.options.ClusterDNS, Ask: ask.ask, Ndots: 5, Hosts: map[string]netip.Addr{
		"localhost": netip.AddrFrom4([4]byte{127, 0, 0, 1}), hostname(p.object): p.ip,
	}}
	for _, a := range spec.HostAliases {
		if ip, err := netip.ParseAddr(a.IP); err == nil {
			for _, name := range a.Hostnames {
				r.Hosts[strings.ToLower(name)] = ip
			}
		}
	}
	if spec.Hostname != "" && spec.Subdomain != "" {
		r.Hosts[strings.Join([]string{spec.Hostname, spec.Subdomain, p.name.Namespace, "svc", clusterDomain}, ".")] = p.ip
	}
	for _, parent := range []string{p.name.Namespace + ".svc.", "svc.", ""} {
		r.Search = append(r.Search, parent+clusterDomain)
	}
	if policy := spec.DNSPolicy; policy == corev1.DNSDefault || policy == corev1.DNSClusterFirst && spec.HostNetwork {
		r.Server, r.Ask, r.Search, r.Ndots = nodeDNS, ask.beyond, nil, 1
	}
	if c := spec.DNSConfig; c != nil {
		configure(r, c, spec.DNSPolicy == corev1.DNSNone)
	}
	return r
}

// nodeDNS is the name server of a VPC's machines.
var nodeDNS = netip.MustParseAddr("100.100.2.136")

// configure applies a pod's dnsConfig. Whichever name server it names, the same names are known.
func configure(r *shell.Resolver, c *corev1.PodDNSConfig, alone bool) {
	if alone {
		r.Search, r.Ndots = nil, 1
	}
	r.Search = append(r.Search, c.Searches...)
	if len(c.Nameservers) > 0 && alone {
		if ip, err := netip.ParseAddr(c.Nameservers[0]); err == nil {
			r.Server = ip
		}
	}
	for _, o := range c.Options {
		if o.Name == "ndots" && o.Value != nil {
			r.Ndots = atoi(*o.Value, r.Ndots)
		}
	}
}
