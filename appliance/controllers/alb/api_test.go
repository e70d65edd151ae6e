package alb

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/appliance/apiserver"
	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/state/kv"
)

func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m,
		// Upstream's: klog and the check "log" live as long as the process, and a consistent read leaves its timeout behind.
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/util/wait.Forever"),
		goleak.IgnoreAnyFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshAndBlock.func2"),
		goleak.IgnoreAnyFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshAndBlock"), // so does a watch, for 3 s
	)
}

// cluster is a controller on a real API and a simulated cloud.
type cluster struct {
	*world
	api        kubernetes.Interface
	configs    dynamic.ResourceInterface
	options    Options
	controller *Controller
	stop       func()
	changed    chan struct{} // gets a value when the API's objects change
}

// certificate is one that signs itself; nobody calls through the socket here.
var certificate = sync.OnceValues(func() (certificate, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		panic(err)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
})

// background runs something until the test is over.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return newClusterOf(t, cloudsim.DelaysNone)
}

func newClusterOf(t *testing.T, delays cloudsim.Delays) *cluster {
	t.Helper()
	store, err := kv.Open("", kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	background(t, store.Run)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pem, key := certificate()
	_, services, _ := net.ParseCIDR("172.21.0.0/24")
	server, err := apiserver.New(t.Context(), apiserver.Options{
		Backend: apiserver.Backend{Store: store}, Listener: listener, Certificate: pem, Key: key, ClientCA: pem, ServiceRange: services,
		Definitions: [][]byte{albv1.Manifest}, Namespaces: []string{"default"}, Kubelet: http.NotFoundHandler(), ShutdownTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	background(t, func(ctx context.Context) error { return server.Run(ctx, func() { close(ready) }) })
	<-ready
	c := &cluster{world: newWorldOf(t, delays), changed: make(chan struct{}, 1)}
	c.options = Options{
		Client: server.Loopback(), Cloud: c.watched, Clock: c.clock, Logger: slog.New(slog.DiscardHandler),
		Cluster: Cluster{ID: "c1", NetworkPlugin: Terway}, VPCID: c.vpcID,
	}
	if c.api, err = kubernetes.NewForConfig(server.Loopback()); err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(server.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	c.configs = client.Resource(albv1.Resource)
	c.follow(t)
	c.start(t)
	return c
}

// start runs a new controller.
func (c *cluster) start(t *testing.T) {
	t.Helper()
	controller, err := New(c.options)
	if err != nil {
		t.Fatal(err)
	}
	notify := func(any) { c.notify() }
	_, err = controller.custom.ForResource(albv1.Resource).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: notify, UpdateFunc: func(_, _ any) { c.notify() }, DeleteFunc: notify,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.controller, c.stop = controller, background(t, controller.Run)
}

func (c *cluster) notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// follow watches what the controller writes; of AlbConfigs, what it has seen of them.
func (c *cluster) follow(t *testing.T) {
	t.Helper()
	events, err := c.api.CoreV1().Events("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ingresses, err := c.api.NetworkingV1().Ingresses("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []watch.Interface{events, ingresses} {
		background(t, func(ctx context.Context) error {
			defer w.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case _, open := <-w.ResultChan():
					if !open {
						return nil
					}
					c.notify()
				}
			}
		})
	}
}

// await waits until something is so; it looks after each change of API and cloud.
func (c *cluster) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cloud := c.inner.Watch(ctx)
	for !ok() {
		select {
		case <-c.changed:
		case <-cloud:
		case <-ctx.Done():
			t.Fatalf("%s: it did not happen.\n%s\n%s", what, c.eventText(t), c)
		}
	}
}

// eventText has a line for each Event: its object, type, reason, message and count.
func (c *cluster) eventText(t *testing.T) string {
	t.Helper()
	list, err := c.api.CoreV1().Events("").List(context.WithoutCancel(t.Context()), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range list.Items {
		lines = append(lines, fmt.Sprintf("%s/%s %s %s %s x%d", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Type, e.Reason, e.Message, e.Count))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func (c *cluster) awaitEvent(t *testing.T, text string) {
	t.Helper()
	c.await(t, "event "+text, func() bool { return strings.Contains(c.eventText(t), text) })
}

func (c *cluster) awaitCloud(t *testing.T, text string) {
	t.Helper()
	c.await(t, "cloud with "+text, func() bool { return strings.Contains(c.String(), text) })
}

func (c *cluster) awaitHostname(t *testing.T, ingress, albConfig string) {
	t.Helper()
	c.await(t, ingress+" has the name of "+albConfig, func() bool {
		ing, err := c.api.NetworkingV1().Ingresses("default").Get(t.Context(), ingress, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		status := ing.Status.LoadBalancer.Ingress
		return len(status) == 1 && status[0].Hostname != "" && status[0].Hostname == c.hostname(albConfig)
	})
}

func (c *cluster) hostname(albConfig string) string {
	for _, lb := range c.inner.Inventory().LoadBalancers {
		for _, tag := range lb.Tags {
			if tag.Key == tagAlbConfig && tag.Value == groupID(albConfig) {
				return lb.DNSName
			}
		}
	}
	return ""
}

func (c *cluster) albConfig(t *testing.T, name string, ports ...int) {
	t.Helper()
	var zones, listeners []any
	for _, id := range c.vSwitches() {
		zones = append(zones, map[string]any{"vSwitchId": id})
	}
	for _, p := range ports {
		listeners = append(listeners, map[string]any{"port": int64(p), "protocol": "HTTP"})
	}
	c.albConfigOf(t, name, map[string]any{"config": map[string]any{"name": name, "zoneMappings": zones}, "listeners": listeners})
}

func (c *cluster) albConfigOf(t *testing.T, name string, spec map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}, "spec": spec}}
	u.SetGroupVersionKind(albv1.Kind)
	if _, err := c.configs.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) patchConfig(t *testing.T, name, patch string) {
	t.Helper()
	if _, err := c.configs.Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) class(t *testing.T, name, albConfig string) {
	t.Helper()
	group := albv1.GroupVersion.Group
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{Controller: ControllerName}}
	if albConfig != "" {
		class.Spec.Parameters = &networkingv1.IngressClassParametersReference{APIGroup: &group, Kind: albv1.Kind.Kind, Name: albConfig}
	}
	if _, err := c.api.NetworkingV1().IngressClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// service makes a Service and the slice of its ready pods.
func (c *cluster) service(t *testing.T, name string, pods ...string) {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := c.api.CoreV1().Services("default").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.api.DiscoveryV1().EndpointSlices("default").Create(t.Context(), sliceOf(name, pods), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func sliceOf(service string, pods []string) *discoveryv1.EndpointSlice {
	ready, node, port, none := true, "n1", int32(80), ""
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &none, Port: &port}},
	}
	for _, ip := range pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	return slice
}

// ingress makes one with a host of its own name and a path to the Service.
func (c *cluster) ingress(t *testing.T, name, class, service string, annotations map[string]string) {
	t.Helper()
	kind := networkingv1.PathTypePrefix
	ing := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: name + ".example.com",
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: &kind,
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}},
			}}}},
		}}},
	}
	if class != "" {
		ing.Spec.IngressClassName = &class
	}
	if _, err := c.api.NetworkingV1().Ingresses("default").Create(t.Context(), ing, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) patchIngress(t *testing.T, name, patch string) {
	t.Helper()
	if _, err := c.api.NetworkingV1().Ingresses("default").Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
