package alb

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/alb-appliance/appliance/cloudsim"
)

const (
	serverGroupType = "Instance"
	// serverWeight is what the controller gives every server; the API's own default would be 0 (ALB-FACTS 4.10).
	serverWeight = 100
	// excludeNodeLabel keeps a node out of server groups (ALB-FACTS 3.7).
	excludeNodeLabel = "alpha.service-controller.kubernetes.io/exclude-alb"
)

func schedulerOf(ing *networkingv1.Ingress) (string, error) {
	switch v, ok := ing.Annotations[annotationScheduler]; {
	case !ok, v == "wrr":
		return cloudsim.SchedulerWrr, nil
	case v == "wlc", v == "sch", v == "uch":
		return "", fmt.Errorf("backend scheduler [%s]: this version of the appliance balances by wrr only", v)
	default:
		return "", fmt.Errorf("unkown backend scheduler [%s]", v) // the controller's own spelling
	}
}

// servers are the members of a Service port's group, sorted by address (ALB-FACTS 3.7): with Terway the pods, with
// Flannel the nodes, and then only for Services that open node ports.
func (b *build) servers(s *corev1.Service, port corev1.ServicePort) ([]cloudsim.ServerInput, error) {
	if b.cluster.NetworkPlugin == Terway {
		return b.pods(s, port), nil
	}
	if s.Spec.Type != corev1.ServiceTypeNodePort && s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil, fmt.Errorf("cluster service type just support eni mode for alb ingress: Servcie=%s", key(s))
	}
	return b.nodes(s, port), nil
}

func (b *build) pods(s *corev1.Service, port corev1.ServicePort) []cloudsim.ServerInput {
	var servers []cloudsim.ServerInput
	for _, e := range b.endpoints(s, port) {
		servers = append(servers, cloudsim.ServerInput{
			ServerID: eniID(e.node), ServerType: cloudsim.ServerEni, ServerIP: e.ip, Port: e.port, Weight: serverWeight,
		})
	}
	return servers
}

// nodes are those with an address; under externalTrafficPolicy Local only those that run a ready pod.
func (b *build) nodes(s *corev1.Service, port corev1.ServicePort) []cloudsim.ServerInput {
	local := map[string]bool{}
	for _, e := range b.endpoints(s, port) {
		local[e.node] = true
	}
	var servers []cloudsim.ServerInput
	for _, n := range b.group.Nodes {
		if _, excluded := n.Labels[excludeNodeLabel]; excluded || s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && !local[n.Name] {
			continue
		}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				servers = append(servers, cloudsim.ServerInput{
					ServerID: instanceID(n), ServerType: cloudsim.ServerEcs, ServerIP: a.Address, Port: int(port.NodePort), Weight: serverWeight,
				})
			}
		}
	}
	slices.SortFunc(servers, func(a, b cloudsim.ServerInput) int { return cmp.Compare(a.ServerIP, b.ServerIP) })
	return servers
}

// instanceID is the ECS instance of a node, out of its provider id "REGION.INSTANCE".
func instanceID(n *corev1.Node) string {
	for i := len(n.Spec.ProviderID) - 1; i >= 0; i-- {
		if n.Spec.ProviderID[i] == '.' {
			return n.Spec.ProviderID[i+1:]
		}
	}
	return n.Name
}

type endpoint struct {
	ip, node string
	port     int
}

// endpoints are the ready pods behind a Service port, sorted and without doubles.
func (b *build) endpoints(s *corev1.Service, port corev1.ServicePort) []endpoint {
	var all []endpoint
	for _, slice := range b.group.Slices[key(s)] {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name == nil || *p.Name != port.Name {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready == nil || !*e.Conditions.Ready || e.NodeName == nil {
					continue
				}
				for _, ip := range e.Addresses {
					all = append(all, endpoint{ip, *e.NodeName, int(*p.Port)})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b endpoint) int {
		return cmp.Or(cmp.Compare(a.ip, b.ip), cmp.Compare(a.port, b.port))
	})
	return slices.Compact(all)
}
