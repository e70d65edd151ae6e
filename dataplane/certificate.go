package dataplane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Certificate is a certificate with its key, as listeners show it.
type Certificate struct {
	// ID is stable across snapshots; a renewed certificate may keep it.
	ID string
	// Chain is PEM, the leaf first; Key is PEM. A snapshot that was read from text has neither: the caller sets them.
	Chain []byte
	Key   PrivateKey
	// Info is what text tells about a certificate without a chain; with one, the chain decides.
	Info CertificateInfo
}

// PrivateKey is a key in PEM. Whatever prints or encodes it shows that there is one, never the key.
type PrivateKey []byte

// hiddenKey stands for a key in all output.
const hiddenKey = "[private key]"

// Format hides the key from every verb of package fmt.
func (PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenKey) }

// MarshalText hides the key from encoders.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(hiddenKey), nil }

// KeyKind is a certificate's kind of key.
type KeyKind string

// The kinds of key.
const (
	KeyECC KeyKind = "ECC" // ECDSA and Ed25519
	KeyRSA KeyKind = "RSA"
)

// CertificateInfo describes a certificate to people and to the choice among several.
type CertificateInfo struct {
	Kind KeyKind
	// Names are the DNS names it covers, or its common name if it has none, lower case.
	Names     []string
	NotBefore time.Time
	NotAfter  time.Time
	// SHA256 is the fingerprint of the leaf, 64 hexadecimal digits.
	SHA256 string
}

// Describe reads what a PEM chain's leaf says about itself.
func Describe(chain []byte) (CertificateInfo, error) {
	leaf, err := leafOf(chain)
	if err != nil {
		return CertificateInfo{}, err
	}
	return infoOf(leaf), nil
}

// leafOf parses the first certificate of a PEM chain.
func leafOf(chain []byte) (*x509.Certificate, error) {
	for rest := chain; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("the chain holds no certificate in PEM")
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the chain's first certificate cannot be read: %w", err)
		}
		return leaf, nil
	}
}

// infoOf describes a leaf.
func infoOf(leaf *x509.Certificate) CertificateInfo {
	sum := sha256.Sum256(leaf.Raw)
	info := CertificateInfo{
		Kind: KeyECC, NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(), SHA256: hex.EncodeToString(sum[:]),
	}
	if _, ok := leaf.PublicKey.(*rsa.PublicKey); ok {
		info.Kind = KeyRSA
	}
	names := leaf.DNSNames
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = []string{leaf.Subject.CommonName}
	}
	for _, n := range names {
		info.Names = append(info.Names, strings.ToLower(n))
	}
	return info
}

// describe gives the chain's own description, or what text told.
func (c *Certificate) describe() CertificateInfo {
	if len(c.Chain) > 0 {
		info, _ := Describe(c.Chain) // one that cannot be read has nothing to tell; Compile says why
		return info
	}
	return c.Info
}

// compiledCertificate is a certificate ready to be shown, or the reason why it cannot be.
type compiledCertificate struct {
	chain, key []byte
	info       CertificateInfo
	tls        *tls.Certificate
	err        error
}

// compileCertificates parses the snapshot's certificates; those that did not change are taken over from prev, which
// may be nil.
func compileCertificates(prev *Program, s *Snapshot) (map[string]*compiledCertificate, []Problem) {
	out := make(map[string]*compiledCertificate, len(s.Certificates))
	var problems []Problem
	for i := range s.Certificates {
		c := &s.Certificates[i]
		if _, ok := out[c.ID]; ok {
			continue // Validate has reported it; the first one stays
		}
		var compiled *compiledCertificate
		if prev != nil {
			compiled = prev.certs[c.ID]
		}
		if compiled == nil || !compiled.same(c) {
			compiled = compileCertificate(c)
		}
		out[c.ID] = compiled
		if compiled.err != nil {
			problems = append(problems, Problem{Message: fmt.Sprintf("certificate %s: %v; it is left out", c.ID, compiled.err)})
		}
	}
	return out, problems
}

// same reports whether nothing would change by compiling again.
func (c *compiledCertificate) same(with *Certificate) bool {
	if len(c.chain) == 0 {
		return len(with.Chain) == 0 && slices.Equal(c.info.Names, with.Info.Names) && c.info.SHA256 == with.Info.SHA256
	}
	return bytes.Equal(c.chain, with.Chain) && bytes.Equal(c.key, with.Key)
}

// compileCertificate parses one certificate and checks that its key belongs to it.
func compileCertificate(c *Certificate) *compiledCertificate {
	out := &compiledCertificate{chain: c.Chain, key: c.Key, info: c.Info}
	if len(c.Chain) == 0 || len(c.Key) == 0 {
		out.err = errors.New("its chain or its key is missing (a snapshot in text form carries neither)")
		return out
	}
	leaf, err := leafOf(c.Chain)
	if err != nil {
		out.err = err
		return out
	}
	out.info = infoOf(leaf)
	out.tls, out.err = keyPair(c, leaf)
	return out
}

// keyPair joins chain and key, and says in clear words what is wrong with them.
func keyPair(c *Certificate, leaf *x509.Certificate) (*tls.Certificate, error) {
	switch leaf.PublicKey.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("its key is of a kind that TLS does not use here (%s)", leaf.PublicKeyAlgorithm)
	}
	if !hasPrivateKey(c.Key) {
		return nil, errors.New("its key is no private key in PEM")
	}
	pair, err := tls.X509KeyPair(c.Chain, c.Key)
	switch {
	case err == nil:
		pair.Leaf = leaf
		return &pair, nil
	case strings.Contains(err.Error(), "does not match"):
		return nil, errors.New("its key does not belong to it")
	}
	return nil, fmt.Errorf("chain or key cannot be read: %w", err)
}

// hasPrivateKey reports whether the text holds a private key in PEM.
func hasPrivateKey(text []byte) bool {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return true
		}
	}
	return false
}
