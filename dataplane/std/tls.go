package std

import (
	"context"
	"crypto/tls"

	"github.com/alb-appliance/appliance/dataplane"
)

// tlsConfig gives the socket's TLS, which asks the program in force at each handshake: a renewed certificate is
// shown from the next one on, and connections that are open do not notice. The keys of session tickets are the
// config's own and stay the same.
func (k *socket) tlsConfig() *tls.Config {
	return &tls.Config{
		Time:               k.server.clock.Now,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { return k.handshakeConfig(h), nil },
	}
}

// handshakeConfig is the TLS of the listener as it is now, or what answers an ACME server's challenge.
func (k *socket) handshakeConfig(h *tls.ClientHelloInfo) *tls.Config {
	p, b := k.current()
	t := p.ListenerTLS(b.listener)
	if t == nil {
		t = &dataplane.ListenerTLS{}
	}
	if proof := t.Challenge(h); proof != nil {
		return &tls.Config{NextProtos: []string{dataplane.ACMEProtocol}, Certificates: []tls.Certificate{*proof}, MinVersion: tls.VersionTLS12}
	}
	return &tls.Config{
		Time:                   k.server.clock.Now,
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

// secure shakes hands within the listener's request timeout. A client that speaks plain HTTP is let in, to be refused
// in HTTP. It reports whether the connection can be served.
func (c *clientConn) secure() bool {
	_, limits := c.sock.conf()
	c.read.arm(limits.Request)
	defer c.read.disarm()
	raw, err := sniff(c.Conn)
	if err != nil {
		return false
	}
	if !raw.isTLS() {
		c.become(raw, func() {})
		return true
	}
	conn := tls.Server(raw, c.front.tls)
	if err := conn.HandshakeContext(context.Background()); err != nil {
		k := c.sock
		k.server.metrics.HandshakeFailed(k.listener())
		k.server.log.Debug("TLS handshake failed", "listener", k.listener(), "client", c.RemoteAddr().String(), "err", err)
		return false
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol == dataplane.ACMEProtocol {
		_ = conn.Close() // the handshake was all there was to it (RFC 8737 section 3)
		return false
	}
	c.become(conn, func() { c.info, c.h2 = dataplane.TLSInfoOf(state), state.NegotiatedProtocol == "h2" })
	return true
}
