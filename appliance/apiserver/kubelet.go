package apiserver

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
)

// kubeletConnection reaches every node's kubelet through one handler in this process, which speaks the kubelet's own
// API (/containerLogs, /exec, /attach, /portForward).
type kubeletConnection struct{ transport http.RoundTripper }

// GetConnectionInfo implements kubeletclient.ConnectionInfoGetter.
func (k kubeletConnection) GetConnectionInfo(_ context.Context, node types.NodeName) (*kubeletclient.ConnectionInfo, error) {
	return &kubeletclient.ConnectionInfo{
		Scheme: "http", Hostname: string(node), Port: "10250",
		Transport: k.transport, InsecureSkipTLSVerifyTransport: k.transport,
	}, nil
}

// kubeletTransport asks a handler in this process: plain requests by the loopback, upgrades over pipes in memory. Upstream
// upgrades a connection to the kubelet for exec, attach and port-forward, and takes the way to dial it from the
// *http.Transport inside; so there has to be a connection, where the loopback has none.
type kubeletTransport struct {
	loopback
	upgrades *http.Transport
}

func newKubeletTransport(h http.Handler) *kubeletTransport {
	server := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(logr.ToSlogHandler(klog.Background()), slog.LevelError)}
	server.SetKeepAlivesEnabled(false) // upstream does not close the connection of an upgrade that was refused
	t := &kubeletTransport{upgrades: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go server.Serve(&oneConnection{conn: far}) // says io.EOF once it has taken the connection
			return near, nil
		},
	}}
	t.serve(h)
	return t
}

// WrappedRoundTripper implements net.RoundTripperWrapper of apimachinery and streaming.
func (t *kubeletTransport) WrappedRoundTripper() http.RoundTripper { return t.upgrades }

// oneConnection is a listener that has one connection to accept; that lives on when the listener ends.
type oneConnection struct {
	once sync.Once
	conn net.Conn
}

// Accept implements net.Listener.
func (l *oneConnection) Accept() (conn net.Conn, err error) {
	err = io.EOF
	l.once.Do(func() { conn, err = l.conn, nil })
	return conn, err
}

// Close implements net.Listener.
func (l *oneConnection) Close() error { return nil }

// Addr implements net.Listener.
func (l *oneConnection) Addr() net.Addr { return l.conn.LocalAddr() }
