package alb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/cloudsim"
)

// ControllerName is what an IngressClass names as its controller to belong to this one (ALB-FACTS 3.1).
const ControllerName = "ingress.k8s.alibabacloud/alb"

// Backoff of an AlbConfig that cannot be applied (ALB-FACTS 3.8).
const (
	minBackoff = 5 * time.Second
	maxBackoff = 5 * time.Minute
)

// workers is how many AlbConfigs are reconciled at once.
const workers = 3

// Options is what the controller needs.
type Options struct {
	Client  *restclient.Config
	Cloud   Cloud
	Clock   clockwork.Clock
	Logger  *slog.Logger
	Cluster Cluster
	// VPCID is the cluster's VPC.
	VPCID string
}

// Controller makes ALB instances out of AlbConfigs and Ingresses.
type Controller struct {
	options  Options
	client   kubernetes.Interface
	dynamic  dynamic.Interface
	typed    informers.SharedInformerFactory
	custom   dynamicinformer.DynamicSharedInformerFactory
	listers  listers
	queue    workqueue.TypedRateLimitingInterface[string]
	events   record.EventRecorder
	stopSink func()
	told     told
}

// New wires a controller; it asks nothing yet.
func New(o Options) (*Controller, error) {
	client, err := kubernetes.NewForConfig(o.Client)
	if err != nil {
		return nil, fmt.Errorf("make client of the ALB controller: %w", err)
	}
	custom, err := dynamic.NewForConfig(o.Client)
	if err != nil {
		return nil, fmt.Errorf("make dynamic client of the ALB controller: %w", err)
	}
	c := &Controller{
		options: o, client: client, dynamic: custom,
		typed:  informers.NewSharedInformerFactory(client, 0),
		custom: dynamicinformer.NewDynamicSharedInformerFactory(custom, 0),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](minBackoff, maxBackoff),
			workqueue.TypedRateLimitingQueueConfig[string]{Clock: queueClock{o.Clock}}),
		told: told{last: map[string]string{}},
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	c.events = broadcaster.NewRecorder(eventScheme, corev1.EventSource{Component: eventSource})
	c.stopSink = broadcaster.Shutdown
	c.listers = newListers(c.typed, c.custom)
	return c, c.watch()
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	defer c.stopSink()
	c.typed.Start(ctx.Done())
	c.custom.Start(ctx.Done())
	defer c.typed.Shutdown()
	defer c.custom.Shutdown()
	c.typed.WaitForCacheSync(ctx.Done())
	c.custom.WaitForCacheSync(ctx.Done())
	var running sync.WaitGroup
	for range workers {
		running.Go(func() { c.work(ctx) })
	}
	<-ctx.Done()
	c.queue.ShutDown()
	running.Wait()
	return nil
}

func (c *Controller) work(ctx context.Context) {
	for {
		name, stop := c.queue.Get()
		if stop {
			return
		}
		switch err := c.reconcile(ctx, name); {
		case err == nil:
			c.queue.Forget(name)
		case ctx.Err() != nil:
		default:
			c.options.Logger.Debug("reconcile again later", "albconfig", name, "err", err)
			c.queue.AddRateLimited(name)
		}
		c.queue.Done(name)
	}
}

// reconcile brings one AlbConfig's instance up to date. Its error means: try again later. What the user must mend is
// told by Events and is no error: only a change of an object helps.
func (c *Controller) reconcile(ctx context.Context, name string) error {
	object, err := c.listers.albConfig(name)
	if object == nil {
		return err
	}
	config, err := albv1.Decode(object)
	if err != nil {
		c.tell(name, object, nil, []Problem{{Reason: reasonFailedBuildModel, Message: err.Error()}})
		return nil
	}
	d := &deployer{
		cloud: c.options.Cloud, clock: c.options.Clock, cluster: c.options.Cluster,
		name: name, uid: string(config.UID), vpcID: c.options.VPCID,
	}
	if config.DeletionTimestamp != nil {
		return c.finalize(ctx, object, d)
	}
	if err := c.addFinalizer(ctx, object); err != nil {
		return err
	}
	group, err := c.load(config)
	if err != nil {
		return err
	}
	model, problems := Build(group, c.options.Cluster)
	if len(problems) > 0 {
		c.tell(name, object, group, problems)
		return nil
	}
	result, err := d.deploy(ctx, model)
	if err != nil {
		if ctx.Err() == nil {
			c.tell(name, object, group, []Problem{{Reason: reasonFailedApplyModel, Message: message(err)}})
		}
		return err
	}
	c.tellSuccess(name, object, group, result.changed)
	return errors.Join(c.writeStatus(ctx, object, result.loadBalancer, model), c.writeIngressStatus(ctx, group, result.loadBalancer.DNSName))
}

// message is what of an error goes into an Event: of a cloud error the text after "Message:" (ALB-FACTS 3.9).
func message(err error) string {
	var e *cloudsim.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

func (c *Controller) watch() error {
	handlers := []struct {
		informer cache.SharedIndexInformer
		enqueue  func(any)
	}{
		{c.custom.ForResource(albv1.Resource).Informer(), c.enqueueAlbConfig},
		{c.typed.Networking().V1().Ingresses().Informer(), c.enqueueIngress},
		{c.typed.Networking().V1().IngressClasses().Informer(), c.enqueueAll},
		{c.typed.Core().V1().Services().Informer(), c.enqueueService},
		{c.typed.Discovery().V1().EndpointSlices().Informer(), c.enqueueSlice},
		{c.typed.Core().V1().Nodes().Informer(), c.enqueueAll},
	}
	for _, h := range handlers {
		_, err := h.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: h.enqueue,
			UpdateFunc: func(old, new any) {
				if changed(old, new) {
					h.enqueue(old) // an Ingress may have left one group for another
					h.enqueue(new)
				}
			},
			DeleteFunc: func(o any) {
				if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = gone.Obj
				}
				h.enqueue(o)
			},
		})
		if err != nil {
			return fmt.Errorf("watch objects of the ALB controller: %w", err)
		}
	}
	return nil
}
