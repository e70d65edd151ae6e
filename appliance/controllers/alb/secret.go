package alb

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/alb-appliance/appliance/cloudsim"
)

// secretTypeIngressTLS is, beside upstream's, the type that the console gives to the Secrets it makes (ALB-FACTS 3.6).
const secretTypeIngressTLS corev1.SecretType = "IngressTLS"

// upload gives the name under which the certificate of an Ingress's Secret is in the certificate service, and has it
// put there; the name is empty when the Secret is no good, which is the Ingress's problem.
func (b *build) upload(ing *networkingv1.Ingress, secret string) (name string) {
	at := ing.Namespace + "/" + secret
	result, known := b.secrets[at]
	if !known {
		u, err := b.readSecret(ing.Namespace, secret)
		if err == nil {
			b.model.Uploads = append(b.model.Uploads, u)
		}
		result = secretResult{u.Name, err}
		b.secrets[at] = result
	}
	if result.err != nil {
		b.problem(Problem{Ingress: key(ing), Reason: reasonFailedBuildModel, Message: result.err.Error()})
	}
	return result.name
}

// secretResult is what came of reading a Secret: the name of its Upload, or why it has none.
type secretResult struct {
	name string
	err  error
}

// readSecret takes a certificate and its key out of a Secret and refuses what cannot be put on a listener.
func (b *build) readSecret(namespace, name string) (Upload, error) {
	at := namespace + "/" + name
	secret, ok := b.group.Secrets[at]
	if !ok {
		return Upload{}, apierrors.NewNotFound(corev1.Resource("secrets"), name)
	}
	if secret.Type != corev1.SecretTypeTLS && secret.Type != secretTypeIngressTLS {
		return Upload{}, fmt.Errorf("secret %s: its type is %s; a certificate is in one of type %s or %s", at, secret.Type, corev1.SecretTypeTLS, secretTypeIngressTLS)
	}
	chain, key := secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]
	leaf, err := leafOf(chain, key)
	if err != nil {
		return Upload{}, fmt.Errorf("secret %s: %w", at, err)
	}
	digest := sha1.Sum(slices.Concat([]byte(b.cluster.ID), chain, key))
	sum := sha256.Sum256(leaf.Raw)
	u := Upload{
		Name:  fmt.Sprintf("%s-%s-%s", namespace, name, hex.EncodeToString(digest[:])[:6]),
		Chain: chain, Key: cloudsim.PrivateKey(key), Fingerprint: hex.EncodeToString(sum[:]),
	}
	// What is there already may run out where it is: refusing it now would freeze all rules.
	uploaded := slices.ContainsFunc(b.group.Certificates, func(c cloudsim.Certificate) bool { return c.Name == u.Name })
	if !uploaded && leaf.NotAfter.Before(b.group.Now.Add(minValidity)) {
		return Upload{}, fmt.Errorf("secret %s: its certificate ends at %s; it must be good for a day at least: renew it", at, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return u, nil
}

// leafOf checks that a chain and key belong together, and what the cloud asks of the leaf.
func leafOf(chain, key []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate in PEM", corev1.TLSCertKey)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no certificate: %w", corev1.TLSCertKey, err)
	}
	if block, _ := pem.Decode(key); block == nil {
		return nil, fmt.Errorf("%s holds no private key in PEM", corev1.TLSPrivateKeyKey)
	}
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		return nil, fmt.Errorf("%s and %s do not go together: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	if leaf.Subject.CommonName == "" {
		return nil, errors.New("the operation is not allowed because of HttpsCertCommonNameEmpty: its certificate has no common name")
	}
	return leaf, nil
}
