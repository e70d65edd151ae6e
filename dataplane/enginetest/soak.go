package enginetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/dataplane"
)

// SoakOptions say how long a soak takes and what it carries. Fields of zero have defaults, which take a few seconds.
type SoakOptions struct {
	// Duration is the time over which the changes are spread. Default 3 s.
	Duration time.Duration
	// WebSockets are open all the time, every other one over TLS, each with a message now and then. Default 50.
	WebSockets int
	// Clients send requests one after the other over kept connections, every other one over TLS. Default 8.
	Clients int
	// Changes is how often the configuration changes. Default 40.
	Changes int
	// Restarts is how many of the changes are for a pod that is restarted. Default a quarter.
	Restarts int
	// Seed draws what is sent and changed. Default 1.
	Seed uint64
}

// SoakEnvironment gives the options that the environment asks for: SOAK_DURATION (a Go duration), SOAK_WEBSOCKETS,
// SOAK_CLIENTS, SOAK_CHANGES, SOAK_RESTARTS and SOAK_SEED.
func SoakEnvironment(t *testing.T) SoakOptions {
	t.Helper()
	number := func(name string) int {
		text := os.Getenv(name)
		n, err := strconv.Atoi(text)
		if text != "" && err != nil {
			t.Fatalf("%s=%s is no number", name, text)
		}
		return n
	}
	o := SoakOptions{
		WebSockets: number("SOAK_WEBSOCKETS"), Clients: number("SOAK_CLIENTS"),
		Changes: number("SOAK_CHANGES"), Restarts: number("SOAK_RESTARTS"), Seed: uint64(number("SOAK_SEED")),
	}
	if text := os.Getenv("SOAK_DURATION"); text != "" {
		var err error
		if o.Duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK_DURATION=%s is no duration, as 90s or 1h: %v", text, err)
		}
	}
	return o
}

func (o SoakOptions) withDefaults() SoakOptions {
	def := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	def(&o.WebSockets, 50)
	def(&o.Clients, 8)
	def(&o.Changes, 40)
	def(&o.Restarts, o.Changes/4)
	if o.Duration == 0 {
		o.Duration = 3 * time.Second
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	return o
}

// Soak has an engine carry tunnels and a steady load on real sockets and the machine's clock, with and without TLS,
// while its configuration changes again and again and pods are restarted: each is started anew, the snapshot names the
// new one, and the old one is closed when the requests begun before have ended. Class alb cuts nothing (DESIGN 4c): no
// tunnel may end, no request may fail or get to a service that it was not for, and when all is over as many descriptors
// and goroutines are left as there were before. It must not run beside other tests.
func Soak(t *testing.T, newEngine NewEngine, o SoakOptions) {
	o = o.withDefaults()
	s := &soak{T: t, o: o, rand: rand.New(rand.NewPCG(o.Seed, 0)), failed: make(chan struct{}), log: map[string]int{}}
	s.text = soakText(s.rand)
	files, routines := atRest(t)
	s.start(newEngine)
	s.openTunnels()
	sockets := descriptors("socket:") - s.podCount()
	s.startLoad()
	s.changes()
	close(s.stop)
	s.load.Wait()
	s.settle(sockets)
	s.endTunnels()
	s.end()
	leftFiles, leftRoutines := files, routines
	same := eventually(func() bool {
		leftFiles, leftRoutines = descriptors(""), runtime.NumGoroutine()
		return leftFiles == files && leftRoutines == routines
	})
	if !same {
		stacks := make([]byte, 1<<20)
		t.Errorf("descriptors went from %d to %d, goroutines from %d to %d\n%s", files, leftFiles, routines, leftRoutines,
			stacks[:runtime.Stack(stacks, true)])
	}
	t.Logf("soak: %s with %d WebSockets and %d clients (seed %d): %s; descriptors before %d, after %d; goroutines before %d, after %d",
		o.Duration, o.WebSockets, o.Clients, o.Seed, s.figures(), files, leftFiles, routines, leftRoutines)
}

// soak is one run.
type soak struct {
	*testing.T
	o      SoakOptions
	text   string // what bodies and messages are parts of
	engine Engine

	// The configuration, which only the run's own goroutine knows and changes.
	rand      *rand.Rand
	services  []*service
	listeners [2]string // their ids: without and with TLS
	cert      dataplane.Certificate
	extra     string // id of a listener that comes and goes; "" when it is gone
	side      bool   // whether the route that comes and goes is there
	reversed  bool   // the order of the services' routes
	tunnels   *backend

	addrs   [2]string    // of the listeners
	renewed atomic.Int64 // number of the certificate in force: handshakes begun now show it or a later one
	stop    chan struct{}
	load    sync.WaitGroup
	clients []*soakClient
	open    []*soakTunnel

	once     sync.Once
	failures atomic.Int64
	failed   chan struct{} // closed at the first failure

	requests, refused, connections, messages atomic.Int64
	changed, restarted, started              int

	mu  sync.Mutex
	log map[string]int // access records by status and reason
}

// fail reports a failure; the first ones are told, and the run is cut short.
func (s *soak) fail(format string, args ...any) {
	if s.failures.Add(1) <= 10 {
		s.Errorf(format, args...)
	}
	s.once.Do(func() { close(s.failed) })
}

func (s *soak) figures() string {
	return fmt.Sprintf("%d requests on %d connections, %d messages, %d changes, %d restarts, %d failures", s.requests.Load(),
		s.connections.Load(), s.messages.Load(), s.changed, s.restarted, s.failures.Load())
}

// service is what some pods serve under one path.
type service struct {
	name     string
	secure   bool // its pods speak TLS
	pods     []*pod
	upstream string // id, which changes now and then
}

// start makes the services and the engine.
func (s *soak) start(newEngine NewEngine) {
	s.stop = make(chan struct{})
	s.tunnels = newBackend(s.T, soakEcho)
	for i := range 4 {
		sv := &service{name: fmt.Sprintf("s%d", i), secure: i == 3}
		sv.upstream = sv.name
		s.services = append(s.services, sv)
		sv.pods = []*pod{s.newPod(sv), s.newPod(sv)}
	}
	s.listeners = [2]string{"plain", "secure"}
	for i := range s.addrs {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.Fatal(err)
		}
		s.addrs[i] = free.Addr().String()
		defer free.Close()
	}
	s.renew()
	s.engine = newEngine(Options{Clock: clockwork.NewRealClock(), AccessLog: func(r *dataplane.AccessRecord) {
		key := strings.TrimSpace(fmt.Sprint(r.Status, " ", r.Reason))
		s.mu.Lock()
		s.log[key]++
		s.mu.Unlock()
	}, Limits: dataplane.Limits{
		Connections: s.o.WebSockets + 1000,
		PoolIdle:    time.Hour, // what is pooled ends because it is of no use any more, or stays and is found out
	}})
	s.Cleanup(func() {
		if s.engine != nil { // the run could not go on
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = s.engine.Shutdown(ctx)
		}
	})
}

// podCount counts the pods, each of which has a listening socket.
func (s *soak) podCount() int {
	n := 0
	for _, sv := range s.services {
		n += len(sv.pods)
	}
	return n
}

// renew makes a new certificate.
func (s *soak) renew() {
	s.cert = newCertificate(s.T, dataplane.KeyECC, fmt.Sprint(s.renewed.Load()+1), "test.example")
	s.cert.ID = "crt"
}

// snapshot is the configuration as it is now.
func (s *soak) snapshot() *dataplane.Snapshot {
	upstreams := []dataplane.Upstream{{ID: "tunnels", Scheme: "http", KeepAlive: true, Endpoints: []dataplane.Endpoint{s.tunnels.endpoint("t")}}}
	routes := []dataplane.Route{soakRoute("ws", "tunnels")}
	for _, sv := range s.services {
		u := dataplane.Upstream{ID: sv.upstream, Scheme: "http", KeepAlive: true}
		if sv.secure {
			u.Scheme = "https"
		}
		for _, p := range sv.pods {
			u.Endpoints = append(u.Endpoints, dataplane.Endpoint{ID: p.name, Addr: p.addr, Weight: 1 + s.rand.IntN(100), Open: dataplane.OpenTCP(p.addr)})
		}
		upstreams, routes = append(upstreams, u), append(routes, soakRoute(sv.name, u.ID))
	}
	if s.side {
		upstreams = append(upstreams, upstreams[1])
		upstreams[len(upstreams)-1].ID = "side"
		routes = append(routes, soakRoute("side", "side"))
	}
	if s.reversed {
		slices.Reverse(routes)
	}
	snap := &dataplane.Snapshot{Upstreams: upstreams, Certificates: []dataplane.Certificate{s.cert}}
	for i, id := range s.listeners {
		snap.Listeners = append(snap.Listeners, s.listener(id, s.addrs[i], i == 1, routes))
	}
	if s.extra != "" {
		snap.Listeners = append(snap.Listeners, s.listener(s.extra, "127.0.0.1:0", false, routes))
	}
	return snap
}

// soakRoute leads everything under a path to an upstream.
func soakRoute(name, upstream string) dataplane.Route {
	return dataplane.Route{
		ID: name, Match: dataplane.Match{Paths: []dataplane.PathMatch{{Kind: dataplane.PathPrefix, Value: "/" + name + "/"}}},
		Action: dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: upstream, Weight: 100}}}, Timeouts: albTimeouts(),
	}
}

func (s *soak) listener(id, addr string, secure bool, routes []dataplane.Route) dataplane.Listener {
	l := dataplane.Listener{
		ID: id, Class: dataplane.ClassALB, LoadBalancer: "lb", Protocol: dataplane.ProtocolHTTP, Port: 80, Sockets: []string{addr},
		Forward: forwardALB(), Client: dataplane.ClientLimits{Idle: 10 * time.Minute, Requests: 1000}, Routes: routes,
	}
	if secure {
		l.Protocol, l.Port = dataplane.ProtocolHTTPS, 443
		l.TLS = &dataplane.TLS{Certificates: []string{"crt"}, Policy: "tls_cipher_policy_1_2_strict_with_1_3"}
	}
	return l
}

// apply puts the configuration in force, and then closes pods that it does not name any more, when the requests that may
// have been on their way to them have ended.
func (s *soak) apply(gone ...*pod) {
	if err := s.engine.Apply(context.Background(), s.snapshot()); err != nil {
		s.fail("apply: %v", err)
	}
	if problems := s.engine.Problems(); len(problems) > 0 {
		s.fail("the snapshot has problems: %v", problems)
	}
	if len(gone) == 0 {
		return
	}
	for _, c := range s.clients {
		c.await()
	}
	for _, p := range gone {
		s.closePod(p)
	}
}

// changes changes the configuration at even distances.
func (s *soak) changes() {
	begin, told := time.Now(), time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range s.o.Changes {
		timer.Reset(time.Until(begin.Add(s.o.Duration * time.Duration(i) / time.Duration(s.o.Changes))))
		select {
		case <-timer.C:
		case <-s.failed:
			return
		}
		if i*s.o.Restarts/s.o.Changes != (i+1)*s.o.Restarts/s.o.Changes {
			s.restart()
		} else {
			s.change()
		}
		s.changed++
		if time.Since(told) > time.Minute {
			told = time.Now()
			s.Logf("after %s: %s", told.Sub(begin).Round(time.Second), s.figures())
		}
	}
	timer.Reset(time.Until(begin.Add(s.o.Duration)))
	select {
	case <-timer.C:
	case <-s.failed:
	}
}

// restart replaces a pod.
func (s *soak) restart() {
	sv := s.services[s.rand.IntN(len(s.services))]
	i := s.rand.IntN(len(sv.pods))
	old := sv.pods[i]
	sv.pods[i] = s.newPod(sv)
	s.apply(old)
	s.restarted++
}

// change changes something else.
func (s *soak) change() {
	sv := s.services[s.rand.IntN(len(s.services))]
	switch s.rand.IntN(8) {
	case 0: // more pods
		if len(sv.pods) < 4 {
			sv.pods = append(sv.pods, s.newPod(sv))
		}
		s.apply()
	case 1: // fewer pods
		var gone []*pod
		if len(sv.pods) > 1 {
			gone, sv.pods = sv.pods[:1], slices.Clone(sv.pods[1:])
		}
		s.apply(gone...)
	case 2: // another upstream with the same pods
		sv.upstream = fmt.Sprintf("%s-%d", sv.name, s.changed)
		s.apply()
	case 3: // a route with its upstream comes or goes
		s.side = !s.side
		s.apply()
		s.probe(s.addrs[0], "/side/", s.side)
	case 4: // a listener comes, with a connection, or goes
		if s.extra != "" {
			s.extra = ""
			s.apply()
			break
		}
		s.extra = fmt.Sprintf("extra-%d", s.changed)
		s.apply()
		for _, l := range s.engine.Listeners() {
			if l.ID == s.extra && l.Error == "" {
				s.probe(l.Sockets[0].Bound, "/s0/", true)
			}
		}
	case 5: // the certificate is renewed
		s.renew()
		s.apply()
		s.renewed.Add(1)
	case 6: // an address goes over to another listener
		i := s.rand.IntN(2)
		s.listeners[i] = fmt.Sprintf("listener-%d-%d", i, s.changed)
		s.apply()
	case 7: // other weights, another order
		s.reversed = !s.reversed
		s.apply()
	}
}

// settle sees that, once nobody asks, nothing but the tunnels, the listeners and the pods have sockets.
func (s *soak) settle(sockets int) {
	if s.failures.Load() > 0 {
		return
	}
	s.extra, s.side = "", false
	for _, sv := range s.services {
		sv.upstream = sv.name + "-last" // so that nothing stays pooled
	}
	s.apply()
	left := 0
	if !eventually(func() bool { left = descriptors("socket:") - s.podCount(); return left == sockets }) {
		s.fail("without load there were %d sockets besides the pods' before, and are %d after", sockets, left)
	}
}

// end ends the engine and what was behind it, and looks at the log.
func (s *soak) end() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.engine.Shutdown(ctx); err != nil {
		s.fail("shutdown: %v", err)
	}
	s.engine = nil
	for _, sv := range s.services {
		for _, p := range sv.pods {
			s.closePod(p)
		}
	}
	s.tunnels.close()
	want := map[string]int{"200": int(s.requests.Load()), "101": len(s.open)}
	if n := int(s.refused.Load()); n > 0 {
		want["503 "+string(dataplane.ReasonNoRoute)] = n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !maps.Equal(s.log, want) {
		s.fail("the access log has %v, want %v", s.log, want)
	}
}

// atRest counts the descriptors and goroutines that there are before anything has begun: once the runtime has opened what
// it keeps for good, and what earlier tests have left to the collection of memory, as pipes, has gone.
func atRest(t *testing.T) (files, routines int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	same := 0
	eventually(func() bool {
		same++
		if f, r := descriptors(""), runtime.NumGoroutine(); f != files || r != routines {
			files, routines, same = f, r, 0
		}
		return same == 10
	})
	return files, routines
}

// descriptors counts the open descriptors of a kind, "socket:" or "" for all; 0 where the system does not tell.
func descriptors(kind string) int {
	const dir = "/proc/self/fd"
	entries, _ := os.ReadDir(dir)
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, kind) {
			n++
		}
	}
	return n
}

// eventually waits for what no event tells: descriptors and goroutines that end after what they were for, or, as pipes
// that the runtime keeps, when memory is collected.
func eventually(ok func() bool) bool {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
		runtime.GC()
	}
	return true
}
