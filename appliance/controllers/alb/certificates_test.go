package alb

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/cloudsim"
)

// signed makes a certificate for a name, good until then, and its key.
func signed(name string, until time.Time) (chain, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.AddDate(-2, 0, 0), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		panic(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// uploads are the Uploads of models, by name: the same name has the same content.
var uploads = struct {
	sync.Mutex
	made map[string]Upload
}{made: map[string]Upload{}}

func uploadNamed(name string) Upload {
	uploads.Lock()
	defer uploads.Unlock()
	u, ok := uploads.made[name]
	if !ok {
		u.Name = name
		u.Chain, u.Key = signedPrivate(name + ".example.com")
		uploads.made[name] = u
	}
	return u
}

func signedPrivate(name string) ([]byte, cloudsim.PrivateKey) {
	chain, key := signed(name, time.Date(2099, time.January, 1, 0, 0, 0, 0, time.UTC))
	return chain, key
}

// secured gives a model's listener on a port another protocol and the certificates of Uploads.
func secured(m *Model, port int, protocol string, names ...string) *Model {
	l := &m.Listeners[slices.IndexFunc(m.Listeners, func(l Listener) bool { return l.Port == port })]
	l.Protocol, l.Certificates = protocol, nil
	if protocol == cloudsim.ProtocolHTTPS {
		l.SecurityPolicyID, l.HTTP2Enabled = cloudsim.SecurityPolicies[0], true
	}
	for _, name := range names {
		l.Certificates = append(l.Certificates, CertificateRef{Upload: name})
		m.Uploads = append(m.Uploads, uploadNamed(name))
	}
	return m
}

func (w *world) listenerID(t *testing.T, port int, protocol string) string {
	t.Helper()
	for _, l := range w.inner.Inventory().Listeners {
		if l.Port == port && l.Protocol == protocol {
			return l.ListenerID
		}
	}
	t.Fatalf("there is no listener %d/%s: %s", port, protocol, w)
	return ""
}

// TestDeployCertificates takes one cloud through what becomes of an HTTPS listener: it is one listener all along.
func TestDeployCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := backend{"/a", "ing", "a", []int{2}}
	chain, key := signedPrivate("fixed.example.com")
	fixed, err := w.inner.UploadUserCertificate(t.Context(), cloudsim.UploadCertificateInput{Name: "fixed", Chain: chain, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	w.deploy(t, "it waits for its first certificate, the other one does not", secured(w.model([]int{80, 443}, a), 443, "HTTPS"))
	w.deploy(t, "the first certificate", secured(w.model([]int{80, 443}, a), 443, "HTTPS", "one"))
	id := w.listenerID(t, 443, "HTTPS")
	w.deploy(t, "a renewed one", secured(w.model([]int{80, 443}, a), 443, "HTTPS", "two"))
	w.deploy(t, "a second one", secured(w.model([]int{80, 443}, a), 443, "HTTPS", "two", "one"))
	m := secured(w.model([]int{80, 443}, a), 443, "HTTPS", "two")
	m.Listeners[1].Certificates = []CertificateRef{{ID: fixed}, {Upload: "two"}}
	m.Listeners[1].SecurityPolicyID, m.Listeners[1].HTTP2Enabled = "tls_cipher_policy_1_2", false
	w.deploy(t, "one by its id before, another policy, no HTTP/2", m)

	// Named both by its id and as an upload it counts once.
	m.Listeners[1].Certificates = []CertificateRef{{Upload: "two"}, {ID: certificateID(t, w, "two")}}
	if _, err := w.deployer().deploy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := w.String(); !strings.Contains(got, "[two]") {
		t.Errorf("twice the same: %s", got)
	}

	// Without any it keeps what it has, and its rules still change.
	last := secured(w.model([]int{80, 443}), 443, "HTTPS")
	if _, err := w.deployer().deploy(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if got := w.String(); !strings.Contains(got, "[two]") || strings.Contains(got, "rule") {
		t.Errorf("the last certificate gone: %s", got)
	}
	if now := w.listenerID(t, 443, "HTTPS"); now != id {
		t.Errorf("listener %s became %s", id, now)
	}
	if n := len(w.inner.Inventory().Certificates); n != 3 {
		t.Errorf("%d certificates in the service, want 3", n)
	}
}

func certificateID(t *testing.T, w *world, name string) string {
	t.Helper()
	for _, c := range w.inner.Inventory().Certificates {
		if c.Name == name {
			return c.CertificateID
		}
	}
	t.Fatalf("there is no certificate %s", name)
	return ""
}

// TestDeployProtocols changes the protocol of a port and joins a QUIC listener to an HTTPS one and parts them again.
func TestDeployProtocols(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := backend{"/a", "ing", "a", []int{2}}
	w.deploy(t, "HTTP", w.model([]int{443}, a))
	w.deploy(t, "HTTPS on its port", secured(w.model([]int{443}, a), 443, "HTTPS", "one"))
	both := func() *Model {
		m := secured(w.model([]int{443, 444}, a), 443, "HTTPS", "one")
		m = secured(m, 444, "QUIC", "one")
		m.Listeners[1].Port = 443
		return m
	}
	// Without an id to refer to HTTPS is refused, but the QUIC listener is made: so there is an id.
	early := both()
	early.Listeners[0].QUIC.UpgradeEnabled = true
	if _, err := w.deployer().deploy(t.Context(), early); err == nil || !strings.Contains(err.Error(), "The param of QuicConfig.QuicListenerId is missing") {
		t.Errorf("joined to nothing: %v", err)
	}
	w.listenerID(t, 443, "QUIC")
	w.deploy(t, "QUIC beside it", both())
	joined := both()
	joined.Listeners[0].QUIC = cloudsim.QUICConfig{UpgradeEnabled: true, ListenerID: w.listenerID(t, 443, "QUIC")}
	w.deploy(t, "joined", joined)
	w.deploy(t, "both gone at once", w.model([]int{80}, a))
	w.deploy(t, "and HTTP again", w.model([]int{443}, a))
	w.deploy(t, "nothing", w.model(nil))
	quic := both()
	quic.Listeners = quic.Listeners[1:]
	w.deploy(t, "QUIC before it", quic)
	joined.Listeners[0].QUIC.ListenerID = w.listenerID(t, 443, "QUIC")
	w.deploy(t, "joined", joined)
	w.deploy(t, "both gone at once, the one that refers to the other first", w.model([]int{80}, a))
}

// TestDeployTwoOfOneSecret has a second AlbConfig upload the same certificate between our look and our upload.
func TestDeployTwoOfOneSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := uploadNamed("shared")
	var once sync.Once
	w.on(func(call string) error {
		if call == "UploadUserCertificate" {
			once.Do(func() {
				if _, err := w.inner.UploadUserCertificate(t.Context(), cloudsim.UploadCertificateInput{Name: u.Name, Chain: u.Chain, Key: u.Key}); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	}, nil)
	w.deployOnce(t, secured(w.model([]int{443}), 443, "HTTPS", "shared"))
	if n := len(w.inner.Inventory().Certificates); n != 1 || !strings.Contains(w.String(), "[shared]") {
		t.Errorf("%d certificates, %s", n, w)
	}
}

func (w *world) deployOnce(t *testing.T, m *Model) deployed {
	t.Helper()
	result, err := w.deployer().deploy(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// TestModelHidesKeys wants no text of a model, whatever the verb, to hold a key.
func TestModelHidesKeys(t *testing.T) {
	t.Parallel()
	m := &Model{Uploads: []Upload{uploadNamed("secret")}}
	body := strings.Split(string(m.Uploads[0].Key), "\n")[1]
	for _, text := range []string{m.String(), fmt.Sprintf("%v", *m), fmt.Sprintf("%+v", m.Uploads), fmt.Sprintf("%#v", m.Uploads), fmt.Sprintf("%s", m.Uploads)} {
		if strings.Contains(text, body) || !strings.Contains(text, "[private key]") {
			t.Error(text)
		}
	}
}
