package enginetest

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/alb-appliance/appliance/dataplane"
)

// What follows looks at TLS where it is more than a handshake and data: records in pieces, and messages that come after
// the handshake, when nobody asked for any.

// trickle is a connection that sends each byte by itself.
type trickle struct{ net.Conn }

func (t trickle) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := t.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// testRecordsInPieces: a client whose every record arrives byte by byte is served like any other.
func testRecordsInPieces(f *fixture) {
	f.apply(f.https(dataplane.ClassALB, newBackend(f.T, echo)))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conf := clientTLS("http/1.1")
		conf.MinVersion, conf.MaxVersion = version, version
		conn := tls.Client(trickle{f.dial("l").Conn}, conf)
		if err := conn.Handshake(); err != nil {
			f.Fatalf("%s: %v", tls.VersionName(version), err)
		}
		p := &peer{conn, bufio.NewReader(conn)}
		body := strings.Repeat("0123456789", 300)
		for range 2 {
			p.send(request("POST", "/x", fmt.Sprintf("Content-Length: %d", len(body))) + body)
			f.want(p.read(false, "POST"), 200, "POST /x HTTP/1.1\n", body)
		}
		conn.Close()
	}
}

// testKeyUpdate: OpenSSL changes its keys in the middle of a connection and asks for the same; requests before and after
// are answered.
func testKeyUpdate(f *fixture) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		f.Skip("openssl is not installed; only it can be told to change keys (KeyUpdate) when we like")
	}
	f.apply(f.https(dataplane.ClassALB, newBackend(f.T, echo)))
	cmd := exec.Command(path, "s_client", "-connect", f.addr("l"), "-servername", "test.example", "-tls1_3", "-msg")
	in, err := cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	shown := &transcript{news: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = shown, shown
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	say := func(text string, want ...string) {
		f.Helper()
		if _, err := io.WriteString(in, text); err != nil {
			f.Fatal(err)
		}
		for _, w := range want {
			if !shown.await(w) {
				f.Fatalf("openssl never showed %q after %q:\n%s", w, text, shown)
			}
		}
	}
	say(request("GET", "/before"), "GET /before HTTP/1.1")
	for i := range 3 {
		// A line that begins with K is a command to openssl: change keys, and ask the other side to.
		say("K\n", "KEYUPDATE", ">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
		body := fmt.Sprintf("body %d", i)
		say(request("POST", fmt.Sprintf("/after%d", i), fmt.Sprintf("Content-Length: %d", len(body)))+body,
			"<<< TLS 1.3, Handshake [length 0005], KeyUpdate", fmt.Sprintf("POST /after%d HTTP/1.1", i), body)
	}
}

// transcript is what a program has shown so far.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen int // up to where it has been awaited
	news chan struct{}
}

// Write takes in what the program shows.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.text.Write(p)
	t.mu.Unlock()
	select {
	case t.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

// await waits until a text is shown, after those awaited before.
func (t *transcript) await(text string) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		t.mu.Lock()
		i := bytes.Index(t.text.Bytes()[t.seen:], []byte(text))
		if i >= 0 {
			t.seen += i + len(text)
		}
		t.mu.Unlock()
		if i >= 0 {
			return true
		}
		select {
		case <-t.news:
		case <-timer.C:
			return false
		}
	}
}

// String gives all that was shown.
func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// testTLSEndpoint reaches an endpoint over TLS and keeps the connection: over three requests the endpoint sends session
// tickets, and asks for new keys, while nobody uses the connection.
func testTLSEndpoint(f *fixture) {
	pair, err := keyPair(newCertificate(f.T, dataplane.KeyECC, "pod", "pod.example"))
	if err != nil {
		f.Fatal(err)
	}
	idle, sent, heard := make(chan bool, 3), make(chan error, 3), make(chan bool, 3)
	b := newBackend(f.T, func(raw *peer) {
		post, conn, err := newPostHandshake(raw.Conn, pair)
		if err != nil {
			sent <- err
			return
		}
		p := &peer{conn, bufio.NewReader(conn)}
		for p.read(true, "").err == nil {
			p.answer(200, "", "ok")
			if !<-idle {
				return
			}
			post.heard = heard
			sent <- errors.Join(post.ticket(), post.ticket(), post.keyUpdate())
		}
	})
	defer close(idle)
	s := simple(dataplane.ClassALB, b)
	s.Upstreams[0].Scheme = "https"
	f.apply(s)
	c := f.dial("l") // one, since each event loop has a pool of its own
	for i := range 3 {
		f.want(c.do("GET", "/"), 200, "ok")
		f.record() // the connection is pooled by now, or is about to be
		if i == 2 {
			break
		}
		idle <- true
		if err := receive(f.T, sent, "the endpoint's tickets"); err != nil {
			f.Fatal(err)
		}
		// An engine may read what comes on an idle connection at once, which its new keys tell, or when it uses the
		// connection next.
		select {
		case <-heard:
		case <-time.After(100 * time.Millisecond):
		}
	}
	if n := b.accepted(); n != 1 {
		f.Errorf("three requests took %d connections, want one", n)
	}
}

// keyPair is a certificate as crypto/tls has it.
func keyPair(c dataplane.Certificate) (tls.Certificate, error) {
	return tls.X509KeyPair(c.Chain, c.Key)
}

// postHandshake is the raw connection below a TLS 1.3 server of crypto/tls, which never says anything after its handshake
// but data. To send other messages in between, it encrypts the server's records anew, under the numbers that are right
// then.
type postHandshake struct {
	net.Conn
	heard        chan<- bool // told of bytes that came
	secret       []byte      // of what the server sends
	suite        uint16
	server, wire sealer // how the server encrypts, and how it goes out
	open         bool   // the handshake is over
}

// sealer encrypts one direction's records.
type sealer struct {
	cipher.AEAD
	iv  []byte
	seq uint64
}

// newPostHandshake shakes hands as a server that sends no tickets of its own.
func newPostHandshake(raw net.Conn, pair tls.Certificate) (*postHandshake, *tls.Conn, error) {
	p := &postHandshake{Conn: raw}
	conn := tls.Server(p, &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, KeyLogWriter: p.keyLog(),
	})
	if err := conn.Handshake(); err != nil {
		return nil, nil, err
	}
	p.suite = conn.ConnectionState().CipherSuite
	var err error
	if p.server, err = newSealer(p.suite, p.secret); err == nil {
		p.wire, err = newSealer(p.suite, p.secret)
	}
	p.open = true
	return p, conn, err
}

// keyLog takes the secret of the server's data from the key log.
func (p *postHandshake) keyLog() io.Writer {
	return writerFunc(func(line []byte) (int, error) {
		if parts := strings.Fields(string(line)); len(parts) == 3 && parts[0] == "SERVER_TRAFFIC_SECRET_0" {
			p.secret, _ = hex.DecodeString(parts[2])
		}
		return len(line), nil
	})
}

type writerFunc func(p []byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// newSealer derives key and IV from a traffic secret (RFC 8446, 7.3).
func newSealer(suite uint16, secret []byte) (sealer, error) {
	s := sealer{iv: expandLabel(secret, "iv", 12)}
	var err error
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
		var block cipher.Block
		if block, err = aes.NewCipher(expandLabel(secret, "key", 16)); err == nil {
			s.AEAD, err = cipher.NewGCM(block)
		}
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		s.AEAD, err = chacha20poly1305.New(expandLabel(secret, "key", 32))
	default:
		err = fmt.Errorf("cipher suite %s is none of those with SHA-256", tls.CipherSuiteName(suite))
	}
	return s, err
}

// expandLabel is HKDF-Expand-Label without a context.
func expandLabel(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(append(info, byte(len(label))), label...), 0)
	out, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		panic(err) // the lengths are constants that fit
	}
	return out
}

// nonce gives the next record's.
func (s *sealer) nonce() []byte {
	nonce := bytes.Clone(s.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, s.seq) {
		nonce[4+i] ^= b
	}
	s.seq++
	return nonce
}

// Read tells that bytes came.
func (p *postHandshake) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if n > 0 && p.heard != nil {
		p.heard <- true
		p.heard = nil
	}
	return n, err
}

// Write takes the server's records, as many as there are in it.
func (p *postHandshake) Write(b []byte) (int, error) {
	if !p.open {
		return p.Conn.Write(b)
	}
	for rest := b; len(rest) > 0; {
		if len(rest) < 5 || len(rest) < 5+int(binary.BigEndian.Uint16(rest[3:])) {
			return 0, errors.New("crypto/tls has written a part of a record")
		}
		head, body := rest[:5], rest[5:5+int(binary.BigEndian.Uint16(rest[3:]))]
		rest = rest[5+len(body):]
		plain, err := p.server.Open(nil, p.server.nonce(), body, head)
		if err != nil {
			return 0, err
		}
		if err := p.seal(plain); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// seal sends a record; plain ends with its type.
func (p *postHandshake) seal(plain []byte) error {
	head := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(plain)+p.wire.Overhead()))
	_, err := p.Conn.Write(p.wire.Seal(head, p.wire.nonce(), plain, head))
	return err
}

const typeHandshake = 22

// ticket sends a session ticket that is valid for an hour.
func (p *postHandshake) ticket() error {
	body := []byte{0, 0, 14, 16, 1, 2, 3, 4, 1, 9, 0, 6, 't', 'i', 'c', 'k', 'e', 't', 0, 0}
	return p.seal(append(append([]byte{4, 0, 0, byte(len(body))}, body...), typeHandshake))
}

// keyUpdate changes the server's keys and asks the client to do the same.
func (p *postHandshake) keyUpdate() error {
	if err := p.seal([]byte{24, 0, 0, 1, 1, typeHandshake}); err != nil {
		return err
	}
	p.secret = expandLabel(p.secret, "traffic upd", len(p.secret))
	var err error
	p.wire, err = newSealer(p.suite, p.secret)
	return err
}
