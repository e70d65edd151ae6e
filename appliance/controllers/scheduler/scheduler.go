// Package scheduler gives pods their nodes. It looks when something changes and at once, filters by what a pod demands
// (choose.go says what that is), spreads pods of one owner over zones and nodes, and says in upstream's words why a pod
// fits nowhere.
//
// Left out of upstream's scheduler: preferred terms, topology spread constraints, preemption, volumes' zones, resource
// claims and scheduling gates' plugins. Required pod affinity and anti-affinity are honoured.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Name is the scheduler that pods get which name none.
const Name = "default-scheduler"

// Options is what the scheduler needs.
type Options struct {
	// Client reaches the API.
	Client *rest.Config
	Clock  clockwork.Clock
	Logger *slog.Logger
}

// Run schedules pods until ctx ends.
func Run(ctx context.Context, o Options) error {
	c := rest.CopyConfig(o.Client)
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	c.QPS = -1 // pods are not slowed down by the client
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return fmt.Errorf("make client of the scheduler: %w", err)
	}
	return run(ctx, client, o)
}

func run(ctx context.Context, client kubernetes.Interface, o Options) error {
	s := &scheduler{
		client: client, clock: o.Clock, logger: o.Logger, changed: make(chan struct{}, 1),
		assumed: map[types.UID]string{}, told: map[types.UID]string{},
	}
	defer s.writing.Wait()
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(dropManagedFields))
	defer factory.Shutdown()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pods, nodes := factory.Core().V1().Pods(), factory.Core().V1().Nodes()
	s.pods, s.nodes = pods.Lister(), nodes.Lister()
	for _, i := range []cache.SharedIndexInformer{pods.Informer(), nodes.Informer()} {
		if _, err := i.AddEventHandler(s.handler()); err != nil {
			return fmt.Errorf("watch pods and nodes: %w", err)
		}
	}
	factory.Start(ctx.Done())
	if !cache.WaitFor(ctx, "", pods.Informer().HasSyncedChecker(), nodes.Informer().HasSyncedChecker()) {
		return nil // ctx ended
	}
	for {
		if err := s.schedule(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		}
	}
}

// dropManagedFields keeps half of an object's bytes out of the informers; nothing here reads them.
func dropManagedFields(o any) (any, error) {
	if a, err := meta.Accessor(o); err == nil {
		a.SetManagedFields(nil)
	}
	return o, nil
}

// scheduler decides in one goroutine and writes beside it.
type scheduler struct {
	client  kubernetes.Interface
	clock   clockwork.Clock
	logger  *slog.Logger
	pods    corelisters.PodLister
	nodes   corelisters.NodeLister
	changed chan struct{} // one slot: look again
	writing sync.WaitGroup

	mu      sync.Mutex
	assumed map[types.UID]string // pods whose binding is written but not seen yet, to their node
	told    map[types.UID]string // why a pod fits nowhere, as last told
}

func (s *scheduler) wake() {
	select {
	case s.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// handler wakes for what may change a decision: not for the status of a pod that runs.
func (s *scheduler) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { s.wake() }, DeleteFunc: func(any) { s.wake() },
		UpdateFunc: func(before, now any) {
			if matters(before, now) {
				s.wake()
			}
		},
	}
}

func matters(before, now any) bool {
	b, ok := before.(*corev1.Pod)
	if !ok {
		return !sameNode(before.(*corev1.Node), now.(*corev1.Node))
	}
	n := now.(*corev1.Pod)
	return wanted(n) || b.Spec.NodeName != n.Spec.NodeName || isOver(b) != isOver(n)
}

// wanted says whether a pod waits for a node from us.
func wanted(p *corev1.Pod) bool {
	return p.Spec.NodeName == "" && (p.Spec.SchedulerName == "" || p.Spec.SchedulerName == Name) &&
		p.DeletionTimestamp == nil && !isOver(p) && len(p.Spec.SchedulingGates) == 0
}

// isOver says whether a pod has ended and takes up nothing any more.
func isOver(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// schedule decides on every pod that waits.
func (s *scheduler) schedule(ctx context.Context) error {
	pods, err := s.pods.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	nodes, err := s.nodes.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	pending, cluster := s.look(pods, nodes)
	for _, p := range pending {
		node, failure := choose(p, cluster)
		if failure != "" {
			s.reject(ctx, p, failure)
			continue
		}
		cluster.add(p, node)
		s.bind(ctx, p, node)
	}
	return nil
}

// look takes the state in: what waits, first come first served within a priority, and what each node holds.
func (s *scheduler) look(pods []*corev1.Pod, nodes []*corev1.Node) ([]*corev1.Pod, *cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newCluster(nodes)
	var pending []*corev1.Pod
	alive := map[types.UID]bool{}
	for _, p := range pods {
		alive[p.UID] = true
		if p.Spec.NodeName != "" {
			delete(s.assumed, p.UID)
		}
		if !wanted(p) {
			delete(s.told, p.UID)
			if p.Spec.NodeName != "" && !isOver(p) {
				c.add(p, p.Spec.NodeName)
			}
			continue
		}
		if node := s.assumed[p.UID]; node != "" {
			c.add(p, node)
		} else {
			pending = append(pending, p)
		}
	}
	forget(s.assumed, alive)
	forget(s.told, alive)
	sortPending(pending)
	return pending, c
}

func forget(m map[types.UID]string, alive map[types.UID]bool) {
	for uid := range m {
		if !alive[uid] {
			delete(m, uid)
		}
	}
}
