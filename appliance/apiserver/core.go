package apiserver

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/registry/rest"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
	configmapstore "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
	endpointstore "k8s.io/kubernetes/pkg/registry/core/endpoint/storage"
	eventstore "k8s.io/kubernetes/pkg/registry/core/event/storage"
	limitrangestore "k8s.io/kubernetes/pkg/registry/core/limitrange/storage"
	namespacestore "k8s.io/kubernetes/pkg/registry/core/namespace/storage"
	nodestore "k8s.io/kubernetes/pkg/registry/core/node/storage"
	volumestore "k8s.io/kubernetes/pkg/registry/core/persistentvolume/storage"
	claimstore "k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim/storage"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	templatestore "k8s.io/kubernetes/pkg/registry/core/podtemplate/storage"
	replicationstore "k8s.io/kubernetes/pkg/registry/core/replicationcontroller/storage"
	quotastore "k8s.io/kubernetes/pkg/registry/core/resourcequota/storage"
	secretstore "k8s.io/kubernetes/pkg/registry/core/secret/storage"
	serviceaccountstore "k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage"
)

// eventTTL is how long Events are kept, as in kube-apiserver.
const eventTTL = time.Hour

// coreResources are the registries of the core group.
type coreResources struct {
	storage map[string]rest.Storage
}

func newCoreResources(ctx context.Context, d *resourceDeps) (*coreResources, error) {
	b := builder{storage: map[string]rest.Storage{}}
	namespaces, namespaceStatus, namespaceFinalize, err := namespacestore.NewREST(d.options)
	b.add(err, "namespaces", namespaces, "namespaces/status", namespaceStatus, "namespaces/finalize", namespaceFinalize)
	nodes, err := nodestore.NewStorage(d.options, kubeletclient.KubeletClientConfig{Port: 10250}, d.kubelet)
	b.add(err, "nodes", nodes.Node, "nodes/status", nodes.Status)
	pods, err := podstore.NewStorage(d.options, kubeletConnection{d.kubelet}, d.kubelet, d.budgets, d.authorizer)
	b.add(err, "pods", pods.Pod, "pods/status", pods.Status, "pods/binding", pods.Binding, "pods/eviction", pods.Eviction, "bindings", pods.LegacyBinding,
		"pods/log", pods.Log, "pods/exec", pods.Exec, "pods/attach", pods.Attach, "pods/portforward", pods.PortForward)
	endpoints, err := endpointstore.NewREST(d.options)
	b.add(err, "endpoints", endpoints)
	secrets, err := secretstore.NewREST(d.options)
	b.add(err, "secrets", secrets)
	configMaps, err := configmapstore.NewREST(d.options)
	b.add(err, "configmaps", configMaps)
	events, err := eventstore.NewREST(d.options, uint64(eventTTL.Seconds()))
	b.add(err, "events", events)
	limits, err := limitrangestore.NewREST(d.options)
	b.add(err, "limitranges", limits)
	quotas, quotaStatus, err := quotastore.NewREST(d.options)
	b.add(err, "resourcequotas", quotas, "resourcequotas/status", quotaStatus)
	templates, err := templatestore.NewREST(d.options)
	b.add(err, "podtemplates", templates)
	replication, err := replicationstore.NewStorage(d.options)
	b.add(err, "replicationcontrollers", replication.Controller, "replicationcontrollers/status", replication.Status, "replicationcontrollers/scale", replication.Scale)
	volumes, volumeStatus, err := volumestore.NewREST(d.options)
	b.add(err, "persistentvolumes", volumes, "persistentvolumes/status", volumeStatus)
	claims, claimStatus, err := claimstore.NewREST(d.options)
	b.add(err, "persistentvolumeclaims", claims, "persistentvolumeclaims/status", claimStatus)
	if b.err != nil {
		return nil, b.err
	}
	accounts, err := serviceaccountstore.NewREST(d.options, d.tokens.generator, d.tokens.audiences, 0, pods.Pod.Store, secrets.Store, nodes.Node.Store, true, extendedLife)
	b.add(err, "serviceaccounts", accounts, "serviceaccounts/token", accounts.Token)
	services, serviceStatus, err := newServices(ctx, d, endpoints, pods)
	b.add(err, "services", services, "services/status", serviceStatus)
	return &coreResources{storage: b.storage}, b.err
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
