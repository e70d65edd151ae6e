package kubelet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/alb-appliance/appliance/appliance/podnet"
)

type serviceLister = corelisters.ServiceLister

// proxy is kube-proxy's part: it tells the network what the addresses of Services, and host ports, lead to. Connections take turns over
// the endpoints; session affinity and internalTrafficPolicy are not looked at, for the network does not know who asks.
type proxy struct {
	network  *podnet.Network
	nodes    []Node
	services serviceLister
	slices   discoverylisters.EndpointSliceLister
	pods     cache.SharedIndexInformer
	watched  []cache.SharedIndexInformer
	changed  chan struct{} // one slot: look again
}

func newProxy(k *Kubelet, factory informers.SharedInformerFactory, pods cache.SharedIndexInformer) *proxy {
	services, slices := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	return &proxy{
		network: k.options.Network, nodes: k.options.Nodes, services: services.Lister(), slices: slices.Lister(), pods: pods,
		watched: []cache.SharedIndexInformer{services.Informer(), slices.Informer()}, changed: make(chan struct{}, 1),
	}
}

func (p *proxy) synced() []cache.DoneChecker {
	var all []cache.DoneChecker
	for _, i := range p.watched {
		all = append(all, i.HasSyncedChecker())
	}
	return all
}

// start publishes what exists and then what changes, until ctx ends.
func (p *proxy) start(ctx context.Context, running *sync.WaitGroup) error {
	wake := func() {
		select {
		case p.changed <- struct{}{}:
		default: // it will look anyway
		}
	}
	for _, i := range p.watched {
		_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { wake() }, UpdateFunc: func(any, any) { wake() }, DeleteFunc: func(any) { wake() },
		})
		if err != nil {
			return fmt.Errorf("watch Services: %w", err)
		}
	}
	_, err := p.pods.AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: func(o any) bool { pod, ok := o.(*corev1.Pod); return !ok || len(hostPorts(pod)) > 0 },
		Handler:    cache.ResourceEventHandlerFuncs{AddFunc: func(any) { wake() }, UpdateFunc: func(any, any) { wake() }, DeleteFunc: func(any) { wake() }},
	})
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	if err := p.publish(); err != nil {
		return err
	}
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.changed:
				p.publish() // the listers read memory; they were asked before and cannot fail now
			}
		}
	})
	return nil
}

func (p *proxy) publish() error {
	services, err := p.services.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	slices, err := p.slices.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list EndpointSlices: %w", err)
	}
	all := table(services, slices, p.nodes)
	for _, o := range p.pods.GetStore().List() {
		addHostPorts(all, o.(*corev1.Pod))
	}
	p.network.SetServices(all)
	return nil
}

// addHostPorts leads ports of a node to the pod on it that claimed them.
func addHostPorts(all map[netip.AddrPort][]netip.AddrPort, pod *corev1.Pod) {
	node, err := netip.ParseAddr(pod.Status.HostIP)
	ip, err2 := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || err2 != nil || isTerminal(pod) {
		return
	}
	for _, port := range hostPorts(pod) {
		all[netip.AddrPortFrom(node, uint16(port.HostPort))] = []netip.AddrPort{netip.AddrPortFrom(ip, uint16(port.ContainerPort))}
	}
}

// hostPorts lists what a pod claims of its node; a pod on the node's own network listens there itself.
func hostPorts(pod *corev1.Pod) []corev1.ContainerPort {
	var all []corev1.ContainerPort
	if pod.Spec.HostNetwork {
		return nil
	}
	for _, c := range pod.Spec.Containers {
		for _, port := range c.Ports {
			if port.HostPort > 0 && (port.Protocol == "" || port.Protocol == corev1.ProtocolTCP) {
				all = append(all, port)
			}
		}
	}
	return all
}

// table works out what each address of each Service leads to: cluster IPs, external IPs and node ports.
func table(services []*corev1.Service, slices []*discoveryv1.EndpointSlice, nodes []Node) map[netip.AddrPort][]netip.AddrPort {
	byService := map[types.NamespacedName][]*discoveryv1.EndpointSlice{}
	for _, s := range slices {
		if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
			key := types.NamespacedName{Namespace: s.Namespace, Name: name}
			byService[key] = append(byService[key], s)
		}
	}
	all := map[netip.AddrPort][]netip.AddrPort{}
	for _, s := range services {
		for _, port := range s.Spec.Ports {
			if port.Protocol == "" || port.Protocol == corev1.ProtocolTCP {
				addPort(all, s, port, byService[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}], nodes)
			}
		}
	}
	return all
}

func addPort(all map[netip.AddrPort][]netip.AddrPort, s *corev1.Service, port corev1.ServicePort, slices []*discoveryv1.EndpointSlice, nodes []Node) {
	anywhere := func(discoveryv1.Endpoint) bool { return true }
	everywhere := endpoints(slices, port, anywhere)
	for _, ip := range append(s.Spec.ClusterIPs, s.Spec.ExternalIPs...) {
		if a, err := netip.ParseAddr(ip); err == nil { // "None" is no address
			all[netip.AddrPortFrom(a, uint16(port.Port))] = everywhere
		}
	}
	if port.NodePort == 0 {
		return
	}
	for _, n := range nodes {
		here := everywhere
		if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			here = endpoints(slices, port, func(e discoveryv1.Endpoint) bool { return e.NodeName != nil && *e.NodeName == n.Name })
		}
		all[netip.AddrPortFrom(n.Address, uint16(port.NodePort))] = here
	}
}

// endpoints lists the ready endpoints of a Service's port, or, when none is ready, those that end but still serve, as
// kube-proxy does.
func endpoints(slices []*discoveryv1.EndpointSlice, port corev1.ServicePort, wanted func(discoveryv1.Endpoint) bool) []netip.AddrPort {
	var ready, ending []netip.AddrPort
	for _, s := range slices {
		number, ok := portOf(s, port.Name)
		if !ok || s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for _, e := range s.Endpoints {
			if !wanted(e) {
				continue
			}
			into := &ready
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				if !isTrue(e.Conditions.Serving) || !isTrue(e.Conditions.Terminating) {
					continue
				}
				into = &ending
			}
			for _, text := range e.Addresses {
				if a, err := netip.ParseAddr(text); err == nil {
					*into = append(*into, netip.AddrPortFrom(a, number))
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	return sorted(ready)
}

func isTrue(b *bool) bool { return b != nil && *b }

// portOf gives the number of a Service's port in a slice, where names are matched and the target's name is resolved
// already.
func portOf(s *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, p := range s.Ports {
		if p.Port != nil && (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) &&
			(p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP) {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// sorted orders addresses and drops those named twice, so that the turn does not depend on the order of slices.
func sorted(all []netip.AddrPort) []netip.AddrPort {
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all)
}
