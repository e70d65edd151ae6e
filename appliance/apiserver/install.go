package apiserver

import (
	"fmt"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// installer serves groups as upstream's InstallAPIGroups and InstallLegacyAPIGroup do, but with models that are built
// in: those of upstream make them out of OpenAPI definitions at each start.
type installer struct {
	server *genericapiserver.GenericAPIServer
	config *genericapiserver.Config
}

// install serves a group; its first version is the preferred one.
func (i installer) install(info *genericapiserver.APIGroupInfo) error {
	group := info.PrioritizedVersions[0].Group
	converter, err := newConverter(group)
	if err != nil {
		return err
	}
	served := metav1.APIGroup{Name: group}
	for _, gv := range info.PrioritizedVersions {
		if err := i.installVersion(info, gv, converter); err != nil {
			return fmt.Errorf("install %s: %w", gv, err)
		}
		served.Versions = append(served.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	served.PreferredVersion = served.Versions[0]
	i.discover(served)
	for version, resources := range info.VersionedResourcesStorageMap {
		for resource, storage := range resources {
			if s, ok := storage.(rest.StorageWithReadiness); ok {
				i.server.StorageReadinessHook.RegisterStorage(metav1.GroupVersionResource{Group: group, Version: version, Resource: resource}, s)
			}
			i.server.RegisterDestroyFunc(storage.Destroy)
		}
	}
	return nil
}

// installVersion serves the resources of one version.
func (i installer) installVersion(info *genericapiserver.APIGroupInfo, gv schema.GroupVersion, converter managedfields.TypeConverter) error {
	version := &genericapi.APIGroupVersion{
		Storage: info.VersionedResourcesStorageMap[gv.Version], Root: genericapiserver.APIGroupPrefix, GroupVersion: gv,
		AllServedVersionsByResource: versionsOf(info), OptionsExternalVersion: info.OptionsExternalVersion, MetaGroupVersion: info.MetaGroupVersion,
		Serializer: info.NegotiatedSerializer, ParameterCodec: info.ParameterCodec,
		Typer: info.Scheme, Creater: info.Scheme, Convertor: info.Scheme, ConvertabilityChecker: info.Scheme, Defaulter: info.Scheme,
		Namer: runtime.Namer(meta.NewAccessor()), UnsafeConvertor: runtime.UnsafeObjectConvertor(info.Scheme), TypeConverter: converter,
		EquivalentResourceRegistry: i.server.EquivalentResourceRegistry, Authorizer: i.server.Authorizer, Admit: i.config.AdmissionControl,
		MinRequestTimeout: time.Duration(i.config.MinRequestTimeout) * time.Second, MaxRequestBodyBytes: i.config.MaxRequestBodyBytes,
	}
	discovered := i.server.AggregatedDiscoveryGroupManager
	if gv.Group == "" {
		version.Root, discovered = genericapiserver.DefaultLegacyAPIPrefix, i.server.AggregatedLegacyDiscoveryGroupManager
	}
	resources, _, err := version.InstallREST(i.server.Handler.GoRestfulContainer)
	if err != nil {
		return err
	}
	discovered.AddGroupVersion(gv.Group, apidiscoveryv2.APIVersionDiscovery{
		Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent, Version: gv.Version, Resources: resources,
	})
	return nil
}

// discover answers /api for the core group, and /apis/GROUP for others.
func (i installer) discover(group metav1.APIGroup) {
	s := i.server
	if group.Name == "" {
		root := discovery.NewLegacyRootAPIHandler(i.config.DiscoveryAddresses, s.Serializer, genericapiserver.DefaultLegacyAPIPrefix)
		wrapped := discoveryendpoint.WrapAggregatedDiscoveryToHandler(root, s.AggregatedLegacyDiscoveryGroupManager, s.AggregatedLegacyDiscoveryGroupManager)
		s.Handler.GoRestfulContainer.Add(wrapped.GenerateWebService(genericapiserver.DefaultLegacyAPIPrefix, metav1.APIVersions{}))
		return
	}
	s.DiscoveryGroupManager.AddGroup(group)
	s.Handler.GoRestfulContainer.Add(discovery.NewAPIGroupHandler(s.Serializer, group).WebService())
}

// versionsOf lists the versions that each resource of a group is served in.
func versionsOf(info *genericapiserver.APIGroupInfo) map[string][]string {
	all := map[string][]string{}
	for version, resources := range info.VersionedResourcesStorageMap {
		gv := schema.GroupVersion{Group: info.PrioritizedVersions[0].Group, Version: version}
		for resource := range resources {
			all[resource] = append(all[resource], gv.String())
		}
	}
	return all
}
