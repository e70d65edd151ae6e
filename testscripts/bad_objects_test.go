package testscripts

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/alb-appliance/appliance/appliance"
	"github.com/alb-appliance/appliance/appliance/edge"
)

// badObject is something wrong that a user applies, and the word that is to reach them: a refusal of the API, a
// Warning in the terminal, or an Event of an object named "bad".
type badObject struct {
	name                   string
	object                 string // YAML documents; the last one is what is wrong
	refused, warned, event string
}

// TestBadObjects applies wrong objects one after the other to an appliance that serves: each gets its word, and what
// served goes on serving.
func TestBadObjects(t *testing.T) {
	t.Parallel()
	w := newBadWorld(t)
	for _, row := range badObjects(t, w) {
		t.Run(row.name, func(t *testing.T) {
			w.apply(t, row)
			w.serves(t)
		})
	}
}

// badWorld is an appliance in this process with one good Ingress of each class.
type badWorld struct {
	config   *rest.Config
	dynamic  dynamic.Interface
	good     map[string]string // URL to socket
	cert     string            // id in the certificate service
	vSwitch  string
	mu       sync.Mutex
	warnings []string
	events   []corev1.Event
	news     chan struct{} // one slot: an Event came
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *badWorld) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warnings = append(w.warnings, text)
}

func newBadWorld(t *testing.T) *badWorld {
	klog.SetLogger(logr.Discard()) // upstream's log; no test of this package looks at it
	config := appliance.DefaultConfig()
	config.DataDir, config.Ephemeral, config.Listen, config.AddressMode = t.TempDir(), true, "127.0.0.1:0", edge.ModePorts
	config.VIPRange = netip.MustParsePrefix(fmt.Sprintf("127.%d.%d.0/24", 100+os.Getpid()%150, ranges.Add(1)))
	a, err := appliance.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan appliance.Ready, 1), make(chan error, 1)
	go func() { ended <- a.Run(ctx, func(r appliance.Ready) { ready <- r }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w := &badWorld{news: make(chan struct{}, 1), good: map[string]string{}}
	select {
	case r := <-ready:
		if w.config, err = clientcmd.BuildConfigFromFlags("", r.Kubeconfig); err != nil {
			t.Fatal(err)
		}
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	w.config.WarningHandler, w.config.QPS = w, -1
	if w.dynamic, err = dynamic.NewForConfig(w.config); err != nil {
		t.Fatal(err)
	}
	w.follow(t)
	w.prepare(t)
	return w
}

// follow collects Events.
func (w *badWorld) follow(t *testing.T) {
	client, err := kubernetes.NewForConfig(w.config)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := client.CoreV1().Events("").Watch(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watch.Stop)
	go func() {
		for e := range watch.ResultChan() {
			if event, ok := e.Object.(*corev1.Event); ok {
				w.mu.Lock()
				w.events = append(w.events, *event)
				w.mu.Unlock()
				select {
				case w.news <- struct{}{}:
				default:
				}
			}
		}
	}()
}

// ask calls a command's endpoint.
func (w *badWorld) ask(t *testing.T, method, path, body string, into any) {
	t.Helper()
	client, err := rest.HTTPClientFor(w.config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, w.config.Host+"/appliance/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(path, err)
	}
}

// prepare makes what serves.
func (w *badWorld) prepare(t *testing.T) {
	var made appliance.Identified
	w.ask(t, http.MethodPost, "cloud/certificates/request", `{"names":["good.example.com"]}`, &made)
	w.cert = made.ID
	var vSwitches []struct{ VSwitchID string }
	w.ask(t, http.MethodGet, "cloud/vswitches", "", &vSwitches)
	w.vSwitch = vSwitches[0].VSwitchID
	client := w.dynamic.Resource(schema.GroupVersionResource{Group: "alibabacloud.com", Version: "v1", Resource: "albconfigs"})
	patch := fmt.Sprintf(`{"spec":{"listeners":[{"port":80,"protocol":"HTTP"},{"port":443,"protocol":"HTTPS","certificates":[{"CertificateId":%q,"IsDefault":true}]},{"port":8443,"protocol":"HTTPS"}]}}`, w.cert)
	if _, err := client.Patch(t.Context(), "alb", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, doc := range documents(goodObjects) {
		if _, err := w.create(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
	}
	limit := time.After(awaitLimit)
	for {
		var view appliance.Endpoints
		w.ask(t, http.MethodGet, "endpoints", "", &view)
		for _, lb := range view.LoadBalancers {
			for _, l := range lb.Listeners {
				if len(l.Sockets) > 0 && (l.Port == 80 || l.Port == 443) && (lb.Class == "nginx") == (lb.ID == "") {
					w.good[strings.ToLower(l.Protocol)+"://"+lb.Class+".example.com/"] = l.Sockets[0]
				}
			}
		}
		if len(w.good) == 4 && w.problem(t.Context()) == "" {
			return
		}
		select {
		case <-limit:
			t.Fatalf("what is good does not serve: %v %s", w.good, w.problem(t.Context()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// problem says what does not answer 200.
func (w *badWorld) problem(ctx context.Context) string {
	for target, socket := range w.good {
		client := http.Client{Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, socket)
			},
		}}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return err.Error()
		}
		response, err := client.Do(request)
		if err != nil {
			return target + ": " + err.Error()
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return target + ": " + response.Status
		}
	}
	return ""
}

func (w *badWorld) serves(t *testing.T) {
	t.Helper()
	if problem := w.problem(t.Context()); problem != "" {
		t.Errorf("what served before does not: %s", problem)
	}
}

// apply creates a row's objects, waits for the word, and takes them away again.
func (w *badWorld) apply(t *testing.T, row badObject) {
	t.Helper()
	w.mu.Lock()
	w.warnings, w.events = nil, nil
	w.mu.Unlock()
	var made []func() error
	defer func() {
		for n := len(made) - 1; n >= 0; n-- {
			if err := made[n](); err != nil {
				t.Error(err)
			}
		}
	}()
	docs := documents(row.object)
	for n, doc := range docs {
		remove, err := w.create(t.Context(), doc)
		if remove != nil {
			made = append(made, remove)
		}
		last := n == len(docs)-1
		switch {
		case err != nil && (!last || row.refused == ""):
			t.Fatal(err)
		case last && row.refused != "":
			if err == nil || !strings.Contains(err.Error(), row.refused) {
				t.Errorf("the API says %v, want %q", err, row.refused)
			}
			return
		}
	}
	w.mu.Lock()
	warned := strings.Join(w.warnings, "\n")
	w.mu.Unlock()
	if row.warned != "" && !strings.Contains(warned, row.warned) {
		t.Errorf("warnings are %q, want %q", warned, row.warned)
	}
	if row.event != "" {
		w.awaitEvent(t, row.event)
	}
}

// awaitEvent waits for an Event of an object named bad, "Reason message".
func (w *badWorld) awaitEvent(t *testing.T, want string) {
	t.Helper()
	limit := time.After(awaitLimit)
	for {
		w.mu.Lock()
		var all []string
		for _, e := range w.events {
			text := e.Reason + " " + e.Message
			if strings.HasPrefix(e.InvolvedObject.Name, "bad") && strings.Contains(text, want) {
				w.mu.Unlock()
				return
			}
			all = append(all, e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name+" "+text)
		}
		w.mu.Unlock()
		select {
		case <-w.news:
		case <-limit:
			t.Fatalf("no Event %q but\n%s", want, strings.Join(all, "\n"))
		}
	}
}

// create creates an object as kubectl does, and gives what takes it away.
func (w *badWorld) create(ctx context.Context, doc string) (remove func() error, err error) {
	object := &unstructured.Unstructured{}
	if err := yaml.NewYAMLOrJSONDecoder(strings.NewReader(doc), 4096).Decode(&object.Object); err != nil {
		return nil, fmt.Errorf("decode %s: %w", doc, err)
	}
	kind := object.GroupVersionKind()
	resource := kind.GroupVersion().WithResource(strings.ToLower(kind.Kind) + map[bool]string{true: "es", false: "s"}[strings.HasSuffix(kind.Kind, "s")])
	var client dynamic.ResourceInterface = w.dynamic.Resource(resource)
	switch kind.Kind {
	case "AlbConfig", "IngressClass", "Namespace":
	default:
		client = w.dynamic.Resource(resource).Namespace("default")
	}
	_, err = client.Create(ctx, object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return nil, err
	}
	return func() error {
		now := int64(0)
		if err := client.Delete(context.Background(), object.GetName(), metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			return err
		}
		return gone(client, object.GetName())
	}, nil
}

// gone waits until finalizers have let go of an object.
func gone(client dynamic.ResourceInterface, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), awaitLimit)
	defer cancel()
	return wait.PollUntilContextCancel(ctx, 5*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := client.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

func documents(text string) []string {
	var docs []string
	for doc := range strings.SplitSeq(text, "\n---\n") {
		if strings.TrimSpace(doc) != "" {
			docs = append(docs, doc)
		}
	}
	return docs
}

const goodObjects = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "nginxdemos/hello:plain-text"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: alb, annotations: {alb.ingress.kubernetes.io/listen-ports: '[{"HTTP":80},{"HTTPS":443}]'}}
spec:
  ingressClassName: alb
  rules: [{host: alb.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: nginx}
spec:
  ingressClassName: nginx
  rules: [{host: nginx.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
`

// ingress writes an Ingress named bad; change turns its good text into a wrong one.
func ingress(class, annotations string, change ...string) string {
	text := fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: bad, annotations: {%s}}
spec:
  ingressClassName: %s
  rules: [{host: bad.example.com, http: {paths: [{path: /bad, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
`, annotations, class)
	return strings.NewReplacer(change...).Replace(text)
}

// alb writes an annotation of the ALB Ingress Controller.
func alb(name, value string) string {
	return fmt.Sprintf("alb.ingress.kubernetes.io/%s: '%s'", name, value)
}

// nginx writes an annotation of the NGINX Ingress Controller.
func nginx(name, value string) string {
	return fmt.Sprintf("nginx.ingress.kubernetes.io/%s: '%s'", name, value)
}

// albConfig writes an AlbConfig named bad, for an instance of its own.
func (w *badWorld) albConfig(config, listeners string) string {
	return fmt.Sprintf("apiVersion: alibabacloud.com/v1\nkind: AlbConfig\nmetadata: {name: bad}\nspec: {config: {%s}, listeners: [%s]}\n", config, listeners)
}

// secret writes a Secret named bad.
func secret(kind string, chain, key []byte) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: bad}\ntype: %s\ndata: {tls.crt: %q, tls.key: %q}\n",
		kind, base64.StdEncoding.EncodeToString(chain), base64.StdEncoding.EncodeToString(key))
}

// badObjects is the table.
func badObjects(t *testing.T, w *badWorld) []badObject {
	chain, key, err := selfSigned([]string{"bad.example.com"})
	_, otherKey, otherErr := selfSigned([]string{"bad.example.com"})
	if err := errors.Join(err, otherErr); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(refusedByAPI(), refusedByWebhooks(), toldByALB(w, chain, key, otherKey), toldByOthers(chain, otherKey))
}

// withTLS gives an Ingress a tls section with the Secret named bad.
var withTLS = []string{"  rules:", "  tls: [{hosts: [bad.example.com], secretName: bad}]\n  rules:"}

// refusedByAPI are refusals of upstream's validation and of the reserved names.
func refusedByAPI() []badObject {
	host := func(h string) string { return ingress("alb", "", "host: bad.example.com", "host: "+h) }
	path := func(p string) string { return ingress("alb", "", "path: /bad,", "path: "+p+",") }
	backend := func(b string) string {
		return ingress("alb", "", "service: {name: web, port: {number: 80}}", b)
	}
	return []badObject{
		{name: "listen-ports as the document writes them", object: ingress("alb", `alb.ingress.kubernetes.io/listen-ports: [{"HTTP": 80}, {"HTTPS": 443}]`), refused: "cannot unmarshal array into Go struct field ObjectMeta.metadata.annotations of type string"},
		{name: "host with an underscore", object: host("bad_host.example.com"), refused: `spec.rules[0].host: Invalid value: "bad_host.example.com": a lowercase RFC 1123 subdomain`},
		{name: "host with a port", object: host("'bad.example.com:80'"), refused: `spec.rules[0].host: Invalid value: "bad.example.com:80"`},
		{name: "host in capitals", object: host("Bad.example.com"), refused: `spec.rules[0].host: Invalid value: "Bad.example.com"`},
		{name: "host that is an address", object: host("10.0.0.1"), refused: `spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address`},
		{name: "wildcard in the middle", object: host("'a.*.example.com'"), refused: `spec.rules[0].host: Invalid value: "a.*.example.com"`},
		{name: "wildcard alone", object: host("'*'"), refused: `spec.rules[0].host: Invalid value: "*"`},
		{name: "path without a slash", object: path("bad"), refused: `spec.rules[0].http.paths[0].path: Invalid value: "bad": must be an absolute path`},
		{name: "path with two slashes", object: path("/a//b"), refused: `spec.rules[0].http.paths[0].path: Invalid value: "/a//b": must not contain '//'`},
		{name: "path that climbs", object: path("/a/../b"), refused: `must not contain '/../'`},
		{name: "path with an escaped slash", object: path("'/a%2fb'"), refused: `must not contain '%2f'`},
		{name: "no pathType", object: ingress("alb", "", "pathType: Prefix, ", ""), refused: "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"},
		{name: "pathType in small letters", object: ingress("alb", "", "pathType: Prefix", "pathType: prefix"), refused: `spec.rules[0].http.paths[0].pathType: Unsupported value: "prefix": supported values: "Exact", "ImplementationSpecific", "Prefix"`},
		{name: "backend without a service", object: backend(""), refused: `spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required`},
		{name: "service without a port", object: backend("service: {name: web}"), refused: "backend: Required value: port name or number is required"},
		{name: "service port by name and number", object: backend("service: {name: web, port: {name: http, number: 80}}"), refused: "cannot set both port name & port number"},
		{name: "service port out of range", object: backend("service: {name: web, port: {number: 70000}}"), refused: "Invalid value: 70000: must be between 1 and 65535"},
		{name: "service port as a string", object: backend("service: {name: web, port: {number: '80'}}"), refused: "cannot unmarshal string into Go struct field ServiceBackendPort.spec.rules.IngressRuleValue.http.paths.backend.service.port.number of type int32"},
		{name: "neither rules nor a default backend", object: "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: bad}\nspec: {ingressClassName: alb}\n", refused: "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"},
		{name: "tls host with a slash", object: ingress("alb", "", "  rules:", "  tls: [{hosts: [bad/host], secretName: bad}]\n  rules:"), refused: `spec.tls[0].hosts[0]: Invalid value: "bad/host"`},
		{name: "class of an impossible name", object: ingress("Not_A_Name", ""), refused: `spec.ingressClassName: Invalid value: "Not_A_Name"`},
		{name: "class by field and annotation", object: ingress("alb", "kubernetes.io/ingress.class: nginx"), refused: "annotations.kubernetes.io/ingress.class: Invalid value: \"nginx\": must match `ingressClassName` when both are specified"},
		{name: "annotation of an impossible name", object: ingress("alb", "'a b/c': x"), refused: `metadata.annotations: Invalid value: "a b/c"`},
		{name: "unknown field", object: ingress("alb", "", "  rules:", "  rule: x\n  rules:"), refused: `unknown field "spec.rule"`},
		{name: "Ingress of a reserved name", object: ingress("alb", "", "name: bad,", "name: aliyun-bad,"), refused: `a name must not begin with "aliyun"`},
		{name: "Service of a reserved name", object: "apiVersion: v1\nkind: Service\nmetadata: {name: aliyun-bad}\nspec: {ports: [{port: 80}]}\n", refused: `a name must not begin with "aliyun"`},
		{name: "Namespace of a reserved name", object: "apiVersion: v1\nkind: Namespace\nmetadata: {name: aliyun-bad}\n", refused: `a name must not begin with "aliyun"`},
		{name: "AlbConfig of a reserved name", object: "apiVersion: alibabacloud.com/v1\nkind: AlbConfig\nmetadata: {name: aliyun-bad}\n", refused: `a name must not begin with "aliyun"`},
		{name: "TLS Secret without a key", object: "apiVersion: v1\nkind: Secret\nmetadata: {name: bad}\ntype: kubernetes.io/tls\ndata: {tls.crt: ''}\n", refused: "data[tls.key]: Required value"},
		{name: "Secret that is not base64", object: "apiVersion: v1\nkind: Secret\nmetadata: {name: bad}\ndata: {tls.crt: '***'}\n", refused: "illegal base64 data"},
		{name: "class of a controller without a domain", object: "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: bad}\nspec: {controller: alb}\n", refused: `spec.controller: Invalid value: "alb": must be a domain-prefixed path`},
		{name: "class with half a parameter", object: "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: bad}\nspec: {controller: ingress.k8s.alibabacloud/alb, parameters: {name: alb}}\n", refused: "spec.parameters.kind: Required value"},
	}
}

// refusedByWebhooks are refusals and warnings of the controllers' webhooks.
func refusedByWebhooks() []badObject {
	return []badObject{
		{name: "ssl-redirect on", object: ingress("alb", alb("ssl-redirect", "on")), refused: "the value on is invalid. Please set the value as one of: [true false]"},
		{name: "canary 1", object: ingress("alb", alb("canary", "1")), refused: "the value 1 is invalid. Please set the value as one of: [true false]"},
		{name: "enable-cors yes", object: ingress("alb", alb("enable-cors", "yes")), refused: "the value yes is invalid"},
		{name: "cors-allow-credentials TRUE", object: ingress("alb", alb("cors-allow-credentials", "TRUE")), refused: "the value TRUE is invalid"},
		{name: "regex path of type Prefix", object: ingress("nginx", "", "path: /bad,", "path: '/bad(.*)',"), refused: "path /bad(.*) cannot be used with pathType Prefix"},
		{name: "timeout with a unit", object: ingress("nginx", nginx("proxy-read-timeout", "60s")), refused: "proxy-read-timeout"},
		{name: "body size without sense", object: ingress("nginx", nginx("proxy-body-size", "much")), refused: "proxy-body-size"},
		{name: "host and path twice", object: ingress("nginx", "", "host: bad.example.com", "host: nginx.example.com", "path: /bad", "path: /"), refused: `host "nginx.example.com" and path "/" is already defined in ingress default/nginx`},
		{name: "name without effect", object: ingress("nginx", nginx("no-such-thing", "1")), warned: "nginx.ingress.kubernetes.io/no-such-thing"},
		{name: "unknown issuer", object: ingress("nginx", "cert-manager.io/cluster-issuer: vault"), warned: `cert-manager.io/cluster-issuer "vault": there is no such issuer here`},
	}
}

// toldByALB are Events of the ALB Ingress Controller.
func toldByALB(w *badWorld, chain, key, otherKey []byte) []badObject {
	const build, deploy = "FailedBuildModel ", "FailedApplyModel "
	path := func(kind, p string) string {
		return ingress("alb", "", "path: /bad, pathType: Prefix", "path: '"+p+"', pathType: "+kind)
	}
	tlsIngress := func(before string) string {
		return before + "\n---\n" + ingress("alb", alb("listen-ports", `[{"HTTPS":8443}]`), withTLS...)
	}
	one, plain := "{vSwitchId: "+w.vSwitch+"}", "{port: 80, protocol: HTTP}"
	zones := "zoneMappings: [" + one + ", " + one + "]"
	return []badObject{
		{name: "order 0", object: ingress("alb", alb("order", "0")), event: build + "explicit Ingress group order must be within [1:1000], Ingress: default/bad, order: 0"},
		{name: "order 1001", object: ingress("alb", alb("order", "1001")), event: build + "explicit Ingress group order must be within [1:1000], Ingress: default/bad, order: 1001"},
		{name: "order in words", object: ingress("alb", alb("order", "first")), event: build + "failed to load Ingress group order for ingress: default/bad"},
		{name: "listen-ports that are no JSON", object: ingress("alb", alb("listen-ports", "80,443")), event: build + "failed to parse listen-ports configuration: `80,443`"},
		{name: "listen-ports that are empty", object: ingress("alb", alb("listen-ports", "[]")), event: build + "empty listen-ports configuration: `[]`"},
		{name: "listen-ports with port 0", object: ingress("alb", alb("listen-ports", `[{"HTTP":0}]`)), event: build + "listen port must be within [1, 65535]: 0"},
		{name: "listen-ports with TCP", object: ingress("alb", alb("listen-ports", `[{"TCP":80}]`)), event: build + "listen protocol must be within [HTTP, HTTPS]: TCP"},
		{name: "a listener that is not there", object: ingress("alb", alb("listen-ports", `[{"HTTPS":9443}]`)), event: build + "listener is not exist in alb, port: 9443, protocol: HTTPS"},
		{name: "a scheduler that is not there", object: ingress("alb", alb("backend-scheduler", "random")), event: build + "unkown backend scheduler [random]"},
		{name: "a Service that is not there", object: ingress("alb", "", "name: web,", "name: nothing,"), event: build + `backend not found: services "nothing" not found`},
		{name: "a port that the Service has not", object: ingress("alb", "", "number: 80", "number: 81"), event: build + "backend not found: unable to find port 81 on service default/web"},
		{name: "a resource for a backend", object: ingress("alb", "", "service: {name: web, port: {number: 80}}", "resource: {kind: Bucket, name: b}"), event: build + "backend not found: a resource backend (Bucket b) cannot be served by an ALB"},
		{name: "Exact with a wildcard", object: path("Exact", "/bad*"), event: build + "exact path shouldn't contain wildcards: /bad*"},
		{name: "Prefix with a wildcard", object: path("Prefix", "/bad*"), event: build + "prefix path shouldn't contain wildcards: /bad*"},
		{name: "brackets in a path", object: path("ImplementationSpecific", "/bad(x)"), event: deploy + "code: 400, The param of Rules.1.RuleConditions.2.PathConfig.Values.1 is illegal"},
		{name: "no certificate for the host", object: ingress("alb", alb("listen-ports", `[{"HTTPS":8443}]`)), event: build + "none certificate found for host: bad.example.com"},
		{name: "a Secret that is not there", object: ingress("alb", alb("listen-ports", `[{"HTTPS":8443}]`), withTLS...), event: build + `secrets "bad" not found`},
		{name: "a Secret of the wrong type", object: tlsIngress(secret("Opaque", chain, key)), event: build + "secret default/bad: its type is Opaque; a certificate is in one of type kubernetes.io/tls or IngressTLS"},
		{name: "a Secret with half a certificate", object: tlsIngress(secret("kubernetes.io/tls", chain[:len(chain)/2], key)), event: build + "secret default/bad: tls.crt holds no certificate in PEM"},
		{name: "a Secret with the key of another", object: tlsIngress(secret("kubernetes.io/tls", chain, otherKey)), event: build + "secret default/bad: tls.crt and tls.key do not go together: tls: private key does not match public key"},
		{name: "a Secret of type IngressTLS without a key", object: tlsIngress(secret("IngressTLS", chain, nil)), event: build + "secret default/bad: tls.key holds no private key in PEM"},
		{name: "an annotation without effect here", object: ingress("alb", alb("no-such-thing", "1")), event: "NotSimulated annotation alb.ingress.kubernetes.io/no-such-thing has no effect"},
		{name: "one zone", object: w.albConfig("zoneMappings: ["+one+"]", plain), event: deploy + "code: 400, The param size of ZoneMappings is illegal"},
		{name: "a zone twice", object: w.albConfig(zones, plain), event: deploy + "code: 400, The param of ZoneMappings.2.ZoneId is duplicated"},
		{name: "a vSwitch that is not there", object: w.albConfig("zoneMappings: ["+one+", {vSwitchId: vsw-nowhere}]", plain), event: deploy + "code: 404, The specified resource vsw-nowhere is not found"},
		{name: "an address type that is not there", object: w.albConfig("addressType: Public, "+zones, plain), event: build + "invalid load balancer address type: Public"},
		{name: "edition Basic", object: w.albConfig("edition: Basic, "+zones, plain), event: build + "LoadBalancer Edition: Basic can't use for ingress controller"},
		{name: "an edition that is not there", object: w.albConfig("edition: Gold, "+zones, plain), event: deploy + "code: 400, The param of LoadBalancerEdition is illegal"},
		{name: "a name that is a number", object: w.albConfig("name: '1', "+zones, plain), event: deploy + "code: 400, The param of LoadBalancerName is illegal"},
		{name: "DualStack", object: w.albConfig("addressIpVersion: DualStack, "+zones, plain), event: build + "config addressIpVersion DualStack: this version of the appliance serves IPv4 only"},
		{name: "a wrong type", object: w.albConfig("zoneMappings: none", plain), event: build + "unmarshalling albconfig error: json: cannot unmarshal"},
		{name: "an instance that is not there", object: w.albConfig("id: alb-nowhere", plain), event: deploy + "code: 404, The specified resource alb-nowhere is not found"},
		{name: "a listener of protocol TCP", object: w.albConfig(zones, "{port: 80, protocol: TCP}"), event: build + "listen protocol must be within [HTTP, HTTPS, QUIC]: TCP"},
		{name: "a listener on port 70000", object: w.albConfig(zones, "{port: 70000, protocol: HTTP}"), event: build + "listen port must be within [1, 65535]: 70000"},
		{name: "two protocols on one port", object: w.albConfig(zones, plain+", {port: 80, protocol: HTTPS}"), event: build + "Listener is not fulfilled yet: 80-HTTPS"},
		{name: "an empty list of certificates", object: w.albConfig(zones, "{port: 443, protocol: HTTPS, certificates: []}"), event: deploy + "ListenerID is mandatory for this action"},
		{name: "a class without parameters", object: "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: bare}\nspec: {controller: ingress.k8s.alibabacloud/alb}\n---\n" + ingress("bare", ""), event: build + "albconfig must be referenced in IngressClass bare"},
		{name: "a class of an AlbConfig that is not there", object: "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: astray}\nspec: {controller: ingress.k8s.alibabacloud/alb, parameters: {apiGroup: alibabacloud.com, kind: AlbConfig, name: gone}}\n---\n" + ingress("astray", ""), event: build + `albconfigs.alibabacloud.com "gone" not found`},
	}
}

// toldByOthers are Events of the NGINX Ingress Controller, of certificates and of pods.
func toldByOthers(chain, otherKey []byte) []badObject {
	return []badObject{
		{name: "NGINX and a Secret that is not there", object: ingress("nginx", "", withTLS...), event: "CertificateNotUsed secret bad for host bad.example.com: there is no such secret"},
		{name: "NGINX and a Secret with the key of another", object: secret("kubernetes.io/tls", chain, otherKey) + "\n---\n" + ingress("nginx", "", withTLS...), event: "CertificateNotUsed secret bad for host bad.example.com"},
		{name: "an issuer that is not there", object: ingress("nginx", "cert-manager.io/issuer: vault", withTLS...), event: `IssuerNotFound Referenced "Issuer" not found: issuer.cert-manager.io "vault" not found`},
		{name: "an image that is not there", object: "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: c, image: 'example.com/strange:1'}]}\n", event: "built-in images"},
	}
}
