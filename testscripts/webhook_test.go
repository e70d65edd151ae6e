package testscripts

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// TestWebhooksBehindServices has webhooks asked that are behind Services: of type ExternalName, which leads to a program
// on this machine, and with endpoints in the cluster. It wants upstream's words from those that do not answer.
func TestWebhooksBehindServices(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	config := s.start(t)
	client := clientFor(t, config)
	for name, labels := range map[string]map[string]string{"hooked": {"hooks": "on"}, "free": nil} {
		if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	h := startHook(t, "hook.default.svc")
	createService(t, client, "hook", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"})
	w := &webhooks{client: client, ca: h.ca}

	// Both kinds of webhooks, in the namespaces that their selector chooses, of built-in and custom kinds.
	w.change(t, "change.example.com", w.at("hook", h.port, "/change"))
	w.refuse(t, "refuse.example.com", w.at("hook", h.port, "/refuse"), nil)
	until(t, "the webhooks are asked", func() bool {
		made, err := w.try("hooked", "good")
		if err != nil {
			t.Fatal(err)
		}
		_, refused := w.try("hooked", "bad")
		return made.Data["changed"] == "yes" && refused != nil
	})
	w.want(t, "hooked", "bad", `admission webhook "refuse.example.com" denied the request: not this one`)
	if made, err := w.try("free", "bad"); err != nil || made.Data != nil {
		t.Errorf("in a namespace without the label: %v, %v", made, err)
	}
	alb := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "alibabacloud.com/v1", "kind": "AlbConfig", "metadata": map[string]any{"name": "bad"}, "spec": map[string]any{}}}
	if _, err := dynamicFor(t, config).Resource(albConfigs).Create(t.Context(), alb, metav1.CreateOptions{}); err == nil || err.Error() != `admission webhook "refuse.example.com" denied the request: not this one` {
		t.Errorf("an AlbConfig: %v", err)
	}
	if r := h.last.Load(); r == nil || r.Kind.Kind != "AlbConfig" || r.UserInfo.Username == "" || r.Operation != admissionv1.Create {
		t.Errorf("the webhook was asked about %+v", r)
	}
	w.clear(t)

	// What does not answer, with both policies: refused in upstream's words, or let through.
	post := func(host string, port int32, timeout int) string {
		return fmt.Sprintf(`Internal error occurred: failed calling webhook "x.example.com": failed to call webhook: Post "https://%s.default.svc:%d/?timeout=%ds": `, host, port, timeout)
	}
	createService(t, client, "down", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"})
	createService(t, client, "named-otherwise", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"})
	createService(t, client, "nobody", corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}})
	plain := createPod(t, client, "plain")
	createService(t, client, "plain", corev1.ServiceSpec{Selector: plain, Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(80)}}})
	until(t, "the pod answers", func() bool {
		p, err := client.CoreV1().Pods("default").Get(t.Context(), "plain", metav1.GetOptions{})
		return err == nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready
	})
	nobody, err := client.CoreV1().Services("default").Get(t.Context(), "nobody", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	createService(t, client, "api", corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(6443)}}})
	own, err := client.DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own.ObjectMeta = metav1.ObjectMeta{Name: "api", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}}
	own.Ports[0].Name = new("")
	if _, err := client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	unused := unusedPort(t)
	for _, row := range []struct {
		name, words string // words are how the refusal begins
		at          admissionregistrationv1.WebhookClientConfig
		contains    string
	}{
		{name: "nothing listens", at: w.at("down", unused, ""), words: post("down", unused, 1), contains: "connect: connection refused"},
		{name: "no such Service", at: w.at("none", 443, ""), words: post("none", 443, 1) + `service "none" not found`},
		{name: "no such port", at: w.at("plain", 444, ""), words: post("plain", 444, 1) + `no service port 444 found for service "plain"`},
		{name: "no endpoints", at: w.at("nobody", 443, ""), words: post("nobody", 443, 1) + "dial tcp " + nobody.Spec.ClusterIP + ":443: connect: connection refused"},
		{name: "a pod without TLS", at: w.at("plain", 443, ""), words: post("plain", 443, 1) + "http: server gave HTTP response to HTTPS client"},
		{name: "a certificate for another name", at: w.at("named-otherwise", h.port, ""),
			words: post("named-otherwise", h.port, 1) + "tls: failed to verify certificate: x509: certificate is valid for hook.default.svc, not named-otherwise.default.svc"},
		{name: "no answer in time", at: w.at("hook", h.port, "/slow"),
			words: strings.Replace(post("hook", h.port, 1), "/?", "/slow?", 1) + "context deadline exceeded"},
		{name: "no review", at: w.at("hook", h.port, "/nonsense"),
			words: `Internal error occurred: failed calling webhook "x.example.com": failed to call webhook: couldn't get version/kind; json parse error: `},
		{name: "an error", at: w.at("hook", h.port, "/broken"),
			words: `Internal error occurred: failed calling webhook "x.example.com": failed to call webhook: an error on the server ("oops") has prevented the request from succeeding`},
		// Endpoints that are no pods: these lead to the API's own socket.
		{name: "an endpoint that somebody wrote", at: w.at("api", 443, ""), words: post("api", 443, 1) + "tls: failed to verify certificate: x509: ", contains: "not api.default.svc"},
	} {
		w.refuse(t, "x.example.com", row.at, func(hook *admissionregistrationv1.ValidatingWebhook) { hook.TimeoutSeconds = new(int32(1)) })
		var err error
		until(t, "it counts: "+row.name, func() bool {
			_, err = w.try("hooked", "any")
			// Endpoints come later than their Service.
			return err != nil && (!strings.Contains(err.Error(), "connection refused") || strings.Contains(row.words+row.contains, "connection refused"))
		})
		if !apierrors.IsInternalError(err) || !strings.HasPrefix(err.Error(), row.words) || !strings.Contains(err.Error(), row.contains) {
			t.Errorf("%s: %v\nwant %s…%s", row.name, err, row.words, row.contains)
		}
		w.clear(t)
		w.refuse(t, "x.example.com", row.at, func(hook *admissionregistrationv1.ValidatingWebhook) {
			hook.TimeoutSeconds, hook.FailurePolicy = new(int32(1)), new(admissionregistrationv1.Ignore)
		})
		w.refuse(t, "sentinel.example.com", w.at("hook", h.port, "/refuse"), nil)
		until(t, "the one beside it counts: "+row.name, func() bool { _, err := w.try("hooked", "bad"); return err != nil })
		if _, err := w.try("hooked", "any"); err != nil {
			t.Errorf("%s, failurePolicy Ignore: %v", row.name, err)
		}
		w.clear(t)
	}
}

// webhooks makes configurations and tries what they do.
type webhooks struct {
	client *kubernetes.Clientset
	ca     []byte
	made   int
}

// at is a webhook behind a Service of the namespace default.
func (w *webhooks) at(service string, port int32, path string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{CABundle: w.ca, Service: &admissionregistrationv1.ServiceReference{
		Namespace: "default", Name: service, Port: &port, Path: &path,
	}}
}

var hooked = metav1.LabelSelector{MatchLabels: map[string]string{"hooks": "on"}}

func created(group, version, resource string) admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}},
	}
}

// refuse makes a validating webhook.
func (w *webhooks) refuse(t *testing.T, name string, at admissionregistrationv1.WebhookClientConfig, set func(*admissionregistrationv1.ValidatingWebhook)) {
	t.Helper()
	hook := admissionregistrationv1.ValidatingWebhook{
		Name: name, ClientConfig: at, NamespaceSelector: &hooked, SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		Rules: []admissionregistrationv1.RuleWithOperations{created("", "v1", "configmaps"), created("alibabacloud.com", "*", "albconfigs")},
	}
	if set != nil {
		set(&hook)
	}
	w.made++
	_, err := w.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("hook-", w.made)}, Webhooks: []admissionregistrationv1.ValidatingWebhook{hook},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// change makes a mutating webhook.
func (w *webhooks) change(t *testing.T, name string, at admissionregistrationv1.WebhookClientConfig) {
	t.Helper()
	_, err := w.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "change"}, Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: name, ClientConfig: at, NamespaceSelector: &hooked, SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			Rules: []admissionregistrationv1.RuleWithOperations{created("", "v1", "configmaps")},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// clear takes all webhooks away and waits until none counts.
func (w *webhooks) clear(t *testing.T) {
	t.Helper()
	for _, list := range []interface {
		DeleteCollection(context.Context, metav1.DeleteOptions, metav1.ListOptions) error
	}{w.client.AdmissionregistrationV1().ValidatingWebhookConfigurations(), w.client.AdmissionregistrationV1().MutatingWebhookConfigurations()} {
		if err := list.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the webhooks are forgotten", func() bool {
		made, err := w.try("hooked", "bad")
		return err == nil && made.Data == nil
	})
}

// try creates a ConfigMap, but for storing it.
func (w *webhooks) try(namespace, name string) (*corev1.ConfigMap, error) {
	return w.client.CoreV1().ConfigMaps(namespace).Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

func (w *webhooks) want(t *testing.T, namespace, name, words string) {
	t.Helper()
	if _, err := w.try(namespace, name); err == nil || err.Error() != words {
		t.Errorf("got %v, want %s", err, words)
	}
}

// hook answers admission reviews over TLS on this machine.
type hook struct {
	port int32
	ca   []byte
	last atomic.Pointer[admissionv1.AdmissionRequest] // of /refuse
}

func startHook(t *testing.T, name string) *hook {
	t.Helper()
	chain, key, err := selfSigned([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	h := &hook{ca: chain}
	server := httptest.NewUnstartedServer(h)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are meant to
	server.StartTLS()
	t.Cleanup(server.Close)
	h.port = int32(server.Listener.Addr().(*net.TCPAddr).Port)
	return h
}

// ServeHTTP implements http.Handler.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, fmt.Sprint("no review: ", err), http.StatusBadRequest)
		return
	}
	answer := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	switch r.URL.Path {
	case "/change":
		answer.PatchType, answer.Patch = new(admissionv1.PatchTypeJSONPatch), []byte(`[{"op":"add","path":"/data","value":{"changed":"yes"}}]`)
	case "/slow":
		<-r.Context().Done() // the API gives up
		return
	case "/nonsense":
		fmt.Fprint(w, "nonsense")
		return
	case "/broken":
		http.Error(w, "oops", http.StatusInternalServerError)
		return
	case "/refuse":
		h.last.Store(review.Request)
		if review.Request.Name == "bad" {
			answer.Allowed, answer.Result = false, &metav1.Status{Message: "not this one"}
		}
	}
	review.Request, review.Response = nil, answer
	w.Header().Set("Content-Type", inJSON)
	_ = json.NewEncoder(w).Encode(review) // the API may have given up
}

func createService(t *testing.T, client *kubernetes.Clientset, name string, spec corev1.ServiceSpec) {
	t.Helper()
	if _, err := client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// createPod makes a pod that answers HTTP, and gives its labels.
func createPod(t *testing.T, client *kubernetes.Clientset, name string) map[string]string {
	t.Helper()
	labels := map[string]string{"app": name}
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return labels
}

// unusedPort is one that nobody listens on.
func unusedPort(t *testing.T) int32 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return int32(l.Addr().(*net.TCPAddr).Port)
}
