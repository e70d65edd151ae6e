//go:build linux

package loop

import (
	"context"
	"crypto/tls"
	"iter"
	"net"
	"os"
	"sync"
	"time"
)

// secure is TLS on a stream, by crypto/tls, which reads from and writes to the secure as its net.Conn. The handshake
// runs as a coroutine on the loop's own goroutine: where it would wait for bytes it yields, and the loop resumes it when
// there are some. So everything that happens to a connection happens on its loop, one thing after the other.
type secure struct {
	s    *stream
	conn *tls.Conn
	// in is ciphertext that has been read and not yet taken by crypto/tls; it lies in the loop's buffer while the loop is
	// at it, and in an own one across turns.
	in  []byte
	own []byte

	resume func() (error, bool) // of the handshake; nil when there is none
	cancel func()
	yield  func(error) bool

	detached *detached
}

// secureServer begins TLS on a client's connection, of which first has been read.
func (s *stream) secureServer(conf *tls.Config, first []byte) *secure {
	t := &secure{s: s, in: first}
	t.conn = tls.Server(t, conf)
	s.tls = t
	t.begin()
	return t
}

// secureClient begins TLS on an endpoint's connection.
func (s *stream) secureClient(conf *tls.Config) *secure {
	t := &secure{s: s}
	t.conn = tls.Client(t, conf)
	s.tls = t
	t.begin()
	return t
}

// begin prepares the handshake.
func (t *secure) begin() {
	t.resume, t.cancel = iter.Pull(func(yield func(error) bool) {
		t.yield = yield
		err := t.conn.HandshakeContext(context.Background())
		t.yield = nil
		if err != nil {
			yield(err)
		}
	})
}

// shake goes on with the handshake: errAgain until it has ended, then nil or why it failed.
func (t *secure) shake() error {
	if t.resume == nil {
		return nil
	}
	err, more := t.resume()
	t.keep()
	t.s.flush()
	if more && err == errAgain {
		return errAgain
	}
	t.cancel()
	t.resume, t.cancel = nil, nil
	return err
}

// Read gives crypto/tls ciphertext.
func (t *secure) Read(p []byte) (int, error) {
	if t.detached != nil {
		return t.detached.read(t, p)
	}
	for {
		if len(t.in) > 0 {
			n := copy(p, t.in)
			t.in = t.in[n:]
			return n, nil
		}
		n, err := t.s.receive(t.s.l.cipher)
		if n > 0 {
			t.in = t.s.l.cipher[:n]
			continue
		}
		if err != errAgain || t.yield == nil {
			return 0, err
		}
		if !t.yield(errAgain) {
			return 0, net.ErrClosed
		}
	}
}

// Write takes ciphertext. All of it goes through what the stream holds, in order, whether crypto/tls writes because of a
// write of ours, in a read (KeyUpdate, alerts) or in a handshake.
func (t *secure) Write(p []byte) (int, error) {
	if t.detached != nil {
		return t.detached.write(p)
	}
	if t.s.broken != nil {
		return 0, t.s.broken
	}
	if t.s.closed {
		return 0, net.ErrClosed
	}
	t.s.hold(p)
	return len(p), nil
}

// read decrypts what there is, as much as p holds.
func (t *secure) read(p []byte) (int, error) {
	n := 0
	var err error
	for n < len(p) {
		var k int
		k, err = t.conn.Read(p[n:])
		n += k
		if err != nil {
			break
		}
	}
	t.keep()
	t.s.flush() // what reading made crypto/tls write
	if n > 0 {
		// An error other than errAgain is told again.
		return n, nil
	}
	return 0, err
}

// keep copies ciphertext that crypto/tls has not taken out of the loop's buffer, which others use next.
func (t *secure) keep() {
	switch {
	case len(t.in) == 0:
		if t.own != nil {
			t.s.l.buffers.put(t.own)
		}
		t.in, t.own = nil, nil
	case t.own == nil || len(t.in) > 0 && &t.in[0] != &t.own[len(t.own)-len(t.in)]:
		t.own = t.s.l.buffers.keep(t.in)
		t.in = t.own
	}
}

// write encrypts and sends.
func (t *secure) write(p []byte) error {
	if _, err := t.conn.Write(p); err != nil {
		return err
	}
	t.s.flush()
	return t.s.broken
}

// endWrite sends close_notify.
func (t *secure) endWrite() {
	_ = t.conn.CloseWrite()
	t.s.flush()
}

// close ends a handshake that is under way, and sends close_notify if there was one that succeeded.
func (t *secure) close() {
	if t.cancel != nil {
		t.cancel()
		t.resume, t.cancel = nil, nil
	} else if !t.s.blocked() {
		_ = t.conn.CloseWrite()
		t.s.flush()
	}
	if t.own != nil {
		t.s.l.buffers.put(t.own)
	}
	t.in, t.own = nil, nil
}

// detached is the connection of a secure that has left its loop: from then on any goroutine may use it.
type detached struct {
	net.Conn
	first sync.Once
	held  []byte // goes before what is written
	mu    sync.Mutex
	in    []byte // comes before what is read
}

// detach takes the connection off its loop, as one that waits in the ordinary way.
func (t *secure) detach() (*tls.Conn, error) {
	d := &detached{in: append([]byte(nil), t.in...), held: append([]byte(nil), t.s.held[t.s.heldAt:]...)}
	t.in = nil
	t.keep()
	t.s.release()
	file := os.NewFile(uintptr(t.s.detach()), "connection")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	d.Conn = conn
	t.detached = d
	if len(d.held) > 0 {
		_, _ = d.write(nil)
	}
	return t.conn, nil
}

func (d *detached) read(t *secure, p []byte) (int, error) {
	d.mu.Lock()
	if len(d.in) > 0 {
		n := copy(p, d.in)
		d.in = d.in[n:]
		d.mu.Unlock()
		return n, nil
	}
	d.mu.Unlock()
	return d.Conn.Read(p)
}

func (d *detached) write(p []byte) (int, error) {
	var err error
	d.first.Do(func() {
		if len(d.held) > 0 {
			_, err = d.Conn.Write(d.held)
			d.held = nil
		}
	})
	if err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	return d.Conn.Write(p)
}

// What crypto/tls and net/http want of a net.Conn besides. Before detach there are no deadlines: the loop has timers.

// Close closes the connection once it is detached.
func (t *secure) Close() error {
	if t.detached != nil {
		return t.detached.Close()
	}
	return nil
}

// LocalAddr is the detached connection's, nil before.
func (t *secure) LocalAddr() net.Addr {
	if t.detached != nil {
		return t.detached.LocalAddr()
	}
	return nil
}

// RemoteAddr is the detached connection's, nil before.
func (t *secure) RemoteAddr() net.Addr {
	if t.detached != nil {
		return t.detached.RemoteAddr()
	}
	return nil
}

// SetDeadline sets the detached connection's deadlines.
func (t *secure) SetDeadline(at time.Time) error {
	if t.detached != nil {
		return t.detached.SetDeadline(at)
	}
	return nil
}

// SetReadDeadline sets the detached connection's.
func (t *secure) SetReadDeadline(at time.Time) error {
	if t.detached != nil {
		return t.detached.SetReadDeadline(at)
	}
	return nil
}

// SetWriteDeadline sets the detached connection's.
func (t *secure) SetWriteDeadline(at time.Time) error {
	if t.detached != nil {
		return t.detached.SetWriteDeadline(at)
	}
	return nil
}
