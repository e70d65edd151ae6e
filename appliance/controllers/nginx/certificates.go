package nginx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/alb-appliance/appliance/dataplane"
)

// challengePath is never redirected, so that certificates can be asked for (NGINX-FACTS 4).
const challengePath = "/.well-known/acme-challenge"

// redirects tells whether plain HTTP is sent to HTTPS: when the host has a TLS section, or always by force-ssl-redirect.
func (l location) redirects(h *host) bool {
	return l.rule.forceSSLRedirect || l.rule.sslRedirect && h.tls != nil
}

// covers tells whether a prefix location takes a path.
func (l location) covers(path string) bool {
	return !l.exact && len(l.path) <= len(path) && path[:len(l.path)] == l.path
}

// certificates reads the Secrets that hosts name. One that is missing or no good leaves the host with the fake
// certificate; the Ingress stays active (NGINX-FACTS 4).
func (b *build) certificates() {
	b.snapshot.Certificates = append(b.snapshot.Certificates, b.network.Fake)
	made := map[string]bool{}
	for _, name := range b.order {
		h := b.hosts[name]
		if h.tls == nil || h.tls.secret == "" {
			continue
		}
		id := certificateID(h.tls)
		c, err := readSecret(b.cluster.Secrets[h.tls.ingress.Namespace+"/"+h.tls.secret], name, b.network)
		if err != nil {
			b.problem(h.tls.ingress, reasonCertificate, "secret %s for host %s: %v; the host gets the fake certificate", h.tls.secret, name, err)
			h.tls = &tlsEntry{ingress: h.tls.ingress}
			continue
		}
		if !made[id] {
			made[id] = true
			c.ID = id
			b.snapshot.Certificates = append(b.snapshot.Certificates, c)
		}
	}
}

func certificateID(t *tlsEntry) string {
	return LoadBalancer + "/" + t.ingress.Namespace + "/" + t.secret
}

// readSecret takes a certificate and its key out of a Secret and checks that they can serve the host.
func readSecret(secret *corev1.Secret, host string, n Network) (dataplane.Certificate, error) {
	if secret == nil {
		return dataplane.Certificate{}, errors.New("there is no such secret")
	}
	chain, key := secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]
	if len(chain) == 0 || len(key) == 0 {
		return dataplane.Certificate{}, fmt.Errorf("it has no %s or no %s", corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return dataplane.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return dataplane.Certificate{}, err
	}
	// A wildcard host needs a certificate that covers any one label there.
	if err := leaf.VerifyHostname(strings.Replace(host, "*", "any", 1)); err != nil {
		return dataplane.Certificate{}, err
	}
	if n.Now.After(leaf.NotAfter) {
		return dataplane.Certificate{}, fmt.Errorf("it expired at %s", leaf.NotAfter.UTC())
	}
	return dataplane.Certificate{Chain: chain, Key: dataplane.PrivateKey(key)}, nil
}

// tls gives the HTTPS listener its certificates: by host, else the fake one.
func (b *build) tls() *dataplane.TLS {
	t := &dataplane.TLS{Default: b.network.Fake.ID, HTTP2: true}
	for _, c := range b.snapshot.Certificates {
		t.Certificates = append(t.Certificates, c.ID)
	}
	for _, name := range b.order {
		if h := b.hosts[name]; h.tls != nil && h.tls.secret != "" {
			t.Hosts = append(t.Hosts, dataplane.CertificateHost{Host: name, Certificate: certificateID(h.tls)})
		}
	}
	return t
}
