package alb

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/alb-appliance/appliance/cloudsim"
)

// placement says on which listeners an Ingress's rules go (ALB-FACTS 3.4).
type placement struct {
	// listeners are those that the Ingress needs, once each.
	listeners []portAndProtocol
	// forced means that every rule goes to all of them: listen-ports or ssl-redirect says so.
	forced bool
	// redirect sends what reaches a port other than 443 to HTTPS.
	redirect bool
	// tlsHosts are the hosts of spec.tls, compared to the letter: a wildcard there does not cover a rule's host.
	tlsHosts []string
}

var (
	plainListener  = portAndProtocol{80, cloudsim.ProtocolHTTP}
	secureListener = portAndProtocol{443, cloudsim.ProtocolHTTPS}
)

func placementOf(ing *networkingv1.Ingress) (placement, error) {
	p := placement{redirect: redirects(ing), tlsHosts: tlsHosts(ing)}
	if p.redirect {
		p.forced, p.listeners = true, []portAndProtocol{plainListener}
	}
	more := derivedListeners(ing, p.tlsHosts)
	if text, ok := ing.Annotations[annotationPorts]; ok {
		var err error
		if more, err = parseListenPorts(text); err != nil {
			return p, err
		}
		p.forced = true
	}
	for _, at := range more {
		if !slices.Contains(p.listeners, at) {
			p.listeners = append(p.listeners, at)
		}
	}
	return p, nil
}

func tlsHosts(ing *networkingv1.Ingress) []string {
	var hosts []string
	for _, t := range ing.Spec.TLS {
		hosts = append(hosts, t.Hosts...)
	}
	return hosts
}

// derivedListeners are those of an Ingress that names none: HTTPS when spec.tls has hosts, HTTP when it has none or does
// not name every rule's host.
func derivedListeners(ing *networkingv1.Ingress, tlsHosts []string) []portAndProtocol {
	if !slices.ContainsFunc(tlsHosts, func(h string) bool { return h != "" }) {
		return []portAndProtocol{plainListener}
	}
	if len(mismatchedHosts(ing)) > 0 {
		return []portAndProtocol{plainListener, secureListener}
	}
	return []portAndProtocol{secureListener}
}

// mismatchedHosts are the hosts of rules that spec.tls does not name, once each; none without a spec.tls.
func mismatchedHosts(ing *networkingv1.Ingress) []string {
	if len(ing.Spec.TLS) == 0 {
		return nil
	}
	var hosts []string
	named := tlsHosts(ing)
	for _, rule := range ing.Spec.Rules {
		if rule.Host != "" && !slices.Contains(named, rule.Host) && !slices.Contains(hosts, rule.Host) {
			hosts = append(hosts, rule.Host)
		}
	}
	return hosts
}

// of gives the listeners for a rule with this host. A rule without one belongs to every listener of its Ingress.
func (p placement) of(host string) []portAndProtocol {
	switch {
	case p.forced || host == "":
		return p.listeners
	case slices.Contains(p.tlsHosts, host):
		return []portAndProtocol{secureListener}
	default:
		return []portAndProtocol{plainListener}
	}
}

// parseListenPorts reads `[{"HTTP": 80}, {"HTTPS": 443}]`; the errors are the controller's.
func parseListenPorts(text string) ([]portAndProtocol, error) {
	var entries []map[string]int32
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return nil, fmt.Errorf("failed to parse listen-ports configuration: `%s` [%v]", text, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("empty listen-ports configuration: `%s`", text)
	}
	var ports []portAndProtocol
	for _, entry := range entries {
		for protocol, port := range entry {
			if port < 1 || port > 65535 {
				return nil, fmt.Errorf("listen port must be within [1, 65535]: %d", port)
			}
			switch protocol {
			case cloudsim.ProtocolHTTP, cloudsim.ProtocolHTTPS, cloudsim.ProtocolQUIC:
			default:
				return nil, fmt.Errorf("listen protocol must be within [HTTP, HTTPS]: %s", protocol)
			}
			ports = append(ports, portAndProtocol{int(port), protocol})
		}
	}
	slices.SortStableFunc(ports, func(a, b portAndProtocol) int { return strings.Compare(a.protocol, b.protocol) })
	return ports, nil
}
