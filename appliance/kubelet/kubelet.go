package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/alb-appliance/appliance/appliance/podnet"
)

// Node is one simulated node.
type Node struct {
	Name string
	// Address is the node's own, its InternalIP.
	Address netip.Addr
	// Zone, Region, InstanceID and InstanceType are what the cloud says of the machine.
	Zone, Region, InstanceID, InstanceType string
	// Pods is the range that the node's pods get addresses from. Nodes may share one.
	Pods netip.Prefix
}

// Options is what the nodes need.
type Options struct {
	Network *podnet.Network
	Clock   clockwork.Clock
	Logger  *slog.Logger
	Nodes   []Node
	// ClusterDNS is the address of the cluster's name server, which /etc/resolv.conf of pods names.
	ClusterDNS netip.Addr
	// Outside is what pods reach beside the cluster. Optional.
	Outside Outside
	// Version is what the nodes report as the kubelet's; empty for DefaultVersion.
	Version string
}

// DefaultVersion is the release whose behaviour is followed.
const DefaultVersion = "v1.36.3"

// Kubelet runs the nodes. Handler may be used at any time; Run is called once.
type Kubelet struct {
	options   Options
	nodes     map[string]Node
	addresses *addresses
	pods      registry
}

// New makes the nodes; Run starts them.
func New(o Options) *Kubelet {
	if o.Version == "" {
		o.Version = DefaultVersion
	}
	k := &Kubelet{options: o, nodes: map[string]Node{}, addresses: newAddresses(o.Nodes)}
	k.pods.byUID = map[types.UID]*pod{}
	for _, n := range o.Nodes {
		k.nodes[n.Name] = n
	}
	return k
}

// Run registers the nodes and runs their pods until ctx ends; then every container is cut. It calls ready once, when
// every pod that was already running runs again at its address and Services lead to their endpoints.
func (k *Kubelet) Run(ctx context.Context, config *rest.Config, ready func()) error {
	c := rest.CopyConfig(config)
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	c.QPS = -1 // a node is not slowed down by its client
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return fmt.Errorf("make client of the nodes: %w", err)
	}
	return k.run(ctx, client, ready)
}

// runtime is what the pods of one Run share.
type runtime struct {
	*Kubelet
	client   kubernetes.Interface
	events   *events
	services serviceLister
	slices   discoverylisters.EndpointSliceLister
	running  sync.WaitGroup
}

func (k *Kubelet) run(ctx context.Context, client kubernetes.Interface, ready func()) error {
	r := &runtime{Kubelet: k, client: client, events: newEvents(client, k.options.Clock, k.options.Logger)}
	ctx, cancel := context.WithCancel(ctx)
	defer r.running.Wait()
	defer cancel()
	r.running.Go(func() { r.events.run(ctx) })
	if err := r.registerNodes(ctx); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(dropManagedFields))
	defer factory.Shutdown()
	defer cancel()
	pods := factory.InformerFor(&corev1.Pod{}, podsOnNodes)
	proxy := newProxy(k, factory, pods)
	r.services, r.slices = proxy.services, proxy.slices
	factory.Start(ctx.Done())
	if !cache.WaitFor(ctx, "", append(proxy.synced(), pods.HasSyncedChecker())...) {
		return nil // ctx ended
	}
	if err := proxy.start(ctx, &r.running); err != nil {
		return err
	}
	if err := r.takeOver(ctx, pods); err != nil {
		return err
	}
	if ctx.Err() == nil {
		ready()
	}
	<-ctx.Done()
	return nil
}

// podsOnNodes watches pods that are bound, to whichever node.
func podsOnNodes(client kubernetes.Interface, _ time.Duration) cache.SharedIndexInformer {
	return coreinformers.NewFilteredPodInformer(client, metav1.NamespaceAll, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
	})
}

// dropManagedFields keeps half of an object's bytes out of the informers; nothing here reads them.
func dropManagedFields(o any) (any, error) {
	if a, err := meta.Accessor(o); err == nil {
		a.SetManagedFields(nil)
	}
	return o, nil
}

// takeOver reserves the addresses of the pods that exist, then runs them, and waits until those that ran run again.
func (r *runtime) takeOver(ctx context.Context, informer cache.SharedIndexInformer) error {
	for _, o := range informer.GetStore().List() {
		if p, ok := o.(*corev1.Pod); ok && !isTerminal(p) {
			r.recover(p)
		}
	}
	var restored sync.WaitGroup
	handled, err := informer.AddEventHandler(r.handler(ctx, &restored))
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	if cache.WaitFor(ctx, "", handled.HasSyncedChecker()) {
		restored.Wait() // a pod whose context ends counts as restored
	}
	return nil
}

// recover gives a pod that existed before the address that it had.
func (r *runtime) recover(p *corev1.Pod) {
	ip, err := netip.ParseAddr(p.Status.PodIP)
	if _, ours := r.nodes[p.Spec.NodeName]; err != nil || !ours || p.Spec.HostNetwork {
		return
	}
	if !r.addresses.reserve(ip, p.UID) {
		r.options.Logger.Info("pod address is taken, the pod gets another", "pod", p.Namespace+"/"+p.Name, "address", ip)
	}
}

// handler starts, tells and ends pods. Pods that ran before this process did count as restored when they run again.
// Informers call it from one goroutine.
func (r *runtime) handler(ctx context.Context, restored *sync.WaitGroup) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, initial bool) {
			settled := func() {}
			if p := o.(*corev1.Pod); initial && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
				restored.Add(1)
				settled = restored.Done
			}
			r.seen(ctx, o.(*corev1.Pod), settled)
		},
		UpdateFunc: func(before, now any) {
			if was := before.(*corev1.Pod); was.UID != now.(*corev1.Pod).UID {
				r.gone(was) // deleted and made again while nobody looked
			}
			r.seen(ctx, now.(*corev1.Pod), func() {})
		},
		DeleteFunc: func(o any) {
			if tombstone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = tombstone.Obj
			}
			if p, ok := o.(*corev1.Pod); ok {
				r.gone(p)
			}
		},
	}
}

// seen tells a pod what the API has, and runs it when it is new and on a node of ours; else it counts as settled.
func (r *runtime) seen(ctx context.Context, p *corev1.Pod, settled func()) {
	node, ours := r.nodes[p.Spec.NodeName]
	known := r.pods.get(p.UID)
	switch {
	case known != nil:
		known.post(func() { known.observe(p) })
		settled()
	case ours:
		r.start(ctx, node, p, settled)
	default:
		settled()
	}
}

func (r *runtime) gone(p *corev1.Pod) {
	if known := r.pods.get(p.UID); known != nil {
		known.post(func() { known.gone = true })
	}
}

// start runs a pod in its own goroutine.
func (r *runtime) start(ctx context.Context, node Node, object *corev1.Pod, settled func()) {
	p := newPod(ctx, r, node, object, settled)
	r.pods.add(p)
	r.running.Go(func() {
		defer r.pods.remove(p)
		p.run()
	})
}

func isTerminal(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}
