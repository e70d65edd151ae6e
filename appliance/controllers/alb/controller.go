package alb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/appliance/controllers/clockqueue"
	"github.com/alb-appliance/appliance/appliance/controllers/recorder"
	"github.com/alb-appliance/appliance/cloudsim"
)

// ControllerName is what an IngressClass names as its controller to belong to this one (ALB-FACTS 3.1).
const ControllerName = "ingress.k8s.alibabacloud/alb"

// When an AlbConfig is looked at again (ALB-FACTS 3.8): after a failure, and for the sake of what nobody reports.
const (
	minBackoff   = 5 * time.Second
	maxBackoff   = 5 * time.Minute
	resyncPeriod = time.Hour
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

	certificates certificateCache
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
		queue:  clockqueue.New[string](o.Clock, minBackoff, maxBackoff),
		told:   told{last: map[string]string{}},
	}
	c.events, c.stopSink = recorder.New(client, eventSource)
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
	running.Go(func() { c.resync(ctx) })
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

// resync looks at everything again now and then: what was changed in the cloud behind our back is put right.
func (c *Controller) resync(ctx context.Context) {
	ticker := c.options.Clock.NewTicker(resyncPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
			c.enqueueAll(nil)
		}
	}
}

// reconcile brings one AlbConfig's instance up to date. Its error means: try again later. What the user must mend is
// told by Events and is no error: only a change of an object helps.
func (c *Controller) reconcile(ctx context.Context, name string) error {
	object, err := c.listers.albConfig(name)
	if err != nil {
		return err
	}
	if object == nil {
		return c.tellMissing(ctx, name)
	}
	d := c.deployer(object)
	if object.GetDeletionTimestamp() != nil { // before Decode: what cannot be read can be deleted
		return c.finalize(ctx, object, d)
	}
	members, err := c.members(name)
	if err != nil {
		return err
	}
	config, err := albv1.Decode(object)
	if err != nil {
		c.tell(object, members, []Problem{{Reason: reasonFailedBuildModel, Message: err.Error()}})
		return nil
	}
	if err := c.addFinalizer(ctx, object); err != nil {
		return err
	}
	group, err := c.load(ctx, config, members)
	if err != nil {
		return err
	}
	model, problems := Build(group, c.options.Cluster)
	if len(problems) > 0 {
		c.tell(object, members, problems)
		if slices.ContainsFunc(problems, func(p Problem) bool { return p.Again }) {
			return fmt.Errorf("build albconfig %s: %s", name, problems[0])
		}
		return nil
	}
	result, err := d.deploy(ctx, model)
	if err != nil {
		if ctx.Err() == nil {
			c.tell(object, members, []Problem{{Reason: reasonFailedApplyModel, Message: message(err)}})
		}
		return err
	}
	c.tellNotes(object, notes(config, result.without))
	c.tellApplied(object, members, model.Waiting, result.changed)
	err = c.writeStatus(ctx, object, config.Status, result)
	if apierrors.IsNotFound(err) {
		// It went while its instance was made, in spite of the finalizer: upstream's API carries out a deletion that has
		// read the object just before the finalizer came as if there were none.
		return c.deployer(object).remove(ctx) // a new one: to d all it made is in use
	}
	return errors.Join(err, c.writeIngressStatus(ctx, name, members, result.loadBalancer.DNSName))
}

// deployer is what acts in the cloud for an AlbConfig.
func (c *Controller) deployer(object *unstructured.Unstructured) *deployer {
	known, _, _ := unstructured.NestedString(object.Object, "status", "loadBalancer", "id") // none or nonsense: none known
	return &deployer{
		cloud: c.options.Cloud, clock: c.options.Clock, cluster: c.options.Cluster, vpcID: c.options.VPCID,
		name: object.GetName(), uid: string(object.GetUID()), known: known,
	}
}

// message is what of an error goes into an Event: of a cloud error the text that its SDK shows (ALB-FACTS 1.3, 3.9).
func message(err error) string {
	var e *cloudsim.Error
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}

func (c *Controller) watch() error {
	nothing := func(any) {}
	if err := c.typed.Core().V1().Secrets().Informer().SetTransform(trimSecret); err != nil {
		return fmt.Errorf("watch objects of the ALB controller: %w", err)
	}
	handlers := []struct {
		informer cache.SharedIndexInformer
		enqueue  func(any) // the AlbConfigs that the object matters to, as it is or was
		seen     func(any) // as it is
		gone     func(any)
	}{
		{c.custom.ForResource(albv1.Resource).Informer(), c.enqueueAlbConfig, nothing, c.forget},
		{c.typed.Networking().V1().Ingresses().Informer(), c.enqueueIngress, c.tellBinding, c.forget},
		{c.typed.Networking().V1().IngressClasses().Informer(), c.enqueueAll, c.tellBindings, nothing},
		{c.typed.Core().V1().Services().Informer(), c.enqueueService, nothing, nothing},
		{c.typed.Discovery().V1().EndpointSlices().Informer(), c.enqueueSlice, nothing, nothing},
		{c.typed.Core().V1().Secrets().Informer(), c.enqueueSecret, nothing, nothing},
		{c.typed.Core().V1().Nodes().Informer(), c.enqueueAll, nothing, nothing},
	}
	for _, h := range handlers {
		_, err := h.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(o any) {
				h.seen(o)
				h.enqueue(o)
			},
			UpdateFunc: func(old, new any) {
				if changed(old, new) {
					h.enqueue(old) // an Ingress may have left one group for another
					h.seen(new)
					h.enqueue(new)
				}
			},
			DeleteFunc: func(o any) {
				if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = gone.Obj
				}
				h.gone(o)
				h.enqueue(o)
			},
		})
		if err != nil {
			return fmt.Errorf("watch objects of the ALB controller: %w", err)
		}
	}
	return nil
}
