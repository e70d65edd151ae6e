package std

import (
	"context"
	"crypto/tls"

	"github.com/alb-appliance/appliance/dataplane"
)

// secure shakes hands within the listener's request timeout. A client that speaks plain HTTP is let in, to be refused
// in HTTP. It reports whether the connection can be served.
func (c *clientConn) secure() bool {
	_, limits := c.sock.Conf()
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
		k.server.Metrics.HandshakeFailed(k.Listener())
		k.server.Log.Debug("TLS handshake failed", "listener", k.Listener(), "client", c.RemoteAddr().String(), "err", err)
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
