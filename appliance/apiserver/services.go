package apiserver

import (
	"context"
	"fmt"
	"net"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	api "k8s.io/kubernetes/pkg/apis/core"
	endpointstore "k8s.io/kubernetes/pkg/registry/core/endpoint/storage"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"
	servicestore "k8s.io/kubernetes/pkg/registry/core/service/storage"
)

// nodePorts is upstream's default NodePort range.
var nodePorts = utilnet.PortRange{Base: 30000, Size: 2768}

// newServices makes the Service registry. Its allocators live in memory, for one process owns the store: upstream's
// stored ones bypass the storage wiring. They are filled again from the stored Services.
func newServices(ctx context.Context, d *resourceDeps, endpoints *endpointstore.REST, pods podstore.PodStorage) (*servicestore.REST, *servicestore.StatusREST, error) {
	addresses, err := ipallocator.NewInMemory(d.serviceRange)
	if err != nil {
		return nil, nil, fmt.Errorf("allocate from service range %s: %w", d.serviceRange, err)
	}
	ports, err := portallocator.NewInMemory(nodePorts)
	if err != nil {
		return nil, nil, fmt.Errorf("allocate node ports: %w", err)
	}
	byFamily := map[api.IPFamily]ipallocator.Interface{api.IPv4Protocol: addresses}
	registry := func(g generic.RESTOptionsGetter) (*servicestore.REST, *servicestore.StatusREST, error) {
		services, status, _, err := servicestore.NewREST(g, api.IPv4Protocol, byFamily, ports, endpoints, pods.Pod, d.kubelet)
		return services, status, err
	}
	stored, _, err := registry(uncached{d.options}) // the watch cache does not run yet
	if err != nil {
		return nil, nil, err
	}
	defer stored.Destroy()
	list, err := stored.List(request.WithNamespace(ctx, metav1.NamespaceAll), &metainternalversion.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("read stored services: %w", err)
	}
	for _, s := range list.(*api.ServiceList).Items {
		claim(addresses, ports, &s)
	}
	return registry(d.options)
}

// claim marks what a stored Service holds. What two of them hold stays with both, as after upstream's repair.
func claim(addresses ipallocator.Interface, ports portallocator.Interface, s *api.Service) {
	for _, a := range s.Spec.ClusterIPs {
		if ip := net.ParseIP(a); ip != nil {
			_ = addresses.Allocate(ip)
		}
	}
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			_ = ports.Allocate(int(p.NodePort))
		}
	}
	if p := s.Spec.HealthCheckNodePort; p != 0 {
		_ = ports.Allocate(int(p))
	}
}
