package alb

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/cloudsim"
)

// loadSecret reads a Secret. One that the informer lacks is asked for: it may reach us after its Ingress.
func (c *Controller) loadSecret(ctx context.Context, g *Group, namespace, name string) error {
	secret, err := c.listers.secrets.Secrets(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		secret, err = c.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil // Build says so
	}
	if err != nil {
		return fmt.Errorf("read secret %s/%s: %w", namespace, name, err)
	}
	g.Secrets[key(secret)] = secret
	return nil
}

// secretsOf are the names of the Secrets that spec.tls refers to.
func secretsOf(ing *networkingv1.Ingress) []string {
	var names []string
	for _, t := range ing.Spec.TLS {
		if t.SecretName != "" && !slices.Contains(names, t.SecretName) {
			names = append(names, t.SecretName)
		}
	}
	return names
}

// trimSecret keeps of a Secret what certificates need: the informer sees those of everybody.
func trimSecret(o any) (any, error) {
	secret, ok := o.(*corev1.Secret)
	if !ok {
		return o, nil
	}
	trimmed := &corev1.Secret{Type: secret.Type, Data: map[string][]byte{}}
	trimmed.Name, trimmed.Namespace, trimmed.UID, trimmed.ResourceVersion = secret.Name, secret.Namespace, secret.UID, secret.ResourceVersion
	if secret.Type == corev1.SecretTypeTLS || secret.Type == secretTypeIngressTLS {
		for _, k := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			trimmed.Data[k] = secret.Data[k]
		}
	}
	return trimmed, nil
}

// certificateCache is the list of the certificate service, asked for again when it is old (ALB-FACTS 3.6): what is new
// there may take as long to be found.
type certificateCache struct {
	mu    sync.Mutex
	asked time.Time
	known []cloudsim.Certificate
}

const certificateAge = 3 * time.Minute

func (c *certificateCache) list(ctx context.Context, cloud Cloud, now time.Time) ([]cloudsim.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked.IsZero() && now.Sub(c.asked) < certificateAge {
		return c.known, nil
	}
	known, err := cloud.ListCertificates(ctx)
	if err == nil {
		c.asked, c.known = now, known
	}
	return known, err
}

// loadCertificates asks the certificate service, for an AlbConfig that needs certificates.
func (c *Controller) loadCertificates(ctx context.Context, config *albv1.AlbConfig) ([]cloudsim.Certificate, error) {
	if !slices.ContainsFunc(config.Spec.Listeners, func(l albv1.ListenerSpec) bool {
		return l.Protocol == cloudsim.ProtocolHTTPS || l.Protocol == cloudsim.ProtocolQUIC
	}) {
		return nil, nil
	}
	list, err := c.certificates.list(ctx, c.options.Cloud, c.options.Clock.Now())
	if err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	return list, nil
}

func (c *Controller) enqueueSecret(o any) {
	s := o.(*corev1.Secret)
	c.enqueueUsersOf(s.Namespace, s.Name, secretsOf)
}
