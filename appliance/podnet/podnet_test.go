package podnet_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/alb-appliance/appliance/appliance/podnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	one     = netip.MustParseAddrPort("10.0.0.1:80")
	two     = netip.MustParseAddrPort("10.0.0.2:80")
	cluster = netip.MustParseAddrPort("172.16.0.1:8080")
)

// serve answers each connection with the listener's address as the connection sees it.
func serve(t *testing.T, n *podnet.Network, at netip.AddrPort) net.Listener {
	t.Helper()
	l, err := n.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, c.LocalAddr().String())
			c.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l
}

func ask(t *testing.T, n *podnet.Network, at netip.AddrPort) (string, error) {
	t.Helper()
	c, err := n.DialContext(t.Context(), at.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestListenAndDial(t *testing.T) {
	t.Parallel()
	n := podnet.New()
	l := serve(t, n, one)
	if got := l.Addr().String(); got != one.String() {
		t.Errorf("listener's address %s, want %s", got, one)
	}
	if got, err := ask(t, n, one); err != nil || got != one.String() {
		t.Errorf("got %q, %v; want %s", got, err, one)
	}
	socket, err := n.Resolve(one)
	if err != nil || !strings.HasPrefix(socket, "127.0.0.1:") {
		t.Errorf("Resolve: %q, %v", socket, err)
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	n := podnet.New()
	l := serve(t, n, one)
	_, err := n.Listen(one)
	if !errors.Is(err, syscall.EADDRINUSE) || err.Error() != "listen tcp 10.0.0.1:80: bind: address already in use" {
		t.Errorf("second listener: %v", err)
	}
	l.Close()
	again, err := n.Listen(one)
	if err != nil {
		t.Fatalf("after close: %v", err)
	}
	l.Close() // a second close does not take the address from its new owner
	if _, err := n.Resolve(one); err != nil {
		t.Error(err)
	}
	again.Close()
}

func TestRefused(t *testing.T) {
	t.Parallel()
	n := podnet.New()
	n.SetServices(map[netip.AddrPort][]netip.AddrPort{cluster: nil})
	for _, at := range []netip.AddrPort{one, cluster} {
		_, err := ask(t, n, at)
		if want := "dial tcp " + at.String() + ": connect: connection refused"; !errors.Is(err, syscall.ECONNREFUSED) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := n.DialContext(t.Context(), "name:80"); err == nil {
		t.Error("a name was dialed")
	}
}

func TestServicesTakeTurns(t *testing.T) {
	t.Parallel()
	n := podnet.New()
	serve(t, n, one)
	serve(t, n, two)
	table := func() map[netip.AddrPort][]netip.AddrPort {
		return map[netip.AddrPort][]netip.AddrPort{cluster: {one, two}}
	}
	n.SetServices(table())
	var got []string
	for range 2 {
		a, err := ask(t, n, cluster)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a)
		n.SetServices(table()) // a change elsewhere does not begin the turn anew
	}
	if got[0] != one.String() || got[1] != two.String() {
		t.Errorf("turns: %v", got)
	}
	n.SetServices(nil)
	if _, err := n.Resolve(cluster); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the Service is gone: %v", err)
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	n := podnet.New()
	serve(t, n, one)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				n.SetServices(map[netip.AddrPort][]netip.AddrPort{cluster: {one}})
				if _, err := n.Resolve(cluster); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			for range 20 {
				if l, err := n.Listen(two); err == nil {
					l.Close()
				}
			}
		})
	}
	all.Wait()
}
