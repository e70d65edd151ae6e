package apiserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	clientexec "k8s.io/client-go/util/exec"
	criremotecommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/appliance/apiserver"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

func dynamicFor(t *testing.T, c *restclient.Config) dynamic.Interface {
	t.Helper()
	d, err := dynamic.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func get(t *testing.T, c *restclient.Config, path string) int {
	t.Helper()
	client, err := restclient.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	response, err := client.Get(c.Host + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// TestAccess shows who sees what through the socket.
func TestAccess(t *testing.T) {
	t.Parallel()
	s := start(t, openStore(t), func(o *apiserver.Options) {
		o.Handlers = map[string]http.Handler{"/extra/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
	})
	for path, want := range map[string]int{
		"/version": 200, "/healthz": 200, "/livez": 200, "/readyz": 200,
		"/": 403, "/api": 403, "/apis": 403, "/openapi/v2": 403, "/openapi/v3": 403, "/metrics": 403, "/api/v1/namespaces": 403, "/extra/x": 403,
	} {
		if got := get(t, s.remote(false), path); got != want {
			t.Errorf("a stranger gets %d for %s, want %d", got, path, want)
		}
	}
	for path, want := range map[string]int{"/version": 200, "/apis": 200, "/openapi/v3": 200, "/api/v1/namespaces": 200, "/extra/x": 418} {
		if got := get(t, s.remote(true), path); got != want {
			t.Errorf("with a client certificate %s gives %d, want %d", path, got, want)
		}
	}
}

func TestReservedNames(t *testing.T) {
	t.Parallel()
	s := start(t, openStore(t), nil)
	client, ctx := s.client(t), t.Context()
	meta := metav1.ObjectMeta{Name: "aliyun-x"}
	_, namespace := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{})
	_, service := client.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	backend := &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "a", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	_, ingress := client.NetworkingV1().Ingresses("default").Create(ctx, &networkingv1.Ingress{ObjectMeta: meta, Spec: networkingv1.IngressSpec{DefaultBackend: backend}}, metav1.CreateOptions{})
	generated := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{GenerateName: "aliyun"}, Spec: networkingv1.IngressSpec{DefaultBackend: backend}}
	_, generate := client.NetworkingV1().Ingresses("default").Create(ctx, generated, metav1.CreateOptions{})
	_, config := dynamicFor(t, s.Loopback()).Resource(albv1.Resource).Create(ctx, albConfig("aliyun-x", nil), metav1.CreateOptions{})
	for kind, err := range map[string]error{"namespace": namespace, "service": service, "ingress": ingress, "generated name": generate, "albconfig": config} {
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `a name must not begin with "aliyun"`) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		t.Errorf("a ConfigMap may have any name: %v", err)
	}
}

func albConfig(name string, spec any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}}}
	if spec != nil {
		u.Object["spec"] = spec
	}
	u.SetGroupVersionKind(albv1.Kind)
	return u
}

// TestAlbConfigStoresAnything is the real definition's manner: what is wrong shows later.
func TestAlbConfigStoresAnything(t *testing.T) {
	t.Parallel()
	s := start(t, openStore(t), nil)
	configs := dynamicFor(t, s.Loopback()).Resource(albv1.Resource)
	spec := map[string]any{"listeners": []any{map[string]any{"port": "not-a-port", "protocol": int64(123)}}, "config": "text", "more": true}
	if _, err := configs.Create(t.Context(), albConfig("wrong", spec), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := configs.Get(t.Context(), "wrong", metav1.GetOptions{})
	if err != nil || fmt.Sprint(got.Object["spec"]) != fmt.Sprint(spec) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestNamespaceLifeCycle(t *testing.T) {
	t.Parallel()
	s := start(t, openStore(t), nil)
	client, ctx := s.client(t), t.Context()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	if _, err := client.CoreV1().ConfigMaps("nowhere").Create(ctx, config, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("create in a namespace that is not there: %v", err)
	}
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps("shop").Create(ctx, config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Namespaces().Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	config.Name = "b"
	_, err := client.CoreV1().ConfigMaps("shop").Create(ctx, config, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("create in a namespace that ends: %v", err)
	}
	if err := client.CoreV1().Namespaces().Delete(ctx, "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("delete default: %v", err)
	}
}

// TestServiceAddressesAfterRestart fills a small range, with a restart in the middle: no address is given twice, and
// what is deleted is free again.
func TestServiceAddressesAfterRestart(t *testing.T) {
	t.Parallel()
	store, ctx := openStore(t), t.Context()
	seen := map[string]string{}
	create := func(s *server, name string) error {
		spec := corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}
		made, err := s.client(t).CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		for _, key := range []string{made.Spec.ClusterIP, fmt.Sprint(made.Spec.Ports[0].NodePort)} {
			if other, taken := seen[key]; taken {
				t.Errorf("%s has %s, which %s has, too", name, key, other)
			}
			seen[key] = name
		}
		return nil
	}
	s := start(t, store, nil)
	for n := range 7 {
		if err := create(s, fmt.Sprintf("before-%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	s = start(t, store, nil)
	for n := range 7 {
		if err := create(s, fmt.Sprintf("after-%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(s, "too-many"); err == nil || !strings.Contains(err.Error(), "range is full") {
		t.Errorf("the range is full, and the error is %v", err)
	}
	if err := s.client(t).CoreV1().Services("default").Delete(ctx, "before-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	clear(seen)
	if err := create(s, "again"); err != nil {
		t.Errorf("after a deletion: %v", err)
	}
}

// TestWatchEnds watches through the loopback; goleak sees what stays behind.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	s := start(t, openStore(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := s.client(t).CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client(t).CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := <-w.ResultChan(); e.Object.(*corev1.ConfigMap).Name != "a" {
		t.Errorf("got %v", e)
	}
	cancel()
	for range w.ResultChan() {
	}
}

func TestLargeListThroughLoopback(t *testing.T) {
	t.Parallel()
	s := start(t, openStore(t), nil)
	client := s.client(t).CoreV1().ConfigMaps("default")
	const count, size = 40, 256 << 10
	for n := range count {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c%d", n)}, Data: map[string]string{"k": strings.Repeat("x", size)}}
		if _, err := client.Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := client.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != count {
		t.Fatalf("%d items, %v", len(list.Items), err)
	}
	for _, c := range list.Items {
		if len(c.Data["k"]) != size {
			t.Errorf("%s has %d bytes", c.Name, len(c.Data["k"]))
		}
	}
}

// TestPodLog asks for a log through the API, which asks the kubelet's own path.
func TestPodLog(t *testing.T) {
	t.Parallel()
	s := start(t, openStore(t), func(o *apiserver.Options) {
		o.Kubelet = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/containerLogs/default/web/good":
				fmt.Fprint(w, "a line\n", r.URL.Query().Get("tailLines"))
			case "/containerLogs/default/web/panics":
				panic("oops")
			default:
				http.Error(w, "the container is waiting to start", http.StatusBadRequest)
			}
		})
	})
	s.account(t, "default")
	client, ctx := s.client(t), t.Context()
	containers := []corev1.Container{{Name: "good", Image: "i"}, {Name: "panics", Image: "i"}, {Name: "unknown", Image: "i"}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{Containers: containers, NodeName: "n1"}}
	if _, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	log := func(name, container string) (string, error) {
		lines := int64(3)
		body, err := client.CoreV1().Pods("default").GetLogs(name, &corev1.PodLogOptions{Container: container, TailLines: &lines}).Stream(ctx)
		if err != nil {
			return "", err
		}
		defer body.Close()
		raw, err := io.ReadAll(body)
		return string(raw), err
	}
	if text, err := log("web", "good"); err != nil || text != "a line\n3" {
		t.Errorf("got %q, %v", text, err)
	}
	for _, row := range []struct{ pod, container, want string }{
		{"web", "unknown", "the container is waiting to start"},
		{"web", "nothing", "container nothing is not valid for pod web"},
		{"other", "good", `pods "other" not found`},
		{"web", "panics", "panicked: oops"},
	} {
		if _, err := log(row.pod, row.container); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s/%s: %v, want %q", row.pod, row.container, err, row.want)
		}
	}
}

// TestPodExec upgrades a request through the API to the kubelet's own path, as a client over WebSocket does and an older
// one, and asks what is refused.
func TestPodExec(t *testing.T) {
	t.Parallel()
	s := start(t, openStore(t), func(o *apiserver.Options) {
		o.Kubelet = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			options, err := criremotecommand.NewOptions(r)
			if err != nil || r.URL.Path != "/exec/default/web/good" {
				http.Error(w, `container not found ("bad")`, http.StatusInternalServerError)
				return
			}
			criremotecommand.ServeExec(w, r, shouter{}, "", "", "", r.URL.Query()["command"], options, time.Minute, time.Minute, criremotecommand.SupportedStreamingProtocols)
		})
	})
	s.account(t, "default")
	client, ctx := s.client(t), t.Context()
	containers := []corev1.Container{{Name: "good", Image: "i"}, {Name: "bad", Image: "i"}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{Containers: containers, NodeName: "n1"}}
	if _, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	remote, err := kubernetes.NewForConfig(s.remote(true))
	if err != nil {
		t.Fatal(err)
	}
	exec := func(container string, wire func(*restclient.Config, string, *url.URL) (remotecommand.Executor, error)) (string, error) {
		u := remote.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("web").SubResource("exec").VersionedParams(
			&corev1.PodExecOptions{Container: container, Command: []string{"shout"}, Stdin: true, Stdout: true}, scheme.ParameterCodec).URL()
		e, err := wire(s.remote(true), http.MethodPost, u)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out})
		return out.String(), err
	}
	for name, wire := range map[string]func(*restclient.Config, string, *url.URL) (remotecommand.Executor, error){
		"spdy": remotecommand.NewSPDYExecutor,
		"websocket": func(c *restclient.Config, _ string, u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(c, http.MethodGet, u.String())
		},
	} {
		var exit clientexec.CodeExitError
		if out, err := exec("good", wire); out != "shout HELLO" || !errors.As(err, &exit) || exit.Code != 7 {
			t.Errorf("%s: %q, %v", name, out, err)
		}
		if _, err := exec("bad", wire); err == nil || !strings.Contains(err.Error(), `container not found ("bad")`) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := exec("other", wire); err == nil || !strings.Contains(err.Error(), "container other is not valid for pod web") && name == "spdy" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// shouter is a container that repeats its input.
type shouter struct{}

func (shouter) ExecInContainer(_ context.Context, _, _, _ string, command []string, in io.Reader, out, _ io.WriteCloser,
	_ bool, _ <-chan criremotecommand.TerminalSize, _ time.Duration) error {
	defer out.Close()
	text := make([]byte, 5)
	if _, err := io.ReadFull(in, text); err != nil {
		return err
	}
	fmt.Fprint(out, command[0], " ", strings.ToUpper(string(text)))
	return utilexec.CodeExitError{Err: errors.New("exit"), Code: 7}
}

// TestUsersDefinition makes a kind of a user's own and waits, by a watch, until it is served and discoverable.
func TestUsersDefinition(t *testing.T) {
	t.Parallel()
	s := start(t, openStore(t), nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := dynamicFor(t, s.Loopback())
	watch, err := client.Resource(definitions).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=teas.shop.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	const manifest = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: teas.shop.example.com}, spec: {
  group: shop.example.com, scope: Namespaced, names: {kind: Tea, plural: teas, singular: tea}, versions: [{name: v1, served: true, storage: true,
  schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {minutes: {type: integer}}}}}}}]}}`
	d := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &d.Object); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(definitions).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for e := range watch.ResultChan() {
		seen, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			t.Fatalf("the watch ends with %+v", e.Object)
		}
		if strings.Contains(fmt.Sprint(seen.Object["status"]), "type:Established") {
			break
		}
	}
	resource := schema.GroupVersionResource{Group: "shop.example.com", Version: "v1", Resource: "teas"}
	tea := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "shop.example.com/v1", "kind": "Tea", "metadata": map[string]any{"name": "green"}, "spec": map[string]any{"minutes": int64(3)}}}
	tick := time.NewTicker(10 * time.Millisecond) // upstream holds a new kind back for a moment and tells nobody when it ends
	defer tick.Stop()
	for {
		_, err = client.Resource(resource).Namespace("default").Create(ctx, tea, metav1.CreateOptions{})
		if err == nil || ctx.Err() != nil {
			break
		}
		<-tick.C
	}
	if err != nil {
		t.Fatal(err)
	}
	tea.SetName("black")
	tea.Object["spec"] = map[string]any{"minutes": "three"}
	if _, err := client.Resource(resource).Namespace("default").Create(ctx, tea, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a wrong type: %v", err)
	}
	list, err := s.client(t).Discovery().ServerResourcesForGroupVersion("shop.example.com/v1")
	if err != nil || len(list.APIResources) == 0 || list.APIResources[0].Kind != "Tea" {
		t.Errorf("discovery: %v, %v", list, err)
	}
}

// TestDefinitionFollowsManifest starts three times: the same manifest changes nothing, another one does.
func TestDefinitionFollowsManifest(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	look := func(manifest []byte) (version, text string) {
		s := start(t, store, func(o *apiserver.Options) { o.Definitions = [][]byte{manifest} })
		defer s.stop()
		d, err := dynamicFor(t, s.Loopback()).Resource(definitions).Get(t.Context(), "albconfigs.alibabacloud.com", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dynamicFor(t, s.Loopback()).Resource(albv1.Resource).List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("ready, and AlbConfigs cannot be listed: %v", err)
		}
		return d.GetResourceVersion(), fmt.Sprint(d.Object["spec"])
	}
	first, _ := look(albv1.Manifest)
	second, _ := look(albv1.Manifest)
	if first != second {
		t.Errorf("the same manifest changed the definition from %s to %s", first, second)
	}
	third, text := look(bytes.ReplaceAll(albv1.Manifest, []byte("name: ALBID"), []byte("name: INSTANCE")))
	if third == second || !strings.Contains(text, "INSTANCE") {
		t.Errorf("another manifest left the definition as it was: %s", text)
	}
}

// TestRunEndsBeforeItIsReady interrupts the start, before it begins and at once after.
func TestRunEndsBeforeItIsReady(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		s, url := newServer(t, openStore(t), nil)
		ctx, cancel := context.WithCancel(t.Context())
		if late {
			go func() {
				defer cancel()
				for ctx.Err() == nil { // until it listens
					if c, err := net.Dial("tcp", strings.TrimPrefix(url, "https://")); err == nil {
						_ = c.Close()
						return
					}
				}
			}()
		} else {
			cancel()
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, func() {}) }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("it still runs")
		}
	}
}

func TestNewRefusals(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*apiserver.Options){
		"load serving certificate": func(o *apiserver.Options) { o.Certificate = []byte("x") },
		"load client CA":           func(o *apiserver.Options) { o.ClientCA = []byte("x") },
		"load token key":           func(o *apiserver.Options) { o.TokenKey = []byte("x") },
		"decode definition":        func(o *apiserver.Options) { o.Definitions = [][]byte{[]byte("x")} },
	} {
		o := apiserver.Options{Backend: apiserver.Backend{Store: openStore(t)}}
		a := newAuthority()
		o.Certificate, o.Key, o.ClientCA, o.TokenKey = a.certificate, a.key, a.ca, a.key
		change(&o)
		if _, err := apiserver.New(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
