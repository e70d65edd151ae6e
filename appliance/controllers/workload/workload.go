// Package workload runs Kubernetes' own controllers, as upstream ships them: what turns a Deployment into pods and a
// Service into endpoints. Only the namespace controller has a queue of our own, for upstream's waits five seconds.
//
// With apiserver it is the only package that imports k8s.io/kubernetes.
package workload

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpoint"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/replication"
	"k8s.io/kubernetes/pkg/controller/statefulset"
)

// maxEndpointsPerSlice is upstream's default.
const maxEndpointsPerSlice = 100

// Options is what the controllers need.
type Options struct {
	// Client reaches the API.
	Client *restclient.Config
	// TokenKey signs the tokens in Secrets, PEM.
	TokenKey []byte
	// RootCA is published into every namespace (ConfigMap kube-root-ca.crt), PEM.
	RootCA []byte
	Logger *slog.Logger
}

// Run runs the controllers until ctx ends.
func Run(ctx context.Context, o Options) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("workload"))
	set, err := newSet(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { <-ctx.Done() })
	start := func(run func(context.Context)) { running.Go(func() { run(ctx) }) }
	for _, add := range []func(context.Context, starter) error{
		set.replicas, set.endpoints, set.accounts, set.namespaces, set.batch, set.limits, set.garbage,
	} {
		if err := add(ctx, start); err != nil {
			return err
		}
	}
	set.factory.Start(ctx.Done())
	close(set.started)
	running.Wait()
	set.factory.Shutdown()
	return nil
}

// set holds what the controllers share.
type set struct {
	options  Options
	client   kubernetes.Interface
	metadata metadata.Interface
	factory  informers.SharedInformerFactory
	shared   metadatainformer.SharedInformerFactory // of all kinds, names and owners only
	started  chan struct{}                          // closed when the informers run
}

func newSet(o Options) (*set, error) {
	typed := restclient.CopyConfig(o.Client)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	typed.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, fmt.Errorf("make client of the workload controllers: %w", err)
	}
	meta, err := metadata.NewForConfig(o.Client)
	if err != nil {
		return nil, fmt.Errorf("make metadata client of the workload controllers: %w", err)
	}
	return &set{
		options: o, client: client, metadata: meta, started: make(chan struct{}), shared: metadatainformer.NewSharedInformerFactory(meta, 0),
		factory: newFactory(client),
	}, nil
}

// dropManagedFields keeps half of an object's bytes out of the informers; no controller reads them.
func dropManagedFields(o any) (any, error) {
	if a, err := meta.Accessor(o); err == nil {
		a.SetManagedFields(nil)
	}
	return o, nil
}

// replicas keeps pods in number: what Deployments, ReplicaSets, StatefulSets, DaemonSets and ReplicationControllers want.
func (s *set) replicas(ctx context.Context, start starter) error {
	core, apps := s.factory.Core().V1(), s.factory.Apps().V1()
	d, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), core.Pods(), s.client)
	if err != nil {
		return fmt.Errorf("make deployment controller: %w", err)
	}
	r := replicaset.NewReplicaSetController(ctx, apps.ReplicaSets(), core.Pods(), s.client, replicaset.BurstReplicas)
	start(func(ctx context.Context) { d.Run(ctx, 1) })
	start(func(ctx context.Context) { r.Run(ctx, 1) })
	if err := s.whenUsed(ctx, start, apps.StatefulSets().Informer(), (*set).statefulSets); err != nil {
		return err
	}
	if err := s.whenUsed(ctx, start, apps.DaemonSets().Informer(), (*set).daemonSets); err != nil {
		return err
	}
	return s.whenUsed(ctx, start, core.ReplicationControllers().Informer(), (*set).replicationControllers)
}

func (s *set) replicationControllers(ctx context.Context, start starter) error {
	core := s.factory.Core().V1()
	rc := replication.NewReplicationManager(ctx, core.Pods(), core.ReplicationControllers(), s.client, replication.BurstReplicas)
	start(func(ctx context.Context) { rc.Run(ctx, 1) })
	return nil
}

func (s *set) statefulSets(ctx context.Context, start starter) error {
	core, apps := s.factory.Core().V1(), s.factory.Apps().V1()
	st := statefulset.NewStatefulSetController(ctx, core.Pods(), apps.StatefulSets(), core.PersistentVolumeClaims(), apps.ControllerRevisions(), s.client)
	start(func(ctx context.Context) { st.Run(ctx, 1) })
	return nil
}

func (s *set) daemonSets(ctx context.Context, start starter) error {
	core, apps := s.factory.Core().V1(), s.factory.Apps().V1()
	ds, err := daemon.NewDaemonSetsController(ctx, apps.DaemonSets(), apps.ControllerRevisions(), core.Pods(), core.Nodes(), s.client,
		flowcontrol.NewBackOff(time.Second, 15*time.Minute))
	if err != nil {
		return fmt.Errorf("make daemon set controller: %w", err)
	}
	start(func(ctx context.Context) { ds.Run(ctx, 1) })
	return nil
}

func (s *set) endpoints(ctx context.Context, start starter) error {
	core := s.factory.Core().V1()
	e := endpoint.NewEndpointController(ctx, core.Pods(), core.Services(), core.Endpoints(), s.client, 0)
	es := endpointslice.NewController(ctx, core.Pods(), core.Services(), core.Nodes(), s.factory.Discovery().V1().EndpointSlices(), maxEndpointsPerSlice, s.client, 0)
	start(func(ctx context.Context) { e.Run(ctx, 1) })
	start(func(ctx context.Context) { es.Run(ctx, 1) })
	return nil
}
