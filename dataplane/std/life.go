package std

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// client is a client's connection as an exchange sees it, whatever the protocol.
type client interface {
	socket() *socket
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// session describes the connection's TLS; nil without.
	session() *dataplane.TLSInfo
	// begin takes a request in: it returns when its first byte came and how many requests the connection has carried
	// with this one.
	begin(now time.Time) (began time.Time, requests int)
	// done marks the request's end.
	done()
	// leaving reports whether the connection is to end after the requests it carries.
	leaving() bool
	// Leave makes it so.
	Leave()
	// endedBy gives why a request was broken off: the reason known so far, unless the connection was cut.
	endedBy(known dataplane.Reason) dataplane.Reason
}

// life is what all client connections have in common: how they are counted and how they end.
type life struct {
	sock    *socket
	counted string // the listener under which the connection is counted
	peer    netip.Addr
	ending  sync.Once
	grace   *watchdog // cuts a connection that a reload has retired

	lifeMu   sync.Mutex
	requests int
	left     bool             // to be closed once idle
	retired  bool             // grace is running
	cutBy    dataplane.Reason // why it was cut; empty while it was not
}

// ended marks that nothing runs on the connection's behalf any more.
func (l *life) ended() { l.ending.Do(l.sock.Ended) }

// Peer is where the client is.
func (l *life) Peer() netip.Addr { return l.peer }

func (l *life) socket() *socket { return l.sock }

// count counts a request and gives how many there have been.
func (l *life) count() int {
	l.lifeMu.Lock()
	defer l.lifeMu.Unlock()
	l.requests++
	return l.requests
}

// fresh tells whether the connection has carried no request yet.
func (l *life) fresh() bool {
	l.lifeMu.Lock()
	defer l.lifeMu.Unlock()
	return l.requests == 0
}

// setLeft notes that the connection is to end once idle.
func (l *life) setLeft() {
	l.lifeMu.Lock()
	defer l.lifeMu.Unlock()
	l.left = true
}

func (l *life) leaving() bool {
	l.lifeMu.Lock()
	defer l.lifeMu.Unlock()
	return l.left || l.sock.Draining()
}

// startGrace starts the grace period, unless an earlier reload did: its end stands.
func (l *life) startGrace(after time.Duration) {
	l.lifeMu.Lock()
	first := !l.retired
	l.retired = true
	l.lifeMu.Unlock()
	if first {
		l.grace.arm(after)
	}
}

// setCut notes why the connection is cut.
func (l *life) setCut(reason dataplane.Reason) {
	l.lifeMu.Lock()
	defer l.lifeMu.Unlock()
	l.cutBy = reason
}

func (l *life) endedBy(known dataplane.Reason) dataplane.Reason {
	l.lifeMu.Lock()
	defer l.lifeMu.Unlock()
	if l.cutBy != dataplane.ReasonNone && (known == dataplane.ReasonNone || known == dataplane.ReasonClientClosed) {
		return l.cutBy
	}
	return known
}
