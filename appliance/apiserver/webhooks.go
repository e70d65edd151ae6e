package apiserver

import (
	"context"
	"net"
	"net/netip"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/util/proxy"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// webhookServices finds the Services that webhooks are behind (webhook.ServiceResolver). It reads each time, for few have
// webhooks, and nothing watches Services for them.
type webhookServices struct{ client coreclient.CoreV1Interface }

// ResolveEndpoint implements webhook.ServiceResolver.
func (w webhookServices) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	return proxy.ResolveCluster(w, namespace, name, port)
}

// List implements corelisters.ServiceLister.
func (w webhookServices) List(which labels.Selector) ([]*corev1.Service, error) {
	return w.Services(metav1.NamespaceAll).List(which)
}

// Services implements corelisters.ServiceLister.
func (w webhookServices) Services(namespace string) corelisters.ServiceNamespaceLister {
	return servicesOf{w.client.Services(namespace)}
}

// servicesOf are the Services of a namespace (corelisters.ServiceNamespaceLister).
type servicesOf struct{ client coreclient.ServiceInterface }

// List implements corelisters.ServiceNamespaceLister.
func (s servicesOf) List(which labels.Selector) ([]*corev1.Service, error) {
	list, err := s.client.List(context.Background(), metav1.ListOptions{LabelSelector: which.String()})
	if err != nil {
		return nil, err
	}
	var all []*corev1.Service
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all, nil
}

// Get implements corelisters.ServiceNamespaceLister, with the words of upstream's lister.
func (s servicesOf) Get(name string) (*corev1.Service, error) {
	found, err := s.client.Get(context.Background(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewNotFound(corev1.Resource("service"), name)
	}
	return found, err
}

// dialWebhook connects to what ResolveEndpoint gives: an address of the cluster, or the name that a Service of type ExternalName
// has, which is not one of the cluster.
func (s *Server) dialWebhook(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err == nil {
		return s.options.Dial(ctx, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}
