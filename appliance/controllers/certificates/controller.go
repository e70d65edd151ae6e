package certificates

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"github.com/alb-appliance/appliance/appliance/controllers/clockqueue"
	"github.com/alb-appliance/appliance/appliance/controllers/recorder"
)

// When a Secret is looked at again: after a failure, and at the earliest after a certificate was issued, so that an
// issuer whose clock is not ours is not asked over and over.
const (
	minBackoff   = 5 * time.Second
	maxBackoff   = 5 * time.Minute
	minRenewal   = time.Hour
	issueTimeout = 2 * time.Minute
)

// Events, from cert-manager's source (its texts are cert-manager's too).
const (
	eventSource          = "cert-manager-certificates-issuing"
	reasonIssuing        = "Issuing"
	reasonFailed         = "Failed"
	reasonIssuerNotFound = "IssuerNotFound"
)

// Issue makes a certificate for names, the first of which becomes its common name; both results are PEM.
type Issue func(ctx context.Context, names []string) (chain, key []byte, err error)

// Options is what the controller needs. All fields are required.
type Options struct {
	Client *restclient.Config
	Clock  clockwork.Clock
	Logger *slog.Logger
	// Issuers are those there are, by name; Default is the one of Ingresses that name none.
	Issuers map[string]Issue
	Default string
	// RootCA is the internal CA, PEM: the Secret's ca.crt for certificates of Internal.
	RootCA   []byte
	Internal string
}

// Controller keeps the Secrets of annotated Ingresses.
type Controller struct {
	options   Options
	client    kubernetes.Interface
	factory   informers.SharedInformerFactory
	ingresses networkinglisters.IngressLister
	queue     workqueue.TypedRateLimitingInterface[secretKey]
	events    record.EventRecorder
	stopSink  func()
}

// secretKey names a Secret.
type secretKey struct{ namespace, name string }

// New wires a controller; it asks nothing yet.
func New(o Options) (*Controller, error) {
	client, err := kubernetes.NewForConfig(o.Client)
	if err != nil {
		return nil, fmt.Errorf("make client of the certificates controller: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	c := &Controller{
		options: o, client: client, factory: factory, queue: clockqueue.New[secretKey](o.Clock, minBackoff, maxBackoff),
		ingresses: factory.Networking().V1().Ingresses().Lister(),
	}
	// It is for knowing when to look; of each Secret only the name is kept.
	secrets := factory.InformerFor(&corev1.Secret{}, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformer(cache.NewFilteredListWatchFromClient(client.CoreV1().RESTClient(), "secrets", metav1.NamespaceAll, func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS)).String()
		}), &corev1.Secret{}, resync, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	})
	if err := secrets.SetTransform(nameOnly); err != nil {
		return nil, fmt.Errorf("watch objects of the certificates controller: %w", err)
	}
	c.events, c.stopSink = recorder.New(client, eventSource)
	return c, c.watch(secrets)
}

// nameOnly keeps nothing of a Secret but what it is called and its version.
func nameOnly(o any) (any, error) {
	s, ok := o.(*corev1.Secret)
	if !ok {
		return o, nil
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion}}, nil
}

func (c *Controller) watch(secrets cache.SharedIndexInformer) error {
	for _, w := range []struct {
		informer cache.SharedIndexInformer
		enqueue  func(any)
	}{
		{c.factory.Networking().V1().Ingresses().Informer(), c.enqueueIngress},
		{secrets, c.enqueueSecret},
	} {
		_, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    w.enqueue,
			UpdateFunc: func(_, o any) { w.enqueue(o) },
			DeleteFunc: w.enqueue,
		})
		if err != nil {
			return fmt.Errorf("watch objects of the certificates controller: %w", err)
		}
	}
	return nil
}

func (c *Controller) enqueueIngress(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	ing, ok := o.(*networkingv1.Ingress)
	if !ok {
		return
	}
	for _, t := range ing.Spec.TLS {
		if _, asks := requestOf(ing, t.SecretName); asks && t.SecretName != "" {
			c.queue.Add(secretKey{ing.Namespace, t.SecretName})
		}
	}
}

func (c *Controller) enqueueSecret(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	if secret, ok := o.(*corev1.Secret); ok {
		c.queue.Add(secretKey{secret.Namespace, secret.Name})
	}
}

// Run issues and renews until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	defer c.stopSink()
	c.factory.Start(ctx.Done())
	defer c.factory.Shutdown()
	c.factory.WaitForCacheSync(ctx.Done())
	var running sync.WaitGroup
	running.Go(func() { c.work(ctx) })
	<-ctx.Done()
	c.queue.ShutDown()
	running.Wait()
	return nil
}

func (c *Controller) work(ctx context.Context) {
	for {
		k, stop := c.queue.Get()
		if stop {
			return
		}
		after, err := c.reconcile(ctx, k)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			c.options.Logger.Debug("certificate again later", "secret", k.namespace+"/"+k.name, "err", err)
			c.queue.AddRateLimited(k)
		default:
			c.queue.Forget(k)
			if after > 0 {
				c.queue.AddAfter(k, after)
			}
		}
		c.queue.Done(k)
	}
}

// reconcile issues a Secret's certificate if it is due, and tells when to look again.
func (c *Controller) reconcile(ctx context.Context, k secretKey) (after time.Duration, err error) {
	ing, want, err := c.asker(k)
	if ing == nil || err != nil {
		return 0, err
	}
	issue, ok := c.issuer(want.issuer)
	if !ok {
		resource := strings.ToLower(want.kind)
		c.events.Eventf(ing, corev1.EventTypeWarning, reasonIssuerNotFound, "Referenced %q not found: %s.cert-manager.io %q not found; issuers here: %s", want.kind, resource, want.issuer, c.issuerNames())
		return 0, nil
	}
	want.issuer = cmp.Or(want.issuer, c.options.Default)
	now := c.options.Clock.Now()
	secret, err := c.secret(ctx, k)
	if err != nil {
		return 0, err
	}
	due := planFor(secret, want, now)
	if due.why == "" {
		return due.renewal.Sub(now), nil
	}
	c.events.Event(ing, corev1.EventTypeNormal, reasonIssuing, due.why)
	if err := c.renew(ctx, k, want, issue); err != nil {
		if ctx.Err() == nil {
			c.events.Eventf(ing, corev1.EventTypeWarning, reasonFailed, "The certificate request has failed to complete and will be retried: %v", err)
		}
		return 0, err
	}
	c.events.Event(ing, corev1.EventTypeNormal, reasonIssuing, "The certificate has been successfully issued")
	c.options.Logger.Info("certificate issued", "secret", k.namespace+"/"+k.name, "issuer", want.issuer, "names", strings.Join(want.names, ","))
	return minRenewal, nil
}

// asker is the Ingress that a Secret belongs to, the oldest that asks for it, and what it asks for.
func (c *Controller) asker(k secretKey) (*networkingv1.Ingress, request, error) {
	all, err := c.ingresses.Ingresses(k.namespace).List(labels.Everything())
	if err != nil {
		return nil, request{}, fmt.Errorf("list ingresses: %w", err)
	}
	slices.SortFunc(all, func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, ing := range all {
		if want, asks := requestOf(ing, k.name); asks && ing.DeletionTimestamp == nil {
			return ing, want, nil
		}
	}
	return nil, request{}, nil
}

// secret asks the API itself, for what was just written may not have reached us; nil when there is none.
func (c *Controller) secret(ctx context.Context, k secretKey) (*corev1.Secret, error) {
	secret, err := c.client.CoreV1().Secrets(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read secret %s/%s: %w", k.namespace, k.name, err)
	}
	return secret, nil
}

// renew has a certificate issued and puts it into the Secret.
func (c *Controller) renew(ctx context.Context, k secretKey, want request, issue Issue) error {
	limited, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	chain, key, err := issue(limited, want.names)
	if err != nil {
		return err
	}
	have, err := c.secret(ctx, k)
	if err != nil {
		return err
	}
	next := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: k.name}, Type: corev1.SecretTypeTLS}
	if have != nil {
		next = have.DeepCopy()
	}
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	if next.Data == nil {
		next.Data = map[string][]byte{}
	}
	for name, value := range map[string]string{
		annotationIssuerName: want.issuer, annotationIssuerKind: want.kind, annotationName: k.name,
		annotationCommonName: want.names[0], annotationAltNames: strings.Join(want.names, ","),
	} {
		next.Annotations[name] = value
	}
	next.Data[corev1.TLSCertKey], next.Data[corev1.TLSPrivateKeyKey] = chain, key
	delete(next.Data, corev1.ServiceAccountRootCAKey)
	if want.issuer == c.options.Internal {
		next.Data[corev1.ServiceAccountRootCAKey] = c.options.RootCA
	}
	if have == nil {
		_, err = c.client.CoreV1().Secrets(k.namespace).Create(ctx, next, metav1.CreateOptions{})
	} else {
		_, err = c.client.CoreV1().Secrets(k.namespace).Update(ctx, next, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write secret %s/%s: %w", k.namespace, k.name, err)
	}
	return nil
}
