package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// secretOf is a Secret with a certificate of ninety days.
func secretOf(t *testing.T, issuer string, names ...string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: begin, NotAfter: begin.AddDate(0, 0, 90),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationIssuerName: issuer, annotationIssuerKind: "ClusterIssuer"}},
		Data:       map[string][]byte{corev1.TLSCertKey: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), corev1.TLSPrivateKeyKey: text},
	}
}

func TestPlanFor(t *testing.T) {
	t.Parallel()
	want := request{issuer: "internal", kind: "ClusterIssuer", names: []string{"b.example.com", "a.example.com"}}
	good := secretOf(t, "internal", "a.example.com", "b.example.com")
	torn := good.DeepCopy()
	torn.Data[corev1.TLSPrivateKeyKey] = secretOf(t, "internal", "a.example.com").Data[corev1.TLSPrivateKeyKey]
	for _, row := range []struct {
		name   string
		secret *corev1.Secret
		after  time.Duration
		why    string
	}{
		{"none", nil, 0, "Issuing certificate as Secret does not exist"},
		{"good", good, 0, ""},
		{"a moment before the last third", good, 60*24*time.Hour - time.Second, ""},
		{"the last third", good, 60 * 24 * time.Hour, "Renewing certificate as renewal was scheduled at 2026-03-02T00:00:00Z"},
		{"expired", good, 365 * 24 * time.Hour, "Renewing certificate"},
		{"empty", &corev1.Secret{}, 0, "Issuing certificate as Secret contains invalid data"},
		{"key of another", torn, 0, "private key does not match public key"},
		{"other issuer", secretOf(t, "acme", "a.example.com", "b.example.com"), 0, `Issuing certificate as Secret was previously issued by "ClusterIssuer/acme"`},
		{"a name less", secretOf(t, "internal", "a.example.com"), 0, "not up to date: [spec.dnsNames]"},
	} {
		p := planFor(row.secret, want, begin.Add(row.after))
		if row.why == "" && (p.why != "" || !p.renewal.Equal(begin.AddDate(0, 0, 60))) || !strings.Contains(p.why, row.why) {
			t.Errorf("%s: %+v, want %q", row.name, p, row.why)
		}
	}
}

func TestRequestOf(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		annotation, value string
		want              string // kind/issuer names; empty for none
	}{
		{annotationClusterIssuer, "internal", "ClusterIssuer/internal a.example.com,b.example.com"},
		{annotationIssuer, "mine", "Issuer/mine a.example.com,b.example.com"},
		{annotationTLSACME, "true", "ClusterIssuer/ a.example.com,b.example.com"},
		{annotationTLSACME, "false", ""},
		{annotationIssuer, "", ""},
		{"cert-manager.io/other", "x", ""},
	} {
		ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{row.annotation: row.value}}}
		ing.Spec.TLS = []networkingv1.IngressTLS{
			{SecretName: "tls", Hosts: []string{"A.example.com", "b.example.com"}}, {SecretName: "other", Hosts: []string{"c.example.com"}},
			{SecretName: "tls", Hosts: []string{"a.example.com"}}, {SecretName: "bare"},
		}
		got := ""
		if r, asks := requestOf(ing, "tls"); asks {
			got = r.kind + "/" + r.issuer + " " + strings.Join(r.names, ",")
		}
		if got != row.want {
			t.Errorf("%s=%s asks for %q, want %q", row.annotation, row.value, got, row.want)
		}
		if _, asks := requestOf(ing, "bare"); asks {
			t.Error("a Secret without hosts is asked for")
		}
	}
}
