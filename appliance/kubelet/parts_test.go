package kubelet

import (
	"bytes"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddresses(t *testing.T) {
	t.Parallel()
	pods := netip.MustParsePrefix("10.0.0.0/29")
	a := newAddresses([]Node{{Name: "n1", Address: netip.MustParseAddr("10.0.0.3"), Pods: pods}, {Name: "n2", Address: netip.MustParseAddr("10.0.0.4"), Pods: pods}})
	if !a.reserve(netip.MustParseAddr("10.0.0.1"), "old") || a.reserve(netip.MustParseAddr("10.0.0.1"), "other") || !a.reserve(netip.MustParseAddr("10.0.0.1"), "old") {
		t.Error("an address is its owner's alone")
	}
	take := func(owner types.UID) string {
		ip, err := a.allocate(pods, owner)
		if err != nil {
			return err.Error()
		}
		return ip.String()
	}
	got := []string{take("a"), take("b")}
	a.release(netip.MustParseAddr("10.0.0.2"), "b") // not its owner
	a.release(netip.MustParseAddr("10.0.0.2"), "a")
	got = append(got, take("c"), take("d"))
	if diff := cmp.Diff([]string{"10.0.0.2", "10.0.0.5", "10.0.0.6", "10.0.0.2"}, got); diff != "" {
		t.Error(diff)
	}
	if full := take("e"); !strings.Contains(full, "no address is free in 10.0.0.0/29") {
		t.Errorf("a full range gave %s", full)
	}
	a.release(netip.MustParseAddr("10.0.0.1"), "old")
	if got := take("f"); got != "10.0.0.1" {
		t.Errorf("the one that became free: %s", got)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	var b backoff
	now := time.Unix(1000, 0)
	if b.remaining(now, now) != 0 {
		t.Error("the first restart waits")
	}
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		b.next(now)
		if got := b.remaining(now, now); got != want*time.Second {
			t.Errorf("waits %s, want %ds", got, want)
		}
		now = now.Add(b.delay)
	}
	if got := b.remaining(now.Add(11*time.Minute), now.Add(11*time.Minute)); got != 0 {
		t.Errorf("after a quiet time it waits %s", got)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC))
	var l logs
	b := l.begin(clock)
	for _, line := range []string{"one", "two", "three"} {
		b.line(line)
		clock.Advance(10 * time.Second)
	}
	b.Write([]byte("half"))
	b.end()
	for query, want := range map[string]string{
		"":                               "one\ntwo\nthree\nhalf",
		"tailLines=2":                    "three\nhalf",
		"tailLines=0":                    "",
		"tailLines=9":                    "one\ntwo\nthree\nhalf",
		"limitBytes=5":                   "one\nt",
		"sinceSeconds=10":                "three\nhalf",
		"sinceTime=2026-11-21T20:00:10Z": "two\nthree\nhalf",
		"tailLines=1&timestamps=true":    "2026-11-21T20:00:30.000000000Z half",
		"follow=true":                    "one\ntwo\nthree\nhalf",
	} {
		q, _ := url.ParseQuery(query)
		o, err := logOptionsOf(q)
		if err != nil {
			t.Fatal(err)
		}
		o.now = clock.Now()
		var out bytes.Buffer
		l.get(false).copy(t.Context(), &out, func() error { return nil }, o)
		if out.String() != want {
			t.Errorf("%s: %q, want %q", query, out.String(), want)
		}
	}
	for _, query := range []string{"tailLines=x", "tailLines=-1", "limitBytes=0", "sinceSeconds=-1", "sinceTime=x", "follow=maybe", "sinceSeconds=1&sinceTime=2026-11-21T20:00:10Z"} {
		q, _ := url.ParseQuery(query)
		if _, err := logOptionsOf(q); err == nil {
			t.Errorf("%s was accepted", query)
		}
	}
	l.begin(clock).line("again")
	if lines, _, _, _ := l.get(true).from(0); len(lines) != 4 {
		t.Errorf("the previous log has %d lines", len(lines))
	}
}

func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	var l logs
	b := l.begin(clockwork.NewFakeClock())
	line := strings.Repeat("x", 1023)
	for range 3000 {
		b.line(line)
	}
	b.Write(bytes.Repeat([]byte("y"), 2*logCapacity)) // no newline
	lines, next, _, _ := b.from(0)
	size := 0
	for _, l := range lines {
		size += len(l.text)
	}
	if size > 2*logCapacity || next < 3000 {
		t.Errorf("%d bytes are kept, position %d", size, next)
	}
	if again, _, _, _ := b.from(next); len(again) != 0 {
		t.Errorf("%d lines came twice", len(again))
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	var l logs
	b := l.begin(clockwork.NewFakeClock())
	b.line("one")
	flushed := make(chan string, 10)
	var out bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.copy(t.Context(), &out, func() error { flushed <- out.String(); return nil }, logOptions{follow: true, tail: -1, limit: -1})
	}()
	if got := <-flushed; got != "one\n" {
		t.Errorf("first %q", got)
	}
	b.line("two")
	if got := <-flushed; got != "one\ntwo\n" {
		t.Errorf("then %q", got)
	}
	b.end()
	<-done
}

func TestServiceTable(t *testing.T) {
	t.Parallel()
	yes, no, name, n1, n2 := true, false, "http", "n1", "n2"
	number, tcp := int32(8080), corev1.ProtocolTCP
	at := netip.MustParseAddrPort
	end := func(ip string, node *string, c discoveryv1.EndpointConditions) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: node, Conditions: c}
	}
	slice := func(service string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &tcp}}, Endpoints: endpoints,
		}
	}
	service := func(name, ip string, change func(*corev1.ServiceSpec)) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{
			ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: tcp}},
		}}
		if change != nil {
			change(&s.Spec)
		}
		return s
	}
	nodes := []Node{{Name: n1, Address: netip.MustParseAddr("10.0.0.10")}, {Name: n2, Address: netip.MustParseAddr("10.0.1.10")}}
	got := table([]*corev1.Service{
		service("plain", "172.16.0.1", nil),
		service("local", "172.16.0.2", func(s *corev1.ServiceSpec) {
			s.Ports[0].NodePort, s.ExternalTrafficPolicy = 30000, corev1.ServiceExternalTrafficPolicyLocal
		}),
		service("empty", "172.16.0.3", nil),
		service("ending", "172.16.0.4", nil),
		service("headless", "None", nil),
		service("udp", "172.16.0.5", func(s *corev1.ServiceSpec) { s.Ports[0].Protocol = corev1.ProtocolUDP }),
		service("other port", "172.16.0.6", func(s *corev1.ServiceSpec) { s.Ports[0].Name = "grpc" }),
	}, []*discoveryv1.EndpointSlice{
		slice("plain", end("10.0.0.2", &n1, discoveryv1.EndpointConditions{Ready: &yes}), end("10.0.0.1", &n1, discoveryv1.EndpointConditions{})),
		slice("plain", end("10.0.0.3", &n2, discoveryv1.EndpointConditions{Ready: &no}), end("10.0.0.1", &n1, discoveryv1.EndpointConditions{})),
		slice("local", end("10.0.0.1", &n1, discoveryv1.EndpointConditions{Ready: &yes})),
		slice("ending", end("10.0.0.4", &n1, discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes})),
		slice("other port", end("10.0.0.1", &n1, discoveryv1.EndpointConditions{Ready: &yes})),
	}, nodes)
	want := map[netip.AddrPort][]netip.AddrPort{
		at("172.16.0.1:80"):   {at("10.0.0.1:8080"), at("10.0.0.2:8080")},
		at("172.16.0.2:80"):   {at("10.0.0.1:8080")},
		at("10.0.0.10:30000"): {at("10.0.0.1:8080")},
		at("10.0.1.10:30000"): nil,
		at("172.16.0.3:80"):   nil,
		at("172.16.0.4:80"):   {at("10.0.0.4:8080")},
		at("172.16.0.6:80"):   nil,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}
