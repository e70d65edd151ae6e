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
	// forced are the listeners of listen-ports; they take every rule.
	forced []portAndProtocol
	// tlsHosts are the hosts of spec.tls, compared to the letter: a wildcard there does not cover a rule's host.
	tlsHosts []string
}

func placementOf(ing *networkingv1.Ingress) (placement, error) {
	var p placement
	if text, ok := ing.Annotations[annotationPorts]; ok {
		var err error
		p.forced, err = parseListenPorts(text)
		return p, err
	}
	for _, t := range ing.Spec.TLS {
		p.tlsHosts = append(p.tlsHosts, t.Hosts...)
	}
	return p, nil
}

// of gives the listeners for a rule with this host.
func (p placement) of(host string) []portAndProtocol {
	switch {
	case p.forced != nil:
		return p.forced
	case slices.Contains(p.tlsHosts, host):
		return []portAndProtocol{{443, cloudsim.ProtocolHTTPS}}
	default:
		return []portAndProtocol{{80, cloudsim.ProtocolHTTP}}
	}
}

// all gives every listener that the Ingress needs, once each.
func (p placement) all(ing *networkingv1.Ingress) []portAndProtocol {
	if p.forced != nil {
		return p.forced
	}
	var all []portAndProtocol
	for _, rule := range ing.Spec.Rules {
		for _, at := range p.of(rule.Host) {
			if !slices.Contains(all, at) {
				all = append(all, at)
			}
		}
	}
	return all
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
