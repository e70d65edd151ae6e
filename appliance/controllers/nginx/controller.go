package nginx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/alb-appliance/appliance/appliance/controllers/recorder"
	"github.com/alb-appliance/appliance/dataplane"
)

// ControllerName is what an IngressClass names as its controller to belong to this one (NGINX-FACTS 7).
const ControllerName = "k8s.io/ingress-nginx"

// eventSource is the component of the Events.
const eventSource = "nginx-ingress-controller"

// retryAfter is how long the controller waits after the API refused a status.
const retryAfter = time.Second

// Publisher takes the controller's part of what the data plane serves. *edge.Publisher is one.
type Publisher interface {
	Offer(*dataplane.Snapshot)
}

// Options is what the controller needs.
type Options struct {
	Client    *restclient.Config
	Clock     clockwork.Clock
	Logger    *slog.Logger
	Publisher Publisher
	// Address is the IP that Ingress status shows.
	Address string
	Network Network
}

// Controller serves the Ingresses of its class.
type Controller struct {
	options  Options
	client   kubernetes.Interface
	factory  informers.SharedInformerFactory
	listers  listers
	events   record.EventRecorder
	stopSink func()
	wake     chan struct{} // one slot: look again
	told     map[types.UID]string
}

// New wires a controller; it asks nothing yet.
func New(o Options) (*Controller, error) {
	client, err := kubernetes.NewForConfig(o.Client)
	if err != nil {
		return nil, fmt.Errorf("make client of the NGINX controller: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	listers, err := newListers(factory)
	if err != nil {
		return nil, err
	}
	c := &Controller{
		options: o, client: client, factory: factory, listers: listers,
		wake: make(chan struct{}, 1), told: map[types.UID]string{},
	}
	c.events, c.stopSink = recorder.New(client, eventSource)
	return c, c.watch()
}

// watch looks again after every change of what Build looks at. Each look is at everything: there is one proxy.
func (c *Controller) watch() error {
	look := func() {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	for _, informer := range c.listers.informers {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { look() }, UpdateFunc: func(any, any) { look() }, DeleteFunc: func(any) { look() },
		})
		if err != nil {
			return fmt.Errorf("watch objects of the NGINX controller: %w", err)
		}
	}
	return nil
}

// Run serves until ctx ends; ready is called once after the first publication.
func (c *Controller) Run(ctx context.Context, ready func()) error {
	defer c.stopSink()
	c.factory.Start(ctx.Done())
	defer c.factory.Shutdown()
	c.factory.WaitForCacheSync(ctx.Done())
	for first := true; ctx.Err() == nil; first = false {
		err := c.reconcile(ctx)
		if first && ctx.Err() == nil {
			ready()
		}
		var again <-chan time.Time
		if err != nil {
			c.options.Logger.Debug("look again later", "err", err)
			again = c.options.Clock.After(retryAfter)
		}
		select {
		case <-ctx.Done():
		case <-c.wake:
		case <-again:
		}
	}
	return nil
}

// reconcile publishes what the objects say now, then tells their owners.
func (c *Controller) reconcile(ctx context.Context) error {
	cluster, err := c.listers.load()
	if err != nil {
		return err
	}
	network := c.options.Network
	network.Now = c.options.Clock.Now()
	snapshot, problems := Build(cluster, network)
	c.options.Publisher.Offer(snapshot)
	c.tell(cluster, problems)
	return c.writeStatus(ctx, cluster)
}

// tell writes an Ingress's Events, each text once until it changes: Sync, what of it has no effect here, and what of it
// is left out.
func (c *Controller) tell(cluster *Cluster, problems []Problem) {
	told := map[types.UID]string{}
	for _, ing := range cluster.Ingresses {
		seen := fmt.Sprint(ing.Generation, ing.Annotations)
		mine := ""
		for _, p := range problems {
			if p.Ingress == key(ing) {
				mine += p.Reason + p.Message + "\n"
			}
		}
		told[ing.UID] = seen + mine
		before := c.told[ing.UID]
		if before == told[ing.UID] {
			continue
		}
		if len(before) < len(seen) || before[:len(seen)] != seen {
			c.events.Event(ing, corev1.EventTypeNormal, reasonSync, messageSync)
		}
		for _, p := range problems {
			if p.Ingress == key(ing) {
				c.events.Event(ing, corev1.EventTypeWarning, p.Reason, p.Message)
			}
		}
	}
	c.told = told
}

// writeStatus shows the controller's address on each Ingress.
func (c *Controller) writeStatus(ctx context.Context, cluster *Cluster) error {
	var errs []error
	for _, ing := range cluster.Ingresses {
		have := ing.Status.LoadBalancer.Ingress
		if len(have) == 1 && have[0].IP == c.options.Address && have[0].Hostname == "" {
			continue
		}
		patch, err := json.Marshal(map[string]any{"status": networkingv1.IngressStatus{
			LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: c.options.Address}}},
		}})
		if err != nil {
			return fmt.Errorf("encode ingress status: %w", err)
		}
		_, err = c.client.NetworkingV1().Ingresses(ing.Namespace).Patch(ctx, ing.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("write status of ingress %s: %w", key(ing), err))
		}
	}
	return errors.Join(errs...)
}
