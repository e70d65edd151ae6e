package dataplane_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// pair makes a self-signed certificate with its key.
func pair(t testing.TB, key crypto.Signer, id, commonName string, names ...string) dataplane.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: commonName}, DNSNames: names, NotBefore: begin, NotAfter: begin.AddDate(0, 0, 90)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return dataplane.Certificate{
		ID: id, Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

func eccKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestChooseCertificate is the order of ALB-FACTS 3.6.
func TestChooseCertificate(t *testing.T) {
	t.Parallel()
	cert := func(id string, kind dataplane.KeyKind, days int, names ...string) dataplane.Candidate {
		return dataplane.Candidate{ID: id, Info: dataplane.CertificateInfo{Kind: kind, Names: names, NotBefore: begin, NotAfter: begin.AddDate(0, 0, days)}}
	}
	def := func(c dataplane.Candidate) dataplane.Candidate { c.Default = true; return c }
	ecc, old := dataplane.Hello{ServerName: "a.example", ECC: true}, dataplane.Hello{ServerName: "a.example"}
	for name, c := range map[string]struct {
		from  []dataplane.Candidate
		hello dataplane.Hello
		want  string
	}{
		"none":                           {nil, ecc, ""},
		"exact before wildcard":          {[]dataplane.Candidate{cert("w", "ECC", 99, "*.example"), cert("e", "RSA", 1, "a.example")}, ecc, "e"},
		"wildcard covers one label":      {[]dataplane.Candidate{def(cert("d", "RSA", 1)), cert("w", "RSA", 1, "*.example")}, dataplane.Hello{ServerName: "x.a.example"}, "d"},
		"a wildcard is no name":          {[]dataplane.Candidate{def(cert("d", "RSA", 1)), cert("w", "RSA", 1, "*.example")}, dataplane.Hello{ServerName: "example"}, "d"},
		"ECC before RSA":                 {[]dataplane.Candidate{cert("r", "RSA", 99, "a.example"), cert("e", "ECC", 1, "a.example")}, ecc, "e"},
		"RSA for old clients":            {[]dataplane.Candidate{cert("e", "ECC", 99, "a.example"), cert("r", "RSA", 1, "a.example")}, old, "r"},
		"RSA wildcard for old clients":   {[]dataplane.Candidate{cert("e", "ECC", 99, "a.example"), cert("w", "RSA", 1, "*.example")}, old, "w"},
		"additional before default":      {[]dataplane.Candidate{def(cert("d", "RSA", 99, "a.example")), cert("r", "RSA", 1, "a.example")}, ecc, "r"},
		"default ECC has no handicap":    {[]dataplane.Candidate{def(cert("d", "ECC", 99, "a.example")), cert("e", "ECC", 1, "a.example")}, ecc, "d"},
		"longest validity":               {[]dataplane.Candidate{cert("short", "RSA", 30, "a.example"), cert("long", "RSA", 90, "a.example")}, ecc, "long"},
		"order given":                    {[]dataplane.Candidate{cert("1", "RSA", 30, "a.example"), cert("2", "RSA", 30, "a.example")}, ecc, "1"},
		"unknown name":                   {[]dataplane.Candidate{cert("1", "RSA", 30, "b.example"), def(cert("d", "RSA", 30, "c.example"))}, ecc, "d"},
		"no name":                        {[]dataplane.Candidate{cert("1", "RSA", 30, "a.example"), def(cert("d", "RSA", 30, "c.example"))}, dataplane.Hello{ECC: true}, "d"},
		"nothing the client can verify":  {[]dataplane.Candidate{cert("1", "ECC", 30, "a.example"), def(cert("d", "ECC", 30, "c.example"))}, old, "d"},
		"without a default, the first":   {[]dataplane.Candidate{cert("1", "RSA", 30, "b.example"), cert("2", "RSA", 30, "c.example")}, ecc, "1"},
		"a host name is not its pattern": {[]dataplane.Candidate{def(cert("d", "RSA", 1)), cert("w", "RSA", 1, "*.example")}, dataplane.Hello{ServerName: ".example"}, "d"},
	} {
		if got, why := dataplane.ChooseCertificate(c.from, c.hello); got != c.want || why == "" {
			t.Errorf("%s: %q (%s), want %q", name, got, why, c.want)
		}
	}
}

// snapshotTLS has one HTTPS listener of a class.
func snapshotTLS(class dataplane.Class, conf *dataplane.TLS, certs ...dataplane.Certificate) *dataplane.Snapshot {
	return &dataplane.Snapshot{
		Listeners:    []dataplane.Listener{{ID: "l", Class: class, Protocol: dataplane.ProtocolHTTPS, Port: 443, TLS: conf}},
		Certificates: certs,
	}
}

// TestChooseByHost is class nginx: hosts go by what the producer says, whatever the certificates cover.
func TestChooseByHost(t *testing.T) {
	t.Parallel()
	key := eccKey(t)
	conf := &dataplane.TLS{Default: "fake", Hosts: []dataplane.CertificateHost{
		{Host: "Tea.example", Certificate: "tea"}, {Host: "*.example", Certificate: "wild"}, {Host: "tea.example", Certificate: "late"},
	}}
	prog, problems := dataplane.Compile(nil, snapshotTLS(dataplane.ClassNGINX, conf, pair(t, key, "fake", "fake"), pair(t, key, "tea", "tea", "other.test"),
		pair(t, key, "wild", "wild", "other.test"), pair(t, key, "late", "late")))
	if len(problems) != 0 {
		t.Fatalf("problems: %v", problems)
	}
	for name, want := range map[string]string{"tea.example": "tea", "coffee.example": "wild", "a.b.example": "fake", "other.test": "fake", "": "fake"} {
		if got, why := prog.ListenerTLS("l").Choose(dataplane.Hello{ServerName: name}); got != want || why == "" {
			t.Errorf("%q gets %s (%s), want %s", name, got, why, want)
		}
	}
	prog, _ = dataplane.Compile(nil, snapshotTLS(dataplane.ClassNGINX, nil))
	if got, why := prog.ListenerTLS("l").Choose(dataplane.Hello{}); got != "" || why == "" {
		t.Errorf("without certificates: %q (%s)", got, why)
	}
}

// TestCertificateProblems has one case for each way in which a certificate cannot be shown.
func TestCertificateProblems(t *testing.T) {
	t.Parallel()
	key := eccKey(t)
	good := pair(t, key, "crt", "a.example", "a.example")
	for name, c := range map[string]struct {
		change func(*dataplane.Certificate)
		want   string
	}{
		"another key":    {func(c *dataplane.Certificate) { c.Key = pair(t, eccKey(t), "", "x").Key }, "its key does not belong to it"},
		"another kind":   {func(c *dataplane.Certificate) { c.Key = pair(t, rsaKey(t), "", "x").Key }, "its key does not belong to it"},
		"no key":         {func(c *dataplane.Certificate) { c.Key = nil }, "its chain or its key is missing"},
		"no chain":       {func(c *dataplane.Certificate) { c.Chain = nil }, "its chain or its key is missing"},
		"key is text":    {func(c *dataplane.Certificate) { c.Key = dataplane.PrivateKey("secret") }, "its key is no private key in PEM"},
		"key is a chain": {func(c *dataplane.Certificate) { c.Key = c.Chain }, "its key is no private key in PEM"},
		"chain is text":  {func(c *dataplane.Certificate) { c.Chain = []byte("hello") }, "the chain holds no certificate in PEM"},
		"chain is a key": {func(c *dataplane.Certificate) { c.Chain = c.Key }, "the chain holds no certificate in PEM"},
		"chain is broken": {func(c *dataplane.Certificate) {
			c.Chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
		}, "the chain's first certificate cannot be read"},
	} {
		bad := good
		c.change(&bad)
		prog, problems := dataplane.Compile(nil, snapshotTLS(dataplane.ClassALB, &dataplane.TLS{Certificates: []string{"crt"}}, bad))
		text := fmt.Sprint(problems)
		if !strings.Contains(text, "certificate crt: "+c.want) || !strings.Contains(text, "every TLS handshake is refused") {
			t.Errorf("%s: problems are %s", name, text)
		}
		if strings.Contains(text, "secret") {
			t.Errorf("%s: a problem shows the key: %s", name, text)
		}
		if got := prog.ListenerTLS("l").Certificate(dataplane.Hello{}); got != nil {
			t.Errorf("%s: it is shown all the same", name)
		}
	}
}

func rsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestCertificatesShared: what did not change is not parsed again, and a renewal shows.
func TestCertificatesShared(t *testing.T) {
	t.Parallel()
	key := eccKey(t)
	s := snapshotTLS(dataplane.ClassALB, &dataplane.TLS{Certificates: []string{"a", "b"}}, pair(t, key, "a", "a", "a.example"), pair(t, key, "b", "b", "b.example"))
	one, _ := dataplane.Compile(nil, s)
	next := *s
	next.Certificates = []dataplane.Certificate{s.Certificates[0], pair(t, key, "b", "b2", "b.example")}
	next.Certificates[0].Chain = bytes.Clone(s.Certificates[0].Chain)
	two, _ := dataplane.Compile(one, &next)
	shown := func(p *dataplane.Program, name string) *tls.Certificate {
		return p.ListenerTLS("l").Certificate(dataplane.Hello{ServerName: name, ECC: true})
	}
	if shown(one, "a.example") != shown(two, "a.example") {
		t.Error("an unchanged certificate was parsed again")
	}
	if got := shown(two, "b.example").Leaf.Subject.CommonName; got != "b2" {
		t.Errorf("after the renewal %s is shown", got)
	}
}

// TestKeysStayHidden prints a snapshot in every way there is.
func TestKeysStayHidden(t *testing.T) {
	t.Parallel()
	s := snapshotTLS(dataplane.ClassALB, &dataplane.TLS{Certificates: []string{"crt"}, HTTP2: true}, pair(t, eccKey(t), "crt", "cn", "a.example", "*.b.example"))
	encoded, err := json.Marshal(s.Certificates)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := pem.Decode(s.Certificates[0].Key)
	for _, text := range []string{s.String(), fmt.Sprint(s.Certificates), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s.Certificates[0]), fmt.Sprintf("%s %x %q", s.Certificates[0].Key, s.Certificates[0].Key, s.Certificates[0].Key), string(encoded)} {
		for _, secret := range []string{"PRIVATE", fmt.Sprintf("%x", raw.Bytes[:8]), fmt.Sprint(raw.Bytes[:4])} {
			if strings.Contains(text, secret) {
				t.Errorf("a key shows in %.300s", text)
			}
		}
	}
	want := "certificate crt ECC names=a.example,*.b.example from=2026-01-01T00:00:00Z to=2026-04-01T00:00:00Z sha256="
	if !strings.Contains(s.String(), want) {
		t.Errorf("text lacks %q:\n%s", want, s)
	}
	back, err := dataplane.Parse(s.String())
	if err != nil || back.String() != s.String() {
		t.Errorf("text reads back as %v\n%s", err, back)
	}
}

func TestTLSPolicies(t *testing.T) {
	t.Parallel()
	for _, p := range dataplane.TLSPolicies() {
		prog, problems := dataplane.Compile(nil, snapshotTLS(dataplane.ClassALB, &dataplane.TLS{Policy: p.Name}))
		got := prog.ListenerTLS("l").Policy
		if got.Name != p.Name || got.Min > got.Max || len(got.Ciphers) == 0 || len(problems) != 1 {
			t.Errorf("policy %s is %+v, problems %v", p.Name, got, problems)
		}
	}
	prog, problems := dataplane.Compile(nil, snapshotTLS(dataplane.ClassALB, &dataplane.TLS{Policy: "tls_mine"}))
	if got := prog.ListenerTLS("l").Policy.Name; got != dataplane.DefaultTLSPolicy || !strings.Contains(fmt.Sprint(problems), `TLS policy "tls_mine" is unknown`) {
		t.Errorf("an unknown policy gives %s, problems %v", got, problems)
	}
	prog, _ = dataplane.Compile(nil, snapshotTLS(dataplane.ClassNGINX, nil))
	if got := prog.ListenerTLS("l"); got.Policy.Min != tls.VersionTLS12 || got.Policy.Max != tls.VersionTLS13 || got.Tickets {
		t.Errorf("class nginx has %+v", got)
	}
}

func TestTLSInfo(t *testing.T) {
	t.Parallel()
	for id, want := range map[uint16]string{
		tls.TLS_AES_128_GCM_SHA256:                      "TLS_AES_128_GCM_SHA256",
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:       "ECDHE-RSA-AES128-GCM-SHA256",
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:     "ECDHE-ECDSA-AES256-GCM-SHA384",
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-RSA-CHACHA20-POLY1305",
		tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256:       "ECDHE-RSA-AES128-SHA256",
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:        "ECDHE-ECDSA-AES256-SHA",
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256:             "AES128-GCM-SHA256",
		tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA:               "DES-CBC3-SHA",
	} {
		if got := dataplane.TLSInfoOf(tls.ConnectionState{CipherSuite: id}).Cipher; got != want {
			t.Errorf("%s is called %s, want %s", tls.CipherSuiteName(id), got, want)
		}
	}
	for v, want := range map[uint16]string{tls.VersionTLS10: "TLSv1", tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"} {
		if got := dataplane.TLSInfoOf(tls.ConnectionState{Version: v}).Version; got != want {
			t.Errorf("%s is called %s, want %s", tls.VersionName(v), got, want)
		}
	}
}

// FuzzCertificate feeds chains and keys that are none.
func FuzzCertificate(f *testing.F) {
	c := pair(f, eccKey(f), "crt", "cn", "a.example")
	f.Add([]byte(c.Chain), []byte(c.Key))
	f.Add([]byte(c.Key), []byte(c.Chain))
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		s := snapshotTLS(dataplane.ClassALB, &dataplane.TLS{Certificates: []string{"c"}}, dataplane.Certificate{ID: "c", Chain: chain, Key: key})
		prog, problems := dataplane.Compile(nil, s)
		if (prog.ListenerTLS("l").Certificate(dataplane.Hello{}) == nil) == (len(problems) == 0) {
			t.Errorf("problems are %v", problems)
		}
		if back, err := dataplane.Parse(s.String()); err != nil || back.String() != s.String() {
			t.Errorf("text %q reads back with %v", s, err)
		}
	})
}
