package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Annotations of an Ingress that ask for a certificate.
const (
	annotationClusterIssuer = "cert-manager.io/cluster-issuer"
	annotationIssuer        = "cert-manager.io/issuer"
	annotationTLSACME       = "kubernetes.io/tls-acme"
)

// Annotations of a Secret that say what is in it, as cert-manager writes them.
const (
	annotationIssuerName = "cert-manager.io/issuer-name"
	annotationIssuerKind = "cert-manager.io/issuer-kind"
	annotationCommonName = "cert-manager.io/common-name"
	annotationAltNames   = "cert-manager.io/alt-names"
	annotationName       = "cert-manager.io/certificate-name"
)

// request is a certificate that an Ingress asks for.
type request struct {
	// issuer is the name asked for; empty for whatever is the default.
	issuer string
	// kind is Issuer or ClusterIssuer.
	kind  string
	names []string
}

// requestOf gives what an Ingress asks for under a Secret's name; false when it asks for nothing.
func requestOf(ing *networkingv1.Ingress, secret string) (request, bool) {
	r, asks := issuerOf(ing)
	if !asks {
		return request{}, false
	}
	for _, t := range ing.Spec.TLS {
		if t.SecretName != secret {
			continue
		}
		for _, host := range t.Hosts {
			if host = strings.ToLower(host); !slices.Contains(r.names, host) {
				r.names = append(r.names, host)
			}
		}
	}
	return r, len(r.names) > 0
}

// issuerOf reads the annotations; false when none is there.
func issuerOf(ing *networkingv1.Ingress) (request, bool) {
	if name := ing.Annotations[annotationIssuer]; name != "" {
		return request{issuer: name, kind: "Issuer"}, true
	}
	if name := ing.Annotations[annotationClusterIssuer]; name != "" {
		return request{issuer: name, kind: "ClusterIssuer"}, true
	}
	return request{kind: "ClusterIssuer"}, ing.Annotations[annotationTLSACME] == "true"
}

// plan is what to do about a Secret.
type plan struct {
	// why says why a certificate is to be issued now, in cert-manager's words; empty when the one there is good.
	why string
	// renewal is when the one there is to be renewed.
	renewal time.Time
}

// planFor compares a Secret, nil when there is none, with what is asked for.
func planFor(secret *corev1.Secret, r request, now time.Time) plan {
	if secret == nil {
		return plan{why: "Issuing certificate as Secret does not exist"}
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return plan{why: "Issuing certificate as Secret contains invalid data: " + err.Error()}
	}
	if was := secret.Annotations[annotationIssuerName]; was != r.issuer {
		return plan{why: fmt.Sprintf("Issuing certificate as Secret was previously issued by %q", secret.Annotations[annotationIssuerKind]+"/"+was)}
	}
	if !sameNames(pair.Leaf, r.names) {
		return plan{why: "Issuing certificate as Fields on existing CertificateRequest resource not up to date: [spec.dnsNames]"}
	}
	renewal := renewalOf(pair.Leaf)
	if !now.Before(renewal) {
		return plan{why: "Renewing certificate as renewal was scheduled at " + renewal.UTC().Format(time.RFC3339)}
	}
	return plan{renewal: renewal}
}

// renewalOf is when a third of a certificate's life is left (DESIGN D8; cert-manager's default).
func renewalOf(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
}

func sameNames(leaf *x509.Certificate, names []string) bool {
	have, want := slices.Sorted(slices.Values(leaf.DNSNames)), slices.Sorted(slices.Values(names))
	return slices.Equal(have, want)
}
