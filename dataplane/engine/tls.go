package engine

import (
	"crypto/tls"

	"github.com/alb-appliance/appliance/dataplane"
)

// TLSConfig gives the socket's TLS, which asks the program in force at each handshake: a renewed certificate is
// shown from the next one on, and connections that are open do not notice. The keys of session tickets are the
// config's own and stay the same.
func (k *Socket) TLSConfig() *tls.Config {
	return &tls.Config{
		Time:               k.server.Clock.Now,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { return k.handshakeConfig(h), nil },
	}
}

// handshakeConfig is the TLS of the listener as it is now, or what answers an ACME server's challenge.
func (k *Socket) handshakeConfig(h *tls.ClientHelloInfo) *tls.Config {
	p, b := k.Current()
	t := p.ListenerTLS(b.Listener)
	if t == nil {
		t = &dataplane.ListenerTLS{}
	}
	if proof := t.Challenge(h); proof != nil {
		return &tls.Config{NextProtos: []string{dataplane.ACMEProtocol}, Certificates: []tls.Certificate{*proof}, MinVersion: tls.VersionTLS12}
	}
	return &tls.Config{
		Time:                   k.server.Clock.Now,
		MinVersion:             t.Policy.Min,
		MaxVersion:             t.Policy.Max,
		CipherSuites:           t.Policy.Ciphers,
		NextProtos:             t.Protocols,
		SessionTicketsDisabled: !t.Tickets,
		// Without a certificate crypto/tls answers with the alert unrecognized_name.
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.Certificate(dataplane.HelloOf(h)), nil
		},
	}
}
