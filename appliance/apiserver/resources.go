package apiserver

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/client-go/discovery"
	policyclient "k8s.io/client-go/kubernetes/typed/policy/v1"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
)

// groupProvider is how upstream makes the registries of a group.
type groupProvider interface {
	NewRESTStorage(serverstorage.APIResourceConfigSource, generic.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error)
}

// resourceDeps is what registries need beside storage.
type resourceDeps struct {
	options        *options
	authorizer     authorizer.Authorizer
	rules          authorizer.RuleResolver
	authentication genericapiserver.AuthenticationInfo
	tokens         *tokens
	budgets        policyclient.PodDisruptionBudgetsGetter
	discovery      discovery.DiscoveryInterface
	kubelet        http.RoundTripper
	serviceRange   *net.IPNet
}

// ResourceEnabled implements serverstorage.APIResourceConfigSource.
func (g apiGroup) ResourceEnabled(r schema.GroupVersionResource) bool {
	return g.VersionExplicitlyEnabled(r.GroupVersion()) && slices.ContainsFunc(g.kinds, func(k kind) bool { return k.resource == r.Resource })
}

// AnyResourceForGroupEnabled implements serverstorage.APIResourceConfigSource.
func (g apiGroup) AnyResourceForGroupEnabled(name string) bool { return name == g.name }

// ResourceExplicitlyEnabled implements serverstorage.APIResourceConfigSource.
func (g apiGroup) ResourceExplicitlyEnabled(r schema.GroupVersionResource) bool {
	return g.ResourceEnabled(r)
}

// VersionExplicitlyEnabled implements serverstorage.APIResourceConfigSource.
func (g apiGroup) VersionExplicitlyEnabled(v schema.GroupVersion) bool {
	return v.Group == g.name && slices.Contains(g.versions, v.Version)
}

// everything is all of groups (serverstorage.APIResourceConfigSource).
type everything struct{}

func (everything) any(ask func(apiGroup) bool) bool { return slices.ContainsFunc(groups, ask) }

// ResourceEnabled implements serverstorage.APIResourceConfigSource.
func (e everything) ResourceEnabled(r schema.GroupVersionResource) bool {
	return e.any(func(g apiGroup) bool { return g.ResourceEnabled(r) })
}

// AnyResourceForGroupEnabled implements serverstorage.APIResourceConfigSource.
func (e everything) AnyResourceForGroupEnabled(name string) bool {
	return e.any(func(g apiGroup) bool { return g.AnyResourceForGroupEnabled(name) })
}

// ResourceExplicitlyEnabled implements serverstorage.APIResourceConfigSource.
func (e everything) ResourceExplicitlyEnabled(r schema.GroupVersionResource) bool {
	return e.ResourceEnabled(r)
}

// VersionExplicitlyEnabled implements serverstorage.APIResourceConfigSource.
func (e everything) VersionExplicitlyEnabled(v schema.GroupVersion) bool {
	return e.any(func(g apiGroup) bool { return g.VersionExplicitlyEnabled(v) })
}

// groupVersions lists what is served of the group, the preferred version first.
func (g apiGroup) groupVersions() []schema.GroupVersion {
	var all []schema.GroupVersion
	for _, v := range g.versions {
		all = append(all, schema.GroupVersion{Group: g.name, Version: v})
	}
	return all
}

// installResources serves every row of groups.
func installResources(ctx context.Context, into installer, d *resourceDeps) error {
	core, err := newCoreResources(ctx, d)
	if err != nil {
		return err
	}
	group := genericapiserver.NewDefaultAPIGroupInfo("", legacyscheme.Scheme, legacyscheme.ParameterCodec, legacyscheme.Codecs)
	group.PrioritizedVersions = []schema.GroupVersion{{Version: "v1"}}
	group.VersionedResourcesStorageMap["v1"] = core.storage
	if err := into.install(&group); err != nil {
		return err
	}
	for _, g := range groups {
		if g.provider == nil {
			continue
		}
		group, err := g.provider(d).NewRESTStorage(g, d.options)
		if err != nil {
			return fmt.Errorf("make registries of %s: %w", g.name, err)
		}
		group.PrioritizedVersions = g.groupVersions()
		if err := into.install(&group); err != nil {
			return err
		}
	}
	events := genericapiserver.NewDefaultAPIGroupInfo("events.k8s.io", legacyscheme.Scheme, legacyscheme.ParameterCodec, legacyscheme.Codecs)
	events.PrioritizedVersions = []schema.GroupVersion{{Group: "events.k8s.io", Version: "v1"}}
	events.VersionedResourcesStorageMap["v1"] = map[string]rest.Storage{"events": core.storage["events"]}
	return into.install(&events)
}
