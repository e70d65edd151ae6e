package engine

import (
	"bytes"
	"crypto/tls"
	"slices"

	"github.com/alb-appliance/appliance/dataplane"
)

// TLSConfig gives the socket's TLS, which asks the program in force at each handshake: a renewed certificate is
// shown from the next one on, and connections that are open do not notice. The keys of session tickets are the
// config's own and stay the same.
func (k *Socket) TLSConfig() *tls.Config {
	outer := &tls.Config{Time: k.server.Clock.Now}
	outer.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) { return k.handshakeConfig(h, outer), nil }
	return outer
}

// handshakeConfig is the TLS of the listener as it is now, or what answers an ACME server's challenge.
func (k *Socket) handshakeConfig(h *tls.ClientHelloInfo, outer *tls.Config) *tls.Config {
	p, b := k.Current()
	t := p.ListenerTLS(b.Listener)
	if t == nil {
		t = &dataplane.ListenerTLS{}
	}
	if proof := t.Challenge(h); proof != nil {
		return &tls.Config{NextProtos: []string{dataplane.ACMEProtocol}, Certificates: []tls.Certificate{*proof}, MinVersion: tls.VersionTLS12}
	}
	terms := terms{outer: outer, text: []byte(termsPrefix + t.Policy.String() + " for " + dataplane.HelloOf(h).ServerName)}
	return &tls.Config{
		Time:                   k.server.Clock.Now,
		MinVersion:             t.Policy.Min,
		MaxVersion:             t.Policy.Max,
		CipherSuites:           t.Policy.Ciphers,
		NextProtos:             t.Protocols,
		SessionTicketsDisabled: !t.Tickets,
		WrapSession:            terms.wrap,
		UnwrapSession:          terms.unwrap,
		// Records of full size from the first on: smaller ones save a client a little time and cost every record's work.
		DynamicRecordSizingDisabled: true,
		// Without a certificate crypto/tls answers with the alert unrecognized_name.
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.Certificate(dataplane.HelloOf(h)), nil
		},
	}
}

// terms are what a session was begun under: the listener's policy and the host that was asked for. A ticket resumes it
// under the same ones only, so that nobody gets past a policy that was made stricter, or from one host to another.
type terms struct {
	outer *tls.Config // whose keys tickets are made with
	text  []byte
}

// termsPrefix tells ours from what others may add to a session.
const termsPrefix = "terms: "

func (t terms) wrap(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
	s.Extra = append(s.Extra, t.text)
	return t.outer.EncryptTicket(cs, s)
}

// unwrap gives no session, and so has a full handshake, where the terms differ.
func (t terms) unwrap(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	s, err := t.outer.DecryptTicket(ticket, cs)
	if err != nil || s == nil {
		return nil, err
	}
	if !slices.ContainsFunc(s.Extra, func(e []byte) bool { return bytes.Equal(e, t.text) }) {
		return nil, nil
	}
	return s, nil
}
