package kubelet

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/alb-appliance/appliance/appliance/podnet"
)

// world is a kubelet with a fake API and a fake clock.
type world struct {
	t       *testing.T
	client  *fake.Clientset
	clock   *clockwork.FakeClock
	network *podnet.Network
	kubelet *Kubelet
	stop    func()

	mu     sync.Mutex
	events []string // Reason: Message
	told   chan struct{}

	tokens    atomic.Int32 // issued
	tokenLife atomic.Int64 // time.Duration
}

// begin runs the nodes over the objects that exist and waits until they are ready. They end with the test.
func begin(t *testing.T, objects ...apiruntime.Object) *world {
	t.Helper()
	w := &world{
		t: t, client: fake.NewClientset(objects...), network: podnet.New(), told: make(chan struct{}),
		clock: clockwork.NewFakeClockAt(time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)),
	}
	w.client.PrependReactor("create", "events", func(a clienttesting.Action) (bool, apiruntime.Object, error) {
		e := a.(clienttesting.CreateAction).GetObject().(*corev1.Event)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e.Reason+": "+e.Message)
		close(w.told)
		w.told = make(chan struct{})
		return true, e, nil
	})
	w.client.PrependReactor("create", "serviceaccounts", w.issueToken)
	w.kubelet = New(Options{Network: w.network, Clock: w.clock, Logger: slog.New(slog.DiscardHandler), ClusterDNS: netip.MustParseAddr("172.21.0.10"), Nodes: []Node{
		{Name: "n1", Address: netip.MustParseAddr("10.0.0.10"), Zone: "z-a", Region: "z", InstanceID: "i-1", InstanceType: "t", Pods: netip.MustParsePrefix("10.0.0.0/24")},
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- w.kubelet.run(ctx, w.client, func() { close(ready) }) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return w
}

func podOf(name, image string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{
			{Name: "main", Image: image, ImagePullPolicy: corev1.PullIfNotPresent},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func (w *world) create(p *corev1.Pod) {
	w.t.Helper()
	if _, err := w.client.CoreV1().Pods(p.Namespace).Create(w.t.Context(), p, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// until waits for a pod to be as wanted; nil stands for a pod that is gone.
func (w *world) until(name string, wanted func(*corev1.Pod) bool) *corev1.Pod {
	w.t.Helper()
	api := w.client.CoreV1().Pods("default")
	watch, err := api.Watch(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer watch.Stop()
	for {
		p, err := api.Get(w.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			p = nil
		}
		if wanted(p) {
			return p
		}
		select {
		case <-watch.ResultChan():
		case <-time.After(20 * time.Second): // the test fails, and says with what
			w.t.Fatalf("it did not come to it: %+v\nevents %q", p.Status, w.tales())
		}
	}
}

func (w *world) tales() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// event waits for an Event that contains a text.
func (w *world) event(text string) {
	w.t.Helper()
	for {
		w.mu.Lock()
		all, more := slices.Clone(w.events), w.told
		w.mu.Unlock()
		if slices.ContainsFunc(all, func(e string) bool { return strings.Contains(e, text) }) {
			return
		}
		select {
		case <-more:
		case <-time.After(20 * time.Second): // the test fails
			w.t.Fatalf("no event %q in %q", text, all)
		}
	}
}

func isReady(p *corev1.Pod) bool {
	if p == nil {
		return false
	}
	c := condition(&p.Status, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

func notReady(p *corev1.Pod) bool {
	c := condition(&p.Status, corev1.PodReady)
	return p.Status.Phase == corev1.PodRunning && c != nil && c.Status == corev1.ConditionFalse
}

func waitsFor(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Waiting != nil && s.State.Waiting.Reason == reason {
				return true
			}
		}
		return false
	}
}

// client speaks to addresses of the cluster.
func (w *world) http() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
		return w.network.DialContext(ctx, to)
	}}}
}

func (w *world) get(target string) string {
	w.t.Helper()
	response, err := w.http().Get("http://" + target)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// log asks the kubelet's API.
func (w *world) log(path string) (int, string) {
	rec := httptest.NewRecorder()
	w.kubelet.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, "/containerLogs/default/"+path, nil))
	return rec.Code, strings.TrimSpace(rec.Body.String())
}

func TestNodeIsRegistered(t *testing.T) {
	t.Parallel()
	w := begin(t)
	n, err := w.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n.Spec.ProviderID != "z.i-1" || n.Labels[corev1.LabelTopologyZone] != "z-a" || n.Labels[corev1.LabelInstanceTypeStable] != "t" ||
		n.Status.Addresses[0].Address != "10.0.0.10" || n.Status.Allocatable.Pods().Value() != 110 {
		t.Errorf("node %+v", n)
	}
	for _, c := range n.Status.Conditions {
		if (c.Type == corev1.NodeReady) != (c.Status == corev1.ConditionTrue) {
			t.Errorf("condition %s is %s", c.Type, c.Status)
		}
	}
}

func TestPodRunsServesAndEnds(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("web", "nginxdemos/hello"))
	p := w.until("web", isReady)
	s := p.Status
	if s.Phase != corev1.PodRunning || s.PodIP != "10.0.0.1" || s.HostIP != "10.0.0.10" || len(s.PodIPs) != 1 || s.StartTime == nil {
		t.Errorf("status %+v", s)
	}
	for _, c := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady} {
		if have := condition(&s, c); have == nil || have.Status != corev1.ConditionTrue {
			t.Errorf("condition %s: %+v", c, have)
		}
	}
	c := s.ContainerStatuses[0]
	if c.State.Running == nil || !c.Ready || c.Started == nil || !*c.Started || c.ImageID != "builtin://nginxdemos" || !strings.HasPrefix(c.ContainerID, "builtin://") {
		t.Errorf("container %+v", c)
	}
	if body := w.get("10.0.0.1:80/coffee"); !strings.HasPrefix(body, "Server address: 10.0.0.1:80\nServer name: web\n") {
		t.Errorf("body %q", body)
	}
	for _, e := range []string{`Pulled: Container image "nginxdemos/hello" already present`, "Created: Container created", "Started: Container started"} {
		w.event(e)
	}
	if code, body := w.log("web/main?tailLines=1"); code != 200 || !strings.Contains(body, `"GET /coffee HTTP/1.1" 200`) {
		t.Errorf("log %d %q", code, body)
	}
	for path, want := range map[string]string{"nope/main": `pod "nope" does not exist`, "web/nope": `container "nope" not found in pod "web"`, "web/main?previous=true": `previous terminated container "main" in pod "web" not found`} {
		if code, body := w.log(path); code < 400 || code > 499 || body != want {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	w.delete("web", 30)
	w.until("web", func(p *corev1.Pod) bool { return p == nil })
	w.event("Killing: Stopping container main")
	if body := w.get("10.0.0.1:80/"); !strings.Contains(body, "connection refused") {
		t.Errorf("after the end: %q", body)
	}
	w.create(podOf("next", "nginx"))
	if p := w.until("next", isReady); p.Status.PodIP != "10.0.0.2" {
		t.Errorf("the next address is %s", p.Status.PodIP)
	}
}

func TestHostPort(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("p", "nginx", func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8088}}
	}))
	w.create(podOf("net", "whoami", func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
	w.until("p", isReady)
	w.until("net", isReady)
	if body := w.get("10.0.0.10:80/"); !strings.Contains(body, "IP: 10.0.0.10") {
		t.Errorf("host network: %q", body)
	}
	w.published("10.0.0.10:8088")
	if body := w.get("10.0.0.10:8088/"); !strings.Contains(body, "Welcome to nginx!") {
		t.Errorf("host port: %q", body)
	}
}

// published waits until an address leads somewhere; the table is written beside the pod's own goroutine.
func (w *world) published(at string) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if _, err := w.network.Resolve(netip.MustParseAddrPort(at)); err == nil {
			return
		}
		goruntime.Gosched()
	}
	w.t.Fatalf("%s leads nowhere", at)
}

func TestServiceLeadsToPods(t *testing.T) {
	t.Parallel()
	port, name, yes := int32(80), "", true
	w := begin(t,
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Spec: corev1.ServiceSpec{
			ClusterIP: "172.16.0.5", ClusterIPs: []string{"172.16.0.5"}, Ports: []corev1.ServicePort{{Port: 8000}}}},
		&discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: "s-1", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port, Name: &name}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
		})
	w.create(podOf("p", "nginx"))
	w.until("p", isReady)
	if body := w.get("172.16.0.5:8000/"); !strings.Contains(body, "Welcome to nginx!") {
		t.Errorf("through the Service: %q", body)
	}
}

// delete asks for a graceful deletion, as the API server does.
func (w *world) delete(name string, seconds int64) {
	w.t.Helper()
	p := w.until(name, func(p *corev1.Pod) bool { return p != nil }).DeepCopy()
	now := metav1.NewTime(w.clock.Now())
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &seconds
	if err := w.client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), p, "default"); err != nil {
		w.t.Fatal(err)
	}
}

func TestUnknownImage(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("bad", "example.com/app:1"))
	p := w.until("bad", waitsFor("ErrImagePull"))
	if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, "built-in images only") || !strings.Contains(m, "websocket-echo-server") {
		t.Errorf("message %q", m)
	}
	w.event(`Failed: Failed to pull image "example.com/app:1": no built-in image`)
	w.clock.Advance(10 * time.Second)
	w.until("bad", waitsFor("ImagePullBackOff"))
	if code, body := w.log("bad/main"); code != 400 || body != `container "main" in pod "bad" is waiting to start: trying and failing to pull image` {
		t.Errorf("log %d %q", code, body)
	}
	// The fake API's patch reads and writes in two steps: one of the node's that is under way may undo this change.
	w.until("bad", func(p *corev1.Pod) bool {
		if p.Spec.Containers[0].Image == "nginx" {
			return isReady(p)
		}
		p = p.DeepCopy()
		p.Spec.Containers[0].Image = "nginx"
		if err := w.client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), p, "default"); err != nil {
			t.Error(err)
		}
		return false
	})
}

func TestConfigMapAppears(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("p", "http-echo", func(p *corev1.Pod) {
		p.Spec.Containers[0].Args = []string{"-text=$(X)"}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "k"}}}}
	}))
	p := w.until("p", waitsFor("CreateContainerConfigError"))
	if m := p.Status.ContainerStatuses[0].State.Waiting.Message; m != `configmap "cm" not found` {
		t.Errorf("message %q", m)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "default", ResourceVersion: "7"}, Data: map[string]string{"k": "hello"}}
	if _, err := w.client.CoreV1().ConfigMaps("default").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until("p", isReady)
	if body := w.get("10.0.0.1:5678/"); body != "hello\n" {
		t.Errorf("body %q", body)
	}
}

func TestSecondContainerOnThePortCrashes(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("two", "nginx", func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "second", Image: "nginx"})
	}))
	p := w.until("two", waitsFor("CrashLoopBackOff"))
	first, second := p.Status.ContainerStatuses[0], p.Status.ContainerStatuses[1]
	if first.State.Running == nil || second.RestartCount != 1 || second.LastTerminationState.Terminated.ExitCode != 1 || p.Status.Phase != corev1.PodRunning {
		t.Errorf("first %+v, second %+v", first, second)
	}
	if m := second.State.Waiting.Message; m != "back-off 10s restarting failed container=second pod=two_default(uid-two)" {
		t.Errorf("message %q", m)
	}
	if _, body := w.log("two/second"); !strings.Contains(body, "listen tcp 10.0.0.1:80: bind: address already in use") {
		t.Errorf("log %q", body)
	}
	w.clock.Advance(10 * time.Second)
	p = w.until("two", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[1].RestartCount == 2 && waitsFor("CrashLoopBackOff")(p)
	})
	if m := p.Status.ContainerStatuses[1].State.Waiting.Message; !strings.HasPrefix(m, "back-off 20s ") {
		t.Errorf("message %q", m)
	}
}

func TestCommandThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("p", "nginx", func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"sh", "-c", "x"} }))
	p := w.until("p", waitsFor("RunContainerError"))
	if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, `exec: "sh": the built-in image nginx has no such program`) {
		t.Errorf("message %q", m)
	}
	w.event(`Failed: Error: exec: "sh"`)
	w.create(podOf("never", "nginx", func(p *corev1.Pod) {
		p.Spec.RestartPolicy, p.Spec.Containers[0].Command = corev1.RestartPolicyNever, []string{"sh"}
	}))
	if p := w.until("never", isTerminal); p.Status.ContainerStatuses[0].State.Terminated.ExitCode != 128 {
		t.Errorf("status %+v", p.Status)
	}
}

// TestProbes moves the clock: whoami answers with the status that was posted to it.
func TestProbes(t *testing.T) {
	t.Parallel()
	probe := func(path string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path}}, PeriodSeconds: 10, FailureThreshold: 2}
	}
	w := begin(t)
	w.create(podOf("p", "whoami", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 80}}
		c.ReadinessProbe, c.LivenessProbe = probe("/health"), probe("/health")
		c.ReadinessProbe.HTTPGet.Port.StrVal, c.ReadinessProbe.HTTPGet.Port.Type = "web", 1
		c.LivenessProbe.HTTPGet.Port.IntVal = 80
		c.ReadinessProbe.FailureThreshold = 1
		c.LivenessProbe.InitialDelaySeconds = 5
	}))
	w.until("p", isReady)
	response, err := w.http().Post("http://10.0.0.1:80/health", "", strings.NewReader("503"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	w.clock.Advance(10 * time.Second)
	w.until("p", notReady)
	w.event("Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503")
	w.event("Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 503")
	w.advanceUntil(5*time.Second, "Killing: Container main failed liveness probe, will be restarted")
	p := w.until("p", isReady) // a new whoami is healthy
	if c := p.Status.ContainerStatuses[0]; c.RestartCount != 1 || c.LastTerminationState.Terminated == nil {
		t.Errorf("container %+v", c)
	}
	if code, body := w.log("p/main?previous=true"); code != 200 || !strings.Contains(body, "Update health check status code [503]") {
		t.Errorf("previous log %d %q", code, body)
	}
}

// advanceUntil moves the clock step by step, each when a timer is set, until an Event is told.
func (w *world) advanceUntil(step time.Duration, text string) {
	w.t.Helper()
	for range 100 {
		w.mu.Lock()
		found := slices.ContainsFunc(w.events, func(e string) bool { return strings.Contains(e, text) })
		more := w.told
		w.mu.Unlock()
		if found {
			return
		}
		w.clock.Advance(step)
		select {
		case <-more:
		case <-time.After(20 * time.Millisecond): // nothing was due in this step
		}
	}
	w.t.Fatalf("no event %q in %q", text, w.tales())
}

func TestStartupProbeHoldsReadiness(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("p", "nginx", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}, InitialDelaySeconds: 30, PeriodSeconds: 1, FailureThreshold: 1}
		c.StartupProbe.TCPSocket.Port.IntVal = 80
	}))
	p := w.until("p", notReady)
	if c := p.Status.ContainerStatuses[0]; *c.Started || c.Ready || c.State.Running == nil {
		t.Errorf("container %+v", c)
	}
	w.clock.Advance(30 * time.Second)
	w.until("p", isReady)
}

func TestProbesThatAreNotRun(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("p", "nginx", func(p *corev1.Pod) {
		p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 1}}}
	}))
	w.until("p", isReady)
	w.event("ProbeNotRun: Liveness probe of container main is a gRPC probe")
}

// TestGracePeriod has a request in flight at the deletion: the pod is not ready at once, the answer is finished by the
// clock, then the pod goes.
func TestGracePeriod(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("p", "whoami"))
	w.until("p", isReady)
	answer := w.slowly("10.0.0.1:80/?wait=5s")
	w.delete("p", 30)
	w.event("Killing: Stopping container main")
	w.passHold()
	w.until("p", notReady)
	w.clock.Advance(5 * time.Second)
	if got := <-answer; !strings.Contains(got, "Hostname: p") {
		t.Errorf("answer %q", got)
	}
	w.until("p", func(p *corev1.Pod) bool { return p == nil })
}

// passHold lets the time pass in which the status waits for a quick end.
func (w *world) passHold() {
	w.t.Helper()
	if err := w.clock.BlockUntilContext(w.t.Context(), 3); err != nil { // lease, request or grace period, hold
		w.t.Fatal(err)
	}
	w.clock.Advance(holdTime)
}

// slowly begins a request that waits inside the pod, and gives its answer later.
func (w *world) slowly(target string) <-chan string {
	w.t.Helper()
	answer := make(chan string, 1)
	before := 2 // the lease and this request
	go func() { answer <- w.get(target) }()
	if err := w.clock.BlockUntilContext(w.t.Context(), before); err != nil {
		w.t.Fatal(err)
	}
	return answer
}

func TestGracePeriodEnds(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("p", "whoami"))
	w.until("p", isReady)
	answer := w.slowly("10.0.0.1:80/?wait=1h")
	w.delete("p", 3)
	w.event("Killing: Stopping container main")
	w.clock.Advance(3 * time.Second)
	if got := <-answer; !strings.Contains(got, "EOF") && !strings.Contains(got, "reset") {
		t.Errorf("answer %q", got)
	}
	w.until("p", func(p *corev1.Pod) bool { return p == nil })
}

func TestPreStopSleep(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("p", "nginx", func(p *corev1.Pod) {
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 10}}}
	}))
	w.until("p", isReady)
	w.delete("p", 30)
	w.passHold()
	if body := w.get("10.0.0.1:80/"); !strings.Contains(body, "Welcome to nginx!") {
		t.Errorf("during preStop: %q", body)
	}
	w.clock.Advance(10 * time.Second)
	w.until("p", func(p *corev1.Pod) bool { return p == nil })
}

func TestForcedDeletion(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("p", "nginx"))
	w.until("p", isReady)
	if err := w.client.CoreV1().Pods("default").Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.create(podOf("q", "nginx"))
	w.until("q", isReady)
	w.stop()
	if _, err := w.network.Resolve(netip.MustParseAddrPort("10.0.0.1:80")); err == nil {
		t.Error("the pod's port is open after its end")
	}
}

// TestRestart runs a pod again that the API says runs: same address, one more restart, before ready is called.
func TestRestart(t *testing.T) {
	t.Parallel()
	ran := podOf("p", "nginx", func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}
		p.Spec.Containers[0].ReadinessProbe.TCPSocket.Port.IntVal = 80
		p.Status = corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.77", PodIPs: []corev1.PodIP{{IP: "10.0.0.77"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "main", RestartCount: 2, ContainerID: "builtin://old", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}},
		}
	})
	ending := podOf("ending", "nginx", func(p *corev1.Pod) {
		now, grace := metav1.NewTime(time.Unix(0, 0)), int64(30)
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds, p.Finalizers = &now, &grace, []string{"x/y"}
		p.Status.Phase = corev1.PodRunning
	})
	w := begin(t, ran, ending)
	if body := w.get("10.0.0.77:80/"); !strings.Contains(body, "Welcome to nginx!") {
		t.Errorf("at ready: %q", body)
	}
	p := w.until("p", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 3 })
	c := p.Status.ContainerStatuses[0]
	if !isReady(p) || p.Status.PodIP != "10.0.0.77" || c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.ExitCode != 255 {
		t.Errorf("status %+v", p.Status)
	}
	w.until("ending", func(p *corev1.Pod) bool { return p == nil })
}

func TestInitContainers(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	w := begin(t)
	w.create(podOf("sidecar", "nginx", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "side", Image: "whoami", Args: []string{"-port", "81"}, RestartPolicy: &always}}
	}))
	p := w.until("sidecar", isReady)
	if s := p.Status.InitContainerStatuses[0]; s.State.Running == nil || !s.Ready {
		t.Errorf("sidecar %+v", s)
	}
	w.delete("sidecar", 5)
	w.until("sidecar", func(p *corev1.Pod) bool { return p == nil })
	w.create(podOf("init", "nginx", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{{Name: "fails", Image: "http-echo"}} // without a text it ends with 127
	}))
	p = w.until("init", isTerminal)
	if p.Status.Phase != corev1.PodFailed || p.Status.InitContainerStatuses[0].State.Terminated.ExitCode != 127 || p.Status.ContainerStatuses[0].State.Waiting.Reason != "PodInitializing" {
		t.Errorf("status %+v", p.Status)
	}
	w.create(podOf("server", "nginx", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "serves", Image: "whoami"}} // a server never ends
	}))
	p = w.until("server", func(p *corev1.Pod) bool {
		return len(p.Status.InitContainerStatuses) > 0 && p.Status.InitContainerStatuses[0].State.Running != nil
	})
	if p.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s", p.Status.Phase)
	}
}
