package alb

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
)

// listers read the informers' caches; nothing of them may be changed.
type listers struct {
	albConfigs cache.GenericLister
	ingresses  networkinglisters.IngressLister
	classes    networkinglisters.IngressClassLister
	services   corelisters.ServiceLister
	slices     discoverylisters.EndpointSliceLister
	nodes      corelisters.NodeLister
	secrets    corelisters.SecretLister
}

func newListers(typed informers.SharedInformerFactory, custom dynamicinformer.DynamicSharedInformerFactory) listers {
	return listers{
		albConfigs: custom.ForResource(albv1.Resource).Lister(),
		ingresses:  typed.Networking().V1().Ingresses().Lister(),
		classes:    typed.Networking().V1().IngressClasses().Lister(),
		services:   typed.Core().V1().Services().Lister(),
		slices:     typed.Discovery().V1().EndpointSlices().Lister(),
		nodes:      typed.Core().V1().Nodes().Lister(),
		secrets:    typed.Core().V1().Secrets().Lister(),
	}
}

// albConfig gives nil when there is none.
func (l listers) albConfig(name string) (*unstructured.Unstructured, error) {
	o, err := l.albConfigs.Get(name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read albconfig %s: %w", name, err)
	}
	return o.(*unstructured.Unstructured), nil
}

// binding is how an Ingress finds its AlbConfig (ALB-FACTS 3.1).
type binding struct {
	// albConfig is empty when the Ingress is not ours or the chain is broken.
	albConfig string
	// problem says where the chain is broken.
	problem string
}

func (l listers) binding(ing *networkingv1.Ingress) binding {
	className := ing.Annotations[annotationClass]
	if ing.Spec.IngressClassName != nil {
		className = *ing.Spec.IngressClassName
	}
	if className == "" {
		return binding{}
	}
	class, err := l.classes.Get(className)
	if err != nil || class.Spec.Controller != ControllerName {
		return binding{}
	}
	if name := ing.Annotations[annotationAlbConfig]; name != "" {
		return binding{albConfig: name}
	}
	p := class.Spec.Parameters
	if p == nil || p.APIGroup == nil || *p.APIGroup != albv1.GroupVersion.Group || p.Kind != albv1.Kind.Kind {
		return binding{problem: fmt.Sprintf("albconfig must be referenced in IngressClass %s", className)}
	}
	return binding{albConfig: p.Name}
}

// members are the Ingresses that joined an AlbConfig, sorted by name.
func (c *Controller) members(albConfig string) ([]*networkingv1.Ingress, error) {
	all, err := c.listers.ingresses.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list ingresses: %w", err)
	}
	var members []*networkingv1.Ingress
	for _, ing := range all {
		if ing.DeletionTimestamp == nil && c.listers.binding(ing).albConfig == albConfig {
			members = append(members, ing)
		}
	}
	slices.SortFunc(members, func(a, b *networkingv1.Ingress) int { return cmp.Compare(key(a), key(b)) })
	return members, nil
}

// load reads a group: an AlbConfig's members and what they refer to.
func (c *Controller) load(ctx context.Context, config *albv1.AlbConfig, members []*networkingv1.Ingress) (*Group, error) {
	g := &Group{
		AlbConfig: config, Ingresses: members, Now: c.options.Clock.Now(), Secrets: map[string]*corev1.Secret{},
		Services: map[string]*corev1.Service{}, Slices: map[string][]*discoveryv1.EndpointSlice{},
	}
	for _, ing := range g.Ingresses {
		for _, name := range servicesOf(ing) {
			if err := c.loadService(g, ing.Namespace, name); err != nil {
				return nil, err
			}
		}
		for _, name := range secretsOf(ing) {
			if err := c.loadSecret(ctx, g, ing.Namespace, name); err != nil {
				return nil, err
			}
		}
	}
	var err error
	if g.Certificates, err = c.loadCertificates(ctx, config); err != nil {
		return nil, err
	}
	if g.Nodes, err = c.listers.nodes.List(labels.Everything()); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return g, nil
}

func (c *Controller) loadService(g *Group, namespace, name string) error {
	service, err := c.listers.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil // Build says so
	}
	if err != nil {
		return fmt.Errorf("read service %s/%s: %w", namespace, name, err)
	}
	g.Services[key(service)] = service
	g.Slices[key(service)], err = c.listers.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name}))
	if err != nil {
		return fmt.Errorf("list endpoint slices of %s/%s: %w", namespace, name, err)
	}
	return nil
}

// servicesOf are the names of the Services that rules refer to; the default backend makes no rule (ALB-FACTS 3.5).
func servicesOf(ing *networkingv1.Ingress) []string {
	var names []string
	for _, r := range ing.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for _, p := range r.HTTP.Paths {
			if p.Backend.Service != nil && !slices.Contains(names, p.Backend.Service.Name) {
				names = append(names, p.Backend.Service.Name)
			}
		}
	}
	return names
}

func (c *Controller) enqueueAlbConfig(o any) { c.queue.Add(o.(*unstructured.Unstructured).GetName()) }

func (c *Controller) enqueueIngress(o any) {
	if b := c.listers.binding(o.(*networkingv1.Ingress)); b.albConfig != "" {
		c.queue.Add(b.albConfig)
	}
}

// enqueueAll looks at every AlbConfig again, and at those that only Ingresses speak of.
func (c *Controller) enqueueAll(any) {
	configs, err := c.listers.albConfigs.List(labels.Everything())
	if err != nil {
		c.options.Logger.Error("list albconfigs", "err", err)
	}
	for _, o := range configs {
		c.enqueueAlbConfig(o)
	}
	c.eachIngress(func(ing *networkingv1.Ingress) { c.enqueueIngress(ing) })
}

func (c *Controller) eachIngress(do func(*networkingv1.Ingress)) {
	ingresses, err := c.listers.ingresses.List(labels.Everything())
	if err != nil {
		c.options.Logger.Error("list ingresses", "err", err)
	}
	for _, ing := range ingresses {
		do(ing)
	}
}

func (c *Controller) enqueueService(o any) {
	s := o.(*corev1.Service)
	c.enqueueUsersOf(s.Namespace, s.Name, servicesOf)
}

func (c *Controller) enqueueSlice(o any) {
	s := o.(*discoveryv1.EndpointSlice)
	c.enqueueUsersOf(s.Namespace, s.Labels[discoveryv1.LabelServiceName], servicesOf)
}

// enqueueUsersOf looks again at the groups with an Ingress that refers to an object of this name.
func (c *Controller) enqueueUsersOf(namespace, name string, references func(*networkingv1.Ingress) []string) {
	ingresses, err := c.listers.ingresses.Ingresses(namespace).List(labels.Everything())
	if err != nil {
		c.options.Logger.Error("list ingresses", "err", err)
		return
	}
	for _, ing := range ingresses {
		if slices.Contains(references(ing), name) {
			if b := c.listers.binding(ing); b.albConfig != "" {
				c.queue.Add(b.albConfig)
			}
		}
	}
}

// changed tells whether an update is worth a look: our own status writes and the heartbeats of nodes are not.
func changed(old, new any) bool {
	if a, ok := old.(*unstructured.Unstructured); ok {
		b := new.(*unstructured.Unstructured)
		return a.GetGeneration() != b.GetGeneration() || a.GetDeletionTimestamp() == nil && b.GetDeletionTimestamp() != nil ||
			!reflect.DeepEqual(a.GetFinalizers(), b.GetFinalizers())
	}
	if a, ok := old.(*corev1.Node); ok {
		b := new.(*corev1.Node)
		return !reflect.DeepEqual(a.Labels, b.Labels) || !reflect.DeepEqual(a.Status.Addresses, b.Status.Addresses)
	}
	if a, ok := old.(*networkingv1.Ingress); ok {
		b := new.(*networkingv1.Ingress)
		return a.Generation != b.Generation || !reflect.DeepEqual(a.Annotations, b.Annotations) || a.DeletionTimestamp == nil && b.DeletionTimestamp != nil
	}
	a, errA := meta.Accessor(old)
	b, errB := meta.Accessor(new)
	return errA != nil || errB != nil || a.GetResourceVersion() != b.GetResourceVersion()
}
