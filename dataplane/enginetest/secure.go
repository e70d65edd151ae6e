package enginetest

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// newCertificate makes a self-signed certificate for names, valid for 90 days around the suite's clock.
func newCertificate(t *testing.T, kind dataplane.KeyKind, id string, names ...string) dataplane.Certificate {
	t.Helper()
	var key crypto.Signer
	var err error
	if kind == dataplane.KeyRSA {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: id}, DNSNames: names, NotBefore: begin, NotAfter: begin.AddDate(0, 0, 90),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return dataplane.Certificate{
		ID:    id,
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// secured turns the listener of a simple snapshot into an HTTPS one that shows the certificates.
func secured(s *dataplane.Snapshot, certs ...dataplane.Certificate) *dataplane.Snapshot {
	l := &s.Listeners[0]
	l.Protocol, l.Port = dataplane.ProtocolHTTPS, 443
	l.Forward.XForwardedProto, l.Forward.XForwardedPort = true, true
	l.TLS = &dataplane.TLS{HTTP2: true, Policy: "tls_cipher_policy_1_2_strict_with_1_3"}
	if l.Class == dataplane.ClassNGINX {
		l.TLS.Policy = ""
	}
	for _, c := range certs {
		l.TLS.Certificates = append(l.TLS.Certificates, c.ID)
	}
	s.Certificates = certs
	return s
}

// https is a simple snapshot whose listener speaks TLS with one certificate.
func (f *fixture) https(class dataplane.Class, backends ...*backend) *dataplane.Snapshot {
	return secured(simple(class, backends...), newCertificate(f.T, dataplane.KeyECC, "crt", "test.example"))
}

// clientTLS is how the suite's clients speak TLS; that the certificate is self-signed does not matter to them.
func clientTLS(protocols ...string) *tls.Config {
	return &tls.Config{ServerName: "test.example", InsecureSkipVerify: true, NextProtos: protocols}
}

// dialTLS connects and shakes hands.
func (f *fixture) dialTLS(conf *tls.Config) (*peer, *tls.Conn) {
	f.Helper()
	p, err := f.tryTLS(conf)
	if err != nil {
		f.Fatalf("TLS handshake: %v", err)
	}
	conn := p.Conn.(*tls.Conn)
	return p, conn
}

// tryTLS is dialTLS where the handshake may fail.
func (f *fixture) tryTLS(conf *tls.Config) (*peer, error) {
	f.Helper()
	raw := f.dial("l")
	conn := tls.Client(raw.Conn, conf)
	f.Cleanup(func() { conn.Close() })
	return &peer{conn, bufio.NewReader(conn)}, conn.Handshake()
}

// web is an HTTP client that always reaches the listener, whatever host it asks for.
type web struct {
	f *fixture
	*http.Client
}

// newWeb makes a client that speaks HTTP/2 if it is offered.
func (f *fixture) newWeb() *web {
	tr := &http.Transport{TLSClientConfig: clientTLS(), ForceAttemptHTTP2: true}
	f.Cleanup(tr.CloseIdleConnections)
	return &web{f, &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// request makes a request for the listener.
func (w *web) request(method, target string, body io.Reader) *http.Request {
	w.f.Helper()
	r, err := http.NewRequest(method, "https://"+w.f.addr("l")+target, body)
	if err != nil {
		w.f.Fatal(err)
	}
	r.Host = "test.example"
	return r
}

// reply is an answer, read to its end.
type reply struct {
	*http.Response
	body string
	err  error // of the exchange or of the body
}

// send does a request.
func (w *web) send(r *http.Request) reply {
	resp, err := w.Do(r)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp, string(body), err}
}

// get asks for a target and wants a status.
func (w *web) get(target string, status int) reply {
	w.f.Helper()
	r := w.send(w.request("GET", target, nil))
	w.want(r, status)
	return r
}

func (w *web) want(r reply, status int) {
	w.f.Helper()
	if r.err != nil || r.StatusCode != status {
		w.f.Fatalf("answer is %+v (%v), want status %d; body %q", r.Response, r.err, status, r.body)
	}
}
