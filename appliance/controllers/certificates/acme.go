package certificates

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
)

// Proof shows an ACME server that a host is ours, in one of three ways (RFC 8555 section 8, RFC 8737); the others'
// fields are empty.
type Proof struct {
	Host string
	// Path and Body are what http-01 asks for.
	Path, Body string
	// Chain and Key, PEM, are what tls-alpn-01 is shown.
	Chain, Key []byte
	// Record and Text are the TXT record of dns-01.
	Record, Text string
}

// Prove shows a proof and returns once it is shown; withdraw ends that.
type Prove func(ctx context.Context, p Proof) (withdraw func(), err error)

// The ways to prove control of a host (RFC 8555 section 8, RFC 8737).
const (
	ChallengeHTTP = acme.ChallengeTypeHTTP01
	ChallengeTLS  = acme.ChallengeTypeTLSALPN01
	ChallengeDNS  = acme.ChallengeTypeDNS01
)

// ACMEOptions is what an ACME issuer needs. All fields are required.
type ACMEOptions struct {
	Directory string // URL
	// Roots are whom to trust as the directory; nil is the system's.
	Roots *x509.CertPool
	// Challenges are the ways that may be used.
	Challenges []string
	Prove      Prove
	Client     *restclient.Config
	Logger     *slog.Logger
}

// accountNamespace is where the Secrets of ACME accounts are.
const accountNamespace = "kube-system"

// acmeIssuer has certificates issued by an ACME server (RFC 8555).
type acmeIssuer struct {
	options ACMEOptions
	kube    kubernetes.Interface
	client  *acmez.Client

	mu      sync.Mutex
	account acme.Account // registered, or of no status
}

// NewACME gives an issuer that asks an ACME server. Its account is made at the first certificate and its key kept in a
// Secret.
func NewACME(o ACMEOptions) (Issue, error) {
	kube, err := kubernetes.NewForConfig(o.Client)
	if err != nil {
		return nil, fmt.Errorf("make client of the ACME issuer: %w", err)
	}
	a := &acmeIssuer{options: o, kube: kube}
	a.client = &acmez.Client{
		Client: &acme.Client{
			Directory: o.Directory, UserAgent: "appliance", Logger: o.Logger, PollTimeout: issueTimeout,
			HTTPClient: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: o.Roots}, DisableKeepAlives: true, // a few requests in months
			}},
		},
		ChallengeSolvers: map[string]acmez.Solver{},
	}
	for _, kind := range o.Challenges {
		a.client.ChallengeSolvers[kind] = &solver{prove: o.Prove, withdraw: map[string]func(){}}
	}
	return a.issue, nil
}

// issue orders a certificate and proves what the server asks for.
func (a *acmeIssuer) issue(ctx context.Context, names []string) (chain, key []byte, err error) {
	account, err := a.registered(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("register with %s: %w", a.options.Directory, err)
	}
	signer, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	csr, err := requestFor(signer, names)
	if err != nil {
		return nil, nil, err
	}
	order, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return nil, nil, fmt.Errorf("order from %s: %w", a.options.Directory, err)
	}
	if order.Profile, err = a.profile(ctx); err != nil {
		return nil, nil, err
	}
	issued, err := a.client.ObtainCertificate(ctx, order)
	if err != nil {
		return nil, nil, fmt.Errorf("order from %s: %w", a.options.Directory, err)
	}
	if len(issued) == 0 {
		return nil, nil, errors.New("order from " + a.options.Directory + ": the server gave no certificate")
	}
	return issued[0].ChainPEM, key, nil
}

// profile names the server's ordinary profile where it has several: some servers choose one at random else.
func (a *acmeIssuer) profile(ctx context.Context) (string, error) {
	directory, err := a.client.GetDirectory(ctx)
	if err != nil {
		return "", fmt.Errorf("read the directory %s: %w", a.options.Directory, err)
	}
	if directory.Meta == nil {
		return "", nil
	}
	for _, name := range []string{"classic", "default"} {
		if _, ok := directory.Meta.Profiles[name]; ok {
			return name, nil
		}
	}
	return "", nil
}

// requestFor signs a request whose common name is the first name, which the real cloud insists on (DESIGN D8).
func requestFor(signer crypto.Signer, names []string) (*x509.CertificateRequest, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate request: %w", err)
	}
	return x509.ParseCertificateRequest(der)
}

// registered gives the account, registering it once; the same key finds the same account (RFC 8555 section 7.3.1).
func (a *acmeIssuer) registered(ctx context.Context) (acme.Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.account.Status == acme.StatusValid {
		return a.account, nil
	}
	key, err := a.accountKey(ctx)
	if err != nil {
		return acme.Account{}, err
	}
	account, err := a.client.NewAccount(ctx, acme.Account{PrivateKey: key, TermsOfServiceAgreed: true})
	if err != nil {
		return acme.Account{}, err
	}
	a.account = account
	return account, nil
}

// accountKey reads the account's key from its Secret, or makes it.
func (a *acmeIssuer) accountKey(ctx context.Context) (crypto.Signer, error) {
	sum := sha256.Sum256([]byte(a.options.Directory))
	name := "acme-account-" + hex.EncodeToString(sum[:])[:10]
	secrets := a.kube.CoreV1().Secrets(accountNamespace)
	secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, key, keyErr := newKey()
		if keyErr != nil {
			return nil, keyErr
		}
		secret, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"acme.cert-manager.io/server": a.options.Directory}},
			Data:       map[string][]byte{corev1.TLSPrivateKeyKey: key},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("keep the account's key: %w", err)
	}
	block, _ := pem.Decode(secret.Data[corev1.TLSPrivateKeyKey])
	if block == nil {
		return nil, fmt.Errorf("secret %s/%s holds no key in %s; delete it to register anew", accountNamespace, name, corev1.TLSPrivateKeyKey)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s: %w; delete it to register anew", accountNamespace, name, err)
	}
	return key, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	text, err := keyPEM(key)
	return key, text, err
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// solver answers challenges by showing proofs.
type solver struct {
	prove Prove

	mu       sync.Mutex
	withdraw map[string]func() // by challenge URL
}

// Present implements acmez.Solver.
func (s *solver) Present(ctx context.Context, c acme.Challenge) error {
	p, err := proofOf(c)
	if err != nil {
		return err
	}
	withdraw, err := s.prove(ctx, p)
	if err != nil {
		return fmt.Errorf("show the proof for %s: %w", p.Host, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withdraw[c.URL] = withdraw
	return nil
}

// CleanUp implements acmez.Solver.
func (s *solver) CleanUp(_ context.Context, c acme.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if withdraw := s.withdraw[c.URL]; withdraw != nil {
		withdraw()
		delete(s.withdraw, c.URL)
	}
	return nil
}

// proofOf turns a challenge into what the server will look for.
func proofOf(c acme.Challenge) (Proof, error) {
	p := Proof{Host: c.Identifier.Value}
	switch c.Type {
	case ChallengeHTTP:
		p.Path, p.Body = c.HTTP01ResourcePath(), c.KeyAuthorization
	case ChallengeDNS:
		p.Record, p.Text = c.DNS01TXTRecordName(), c.DNS01KeyAuthorization()
	case ChallengeTLS:
		shown, err := acmez.TLSALPN01ChallengeCert(c)
		if err != nil {
			return Proof{}, fmt.Errorf("make the certificate of the challenge: %w", err)
		}
		key, ok := shown.PrivateKey.(*ecdsa.PrivateKey)
		if !ok {
			return Proof{}, fmt.Errorf("make the certificate of the challenge: its key is %T", shown.PrivateKey)
		}
		if p.Key, err = keyPEM(key); err != nil {
			return Proof{}, err
		}
		p.Chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shown.Certificate[0]})
	default:
		return Proof{}, fmt.Errorf("challenge %s is not one that can be solved here", c.Type)
	}
	return p, nil
}
