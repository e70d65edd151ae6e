package appliance

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	for _, content := range []string{"a long first content", "second"} {
		if err := writeFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}

	// What cannot be written leaves what was there, and nothing beside it.
	below := filepath.Join(name, "below")
	if err := writeFile(below, nil, 0o600); err == nil || !strings.Contains(err.Error(), below) {
		t.Errorf("below a file: %v", err)
	}
	directory := filepath.Join(dir, "directory")
	if err := os.MkdirAll(filepath.Join(directory, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(directory, []byte("x"), 0o600); err == nil {
		t.Error("it replaced a directory")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestAuthority(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	now := time.Now()
	made, err := openAuthority(certificate, key, now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := openAuthority(certificate, key, now)
	if err != nil || !bytes.Equal(made.pem, again.pem) {
		t.Fatalf("opened again it is another: %v", err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}

	roots := x509.NewCertPool()
	roots.AddCert(made.certificate)
	serving, err := again.serving(now, []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"127.0.0.1", "localhost"} {
		if _, err := leaf(t, serving).Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("serving %s: %v", name, err)
		}
	}
	client, err := again.client(now, "me", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	c := leaf(t, client)
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if c.Subject.CommonName != "me" || c.Subject.Organization[0] != "system:masters" {
		t.Errorf("client is %s", c.Subject)
	}
}

func leaf(t *testing.T, p *pair) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.certificate)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAuthorityDamaged wants the files named, and what to do.
func TestAuthorityDamaged(t *testing.T) {
	t.Parallel()
	other, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, want string
		damage     func(certificate, key string) error
	}{
		{"no certificate", "no such file", func(certificate, _ string) error { return os.Remove(certificate) }},
		{"no key", "no such file", func(_, key string) error { return os.Remove(key) }},
		{"empty", "not PEM", func(certificate, _ string) error { return os.Truncate(certificate, 0) }},
		{"half a key", "not PEM", func(_, key string) error { return os.Truncate(key, 60) }},
		{"another key", "do not belong together", func(_, key string) error { return os.WriteFile(key, other.key, 0o600) }},
		{"key for certificate", "x509", func(certificate, _ string) error { return os.WriteFile(certificate, other.key, 0o600) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			certificate, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
			if _, err := openAuthority(certificate, key, time.Now()); err != nil {
				t.Fatal(err)
			}
			if err := row.damage(certificate, key); err != nil {
				t.Fatal(err)
			}
			_, err := openAuthority(certificate, key, time.Now())
			check(t, "what", err, row.want)
			check(t, "what to do", err, "remove "+certificate+" and "+key+" to make a new one")
		})
	}
}
