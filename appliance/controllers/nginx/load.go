package nginx

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

// className is the class that the annotation of old names (NGINX-FACTS 7).
const (
	classAnnotation = "kubernetes.io/ingress.class"
	className       = "nginx"
)

// listers read the informers' caches; nothing of them may be changed.
type listers struct {
	informers []cache.SharedIndexInformer
	ingresses networkinglisters.IngressLister
	classes   networkinglisters.IngressClassLister
	services  corelisters.ServiceLister
	slices    discoverylisters.EndpointSliceLister
	secrets   corelisters.SecretLister
	byPath    cache.Indexer // Ingresses, by indexPath
}

// indexPath finds Ingresses by their paths: a review is not to look at all of them.
const indexPath = "path"

func newListers(f informers.SharedInformerFactory) (listers, error) {
	err := f.Networking().V1().Ingresses().Informer().AddIndexers(cache.Indexers{indexPath: func(o any) ([]string, error) {
		var keys []string
		for _, p := range pathsOf(o.(*networkingv1.Ingress)) {
			keys = append(keys, p.String())
		}
		return keys, nil
	}})
	if err != nil {
		return listers{}, fmt.Errorf("index ingresses: %w", err)
	}
	if err := f.Core().V1().Secrets().Informer().SetTransform(trimSecret); err != nil {
		return listers{}, fmt.Errorf("watch secrets: %w", err)
	}
	networking, core, slices := f.Networking().V1(), f.Core().V1(), f.Discovery().V1().EndpointSlices()
	return listers{
		informers: []cache.SharedIndexInformer{
			networking.Ingresses().Informer(), networking.IngressClasses().Informer(), core.Services().Informer(),
			slices.Informer(), core.Secrets().Informer(),
		},
		ingresses: networking.Ingresses().Lister(), classes: networking.IngressClasses().Lister(),
		services: core.Services().Lister(), slices: slices.Lister(), secrets: core.Secrets().Lister(),
		byPath: networking.Ingresses().Informer().GetIndexer(),
	}, nil
}

// trimSecret keeps of a Secret what certificates need: the informer sees those of everybody.
func trimSecret(o any) (any, error) {
	s, ok := o.(*corev1.Secret)
	if !ok {
		return o, nil
	}
	kept := &corev1.Secret{Type: s.Type, Data: map[string][]byte{}}
	kept.Name, kept.Namespace, kept.UID, kept.ResourceVersion = s.Name, s.Namespace, s.UID, s.ResourceVersion
	for _, k := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if v, ok := s.Data[k]; ok {
			kept.Data[k] = v
		}
	}
	return kept, nil
}

// withPath gives the Ingresses of the class that have a path.
func (l listers) withPath(p hostPath) []*networkingv1.Ingress {
	found, err := l.byPath.ByIndex(indexPath, p.String())
	if err != nil {
		return nil // there is such an index
	}
	var all []*networkingv1.Ingress
	for _, o := range found {
		if ing := o.(*networkingv1.Ingress); ing.DeletionTimestamp == nil && l.ours(ing) {
			all = append(all, ing)
		}
	}
	return all
}

// load reads the Ingresses of the class and all that they may refer to.
func (l listers) load() (*Cluster, error) {
	c := &Cluster{Services: map[string]*corev1.Service{}, Slices: map[string][]*discoveryv1.EndpointSlice{}, Secrets: map[string]*corev1.Secret{}}
	ingresses, err := l.ingresses.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list ingresses: %w", err)
	}
	for _, ing := range ingresses {
		if ing.DeletionTimestamp == nil && l.ours(ing) {
			c.Ingresses = append(c.Ingresses, ing)
		}
	}
	services, err := l.services.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	for _, s := range services {
		c.Services[key(s)] = s
	}
	slices, err := l.slices.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list endpoint slices: %w", err)
	}
	for _, s := range slices {
		name := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
		c.Slices[name] = append(c.Slices[name], s)
	}
	secrets, err := l.secrets.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	for _, s := range secrets {
		c.Secrets[key(s)] = s
	}
	return c, nil
}

// ours tells whether an Ingress is of the controller's class: by its class name, or by the annotation of old
// (NGINX-FACTS 7). Others are left alone, without status and Events.
func (l listers) ours(ing *networkingv1.Ingress) bool {
	if ing.Spec.IngressClassName == nil {
		return ing.Annotations[classAnnotation] == className
	}
	class, err := l.classes.Get(*ing.Spec.IngressClassName)
	return err == nil && class.Spec.Controller == ControllerName
}
