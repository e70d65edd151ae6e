package dataplane

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// TLS says how a listener speaks TLS.
type TLS struct {
	// Certificates are ids of the snapshot's certificates, in order of preference.
	Certificates []string
	// Default is the id of the certificate for clients that name no host or one that no certificate is for; empty
	// takes the first of Certificates. Class nginx has its self-signed one here (NGINX-FACTS 4).
	Default string
	// Hosts says which certificate a host gets, whatever names the certificate holds (NGINX-FACTS 4: the first Ingress
	// with a TLS section decides). Class nginx chooses by it alone; class alb, which has none, by the certificates' names.
	Hosts []CertificateHost
	// Policy names protocol versions and ciphers (TLSPolicies); empty is the class's default. QUIC always speaks
	// TLS 1.3 and has no policy (ALB-FACTS 2.2).
	Policy string
	// HTTP2 offers HTTP/2 by ALPN on an HTTPS listener; HTTP/1.1 is always offered.
	HTTP2 bool
	// Challenges are certificates that prove control of a host to an ACME server: shown to a client that asks for the
	// host and speaks nothing but ACMEProtocol.
	Challenges []CertificateHost
}

// ACMEProtocol is the name by which an ACME server asks for a challenge (RFC 8737 section 3).
const ACMEProtocol = "acme-tls/1"

// CertificateHost gives a host, or "*.rest" for one label before rest, a certificate by its id.
type CertificateHost struct {
	Host        string
	Certificate string
}

// Hello is what a client's first message says that matters to the choice of a certificate.
type Hello struct {
	// ServerName is the name the client asks for (SNI), lower case; empty when it names none.
	ServerName string
	// ECC tells that the client can verify ECDSA or Ed25519 signatures; all can verify RSA.
	ECC bool
}

// HelloOf reads a client's first message.
func HelloOf(h *tls.ClientHelloInfo) Hello {
	return Hello{ServerName: strings.ToLower(strings.TrimSuffix(h.ServerName, ".")), ECC: supportsECC(h)}
}

// supportsECC looks for an ECC signature scheme and, below TLS 1.3, for a cipher that goes with it (RFC 8422).
func supportsECC(h *tls.ClientHelloInfo) bool {
	if !slices.ContainsFunc(h.SignatureSchemes, isECC) {
		return false
	}
	if slices.Contains(h.SupportedVersions, tls.VersionTLS13) {
		return true
	}
	return slices.ContainsFunc(h.CipherSuites, func(id uint16) bool {
		return strings.HasPrefix(tls.CipherSuiteName(id), "TLS_ECDHE_ECDSA_")
	})
}

// isECC reports whether a signature scheme needs an ECC key.
func isECC(s tls.SignatureScheme) bool {
	switch s {
	case tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512, tls.ECDSAWithSHA1, tls.Ed25519:
		return true
	}
	return false
}

// ListenerTLS is a listener's TLS, compiled. It is immutable.
type ListenerTLS struct {
	// Policy is what the listener's policy allows.
	Policy TLSPolicy
	// Protocols are offered by ALPN, the preferred one first.
	Protocols []string
	// Tickets tells whether sessions may be resumed by tickets; class nginx has them off (NGINX-FACTS 4).
	Tickets bool

	candidates []Candidate
	hosts      map[string]string // lower case host to certificate id
	byHost     bool
	fallback   string
	challenges map[string]string // lower case host to certificate id
	certs      map[string]*compiledCertificate
}

// ListenerTLS gives a listener's TLS, nil when it speaks none.
func (p *Program) ListenerTLS(id string) *ListenerTLS {
	if lp := p.listeners[id]; lp != nil {
		return lp.tls
	}
	return nil
}

// Choose gives the id of the certificate that a client is shown and why; "" when the listener has none to show.
func (t *ListenerTLS) Choose(h Hello) (id, why string) {
	if t.byHost {
		return chooseByHost(t.hosts, t.fallback, h.ServerName)
	}
	return ChooseCertificate(t.candidates, h)
}

// Certificate gives the certificate that a client is shown, nil when there is none.
func (t *ListenerTLS) Certificate(h Hello) *tls.Certificate {
	id, _ := t.Choose(h)
	if c := t.certs[id]; c != nil {
		return c.tls
	}
	return nil
}

// Challenge gives the certificate that proves control of a host, nil when the client asks for none or none is due.
func (t *ListenerTLS) Challenge(h *tls.ClientHelloInfo) *tls.Certificate {
	if len(h.SupportedProtos) != 1 || h.SupportedProtos[0] != ACMEProtocol {
		return nil
	}
	if c := t.certs[t.challenges[HelloOf(h).ServerName]]; c != nil {
		return c.tls
	}
	return nil
}

// compileTLS prepares a listener's TLS; certificates that cannot be shown are left out and reported.
func compileTLS(certs map[string]*compiledCertificate, l *Listener) (*ListenerTLS, []Problem) {
	if l.Protocol != ProtocolHTTPS && l.Protocol != ProtocolQUIC {
		return nil, nil
	}
	conf := l.TLS
	if conf == nil {
		conf = &TLS{}
	}
	t := &ListenerTLS{
		Protocols: []string{"http/1.1"}, Tickets: l.Class != ClassNGINX, certs: certs, byHost: l.Class == ClassNGINX || len(conf.Hosts) > 0,
	}
	t.Policy, _ = policyOf(l.Class, conf.Policy)
	if conf.HTTP2 {
		t.Protocols = []string{"h2", "http/1.1"}
	}
	if l.Protocol == ProtocolQUIC {
		t.Protocols, t.Policy = []string{"h3"}, TLSPolicy{Min: tls.VersionTLS13, Max: tls.VersionTLS13}
	}
	bad := t.enter(conf)
	problem := func(format string, args ...any) {
		bad = append(bad, Problem{Listener: l.ID, Message: fmt.Sprintf(format, args...)})
	}
	for i := range bad {
		bad[i].Listener = l.ID
	}
	if len(t.candidates) == 0 {
		problem("it has no certificate that can be shown; every TLS handshake is refused")
	}
	return t, bad
}

// enter collects the certificates that can be shown.
func (t *ListenerTLS) enter(conf *TLS) (bad []Problem) {
	seen := map[string]bool{}
	usable := func(id string) bool {
		c := t.certs[id]
		if c != nil && c.err != nil && !seen[id] {
			bad = append(bad, Problem{Message: fmt.Sprintf("certificate %s cannot be shown: %v", id, c.err)})
		}
		seen[id] = true
		return c != nil && c.err == nil
	}
	for _, id := range conf.order() {
		if !seen[id] && usable(id) {
			t.candidates = append(t.candidates, Candidate{ID: id, Info: t.certs[id].info})
		}
	}
	byHost := func(list []CertificateHost) map[string]string {
		hosts := make(map[string]string, len(list))
		for _, h := range list {
			if _, ok := hosts[strings.ToLower(h.Host)]; !ok && usable(h.Certificate) {
				hosts[strings.ToLower(h.Host)] = h.Certificate
			}
		}
		return hosts
	}
	t.hosts, t.challenges = byHost(conf.Hosts), byHost(conf.Challenges)
	t.setFallback(conf)
	return bad
}

// order lists all certificates a listener names, by preference.
func (conf *TLS) order() []string {
	ids := slices.Clone(conf.Certificates)
	if conf.Default != "" {
		ids = append(ids, conf.Default)
	}
	for _, h := range conf.Hosts {
		ids = append(ids, h.Certificate)
	}
	return ids
}

// setFallback picks the default: the one named, else the first that can be shown.
func (t *ListenerTLS) setFallback(conf *TLS) {
	at := 0
	if i := slices.IndexFunc(t.candidates, func(c Candidate) bool { return c.ID == conf.Default }); i >= 0 {
		at = i
	}
	if len(t.candidates) > 0 {
		t.candidates[at].Default = true
		t.fallback = t.candidates[at].ID
	}
}
