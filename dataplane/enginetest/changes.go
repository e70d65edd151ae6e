package enginetest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/alb-appliance/appliance/dataplane"
)

// testBindErrors: an address that is taken is named, everything else goes live, and a later change tries it again.
func testBindErrors(f *fixture) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	s := simple(dataplane.ClassALB, newBackend(f.T, echo))
	bad := s.Listeners[0]
	bad.ID, bad.Sockets = "bad", []string{taken.Addr().String()}
	s.Listeners = append([]dataplane.Listener{bad}, s.Listeners...)
	err = f.engine.Apply(context.Background(), s)
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "address already in use") ||
		!strings.Contains(err.Error(), "listener bad") {
		f.Fatalf("apply gave the error %v", err)
	}
	f.want(f.get("/"), 200)
	if l := f.engine.Listeners(); len(l) != 2 || l[0].Error == "" || l[0].Sockets[0].Bound != "" || l[1].Error != "" {
		f.Errorf("listeners are %+v", l)
	}
	taken.Close()
	f.apply(s)
	f.want(f.dial("bad").do("GET", "/"), 200)
}

// testHandover: an address goes over to another listener without being closed, connections and all.
func testHandover(f *fixture) {
	b := newBackend(f.T, echo)
	s := simple(dataplane.ClassALB, b)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	s.Listeners[0].Sockets = []string{addr}
	f.apply(s)
	p := f.dial("l")
	f.want(p.do("GET", "/"), 200)
	next := simple(dataplane.ClassALB, b)
	next.Listeners[0].ID, next.Listeners[0].Sockets = "l2", []string{addr}
	f.apply(next)
	f.want(p.do("GET", "/"), 200)
	f.wantReason(200, dataplane.ReasonNone)
	if r := f.record(); r.Listener != "l2" {
		f.Errorf("the second request was served by listener %s", r.Listener)
	}
}

// testRemovedListenerDrains: what is under way ends well, then the connection closes.
func testRemovedListenerDrains(f *fixture) {
	got, release := make(chan string, 1), make(chan bool)
	b := newBackend(f.T, func(p *peer) {
		m := p.read(true, "")
		got <- m.first
		<-release
		p.answer(200, "", "late")
	})
	f.apply(simple(dataplane.ClassALB, b))
	addr := f.addr("l")
	idle, p := f.dial("l"), f.dial("l")
	p.send(request("GET", "/"))
	receive(f.T, got, "the request")
	f.apply(&dataplane.Snapshot{})
	if rest, ok := idle.ended(); rest != "" || !ok {
		f.Errorf("the idle connection ended with %q, %v", rest, ok)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		f.Error("the removed listener still accepts")
	}
	close(release)
	f.want(p.read(false, "GET"), 200, "late")
	if rest, ok := p.ended(); rest != "" || !ok {
		f.Errorf("the drained connection ended with %q, %v", rest, ok)
	}
}

func testKeepAliveSeesChange(f *fixture) {
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, named("old"))))
	p := f.dial("l")
	f.want(p.do("GET", "/"), 200)
	f.apply(simple(dataplane.ClassALB, newBackend(f.T, named("new"))))
	m := p.do("GET", "/")
	f.want(m, 200)
	if m.fields.Get("X-Backend") != "new" {
		f.Errorf("a kept connection was served by %q after the change", m.fields.Get("X-Backend"))
	}
}

// testChangesUnderLoad applies 200 snapshots while clients ask; no request fails.
func testChangesUnderLoad(f *fixture) {
	backends := []*backend{newBackend(f.T, named("a")), newBackend(f.T, named("b")), newBackend(f.T, named("c"))}
	snapshot := func(i int) *dataplane.Snapshot {
		s := simple(dataplane.ClassALB, backends[i%3], backends[(i+1)%3])
		s.Listeners[0].Client.Requests = 1 << 20
		for j := range s.Upstreams[0].Endpoints {
			s.Upstreams[0].Endpoints[j].ID = fmt.Sprintf("e%d", (i+j)%3)
		}
		extra := s.Listeners[0]
		extra.ID = fmt.Sprintf("x%d", i/2) // comes and goes
		s.Listeners = append(s.Listeners, extra)
		return s
	}
	f.apply(snapshot(0))
	var stop atomic.Bool
	var failed atomic.Value
	var served atomic.Int64
	done := make(chan bool)
	var peers []*peer
	for range 4 {
		peers = append(peers, f.dial("l"))
	}
	go func() {
		defer close(done)
		concurrently(len(peers), func(i int) {
			for !stop.Load() {
				m := peers[i].do("GET", "/load")
				if m.err != nil || m.status() != 200 {
					failed.Store(fmt.Sprintf("%q %v", m.first, m.err))
					return
				}
				served.Add(1)
			}
		})
	}()
	for i := 1; i <= 200; i++ {
		before := served.Load()
		f.apply(snapshot(i))
		for served.Load() < before+4 && failed.Load() == nil {
			<-f.records // each record is one request's end
		}
	}
	stop.Store(true)
	receive(f.T, done, "the clients' end")
	if v := failed.Load(); v != nil {
		f.Errorf("after %d requests one failed: %v", served.Load(), v)
	}
}
