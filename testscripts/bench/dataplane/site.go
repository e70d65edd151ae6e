//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/load"
)

// What every contestant serves: hosts with paths, an upstream for each host, and what bounds clients.
const (
	hosts                = 10
	pathsPerHost         = 10
	endpointsPerUpstream = 2
	keepAlivePerEndpoint = 32

	maxHead      = 15 << 10 // what fits into HAProxy's default buffer; Debian's 2.6 pays for larger ones with every connection
	maxBody      = 1 << 20
	maxClients   = 7500          // clients at a time; with as many to backends, what 20,000 descriptors permit
	maxRequests  = 1_000_000_000 // on a connection: all contestants alike, HAProxy knows no such limit
	loadBalancer = "bench"

	// A field that every answer gets.
	responseField, responseValue = "X-Content-Type-Options", "nosniff"
)

// site is what the contestants are configured from.
type site struct {
	dir       string
	cert, key string // files, PEM
	backends  []int  // ports
}

func hostName(i int) string { return fmt.Sprintf("h%d.bench.test", i) }
func pathOf(i int) string   { return fmt.Sprintf("/p%d/", i) }
func routeID(h, p int) string {
	return fmt.Sprintf("route-%d-%d", h, p)
}
func upstreamID(h int) string { return fmt.Sprintf("app-%d", h) }

// targets are one resource behind each route.
func targets(name string) []load.Target {
	var all []load.Target
	for p := range pathsPerHost {
		for h := range hosts {
			all = append(all, load.Target{Host: hostName(h), Path: pathOf(p) + name})
		}
	}
	return all
}

// newSite makes the certificate: one ECDSA P-256 key for all.
func newSite(dir string, backends []int) (*site, error) {
	s := &site{dir: dir, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), backends: backends}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "*.bench.test"}, DNSNames: []string{"*.bench.test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if err := os.WriteFile(s.cert, cert, 0o644); err != nil {
		return nil, err
	}
	return s, os.WriteFile(s.key, private, 0o600)
}
