package shell

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Exit codes of curl.
const (
	curlBadProtocol = 1
	curlUsage       = 2
	curlBadURL      = 3
	curlNoHost      = 6
	curlNoConnect   = 7
	curlPartial     = 18
	curlHTTPError   = 22
	curlWriteError  = 23
	curlTimeout     = 28
	curlTLSConnect  = 35
	curlRedirects   = 47
	curlEmpty       = 52
	curlReceive     = 56
	curlCertificate = 60
)

// curlError is a failure in curl's terms.
type curlError struct {
	code int
	text string
}

func (e *curlError) Error() string { return e.text }

func curlErrorf(code int, format string, a ...any) *curlError {
	return &curlError{code, fmt.Sprintf(format, a...)}
}

// request is one HTTP/1.1 request.
type request struct {
	method string
	url    *url.URL
	header []string // lines, without their ends
	body   []byte
	// connect is where to connect to instead of the URL's host and port, when it is not empty.
	connect        string
	connectTimeout time.Duration
	tls            *tls.Config
	trace          func(mark byte, line string) // what -v shows
}

// answer is what came back. Its body must be closed.
type answer struct {
	*http.Response
	head   []byte // as it came
	remote netip.AddrPort
	times  struct{ resolved, connected, began time.Time }
	close  func()
}

// headCapacity bounds the head of an answer, in bytes.
const headCapacity = 300 << 10

// exchange sends a request and reads the head of its answer. Every error is a *curlError.
func (c *Container) exchange(ctx context.Context, r *request) (*answer, error) {
	a := &answer{}
	conn, err := c.connect(ctx, r, a)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	a.close = func() {
		stop()
		conn.Close()
	}
	if err := c.ask(ctx, conn, r, a); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// connect resolves, connects and secures.
func (c *Container) connect(ctx context.Context, r *request, a *answer) (net.Conn, error) {
	host, port, err := destination(r)
	if err != nil {
		return nil, err
	}
	began := c.Clock.Now()
	all := c.Network.Resolver().addresses(host)
	if len(all) == 0 {
		r.trace('*', "Could not resolve host: "+host)
		return nil, curlErrorf(curlNoHost, "Could not resolve host: %s", host)
	}
	a.times.resolved = c.Clock.Now()
	dialing, done := c.within(ctx, r.connectTimeout)
	defer done()
	conn, to, err := c.dial(dialing, all, port, r.trace)
	if err != nil {
		return nil, c.noConnection(dialing, r, host, port, began)
	}
	a.remote, a.times.connected = netip.AddrPortFrom(to, port), c.Clock.Now()
	r.trace('*', fmt.Sprintf("Connected to %s (%s) port %d", host, to, port))
	if r.url.Scheme != "https" {
		return conn, nil
	}
	secure := tls.Client(conn, r.tls)
	if err := secure.HandshakeContext(dialing); err != nil {
		conn.Close()
		if errors.Is(context.Cause(dialing), errTimeout) {
			return nil, curlErrorf(curlTimeout, "SSL connection timeout")
		}
		return nil, insecure(err, r.tls.ServerName)
	}
	state := secure.ConnectionState()
	r.trace('*', fmt.Sprintf("SSL connection using %s / %s", strings.ReplaceAll(tls.VersionName(state.Version), "TLS ", "TLSv"), tls.CipherSuiteName(state.CipherSuite)))
	return secure, nil
}

// destination is where a request connects to.
func destination(r *request) (string, uint16, error) {
	at := r.connect
	if at == "" {
		at = r.url.Host
	}
	host, text, err := net.SplitHostPort(at)
	if err != nil {
		host, text = strings.Trim(at, "[]"), map[string]string{"http": "80", "https": "443"}[r.url.Scheme]
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || host == "" {
		return "", 0, curlErrorf(curlBadURL, "URL rejected: Port number was not a decimal number between 0 and 65535")
	}
	return host, uint16(port), nil
}

func (c *Container) noConnection(ctx context.Context, r *request, host string, port uint16, began time.Time) error {
	spent := c.Clock.Since(began).Milliseconds()
	if errors.Is(context.Cause(ctx), errTimeout) {
		return curlErrorf(curlTimeout, "Connection timed out after %d milliseconds", spent)
	}
	text := fmt.Sprintf("Failed to connect to %s port %d after %d ms: Could not connect to server", host, port, spent)
	r.trace('*', text)
	return &curlError{curlNoConnect, text}
}

// cause is what the system says of a connection that failed.
func cause(err error) string {
	var number syscall.Errno
	switch {
	case errors.As(err, &number) && number == syscall.ECONNREFUSED:
		return "Connection refused"
	case errors.As(err, &number) && number == syscall.ENETUNREACH:
		return "Network is unreachable"
	case errors.As(err, &number) && number == syscall.EHOSTUNREACH:
		return "Host is unreachable"
	default:
		return err.Error()
	}
}

// insecure says why a TLS handshake failed.
func insecure(err error, host string) error {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &authority) && authority.Cert != nil && bytes.Equal(authority.Cert.RawIssuer, authority.Cert.RawSubject):
		return curlErrorf(curlCertificate, "SSL certificate problem: self-signed certificate")
	case errors.As(err, &authority):
		return curlErrorf(curlCertificate, "SSL certificate problem: unable to get local issuer certificate")
	case errors.As(err, &name):
		return curlErrorf(curlCertificate, "SSL: no alternative certificate subject name matches target host name '%s'", host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return curlErrorf(curlCertificate, "SSL certificate problem: certificate has expired")
	case errors.As(err, &invalid):
		return curlErrorf(curlCertificate, "SSL certificate problem: %v", invalid)
	case errors.As(err, &alert):
		return curlErrorf(curlTLSConnect, "TLS connect error: %v", alert)
	case errors.As(err, &record):
		return curlErrorf(curlTLSConnect, "TLS connect error: error:0A00010B:SSL routines::wrong version number")
	default:
		return curlErrorf(curlTLSConnect, "TLS connect error: %v", err)
	}
}

// ask writes the request and reads the answer's head; interim answers are passed over.
func (c *Container) ask(ctx context.Context, conn net.Conn, r *request, a *answer) error {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", r.method, r.url.RequestURI())
	for _, line := range r.header {
		fmt.Fprintf(&head, "%s\r\n", line)
	}
	head.WriteString("\r\n")
	for line := range strings.Lines(head.String()) {
		r.trace('>', strings.TrimRight(line, "\r\n"))
	}
	if _, err := conn.Write(append(head.Bytes(), r.body...)); err != nil {
		return c.broken(ctx, err)
	}
	r.trace('*', "Request completely sent off")
	seen := &recorder{from: io.LimitedReader{R: conn, N: headCapacity}}
	reader := bufio.NewReader(seen)
	for {
		response, err := http.ReadResponse(reader, &http.Request{Method: r.method})
		if err != nil {
			return c.noAnswer(ctx, seen, err)
		}
		a.Response, a.head = response, seen.head(reader.Buffered())
		if response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	a.times.began = c.Clock.Now()
	seen.done()
	for line := range strings.Lines(string(a.head)) {
		r.trace('<', strings.TrimRight(line, "\r\n"))
	}
	return nil
}

func (c *Container) broken(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errTimeout) {
		return &curlError{curlTimeout, ""} // who set the limit says how long it was
	}
	if errors.Is(err, syscall.ECONNRESET) {
		return curlErrorf(curlReceive, "Recv failure: Connection reset by peer")
	}
	return curlErrorf(curlReceive, "Recv failure: %v", err)
}

func (c *Container) noAnswer(ctx context.Context, seen *recorder, err error) error {
	switch {
	case ctx.Err() != nil, errors.Is(err, syscall.ECONNRESET):
		return c.broken(ctx, err)
	case seen.raw.Len() == 0:
		return curlErrorf(curlEmpty, "Empty reply from server")
	case !bytes.HasPrefix(seen.raw.Bytes(), []byte("HTTP/")):
		return curlErrorf(curlBadProtocol, "Received HTTP/0.9 when not allowed")
	case seen.from.N <= 0:
		return curlErrorf(curlReceive, "Too large response headers: %d > %d", seen.raw.Len(), headCapacity)
	default:
		return curlErrorf(curlReceive, "Recv failure: %v", err)
	}
}

// recorder keeps what is read until the head is complete.
type recorder struct {
	from   io.LimitedReader
	raw    bytes.Buffer
	passed int
	over   bool
}

// Read implements io.Reader.
func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	if !r.over {
		r.raw.Write(b[:n])
	}
	return n, err
}

// head gives what was read since the last head, but for what is still buffered.
func (r *recorder) head(buffered int) []byte {
	end := r.raw.Len() - buffered
	head := r.raw.Bytes()[r.passed:end]
	r.passed = end
	return head
}

// done ends the recording; what follows has no bound here, for it is not kept.
func (r *recorder) done() { r.over, r.from.N = true, math.MaxInt64 }
