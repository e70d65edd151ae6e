package appliance

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/alb-appliance/appliance/appliance/controllers/certificates"
	"github.com/alb-appliance/appliance/appliance/edge"
)

// Names of issuers: the internal CA, and the ACME directory that was given no name of its own.
const (
	issuerInternal = "internal"
	IssuerACME     = "acme"
)

// newCertificates wires the certificates controller with the issuers of the configuration.
func (a *Appliance) newCertificates() (*certificates.Controller, error) {
	issuers := map[string]certificates.Issue{issuerInternal: a.issue}
	roots, err := a.acmeRoots()
	if err != nil {
		return nil, err
	}
	for _, d := range a.config.ACMEDirectories {
		issuers[d.Name], err = certificates.NewACME(certificates.ACMEOptions{
			Directory: d.URL, Roots: roots, Challenges: a.config.ACMEChallenges, Prove: a.prove, Client: a.api.Loopback(), Logger: a.logger("acme"),
		})
		if err != nil {
			return nil, err
		}
	}
	byDefault := issuerInternal
	if len(a.config.ACMEDirectories) > 0 {
		byDefault = a.config.ACMEDirectories[0].Name
	}
	return certificates.New(certificates.Options{
		Client: a.api.Loopback(), Clock: a.clock, Logger: a.logger("certificates"),
		Issuers: issuers, Default: byDefault, RootCA: a.authority.pem, Internal: issuerInternal,
	})
}

// acmeRoots reads whom to trust as ACME directories; nil is the system's.
func (a *Appliance) acmeRoots() (*x509.CertPool, error) {
	if a.config.ACMERoots == "" {
		return nil, nil
	}
	text, err := os.ReadFile(a.config.ACMERoots)
	if err != nil {
		return nil, fmt.Errorf("read the ACME directory's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read the ACME directory's CA: %s holds no certificate in PEM", a.config.ACMERoots)
	}
	return roots, nil
}

// prove shows an ACME server's proof on the data plane or the name server.
func (a *Appliance) prove(ctx context.Context, p certificates.Proof) (withdraw func(), err error) {
	return a.publisher.Prove(ctx, edge.Proof(p))
}

// reviewCertificates warns of issuers that are not here; before the controller runs nothing is reviewed.
func (a *Appliance) reviewCertificates(ing *networkingv1.Ingress) ([]string, error) {
	if c := a.certificates.Load(); c != nil {
		return c.Review(ing)
	}
	return nil, nil
}

// ParseACMEDirectory reads NAME=URL, or a URL alone, whose issuer is named IssuerACME.
func ParseACMEDirectory(text string) ACMEDirectory {
	if name, url, named := strings.Cut(text, "="); named && !strings.Contains(name, "/") {
		return ACMEDirectory{name, url}
	}
	return ACMEDirectory{IssuerACME, text}
}
