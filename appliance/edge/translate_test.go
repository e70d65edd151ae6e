package edge_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/alb-appliance/appliance/appliance/edge"
	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestTranslate turns the inventory of each testdata file into a snapshot and names.
func TestTranslate(t *testing.T) {
	t.Parallel()
	addresses, err := edge.NewAddresses(netip.MustParsePrefix("127.90.0.0/16"), edge.ModePorts)
	if err != nil {
		t.Fatal(err)
	}
	open := func(string) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return -1, os.ErrInvalid }
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var inventory cloudsim.Inventory
			if err := json.Unmarshal(archive.Files[0].Data, &inventory); err != nil {
				t.Fatal(err)
			}
			for n := range inventory.Certificates {
				certify(t, &inventory.Certificates[n])
			}
			snapshot := edge.Translate(&inventory, addresses, open)
			if _, problems := dataplane.Compile(nil, snapshot); len(problems) > 0 {
				t.Error(problems)
			}
			names, err := json.MarshalIndent(edge.Names(&inventory), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got := snapshot.String() + string(names) + "\n"
			want := &archive.Files[1]
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// certify gives a certificate a chain and key that are the same in every run.
func certify(t *testing.T, c *cloudsim.Certificate) {
	t.Helper()
	seed := sha256.Sum256([]byte(c.CertificateID))
	key := ed25519.NewKeyFromSeed(seed[:])
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: c.CommonName}, DNSNames: []string{c.CommonName},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c.Chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestSockets(t *testing.T) {
	t.Parallel()
	a, err := edge.NewAddresses(netip.MustParsePrefix("127.91.0.0/16"), edge.ModePorts)
	if err != nil {
		t.Fatal(err)
	}
	if a.Mode() != edge.ModePorts || a.DNS() != netip.MustParseAddr("127.91.0.53") {
		t.Errorf("mode %s, DNS %s", a.Mode(), a.DNS())
	}
	for port, want := range map[int]string{80: "127.91.0.2:20080", 443: "127.91.0.2:20443", 8080: "127.91.0.2:8080"} {
		if got := a.Socket("127.91.0.2", port); !strings.HasPrefix(got, "127.0.0.1:") && got != want {
			t.Errorf("port %d becomes %s, want %s", port, got, want)
		}
	}
}
