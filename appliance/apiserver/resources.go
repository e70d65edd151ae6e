package apiserver

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install" // the Scale subresource
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	api "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install" // Eviction
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
	appsrest "k8s.io/kubernetes/pkg/registry/apps/rest"
	authenticationrest "k8s.io/kubernetes/pkg/registry/authentication/rest"
	authorizationrest "k8s.io/kubernetes/pkg/registry/authorization/rest"
	coordinationrest "k8s.io/kubernetes/pkg/registry/coordination/rest"
	configmapstore "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
	endpointstore "k8s.io/kubernetes/pkg/registry/core/endpoint/storage"
	eventstore "k8s.io/kubernetes/pkg/registry/core/event/storage"
	namespacestore "k8s.io/kubernetes/pkg/registry/core/namespace/storage"
	nodestore "k8s.io/kubernetes/pkg/registry/core/node/storage"
	claimstore "k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim/storage"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	secretstore "k8s.io/kubernetes/pkg/registry/core/secret/storage"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"
	servicestore "k8s.io/kubernetes/pkg/registry/core/service/storage"
	serviceaccountstore "k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage"
	discoveryrest "k8s.io/kubernetes/pkg/registry/discovery/rest"
	networkingrest "k8s.io/kubernetes/pkg/registry/networking/rest"
)

// eventTTL is how long Events are kept, as in kube-apiserver.
const eventTTL = time.Hour

// nodePorts is upstream's default NodePort range.
var nodePorts = utilnet.PortRange{Base: 30000, Size: 2768}

// groups is the table of what is served beside the core group: a provider of upstream's registries each, and the
// resources of it. A resource not named here is not served.
var groups = []struct {
	provider func(*resourceDeps) groupProvider
	version  schema.GroupVersion
	names    []string
}{
	{func(*resourceDeps) groupProvider { return appsrest.StorageProvider{} },
		schema.GroupVersion{Group: "apps", Version: "v1"},
		[]string{"deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions"}},
	{func(*resourceDeps) groupProvider { return networkingrest.RESTStorageProvider{} },
		schema.GroupVersion{Group: "networking.k8s.io", Version: "v1"},
		[]string{"ingresses", "ingressclasses"}},
	{func(*resourceDeps) groupProvider { return discoveryrest.StorageProvider{} },
		schema.GroupVersion{Group: "discovery.k8s.io", Version: "v1"},
		[]string{"endpointslices"}},
	{func(*resourceDeps) groupProvider { return coordinationrest.RESTStorageProvider{} },
		schema.GroupVersion{Group: "coordination.k8s.io", Version: "v1"},
		[]string{"leases"}},
	{func(d *resourceDeps) groupProvider {
		return authorizationrest.RESTStorageProvider{Authorizer: d.authorizer, RuleResolver: d.rules}
	},
		schema.GroupVersion{Group: "authorization.k8s.io", Version: "v1"},
		[]string{"selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews", "localsubjectaccessreviews"}},
	{func(d *resourceDeps) groupProvider {
		return authenticationrest.RESTStorageProvider{Authenticator: d.authentication.Authenticator}
	},
		schema.GroupVersion{Group: "authentication.k8s.io", Version: "v1"},
		[]string{"selfsubjectreviews", "tokenreviews"}},
}

type groupProvider interface {
	NewRESTStorage(serverstorage.APIResourceConfigSource, generic.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error)
}

// resourceDeps is what registries need beside storage.
type resourceDeps struct {
	options        *options
	authorizer     authorizer.Authorizer
	rules          authorizer.RuleResolver
	authentication genericapiserver.AuthenticationInfo
	kubelet        http.RoundTripper
	serviceRange   *net.IPNet
}

// served implements serverstorage.APIResourceConfigSource for one row of groups.
type served struct {
	version schema.GroupVersion
	names   map[string]bool
}

func (s served) ResourceEnabled(r schema.GroupVersionResource) bool {
	return r.GroupVersion() == s.version && s.names[r.Resource]
}

func (s served) AnyResourceForGroupEnabled(group string) bool { return group == s.version.Group }

func (s served) ResourceExplicitlyEnabled(r schema.GroupVersionResource) bool {
	return s.ResourceEnabled(r)
}

func (s served) VersionExplicitlyEnabled(v schema.GroupVersion) bool { return v == s.version }

// installResources serves the core group and every row of groups.
func installResources(ctx context.Context, server *genericapiserver.GenericAPIServer, d *resourceDeps) (*coreResources, error) {
	core, err := newCoreResources(ctx, d)
	if err != nil {
		return nil, err
	}
	info := genericapiserver.NewDefaultAPIGroupInfo("", legacyscheme.Scheme, legacyscheme.ParameterCodec, legacyscheme.Codecs)
	info.PrioritizedVersions = []schema.GroupVersion{{Version: "v1"}}
	info.VersionedResourcesStorageMap["v1"] = core.storage
	if err := server.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &info); err != nil {
		return nil, fmt.Errorf("install core group: %w", err)
	}
	var infos []*genericapiserver.APIGroupInfo
	for _, g := range groups {
		names := map[string]bool{}
		for _, n := range g.names {
			names[n] = true
		}
		info, err := g.provider(d).NewRESTStorage(served{g.version, names}, d.options)
		if err != nil {
			return nil, fmt.Errorf("make registries of %s: %w", g.version, err)
		}
		info.PrioritizedVersions = []schema.GroupVersion{g.version}
		infos = append(infos, &info)
	}
	events := genericapiserver.NewDefaultAPIGroupInfo("events.k8s.io", legacyscheme.Scheme, legacyscheme.ParameterCodec, legacyscheme.Codecs)
	events.PrioritizedVersions = []schema.GroupVersion{{Group: "events.k8s.io", Version: "v1"}}
	events.VersionedResourcesStorageMap["v1"] = map[string]rest.Storage{"events": core.storage["events"]}
	if err := server.InstallAPIGroups(append(infos, &events)...); err != nil {
		return nil, fmt.Errorf("install API groups: %w", err)
	}
	return core, nil
}

// coreResources are the registries of the core group.
type coreResources struct {
	storage    map[string]rest.Storage
	namespaces *namespacestore.REST
}

func newCoreResources(ctx context.Context, d *resourceDeps) (*coreResources, error) {
	b := builder{storage: map[string]rest.Storage{}}
	namespaces, namespaceStatus, namespaceFinalize, err := namespacestore.NewREST(d.options)
	b.add(err, "namespaces", namespaces, "namespaces/status", namespaceStatus, "namespaces/finalize", namespaceFinalize)
	nodes, err := nodestore.NewStorage(d.options, kubeletclient.KubeletClientConfig{Port: 10250}, d.kubelet)
	b.add(err, "nodes", nodes.Node, "nodes/status", nodes.Status)
	pods, err := podstore.NewStorage(d.options, kubeletConnection{d.kubelet}, d.kubelet, nil, d.authorizer)
	b.add(err, "pods", pods.Pod, "pods/status", pods.Status, "pods/binding", pods.Binding, "pods/log", pods.Log,
		"pods/exec", pods.Exec, "pods/attach", pods.Attach, "pods/portforward", pods.PortForward)
	endpoints, err := endpointstore.NewREST(d.options)
	b.add(err, "endpoints", endpoints)
	secrets, err := secretstore.NewREST(d.options)
	b.add(err, "secrets", secrets)
	configMaps, err := configmapstore.NewREST(d.options)
	b.add(err, "configmaps", configMaps)
	events, err := eventstore.NewREST(d.options, uint64(eventTTL.Seconds()))
	b.add(err, "events", events)
	claims, claimStatus, err := claimstore.NewREST(d.options)
	b.add(err, "persistentvolumeclaims", claims, "persistentvolumeclaims/status", claimStatus)
	if b.err != nil {
		return nil, b.err
	}
	accounts, err := serviceaccountstore.NewREST(d.options, nil, nil, 0, pods.Pod.Store, secrets.Store, nodes.Node.Store, false, 0)
	b.add(err, "serviceaccounts", accounts)
	services, serviceStatus, err := newServices(ctx, d, endpoints, pods)
	b.add(err, "services", services, "services/status", serviceStatus)
	return &coreResources{storage: b.storage, namespaces: namespaces}, b.err
}

// builder collects registries and the first error of making one.
type builder struct {
	storage map[string]rest.Storage
	err     error
}

// add takes pairs of a resource's name and its registry.
func (b *builder) add(err error, pairs ...any) {
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("make registry of %s: %w", pairs[0], err)
	}
	if b.err != nil {
		return
	}
	for i := 0; i < len(pairs); i += 2 {
		b.storage[pairs[i].(string)] = pairs[i+1].(rest.Storage)
	}
}

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
