//go:build linux

package load

import (
	"crypto/tls"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// descriptor reads from and writes to a socket; where that would have to wait it returns errAgain.
type descriptor int

// again is a temporary error, after which crypto/tls goes on where it was.
type again struct{}

func (again) Error() string   { return "it would block" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

var errAgain net.Error = again{}

func (d descriptor) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(d), p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, errAgain
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (d descriptor) Write(p []byte) (int, error) {
	for {
		n, err := unix.Write(int(d), p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, errAgain
		default:
			return max(n, 0), err
		}
	}
}

// socket is a descriptor as crypto/tls wants it.
type socket struct{ descriptor }

// Write waits until all is written: a record of TLS cannot be taken up again.
func (s socket) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := s.descriptor.Write(p[done:])
		done += n
		if err == errAgain {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.descriptor), Events: unix.POLLOUT}}, 1000)
			continue
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (socket) Close() error                     { return nil } // the loop closes it
func (socket) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (socket) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (socket) SetDeadline(time.Time) error      { return nil }
func (socket) SetReadDeadline(time.Time) error  { return nil }
func (socket) SetWriteDeadline(time.Time) error { return nil }

// clientTLS is the same for every contestant: TLS 1.3 with X25519. The cipher is the server's choice, and
// contestants are told to choose AES-128-GCM. The certificate is nobody's business here.
func clientTLS(host string, cache tls.ClientSessionCache) *tls.Config {
	return &tls.Config{
		ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519},
		NextProtos: []string{"http/1.1"}, ClientSessionCache: cache,
	}
}
