package appliance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"

	"k8s.io/client-go/util/keyutil"
)

// The internal CA lives ten years; what it signs here is made anew at every start.
const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour
)

// authority is the internal CA: one ECDSA key in the data directory, which signs the API's serving certificate and the
// user's client certificate.
type authority struct {
	certificate *x509.Certificate
	pem         []byte
	key         crypto.Signer
}

// pair is a certificate and its key, PEM.
type pair struct{ certificate, key []byte }

// openAuthority reads the CA from its two files, or makes it. Both files or none must be there.
func openAuthority(certificateFile, keyFile string, now time.Time) (*authority, error) {
	certificate, err := os.ReadFile(certificateFile)
	key, keyErr := os.ReadFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist) {
		return createAuthority(certificateFile, keyFile, now)
	}
	if err := errors.Join(err, keyErr); err != nil {
		return nil, fmt.Errorf("read the internal CA: %w; remove %s and %s to make a new one", err, certificateFile, keyFile)
	}
	a, err := parseAuthority(pair{certificate, key})
	if err != nil {
		return nil, fmt.Errorf("read the internal CA: %w; remove %s and %s to make a new one", err, certificateFile, keyFile)
	}
	return a, nil
}

func createAuthority(certificateFile, keyFile string, now time.Time) (*authority, error) {
	made, err := newAuthority(now)
	if err != nil {
		return nil, err
	}
	if err := writeFile(keyFile, made.key, 0o600); err != nil {
		return nil, err
	}
	if err := writeFile(certificateFile, made.certificate, 0o644); err != nil {
		return nil, err
	}
	return parseAuthority(*made)
}

func newAuthority(now time.Time) (*pair, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Appliance internal CA", Organization: []string{"appliance"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
	}
	return (&authority{}).sign(template)
}

func parseAuthority(p pair) (*authority, error) {
	block, _ := pem.Decode(p.certificate)
	keyBlock, _ := pem.Decode(p.key)
	if block == nil || keyBlock == nil {
		return nil, errors.New("not PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(certificate.PublicKey) {
		return nil, errors.New("certificate and key do not belong together")
	}
	return &authority{certificate: certificate, pem: p.certificate, key: key}, nil
}

// openTokenKey reads the key that signs ServiceAccounts' tokens, or makes it: tokens outlive a restart.
func openTokenKey(file string) ([]byte, error) {
	stored, err := os.ReadFile(file)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return stored, err
	}
	text, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		return nil, fmt.Errorf("make token key: %w", err)
	}
	return text, writeFile(file, text, 0o600)
}

// serving makes a serving certificate for addresses and names.
func (a *authority) serving(now time.Time, addresses []net.IP, names []string) (*pair, error) {
	return a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "appliance"}, IPAddresses: addresses, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// leafValidity is how long a certificate for users' names is good (DESIGN D8).
const leafValidity = 90 * 24 * time.Hour

// leaf makes a certificate for users' names; the first is the common name, which the real cloud insists on.
func (a *authority) leaf(now time.Time, names []string) (*pair, error) {
	return a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(leafValidity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// client makes a client certificate: the common name is the user, the organization the group.
func (a *authority) client(now time.Time, user, group string) (*pair, error) {
	return a.sign(&x509.Certificate{
		Subject:   pkix.Name{CommonName: user, Organization: []string{group}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// sign makes a key and signs template for it; an authority without a certificate signs itself.
func (a *authority) sign(template *x509.Certificate) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return &pair{
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:         pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}),
	}, nil
}
