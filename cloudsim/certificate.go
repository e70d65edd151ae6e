package cloudsim

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/state/sqlite"
)

// Certificate is a certificate of the certificate service, with what its leaf says about itself.
type Certificate struct {
	CertificateID string // a number, "-" and the region of the service: "12345678-cn-hangzhou" (ALB-FACTS 2.2)
	Name          string
	Source        CertificateSource
	CommonName    string
	// Domains are the DNS names it covers.
	Domains     []string
	Algorithm   string // RSA or ECC
	NotBefore   time.Time
	NotAfter    time.Time
	Fingerprint string     // SHA-256, hexadecimal
	CreateTime  string     // RFC 3339
	Chain       []byte     `json:"-"` // PEM, the leaf first
	Key         PrivateKey `json:"-"`
}

// CertificateSource says how a certificate came to the service.
type CertificateSource string

// The sources of a certificate.
const (
	SourceUpload CertificateSource = "upload"
	SourceIssued CertificateSource = "issued"
)

// PrivateKey is a key in PEM. Whatever prints or encodes it shows that there is one, never the key.
type PrivateKey []byte

const hiddenKey = "[private key]"

// Format hides the key from every verb of package fmt.
func (PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenKey) }

// MarshalText hides the key from encoders.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(hiddenKey), nil }

// Limits of certificates.
const (
	// certificateRegion is where the service keeps certificates of every region of the mainland.
	certificateRegion = "cn-hangzhou"
	maxCertificatePEM = 64 << 10
	// minCertificateValidity is how long a certificate must still be good to be put on a listener (ALB-FACTS 3.6).
	minCertificateValidity = 24 * time.Hour
)

// Issue makes a certificate for names, the first of which becomes its common name; both results are PEM.
type Issue func(ctx context.Context, names []string) (chain, key []byte, err error)

// ListCertificates gives the certificates, oldest first.
func (c *Cloud) ListCertificates(context.Context) ([]Certificate, error) {
	return slices.Clone(c.Inventory().Certificates), nil
}

// UploadUserCertificate takes a certificate made elsewhere and gives its id. Names are used once.
func (c *Cloud) UploadUserCertificate(ctx context.Context, in UploadCertificateInput) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addCertificate(ctx, SourceUpload, in)
}

// CreateCertificateRequest has a certificate for names issued by the service's own authority and gives its id.
func (c *Cloud) CreateCertificateRequest(ctx context.Context, names []string) (string, error) {
	if len(names) == 0 {
		return "", errMissing("Domain")
	}
	chain, key, err := c.options.Issue(ctx, names)
	if err != nil {
		return "", fmt.Errorf("issue a certificate for %s: %w", strings.Join(names, ", "), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addCertificate(ctx, SourceIssued, UploadCertificateInput{Name: c.freeCertificateName(names[0]), Chain: chain, Key: key})
}

// RenewCertificate has a certificate of the same names issued. As on the real service it is another one with another
// id: what names the old id goes on with the old one.
func (c *Cloud) RenewCertificate(ctx context.Context, id string) (string, error) {
	old, err := c.Inventory().certificate(id)
	if err != nil {
		return "", err
	}
	names := old.Domains
	if len(names) == 0 {
		names = []string{old.CommonName}
	}
	return c.CreateCertificateRequest(ctx, names)
}

// DeleteUserCertificate deletes a certificate that no listener has.
func (c *Cloud) DeleteUserCertificate(ctx context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.Inventory()
	if _, err := i.certificate(id); err != nil {
		return err
	}
	if slices.ContainsFunc(i.Listeners, func(l Listener) bool {
		return slices.ContainsFunc(l.Certificates, func(lc ListenerCertificate) bool { return lc.CertificateID == id })
	}) {
		return errInUse("Certificate", id)
	}
	return c.commit(ctx, deleteCertificate(id))
}

// addCertificate checks and stores. The caller holds c.mu.
func (c *Cloud) addCertificate(ctx context.Context, source CertificateSource, in UploadCertificateInput) (string, error) {
	i := c.Inventory()
	if in.Name == "" || len(in.Name) > 128 {
		return "", errIllegal("Name")
	}
	if slices.ContainsFunc(i.Certificates, func(o Certificate) bool { return o.Name == in.Name }) {
		return "", refuse(http.StatusBadRequest, "NameRepeat", "name repeated: %s", in.Name)
	}
	if len(in.Chain) > maxCertificatePEM {
		return "", errIllegalSize("Cert")
	}
	if len(in.Key) > maxCertificatePEM {
		return "", errIllegalSize("Key")
	}
	made := Certificate{
		CertificateID: newCertificateID(i), Name: in.Name, Source: source, Chain: slices.Clone(in.Chain), Key: slices.Clone(in.Key),
		CreateTime: c.options.Clock.Now().UTC().Format(time.RFC3339),
	}
	if err := made.describe(); err != nil {
		return "", errIllegal("Cert")
	}
	if _, err := tls.X509KeyPair(in.Chain, in.Key); err != nil {
		return "", errIllegal("Key")
	}
	return made.CertificateID, c.commit(ctx, insertCertificate(made))
}

// freeCertificateName is the domain, with a number when there is one of that name.
func (c *Cloud) freeCertificateName(domain string) string {
	taken := map[string]bool{}
	for _, o := range c.Inventory().Certificates {
		taken[o.Name] = true
	}
	name := domain
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s-%d", domain, n)
	}
	return name
}

// newCertificateID is eight digits and the service's region.
func newCertificateID(i *Inventory) string {
	for {
		id := fmt.Sprintf("%d-%s", 10_000_000+rand.IntN(90_000_000), certificateRegion)
		if _, err := i.certificate(id); err != nil {
			return id
		}
	}
}

// describe reads the leaf.
func (c *Certificate) describe() error {
	block, _ := pem.Decode(c.Chain)
	if block == nil || block.Type != "CERTIFICATE" {
		return errors.New("no certificate in PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(leaf.Raw)
	c.CommonName, c.Domains, c.NotBefore, c.NotAfter = leaf.Subject.CommonName, leaf.DNSNames, leaf.NotBefore.UTC(), leaf.NotAfter.UTC()
	c.Fingerprint, c.Algorithm = hex.EncodeToString(sum[:]), "ECC"
	if _, ok := leaf.PublicKey.(*rsa.PublicKey); ok {
		c.Algorithm = "RSA"
	}
	return nil
}

// Covers tells whether the certificate's common name or one of its domains is the host; a wildcard there stands for
// exactly one label (ALB-FACTS 3.6).
func (c *Certificate) Covers(host string) bool {
	_, rest, _ := strings.Cut(strings.ToLower(host), ".")
	for _, name := range append([]string{c.CommonName}, c.Domains...) {
		name = strings.ToLower(name)
		if name == strings.ToLower(host) || rest != "" && name == "*."+rest {
			return true
		}
	}
	return false
}

func (i *Inventory) certificate(id string) (*Certificate, error) {
	if c := found(i.Certificates, func(c *Certificate) bool { return c.CertificateID == id }); c != nil {
		return c, nil
	}
	return nil, errNotFound("Certificate", id)
}

// checkListenerCertificates refuses what a listener cannot show (ALB-FACTS 3.6, 4.12). have are those it has already:
// they may be as old as they are.
func checkListenerCertificates(i *Inventory, l Listener, have []ListenerCertificate, now time.Time) error {
	if l.Protocol == ProtocolHTTP {
		if len(l.Certificates) > 0 {
			return errIllegal("Certificates")
		}
		return nil
	}
	if count(l.Certificates, func(c *ListenerCertificate) bool { return c.IsDefault }) != 1 {
		return errMissing("Certificates")
	}
	seen := map[string]bool{}
	var expired []string
	for n, lc := range l.Certificates {
		c, err := i.certificate(lc.CertificateID)
		if err != nil {
			return err
		}
		if seen[lc.CertificateID] {
			return errDuplicated(fmt.Sprintf("Certificates.%d.CertificateId", n+1))
		}
		seen[lc.CertificateID] = true
		if c.CommonName == "" {
			return errNotAllowed("HttpsCertCommonNameEmpty")
		}
		known := slices.ContainsFunc(have, func(o ListenerCertificate) bool { return o.CertificateID == lc.CertificateID })
		if !known && c.NotAfter.Before(now.Add(minCertificateValidity)) {
			expired = append(expired, lc.CertificateID)
		}
	}
	if len(expired) > 0 {
		return refuse(http.StatusBadRequest, "CertificateExpired", "The operation is not allowed because the following certificate IDs have expired: %v", expired)
	}
	return checkCertificateQuota(i, l)
}

// checkCertificateQuota counts the additional certificates of the whole instance.
func checkCertificateQuota(i *Inventory, l Listener) error {
	lb, err := i.loadBalancer(l.LoadBalancerID)
	if err != nil {
		return err
	}
	additional := func(l Listener) int {
		return count(l.Certificates, func(c *ListenerCertificate) bool { return !c.IsDefault })
	}
	used := 0
	for _, o := range i.Listeners {
		if o.LoadBalancerID == l.LoadBalancerID && o.ListenerID != l.ListenerID {
			used += additional(o)
		}
	}
	if limit := quotaCertificates(lb.Edition); used+additional(l) > limit {
		return errQuota(quotaName("alb_quota_loadbalancer_certificates_num", lb.Edition), lb.LoadBalancerID, used+additional(l), limit)
	}
	return nil
}

func insertCertificate(v Certificate) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO certificates (certificate_id, name, source, chain, private_key, create_time) VALUES (?, ?, ?, ?, ?, ?)`,
				v.CertificateID, v.Name, v.Source, string(v.Chain), string(v.Key), v.CreateTime)
			return err
		},
		apply: func(i *Inventory) { i.Certificates = appended(i.Certificates, v) },
	}
}

func deleteCertificate(id string) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`DELETE FROM certificates WHERE certificate_id = ?`, id)
			return err
		},
		apply: func(i *Inventory) {
			i.Certificates = without(i.Certificates, func(c *Certificate) bool { return c.CertificateID == id })
		},
	}
}
