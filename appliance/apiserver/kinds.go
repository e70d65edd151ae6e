package apiserver

import (
	admissionregistrationrest "k8s.io/kubernetes/pkg/registry/admissionregistration/rest"
	appsrest "k8s.io/kubernetes/pkg/registry/apps/rest"
	authenticationrest "k8s.io/kubernetes/pkg/registry/authentication/rest"
	authorizationrest "k8s.io/kubernetes/pkg/registry/authorization/rest"
	autoscalingrest "k8s.io/kubernetes/pkg/registry/autoscaling/rest"
	batchrest "k8s.io/kubernetes/pkg/registry/batch/rest"
	coordinationrest "k8s.io/kubernetes/pkg/registry/coordination/rest"
	discoveryrest "k8s.io/kubernetes/pkg/registry/discovery/rest"
	networkingrest "k8s.io/kubernetes/pkg/registry/networking/rest"
	noderest "k8s.io/kubernetes/pkg/registry/node/rest"
	policyrest "k8s.io/kubernetes/pkg/registry/policy/rest"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
	storagerest "k8s.io/kubernetes/pkg/registry/storage/rest"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is one resource that is served.
type kind struct {
	resource string
	// idle says why the kind is stored and has no effect here: whoever writes one is warned in these words.
	idle string
	// warm puts upstream's watch cache before the store. It pays for kinds that many watch or that change all the time;
	// of the others every read is one of the embedded store, in this process, and nothing is kept or started for them.
	warm bool
}

// apiGroup is one API group: the versions and kinds of it that are served, and who makes upstream's registries.
type apiGroup struct {
	name     string
	versions []string // the preferred one first
	provider func(*resourceDeps) groupProvider
	kinds    []kind
}

// Why some kinds are idle.
const (
	noVolumes  = "there are no volumes here: what a pod mounts of a claim is empty"
	noLoad     = "nothing measures load here: the number of replicas stays as it is"
	noFirewall = "pods reach each other whatever policies say"
	noRuntimes = "all pods run in the same way"
)

// groups is THE table of what is served. A resource not named here is not served.
var groups = []apiGroup{
	{"", []string{"v1"}, nil, []kind{ // made by newCoreResources
		{resource: "bindings"},
		{resource: "configmaps", warm: true},
		{resource: "endpoints", warm: true},
		{resource: "events"}, // never cached, as upstream: nobody watches all of them
		{resource: "limitranges"},
		{resource: "namespaces", warm: true},
		{resource: "nodes", warm: true},
		{resource: "persistentvolumeclaims", idle: noVolumes},
		{resource: "persistentvolumes", idle: noVolumes},
		{resource: "pods", warm: true},
		{resource: "podtemplates"},
		{resource: "replicationcontrollers"},
		{resource: "resourcequotas"},
		{resource: "secrets", warm: true},
		{resource: "serviceaccounts", warm: true},
		{resource: "services", warm: true},
	}},
	{"apps", []string{"v1"}, func(*resourceDeps) groupProvider { return appsrest.StorageProvider{} }, []kind{
		{resource: "controllerrevisions"}, {resource: "daemonsets"}, {resource: "deployments", warm: true}, {resource: "replicasets", warm: true},
		{resource: "statefulsets"},
	}},
	{"batch", []string{"v1"}, func(*resourceDeps) groupProvider { return batchrest.RESTStorageProvider{} }, []kind{
		{resource: "cronjobs"}, {resource: "jobs"},
	}},
	{"autoscaling", []string{"v2", "v1"}, func(*resourceDeps) groupProvider { return autoscalingrest.RESTStorageProvider{} }, []kind{
		{resource: "horizontalpodautoscalers", idle: noLoad},
	}},
	{"networking.k8s.io", []string{"v1"}, func(*resourceDeps) groupProvider { return networkingrest.RESTStorageProvider{} }, []kind{
		{resource: "ingresses", warm: true}, {resource: "ingressclasses"}, {resource: "networkpolicies", idle: noFirewall},
	}},
	{"discovery.k8s.io", []string{"v1"}, func(*resourceDeps) groupProvider { return discoveryrest.StorageProvider{} }, []kind{
		{resource: "endpointslices", warm: true},
	}},
	{"coordination.k8s.io", []string{"v1"}, func(*resourceDeps) groupProvider { return coordinationrest.RESTStorageProvider{} }, []kind{
		{resource: "leases"},
	}},
	{"policy", []string{"v1"}, func(*resourceDeps) groupProvider { return policyrest.RESTStorageProvider{} }, []kind{
		{resource: "poddisruptionbudgets"},
	}},
	{"rbac.authorization.k8s.io", []string{"v1"}, func(d *resourceDeps) groupProvider { return rbacrest.RESTStorageProvider{Authorizer: d.authorizer} }, []kind{
		{resource: "clusterrolebindings"}, {resource: "clusterroles"}, {resource: "rolebindings"}, {resource: "roles"},
	}},
	{"scheduling.k8s.io", []string{"v1"}, func(*resourceDeps) groupProvider { return schedulingrest.RESTStorageProvider{} }, []kind{
		{resource: "priorityclasses"},
	}},
	{"node.k8s.io", []string{"v1"}, func(*resourceDeps) groupProvider { return noderest.RESTStorageProvider{} }, []kind{
		{resource: "runtimeclasses", idle: noRuntimes},
	}},
	{"storage.k8s.io", []string{"v1"}, func(*resourceDeps) groupProvider { return storagerest.RESTStorageProvider{} }, []kind{
		{resource: "csidrivers", idle: noVolumes}, {resource: "csinodes", idle: noVolumes}, {resource: "csistoragecapacities", idle: noVolumes},
		{resource: "storageclasses", idle: noVolumes}, {resource: "volumeattachments", idle: noVolumes}, {resource: "volumeattributesclasses", idle: noVolumes},
	}},
	{"admissionregistration.k8s.io", []string{"v1"}, func(d *resourceDeps) groupProvider {
		return admissionregistrationrest.RESTStorageProvider{Authorizer: d.authorizer, DiscoveryClient: d.discovery}
	}, []kind{
		{resource: "mutatingwebhookconfigurations"}, {resource: "validatingadmissionpolicies"}, {resource: "validatingadmissionpolicybindings"}, {resource: "validatingwebhookconfigurations"},
	}},
	{"authorization.k8s.io", []string{"v1"}, func(d *resourceDeps) groupProvider {
		return authorizationrest.RESTStorageProvider{Authorizer: d.authorizer, RuleResolver: d.rules}
	}, []kind{
		{resource: "localsubjectaccessreviews"}, {resource: "selfsubjectaccessreviews"}, {resource: "selfsubjectrulesreviews"}, {resource: "subjectaccessreviews"},
	}},
	{"authentication.k8s.io", []string{"v1"}, func(d *resourceDeps) groupProvider {
		return authenticationrest.RESTStorageProvider{Authenticator: d.authentication.Authenticator, APIAudiences: d.authentication.APIAudiences}
	}, []kind{
		{resource: "selfsubjectreviews"}, {resource: "tokenreviews"},
	}},
}

// kindOf gives the row of a resource.
func kindOf(r schema.GroupResource) (kind, bool) {
	for _, g := range groups {
		if g.name != r.Group {
			continue
		}
		for _, k := range g.kinds {
			if k.resource == r.Resource {
				return k, true
			}
		}
	}
	return kind{}, false
}
