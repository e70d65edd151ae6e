package enginetest

import (
	"bufio"
	"crypto/tls"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// testTLS: HTTP/1.1 over TLS says so to the endpoint and in the log.
func testTLS(f *fixture) {
	for _, class := range []dataplane.Class{dataplane.ClassALB, dataplane.ClassNGINX} {
		f.apply(f.https(class, newBackend(f.T, echo)))
		p, conn := f.dialTLS(clientTLS("http/1.1"))
		for range 2 {
			f.want(p.do("GET", "/x"), 200, "GET /x HTTP/1.1\n", "X-Forwarded-Proto: https\n", "X-Forwarded-Port: 443\n")
			r := f.wantReason(200, dataplane.ReasonNone)
			if r.Scheme != "https" || r.TLSProtocol != "TLSv1.3" || !strings.HasPrefix(r.TLSCipher, "TLS_") || r.Proto != "HTTP/1.1" {
				f.Errorf("%s: record says %s %s %s %s", class, r.Scheme, r.TLSProtocol, r.TLSCipher, r.Proto)
			}
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
			f.Errorf("%s: ALPN gave %q", class, got)
		}
	}
}

// shown is the common name of the certificate that a client is shown.
func (f *fixture) shown(server string, change func(*tls.Config)) string {
	f.Helper()
	conf := clientTLS()
	conf.ServerName = server
	if change != nil {
		change(conf)
	}
	p, conn := f.dialTLS(conf)
	defer p.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// testSNI: the certificate follows the name and what the client can verify (ALB-FACTS 3.6).
func testSNI(f *fixture) {
	s := secured(simple(dataplane.ClassALB),
		newCertificate(f.T, dataplane.KeyECC, "default", "other.example"),
		newCertificate(f.T, dataplane.KeyRSA, "rsa", "a.example"), newCertificate(f.T, dataplane.KeyECC, "ecc", "a.example"),
		newCertificate(f.T, dataplane.KeyECC, "wild", "*.example"))
	f.apply(s)
	onlyRSA := func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	}
	for _, c := range []struct {
		server string
		change func(*tls.Config)
		want   string
	}{
		{"a.example", nil, "ecc"}, {"A.example", nil, "ecc"}, {"a.example", onlyRSA, "rsa"}, {"b.example", nil, "wild"},
		{"x.b.example", nil, "default"}, {"unknown.test", nil, "default"}, {"", nil, "default"},
	} {
		if got := f.shown(c.server, c.change); got != c.want {
			f.Errorf("%q (RSA only: %t) is shown %s, want %s", c.server, c.change != nil, got, c.want)
		}
	}
}

// testFakeCertificate: class nginx goes by the host its producer names, and shows its own certificate otherwise, though
// another one would fit (NGINX-FACTS 4).
func testFakeCertificate(f *fixture) {
	const fake = "Kubernetes Ingress Controller Fake Certificate"
	s := secured(simple(dataplane.ClassNGINX),
		newCertificate(f.T, dataplane.KeyECC, "tea", "*.shop.example"), newCertificate(f.T, dataplane.KeyECC, fake, "ingress.local"))
	s.Listeners[0].TLS.Certificates, s.Listeners[0].TLS.Default = nil, fake
	s.Listeners[0].TLS.Hosts = []dataplane.CertificateHost{{Host: "tea.shop.example", Certificate: "tea"}, {Host: "*.cafe.example", Certificate: "tea"}}
	f.apply(s)
	for server, want := range map[string]string{
		"tea.shop.example": "tea", "x.cafe.example": "tea", "y.x.cafe.example": fake, "coffee.shop.example": fake, "": fake,
	} {
		if got := f.shown(server, nil); got != want {
			f.Errorf("%q is shown %q, want %q", server, got, want)
		}
	}
}

// testRenewal: a new certificate is shown at the next handshake; nothing that is open notices.
func testRenewal(f *fixture) {
	b := newBackend(f.T, wsEcho)
	s := f.https(dataplane.ClassALB, b)
	f.apply(s)
	p, before := f.dialTLS(clientTLS("http/1.1"))
	p.send(upgrade())
	if m := p.read(false, ""); m.status() != 101 {
		f.Fatalf("handshake's answer is %q", m.first)
	}
	p.expect(f, "hi")
	next := *s
	next.Certificates = []dataplane.Certificate{newCertificate(f.T, dataplane.KeyECC, "crt", "test.example")}
	f.apply(&next)
	p.send("still here")
	p.expect(f, "still here")
	_, after := f.dialTLS(clientTLS())
	if before.ConnectionState().PeerCertificates[0].Equal(after.ConnectionState().PeerCertificates[0]) {
		f.Error("the old certificate is shown after its renewal")
	}
}

// testChallenge: an ACME server's handshake is shown the proof for its host and nothing else; others never see it
// (RFC 8737).
func testChallenge(f *fixture) {
	for _, class := range []dataplane.Class{dataplane.ClassALB, dataplane.ClassNGINX} {
		s := secured(simple(class), newCertificate(f.T, dataplane.KeyECC, "own", "test.example"))
		s.Certificates = append(s.Certificates, newCertificate(f.T, dataplane.KeyECC, "proof", "test.example"))
		s.Listeners[0].TLS.Challenges = []dataplane.CertificateHost{{Host: "Test.example", Certificate: "proof"}}
		f.apply(s)
		conf := clientTLS(dataplane.ACMEProtocol)
		p, conn := f.dialTLS(conf)
		if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "proof" {
			f.Errorf("%s: the challenge is shown %q", class, got)
		}
		if n, err := p.Conn.Read(make([]byte, 1)); err == nil || n > 0 {
			f.Errorf("%s: the connection carries data after the challenge", class)
		}
		conf.ServerName = "other.example"
		if _, err := f.tryTLS(conf); err == nil {
			f.Errorf("%s: a challenge for another host succeeds", class)
		}
		if got := f.shown("test.example", nil); got != "own" {
			f.Errorf("%s: others are shown %q", class, got)
		}
	}
}

// testReloadInHandshake: a connection that is shaking hands while the listener is reloaded is answered once.
func testReloadInHandshake(f *fixture) {
	s := f.https(dataplane.ClassNGINX, newBackend(f.T, echo))
	s.Listeners[0].CutAfter = 240 * time.Second
	f.apply(s)
	raw := f.dial("l")
	conn := tls.Client(raw.Conn, clientTLS("http/1.1"))
	f.Cleanup(func() { conn.Close() })
	f.apply(reloaded(s, 1)) // the engine has taken the connection in, or will
	if err := conn.Handshake(); err != nil {
		f.Fatal(err)
	}
	m := (&peer{conn, bufio.NewReader(conn)}).do("GET", "/x")
	f.want(m, 200)
}

// testTLSPolicy: the policy decides on versions (ALB-FACTS 2.2).
func testTLSPolicy(f *fixture) {
	s := f.https(dataplane.ClassALB, newBackend(f.T, echo))
	for _, c := range []struct {
		policy   string
		min, max uint16 // what connects; 0 for nothing
	}{
		{"", tls.VersionTLS10, tls.VersionTLS12},
		{"tls_cipher_policy_1_1", tls.VersionTLS11, tls.VersionTLS12},
		{"tls_cipher_policy_1_2", tls.VersionTLS12, tls.VersionTLS12},
		{"tls_cipher_policy_1_2_strict_with_1_3", tls.VersionTLS12, tls.VersionTLS13},
	} {
		next := *s
		next.Listeners = append([]dataplane.Listener(nil), s.Listeners...)
		conf := *s.Listeners[0].TLS
		conf.Policy, next.Listeners[0].TLS = c.policy, &conf
		f.apply(&next)
		for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
			client := clientTLS()
			client.MinVersion, client.MaxVersion = v, v
			p, err := f.tryTLS(client)
			if ok := err == nil; ok != (c.min <= v && v <= c.max) {
				f.Errorf("policy %q, %s: handshake gave %v", c.policy, tls.VersionName(v), err)
			}
			p.Close()
		}
	}
}

// testPlainHTTP: plain HTTP on a TLS port is told so (ALB-FACTS 4.5, NGINX-FACTS 3).
func testPlainHTTP(f *fixture) {
	for class, words := range map[dataplane.Class]string{dataplane.ClassALB: "400 Bad Request", dataplane.ClassNGINX: "The plain HTTP request was sent to HTTPS port"} {
		f.apply(f.https(class, newBackend(f.T, echo)))
		p := f.dial("l")
		f.want(p.do("GET", "/secret"), 400, words)
		if r := f.wantReason(400, dataplane.ReasonPlainHTTP); r.URI != "/secret" || r.Scheme != "http" {
			f.Errorf("record says %s %s", r.Scheme, r.URI)
		}
		if rest, ok := p.ended(); rest != "" || !ok {
			f.Errorf("after 400 came %q, ended %v", rest, ok)
		}
		p = f.dial("l")
		p.send("neither TLS nor HTTP\r\n\r\n")
		f.want(p.read(false, ""), 400, words)
		f.wantReason(400, dataplane.ReasonPlainHTTP)
	}
}

// testSlowHandshake: the handshake has the request timeout, by the clock.
func testSlowHandshake(f *fixture) {
	f.apply(f.https(dataplane.ClassALB, newBackend(f.T, echo)))
	for _, begin := range []string{"", "\x16\x03\x01"} {
		p := f.dial("l")
		p.send(begin)
		timed(f, 59*time.Second, func() bool { _, ok := p.ended(); return ok })
	}
	p, _ := f.dialTLS(clientTLS("http/1.1"))
	f.want(p.do("GET", "/"), 200)
}

// testBadCertificates: what cannot be shown is told, and everything else is served.
func testBadCertificates(f *fixture) {
	good, other := newCertificate(f.T, dataplane.KeyECC, "good", "test.example"), newCertificate(f.T, dataplane.KeyECC, "other", "b.example")
	mixed := good
	mixed.ID, mixed.Key = "mixed", other.Key
	s := secured(simple(dataplane.ClassALB, newBackend(f.T, echo)), mixed, good)
	bare := s.Listeners[0]
	bare.ID, bare.TLS = "bare", &dataplane.TLS{Certificates: []string{"mixed", "lost"}}
	s.Listeners = append(s.Listeners, bare)
	f.apply(s)
	text := ""
	for _, p := range f.engine.Problems() {
		text += p.String() + "\n"
	}
	for _, want := range []string{"certificate mixed: its key does not belong to it", `listener bare: certificate "lost" is not in the snapshot`, "listener bare: it has no certificate that can be shown"} {
		if !strings.Contains(text, want) {
			f.Errorf("problems lack %q:\n%s", want, text)
		}
	}
	if got := f.shown("test.example", nil); got != "good" {
		f.Errorf("shown is %s", got)
	}
	p := f.dial("bare")
	if err := tls.Client(p.Conn, clientTLS()).Handshake(); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		f.Errorf("handshake without a certificate gave %v", err)
	}
}

// testTLSHandover: an address goes over from HTTP to HTTPS; connections begun before speak the wrong protocol then.
func testTLSHandover(f *fixture) {
	b := newBackend(f.T, echo)
	plain := simple(dataplane.ClassALB, b)
	f.apply(plain)
	addr := f.addr("l")
	plain.Listeners[0].Sockets = []string{addr}
	f.apply(&dataplane.Snapshot{})
	s := simple(dataplane.ClassALB, b)
	s.Listeners[0].Sockets = []string{addr}
	f.apply(s)
	old := f.dial("l")
	f.want(old.do("GET", "/"), 200)
	next := f.https(dataplane.ClassALB, b)
	next.Listeners[0].Sockets = []string{addr}
	f.apply(next)
	f.want(old.do("GET", "/"), 400)
	p, _ := f.dialTLS(clientTLS())
	f.want(p.do("GET", "/"), 200)
}

// testSecureTunnel: wss is ws over TLS; both ends may close their half.
func testSecureTunnel(f *fixture) {
	f.apply(f.https(dataplane.ClassNGINX, newBackend(f.T, wsEcho)))
	p, conn := f.dialTLS(clientTLS("http/1.1"))
	p.send(upgrade() + "early")
	if m := p.read(false, ""); m.status() != 101 {
		f.Fatalf("handshake's answer is %q", m.first)
	}
	p.expect(f, "hiearly")
	_ = conn.CloseWrite()
	if rest, ok := p.ended(); rest != "bye" || !ok {
		f.Errorf("after our end came %q (%v), want bye", rest, ok)
	}
	if r := f.wantReason(101, dataplane.ReasonNone); r.TLSProtocol != "TLSv1.3" || r.Scheme != "https" {
		f.Errorf("record says %s %s", r.Scheme, r.TLSProtocol)
	}
}
