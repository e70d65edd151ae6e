package apiserver

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	apiextensionshelpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionslisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
)

// groupPriorities is where the groups stand in discovery, in upstream's numbers (cmd/kube-apiserver/app/aggregator.go): of
// a name that several groups have, clients take the first. The groups of definitions are at 1000.
var groupPriorities = map[string]int{
	"apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600, "autoscaling": 17500, "batch": 17400,
	"networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800,
	"admissionregistration.k8s.io": 16700, apiextensionsv1.GroupName: 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500,
	"node.k8s.io": 16300, "discovery.k8s.io": 16200,
}

// placeGroups puts the groups in their order into both forms of discovery. It comes before they are installed, for the
// older form has the order in which they are first named.
func placeGroups(server *genericapiserver.GenericAPIServer) {
	names := slices.SortedFunc(maps.Keys(groupPriorities), func(a, b string) int {
		return cmp.Or(cmp.Compare(groupPriorities[b], groupPriorities[a]), cmp.Compare(a, b))
	})
	for _, name := range names {
		group := metav1.APIGroup{Name: name}
		if name == apiextensionsv1.GroupName { // the server behind this one has it
			group = discoveryGroup(name, []string{apiextensionsv1.SchemeGroupVersion.Version})
		}
		server.DiscoveryGroupManager.AddGroup(group)
	}
	prioritized := []metav1.GroupVersion{metav1.GroupVersion(apiextensionsv1.SchemeGroupVersion), {Group: "events.k8s.io", Version: "v1"}}
	for _, g := range groups {
		for _, gv := range g.groupVersions() {
			prioritized = append(prioritized, metav1.GroupVersion(gv))
		}
	}
	for _, gv := range prioritized {
		if priority, ok := groupPriorities[gv.Group]; ok { // the core group is not among the others
			server.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(gv, priority, 15)
		}
	}
}

// discoveryGroup is a group with its versions, the preferred one first.
func discoveryGroup(name string, versions []string) metav1.APIGroup {
	group := metav1.APIGroup{Name: name}
	for _, v := range versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: schema.GroupVersion{Group: name, Version: v}.String(), Version: v})
	}
	group.PreferredVersion = group.Versions[0]
	return group
}

// definedGroups keeps the groups of definitions in the older form of discovery, which upstream's aggregator does; the
// aggregated form has them from upstream.
type definedGroups struct {
	definitions apiextensionslisters.CustomResourceDefinitionLister
	list        discovery.GroupManager

	mu    sync.Mutex
	named map[string]bool
}

// follow keeps them from now on as they are defined.
func (d *definedGroups) follow(definitions cache.SharedIndexInformer) error {
	_, err := definitions.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { d.update() }, UpdateFunc: func(any, any) { d.update() }, DeleteFunc: func(any) { d.update() },
	})
	if err != nil {
		return fmt.Errorf("watch definitions for discovery: %w", err)
	}
	return nil
}

// update names what is defined now, and no more what is not.
func (d *definedGroups) update() {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.definitions.List(labels.Everything())
	if err != nil {
		return // never: it is a cache
	}
	versions := map[string][]string{}
	for _, definition := range all {
		if !apiextensionshelpers.IsCRDConditionTrue(definition, apiextensionsv1.Established) || groupPriorities[definition.Spec.Group] != 0 {
			continue
		}
		for _, v := range definition.Spec.Versions {
			if v.Served && !slices.Contains(versions[definition.Spec.Group], v.Name) {
				versions[definition.Spec.Group] = append(versions[definition.Spec.Group], v.Name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		slices.SortFunc(versions[name], func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
		d.list.AddGroup(discoveryGroup(name, versions[name]))
		d.named[name] = true
	}
	for name := range d.named {
		if versions[name] == nil {
			d.list.RemoveGroup(name)
			delete(d.named, name)
		}
	}
}
