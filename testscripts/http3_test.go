package testscripts

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/rogpeppe/go-internal/testscript"
)

// http3Transport speaks HTTP/3 to the sockets behind names.
func http3Transport(ts *testscript.TestScript, trust *tls.Config) *http3.Transport {
	return &http3.Transport{
		TLSClientConfig: trust,
		Dial: func(ctx context.Context, address string, trust *tls.Config, config *quic.Config) (*quic.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			socket, err := socketFor(ts, host, port)
			if err != nil {
				return nil, err
			}
			return quic.DialAddr(ctx, socket, trust, config)
		},
	}
}
