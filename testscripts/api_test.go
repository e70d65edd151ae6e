package testscripts

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

const (
	inJSON     = "application/json"
	inProtobuf = "application/vnd.kubernetes.protobuf"
	aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	asTable    = "application/json;as=Table;v=v1;g=meta.k8s.io"
)

var (
	albConfigs  = kinds[albKind].resource
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// TestAPI is what kubectl does not show of the API's manners: the bytes and headers that other clients see.
func TestAPI(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	config := s.start(t)
	for name, test := range map[string]func(*testing.T, *rest.Config){
		"discovery": testDiscovery, "protobuf": testProtobuf, "tables": testTables, "selectors": testSelectors,
		"bookmarks": testBookmarks, "watchlist": testWatchList, "strictness": testStrictness, "dryrun": testDryRun, "version": testVersion,
	} {
		t.Run(name, func(t *testing.T) { test(t, config) })
	}
	t.Run("paging", func(t *testing.T) { testPaging(t, s, config) }) // last, for it moves the clock
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request as it is; header is pairs of names and values.
func ask(t *testing.T, config *rest.Config, method, path, accept, body string, header ...string) reply {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, config.Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	if body != "" {
		request.Header.Set("Content-Type", inJSON)
	}
	for pair := range slices.Chunk(header, 2) {
		request.Header.Set(pair[0], pair[1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, raw}
}

// fetch asks for something that is JSON.
func fetch[T any](t *testing.T, config *rest.Config, path, accept string) T {
	t.Helper()
	var into T
	r := ask(t, config, http.MethodGet, path, accept, "")
	if err := json.Unmarshal(r.body, &into); err != nil || r.status != http.StatusOK {
		t.Fatalf("GET %s: %d, %v\n%s", path, r.status, err, r.body)
	}
	return into
}

// words is what a refusal says.
func words(t *testing.T, r reply) string {
	t.Helper()
	var status metav1.Status
	if err := json.Unmarshal(r.body, &status); err != nil || status.Kind != "Status" {
		t.Fatalf("%d, no Status: %v\n%s", r.status, err, r.body)
	}
	return status.Message
}

// testDiscovery wants both ways of discovery to tell the same, of custom kinds and subresources, too.
func testDiscovery(t *testing.T, config *rest.Config) {
	compare := func() []string {
		t.Helper()
		old, merged := olderDiscovery(t, config), aggregatedDiscovery(t, config)
		if diff := cmp.Diff(old, merged); diff != "" {
			t.Errorf("discovery, older (-) and aggregated (+):\n%s", diff)
		}
		return merged
	}
	// Of a name that several groups have, kubectl takes the first.
	order := []string{
		"apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io",
		"storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "alibabacloud.com",
	}
	older := namesOf(fetch[metav1.APIGroupList](t, config, "/apis", inJSON).Groups, func(g metav1.APIGroup) string { return g.Name })
	merged := namesOf(fetch[apidiscovery.APIGroupDiscoveryList](t, config, "/apis", aggregated).Items, func(g apidiscovery.APIGroupDiscovery) string { return g.Name })
	if diff := cmp.Diff([][]string{order, order}, [][]string{older, merged}); diff != "" {
		t.Errorf("groups in order, older and aggregated (-want +got):\n%s", diff)
	}
	before := ask(t, config, http.MethodGet, "/apis", aggregated, "")
	all := compare()
	for _, want := range []string{
		"alibabacloud.com/v1 albconfigs AlbConfig false [delete deletecollection get list patch create update watch] [] [] albconfig",
		"alibabacloud.com/v1 albconfigs/status AlbConfig false [get patch update] [] [] ",
		"apps/v1 deployments Deployment true [create delete deletecollection get list patch update watch] [deploy] [all] deployment",
		"apps/v1 deployments/scale autoscaling/v1 Scale true [get patch update] [] [] ",
		"v1 pods/attach PodAttachOptions true [create get] [] [] ",
		"v1 pods/eviction policy/v1 Eviction true [create] [] [] ",
		"v1 pods/exec PodExecOptions true [create get] [] [] ",
		"v1 pods/log Pod true [get] [] [] ",
		"v1 pods/portforward PodPortForwardOptions true [create get] [] [] ",
		"v1 serviceaccounts/token authentication.k8s.io/v1 TokenRequest true [create] [] [] ",
	} {
		if !slices.Contains(all, want) {
			t.Errorf("missing: %s", want)
		}
	}

	tag := before.header.Get("ETag")
	same := ask(t, config, http.MethodGet, "/apis", aggregated, "", "If-None-Match", tag)
	if tag == "" || same.status != http.StatusNotModified || len(same.body) > 0 {
		t.Errorf("with its tag %q: %d, %d bytes; want 304", tag, same.status, len(same.body))
	}
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "cups.kitchen.example.com"},
		"spec": map[string]any{
			"group": "kitchen.example.com", "scope": "Namespaced",
			"names": map[string]any{"kind": "Cup", "plural": "cups", "singular": "cup", "shortNames": []any{"cu"}, "categories": []any{"all"}},
			"versions": []any{map[string]any{"name": "v1beta1", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{"spec": map[string]any{
					"type": "object", "properties": map[string]any{"size": map[string]any{"type": "integer"}}}}}}}},
		},
	}}
	if _, err := dynamicFor(t, config).Resource(definitions).Create(t.Context(), definition, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const cups = "kitchen.example.com/v1beta1 cups Cup true [delete deletecollection get list patch create update watch] [cu] [all] cup"
	until(t, "both tell of a new kind", func() bool {
		return slices.Contains(olderDiscovery(t, config), cups) && slices.Contains(aggregatedDiscovery(t, config), cups)
	})
	compare()
	if r := ask(t, config, http.MethodGet, "/apis", aggregated, "", "If-None-Match", tag); r.status != http.StatusOK || r.header.Get("ETag") == tag {
		t.Errorf("with the tag of before: %d, %s", r.status, r.header.Get("ETag"))
	}
	if err := dynamicFor(t, config).Resource(definitions).Delete(t.Context(), definition.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "both forget a kind that is gone", func() bool {
		return slices.Equal(olderDiscovery(t, config), all) && slices.Equal(aggregatedDiscovery(t, config), all)
	})
}

// resourceLine is a resource as both ways of discovery tell it.
func resourceLine(version, name string, responds metav1.GroupVersionKind, namespaced bool, verbs, short, categories []string, singular string) string {
	kind := responds.Kind
	if gv := (schema.GroupVersion{Group: responds.Group, Version: responds.Version}).String(); responds.Version != "" && gv != version {
		kind = gv + " " + kind
	}
	return fmt.Sprint(version, " ", name, " ", kind, " ", namespaced, " ", verbs, " ", short, " ", categories, " ", singular)
}

func aggregatedDiscovery(t *testing.T, config *rest.Config) []string {
	t.Helper()
	var lines []string
	for _, path := range []string{"/api", "/apis"} {
		r := ask(t, config, http.MethodGet, path, aggregated, "")
		if got := r.header.Get("Content-Type"); got != aggregated {
			t.Errorf("%s: content type %s", path, got)
		}
		for _, group := range fetch[apidiscovery.APIGroupDiscoveryList](t, config, path, aggregated).Items {
			for n, v := range group.Versions {
				gv := schema.GroupVersion{Group: group.Name, Version: v.Version}.String()
				if n == 0 {
					lines = append(lines, "preferred "+gv)
				}
				for _, r := range v.Resources {
					namespaced := r.Scope == apidiscovery.ScopeNamespace
					lines = append(lines, resourceLine(gv, r.Resource, *r.ResponseKind, namespaced, r.Verbs, r.ShortNames, r.Categories, r.SingularResource))
					for _, sub := range r.Subresources {
						lines = append(lines, resourceLine(gv, r.Resource+"/"+sub.Subresource, *sub.ResponseKind, namespaced, sub.Verbs, nil, nil, ""))
					}
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func olderDiscovery(t *testing.T, config *rest.Config) []string {
	t.Helper()
	versions, lines := []string{}, []string{}
	for _, v := range fetch[metav1.APIVersions](t, config, "/api", inJSON).Versions {
		versions, lines = append(versions, "/api/"+v), append(lines, "preferred "+v)
	}
	for _, group := range fetch[metav1.APIGroupList](t, config, "/apis", inJSON).Groups {
		lines = append(lines, "preferred "+group.PreferredVersion.GroupVersion)
		for _, v := range group.Versions {
			versions = append(versions, "/apis/"+v.GroupVersion)
		}
	}
	for _, path := range versions {
		if ask(t, config, http.MethodGet, path, inJSON, "").status == http.StatusNotFound {
			continue // a kind that comes or goes, for upstream has one goroutine for each part of discovery
		}
		list := fetch[metav1.APIResourceList](t, config, path, inJSON)
		for _, r := range list.APIResources {
			responds := metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
			lines = append(lines, resourceLine(list.GroupVersion, r.Name, responds, r.Namespaced, r.Verbs, r.ShortNames, r.Categories, r.SingularName))
		}
	}
	slices.Sort(lines)
	return lines
}

// mediaTypes notes the media types that go over the wire.
type mediaTypes struct {
	next http.RoundTripper
	mu   sync.Mutex
	seen []string
}

// RoundTrip implements http.RoundTripper.
func (m *mediaTypes) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := m.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, r.Method+" "+r.Header.Get("Content-Type")+" → "+response.Header.Get("Content-Type"))
	return response, nil
}

// testProtobuf does everything in protobuf; a custom kind is refused in it, and given in JSON to those who take both.
func testProtobuf(t *testing.T, config *rest.Config) {
	types := &mediaTypes{}
	binary := rest.CopyConfig(config)
	binary.ContentType, binary.AcceptContentTypes = inProtobuf, inProtobuf
	binary.Wrap(func(next http.RoundTripper) http.RoundTripper { types.next = next; return types })
	client := clientFor(t, binary)
	labels, prefix := map[string]string{"app": "binary"}, networkingv1.PathTypePrefix
	name := metav1.ObjectMeta{Name: "binary", Labels: labels}
	live(t, client.CoreV1().ConfigMaps("default"), &corev1.ConfigMap{ObjectMeta: name, BinaryData: map[string][]byte{"k": {0, 1, 255}}})
	live(t, client.AppsV1().Deployments("default"), &appsv1.Deployment{ObjectMeta: name, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}}},
	}})
	live(t, client.NetworkingV1().Ingresses("default"), &networkingv1.Ingress{ObjectMeta: name, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
		Host: "binary.example.com", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
			Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "a", Port: networkingv1.ServiceBackendPort{Number: 80}}},
		}}}}}}}})
	got := map[string]bool{}
	for _, line := range types.seen {
		got[line] = true
	}
	if diff := cmp.Diff(map[string]bool{
		"POST " + inProtobuf + " → " + inProtobuf: true, "PUT " + inProtobuf + " → " + inProtobuf: true, "DELETE " + inProtobuf + " → " + inProtobuf: true,
		"PATCH application/strategic-merge-patch+json → " + inProtobuf: true, "GET  → " + inProtobuf: true, "GET  → " + inProtobuf + ";stream=watch": true,
	}, got); diff != "" {
		t.Errorf("media types (-want +got):\n%s", diff)
	}

	const path = "/apis/alibabacloud.com/v1/albconfigs/alb"
	if r := ask(t, config, http.MethodGet, path, inProtobuf, ""); r.status != http.StatusNotAcceptable || !strings.Contains(string(r.body), "only the following media types are accepted: ") {
		t.Errorf("an AlbConfig in protobuf: %d\n%q", r.status, r.body)
	}
	if r := ask(t, config, http.MethodGet, path, inProtobuf+","+inJSON, ""); r.status != http.StatusOK || r.header.Get("Content-Type") != inJSON {
		t.Errorf("an AlbConfig in protobuf or JSON: %d in %s", r.status, r.header.Get("Content-Type"))
	}
}

// object is what live needs of a kind.
type object interface {
	comparable
	metav1.Object
	runtime.Object
}

// typed is a client of client-go for one kind.
type typed[T object, L runtime.Object] interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Get(context.Context, string, metav1.GetOptions) (T, error)
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
	Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// live brings an object through its whole life, with one of every verb.
func live[T object, L runtime.Object](t *testing.T, client typed[T, L], o T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%T: %v", o, err)
		}
	}
	ctx, name := t.Context(), o.GetName()
	only := metav1.ListOptions{LabelSelector: "app=" + name}
	list, err := client.List(ctx, only)
	must(err)
	empty, err := meta.ListAccessor(list)
	must(err)
	only.ResourceVersion = empty.GetResourceVersion()
	w, err := client.Watch(ctx, only)
	must(err)
	defer w.Stop()
	made, err := client.Create(ctx, o, metav1.CreateOptions{})
	must(err)
	got, err := client.Get(ctx, name, metav1.GetOptions{})
	must(err)
	if diff := cmp.Diff(made, got); diff != "" && got.GetResourceVersion() == made.GetResourceVersion() {
		t.Errorf("%T created (-) and got (+):\n%s", o, diff)
	}
	until(t, "an update comes first", func() bool { // of a Deployment its controller writes the status
		got, err = client.Get(ctx, name, metav1.GetOptions{})
		must(err)
		got.SetAnnotations(map[string]string{"updated": "yes"})
		_, err = client.Update(ctx, got, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			return false
		}
		must(err)
		return true
	})
	patched, err := client.Patch(ctx, name, types.StrategicMergePatchType, []byte(`{"metadata":{"annotations":{"patched":"yes"}}}`), metav1.PatchOptions{})
	must(err)
	if a := patched.GetAnnotations(); a["updated"] != "yes" || a["patched"] != "yes" {
		t.Errorf("%T updated and patched has annotations %v", o, a)
	}
	list, err = client.List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
	must(err)
	if n := meta.LenList(list); n != 1 {
		t.Errorf("%T: a list of %d, want 1", o, n)
	}
	must(client.Delete(ctx, name, metav1.DeleteOptions{}))
	var events []watch.EventType
	for e := range w.ResultChan() {
		if seen, ok := e.Object.(T); !ok || seen.GetName() != name {
			t.Fatalf("%T: the watch has %v", o, e)
		}
		events = append(events, e.Type)
		if e.Type == watch.Deleted {
			break
		}
	}
	if len(events) < 4 || events[0] != watch.Added || events[1] != watch.Modified {
		t.Errorf("%T: the watch has %v", o, events)
	}
}

// testTables wants what kubectl prints from, with as much of the objects as was asked for.
func testTables(t *testing.T, config *rest.Config) {
	client := clientFor(t, config)
	createConfigMap(t, client, "row")
	for _, row := range []struct {
		path, name string
		columns    []string
	}{
		{"/api/v1/namespaces/default/configmaps", "row", []string{"Name", "Data", "Age"}},
		{"/apis/alibabacloud.com/v1/albconfigs", "alb", []string{"Name", "ALBID", "DNSNAME", "PORT&PROTOCOL", "CERTID", "AGE"}},
	} {
		for include, want := range map[string]string{"": "PartialObjectMetadata", "Metadata": "PartialObjectMetadata", "Object": "whole", "None": ""} {
			r := ask(t, config, http.MethodGet, row.path+"?fieldSelector=metadata.name%3D"+row.name+"&includeObject="+include, asTable, "")
			var table metav1.Table
			if err := json.Unmarshal(r.body, &table); err != nil || table.Kind != "Table" || len(table.Rows) != 1 {
				t.Fatalf("%s: %v\n%s", row.path, err, r.body)
			}
			var columns []string
			for _, c := range table.ColumnDefinitions {
				columns = append(columns, c.Name)
			}
			if diff := cmp.Diff(row.columns, columns); diff != "" {
				t.Errorf("%s, columns (-want +got):\n%s", row.path, diff)
			}
			if len(table.Rows[0].Cells) != len(columns) || table.Rows[0].Cells[0] != row.name {
				t.Errorf("%s, cells: %v", row.path, table.Rows[0].Cells)
			}
			var o struct{ Kind string }
			if raw := table.Rows[0].Object.Raw; len(raw) > 0 && string(raw) != "null" {
				if err := json.Unmarshal(raw, &o); err != nil {
					t.Fatal(err)
				}
				if o.Kind == "ConfigMap" || o.Kind == "AlbConfig" {
					o.Kind = "whole"
				}
			}
			if o.Kind != want {
				t.Errorf("%s, includeObject=%s: the row has %q, want %q", row.path, include, o.Kind, want)
			}
		}
	}
	wrong := ask(t, config, http.MethodGet, "/api/v1/nodes?includeObject=All", asTable, "")
	if got := words(t, wrong); wrong.status != http.StatusBadRequest || got != `Unable to convert to Table as requested: includeObject: Invalid value: "All": must be 'Metadata', 'Object', 'None', or empty` {
		t.Errorf("%d %s", wrong.status, got)
	}
	// A watch gives tables, too: that is how kubectl get -w prints.
	r := ask(t, config, http.MethodGet, "/apis/alibabacloud.com/v1/albconfigs?watch=1&timeoutSeconds=1", asTable, "")
	var first struct {
		Type   string
		Object metav1.Table
	}
	if err := json.NewDecoder(strings.NewReader(string(r.body))).Decode(&first); err != nil || first.Type != "ADDED" || first.Object.Kind != "Table" || len(first.Object.ColumnDefinitions) != 6 {
		t.Errorf("a watch of tables: %v\n%s", err, r.body)
	}
}

// testSelectors wants what selectors of both kinds choose, and upstream's words for those that a kind does not have.
func testSelectors(t *testing.T, config *rest.Config) {
	client := clientFor(t, config)
	const namespace = "selectors"
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, labels := range map[string]map[string]string{"a": {"team": "red", "tier": "web"}, "b": {"team": "blue"}, "c": {"tier": "db"}} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Type: corev1.SecretType("example.com/" + name)}
		if _, err := client.CoreV1().Secrets(namespace).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ labels, fields, want string }{
		{"team", "", "a b"}, {"!team", "", "c"}, {"team!=red", "", "b c"}, {"team in (red,blue),tier", "", "a"}, {"tier notin (web)", "", "b c"},
		{"", "metadata.name=b", "b"}, {"", "metadata.name!=b", "a c"}, {"", "type=example.com/c", "c"}, {"team", "type!=example.com/a", "b"},
	} {
		list, err := client.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: row.labels, FieldSelector: row.fields})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range list.Items {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != row.want {
			t.Errorf("labels %q, fields %q: %s, want %s", row.labels, row.fields, got, row.want)
		}
	}
	for path, want := range map[string]string{
		"/api/v1/pods?fieldSelector=spec.image%3Dx":                                "field label not supported: spec.image",
		"/apis/alibabacloud.com/v1/albconfigs?fieldSelector=spec.config%3Dx":       "field label not supported: spec.config",
		"/apis/networking.k8s.io/v1/ingresses?fieldSelector=spec.ingressClass%3Dx": `"spec.ingressClass" is not a known field selector: only "metadata.name", "metadata.namespace"`,
	} {
		if r := ask(t, config, http.MethodGet, path, inJSON, ""); r.status != http.StatusBadRequest || words(t, r) != want {
			t.Errorf("%s: %d %s", path, r.status, words(t, r))
		}
	}
}

// testPaging follows a list page by page, and wants a token that is too old to be refused with 410, upstream's words
// and a token to go on with. Events come from the store, ConfigMaps from the watch cache.
func testPaging(t *testing.T, s *server, config *rest.Config) {
	client := clientFor(t, config)
	const namespace = "pages"
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var want []string
	for n := range 7 {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("e", n)}, InvolvedObject: corev1.ObjectReference{Namespace: namespace}}
		if _, err := client.CoreV1().Events(namespace).Create(t.Context(), e, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("e", n), Labels: map[string]string{"page": "yes"}}}
		if _, err := client.CoreV1().ConfigMaps(namespace).Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		want = append(want, e.Name)
	}
	events := func(o metav1.ListOptions) ([]string, metav1.ListMeta, error) {
		list, err := client.CoreV1().Events(namespace).List(t.Context(), o)
		if err != nil {
			return nil, metav1.ListMeta{}, err
		}
		return namesOf(list.Items, func(e corev1.Event) string { return e.Name }), list.ListMeta, nil
	}
	configMaps := func(o metav1.ListOptions) ([]string, metav1.ListMeta, error) {
		o.LabelSelector = "page"
		list, err := client.CoreV1().ConfigMaps(namespace).List(t.Context(), o)
		if err != nil {
			return nil, metav1.ListMeta{}, err
		}
		return namesOf(list.Items, func(c corev1.ConfigMap) string { return c.Name }), list.ListMeta, nil
	}
	for kind, list := range map[string]func(metav1.ListOptions) ([]string, metav1.ListMeta, error){"Events": events, "ConfigMaps": configMaps} {
		var got []string
		var pages []int
		var version string
		for o := (metav1.ListOptions{Limit: 3}); ; {
			names, m, err := list(o)
			if err != nil {
				t.Fatal(err)
			}
			got, pages, o.Continue = append(got, names...), append(pages, len(names)), m.Continue
			if left := int64(len(want) - len(got)); kind == "Events" && m.Continue != "" && (m.RemainingItemCount == nil || *m.RemainingItemCount != left) {
				t.Errorf("%s: %v remain, want %d", kind, m.RemainingItemCount, left)
			}
			if version != "" && version != m.ResourceVersion {
				t.Errorf("%s: one page is at %s, the next at %s", kind, version, m.ResourceVersion)
			}
			if version = m.ResourceVersion; m.Continue == "" {
				break
			}
			// What comes between two pages is not on the next.
			if kind == "ConfigMaps" {
				c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("z", len(got)), Labels: map[string]string{"page": "yes"}}}
				if _, err := client.CoreV1().ConfigMaps(namespace).Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || !slices.Equal(pages, []int{3, 3, 1}) {
			t.Errorf("%s: pages of %v\n%s", kind, pages, diff)
		}
	}

	names, m, err := events(metav1.ListOptions{Limit: 3})
	if err != nil || len(names) != 3 {
		t.Fatal(names, err)
	}
	until(t, "the token is too old", func() bool {
		if _, err := s.command("cloud", "clock", "advance", "6m"); err != nil {
			t.Fatal(err)
		}
		createConfigMap(t, client, fmt.Sprint("tick-", ranges.Add(1))) // each compaction forgets what the one before it saw
		_, _, err = events(metav1.ListOptions{Limit: 3, Continue: m.Continue})
		return err != nil
	})
	const tooOld = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use " +
		"the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were " +
		"created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
	if !apierrors.IsResourceExpired(err) || err.Error() != tooOld {
		t.Fatalf("an old token: %v", err)
	}
	next := err.(apierrors.APIStatus).Status().Continue
	if _, err := client.CoreV1().Events(namespace).Create(t.Context(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e9"}, InvolvedObject: corev1.ObjectReference{Namespace: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if rest, _, err := events(metav1.ListOptions{Continue: next}); err != nil || !slices.Equal(rest, []string{"e3", "e4", "e5", "e6", "e9"}) {
		t.Errorf("with the token of the refusal: %v, %v", rest, err)
	}
	if _, _, err := events(metav1.ListOptions{Limit: 1, Continue: "nonsense"}); !apierrors.IsBadRequest(err) || !strings.HasPrefix(err.Error(), "invalid continue token: continue key is not valid: ") {
		t.Errorf("a token that is none: %v", err)
	}
}

func namesOf[T any](items []T, name func(T) string) []string {
	var all []string
	for _, i := range items {
		all = append(all, name(i))
	}
	return all
}

// testBookmarks wants a watch that sees nothing to be told how far it has come.
func testBookmarks(t *testing.T, config *rest.Config) {
	client := clientFor(t, config)
	w, err := client.CoreV1().ConfigMaps("nowhere").Watch(t.Context(), metav1.ListOptions{AllowWatchBookmarks: true, TimeoutSeconds: new(int64(3))})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	e, open := <-w.ResultChan()
	if c, ok := e.Object.(*corev1.ConfigMap); !open || e.Type != watch.Bookmark || !ok || number(t, c.ResourceVersion) == 0 || c.Name != "" {
		t.Errorf("got %v, want a bookmark", e)
	}
}

// testWatchList wants what is there, then the mark that this was all, then what happens; from the watch cache, from the
// store, and of a custom kind.
func testWatchList(t *testing.T, config *rest.Config) {
	client := dynamicFor(t, config)
	for _, row := range []struct {
		of   dynamic.ResourceInterface
		make func(string) *unstructured.Unstructured
	}{
		{client.Resource(kinds[0].resource).Namespace("default"), func(name string) *unstructured.Unstructured {
			return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}}}
		}},
		{client.Resource(schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}), func(name string) *unstructured.Unstructured {
			return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": int64(1), "metadata": map[string]any{"name": name}}}
		}},
		{client.Resource(albConfigs), func(name string) *unstructured.Unstructured {
			return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "alibabacloud.com/v1", "kind": "AlbConfig", "metadata": map[string]any{"name": name}, "spec": map[string]any{}}}
		}},
	} {
		kind := row.make("").GetKind()
		if _, err := row.of.Create(t.Context(), row.make("listed"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		w, err := row.of.Watch(t.Context(), metav1.ListOptions{
			SendInitialEvents: new(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, TimeoutSeconds: new(int64(60)),
		})
		if err != nil {
			t.Fatal(err)
		}
		var stages []string
		for e := range w.ResultChan() {
			o, ok := e.Object.(*unstructured.Unstructured)
			switch {
			case !ok || e.Type == watch.Error:
				t.Fatalf("%s: %v", kind, e)
			case e.Type == watch.Added && o.GetName() == "listed":
				stages = append(stages, "listed")
			case e.Type == watch.Bookmark && o.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true":
				stages = append(stages, "all")
				if _, err := row.of.Create(t.Context(), row.make("later"), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			case e.Type == watch.Added && o.GetName() == "later":
				stages = append(stages, "later")
			}
			if len(stages) == 3 {
				break
			}
		}
		w.Stop()
		if diff := cmp.Diff([]string{"listed", "all", "later"}, stages); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	r := ask(t, config, http.MethodGet, "/api/v1/pods?watch=1&sendInitialEvents=true", inJSON, "")
	if got := words(t, r); r.status != http.StatusUnprocessableEntity ||
		got != `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan` {
		t.Errorf("%d %s", r.status, got)
	}
}

// testStrictness sends fields that are unknown or come twice, with each answer that one may want to them.
func testStrictness(t *testing.T, config *rest.Config) {
	const body = `{"metadata":{"name":"loose"},"data":{"a":"1","a":"2"},"more":1}`
	const found = `duplicate field "data.a", unknown field "more"`
	const path = "/api/v1/namespaces/default/configmaps?dryRun=All&fieldValidation="
	strict := ask(t, config, http.MethodPost, path+"Strict", inJSON, body)
	if got := words(t, strict); strict.status != http.StatusBadRequest || got != `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: `+found {
		t.Errorf("Strict: %d %s", strict.status, got)
	}
	warned := ask(t, config, http.MethodPost, path+"Warn", inJSON, body)
	if got := warned.header.Values("Warning"); warned.status != http.StatusCreated || !slices.Equal(got, []string{`299 - "duplicate field \"data.a\""`, `299 - "unknown field \"more\""`}) {
		t.Errorf("Warn: %d %q", warned.status, got)
	}
	ignored := ask(t, config, http.MethodPost, path+"Ignore", inJSON, body)
	if got := ignored.header.Values("Warning"); ignored.status != http.StatusCreated || len(got) > 0 {
		t.Errorf("Ignore: %d %q", ignored.status, got)
	}
	wrong := ask(t, config, http.MethodPost, path+"Sometimes", inJSON, body)
	if got := words(t, wrong); wrong.status != http.StatusUnprocessableEntity || !strings.Contains(got, `fieldValidation: Unsupported value: "Sometimes": supported values: "", "Ignore", "Strict", "Warn"`) {
		t.Errorf("Sometimes: %d %s", wrong.status, got)
	}
	// An AlbConfig stores every field, so only what comes twice is a mistake.
	twice := ask(t, config, http.MethodPost, "/apis/alibabacloud.com/v1/albconfigs?dryRun=All&fieldValidation=Strict", inJSON,
		`{"apiVersion":"alibabacloud.com/v1","kind":"AlbConfig","metadata":{"name":"twice"},"spec":{"unknown":1,"config":{},"config":{}}}`)
	if got := words(t, twice); twice.status != http.StatusBadRequest || !strings.Contains(got, `strict decoding error: duplicate field "spec.config"`) || strings.Contains(got, "unknown") {
		t.Errorf("an AlbConfig: %d %s", twice.status, got)
	}
}

// testDryRun does everything that writes and wants nothing to have happened.
func testDryRun(t *testing.T, config *rest.Config) {
	client, all := clientFor(t, config), []string{metav1.DryRunAll}
	services := client.CoreV1().Services("default")
	spec := corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}
	kept, err := services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec.ClusterIP = "172.21.5.5"
	tried, err := services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "tried"}, Spec: spec}, metav1.CreateOptions{DryRun: all})
	if err != nil || tried.UID == "" || tried.ResourceVersion != "" {
		t.Errorf("create: %v, %v", tried, err)
	}
	changed := kept.DeepCopy()
	changed.Labels = map[string]string{"updated": "yes"}
	if got, err := services.Update(t.Context(), changed, metav1.UpdateOptions{DryRun: all}); err != nil || got.Labels["updated"] != "yes" {
		t.Errorf("update: %v, %v", got, err)
	}
	patch := []byte(`{"metadata":{"labels":{"patched":"yes"}}}`)
	if got, err := services.Patch(t.Context(), "kept", types.MergePatchType, patch, metav1.PatchOptions{DryRun: all}); err != nil || got.Labels["patched"] != "yes" {
		t.Errorf("patch: %v, %v", got, err)
	}
	apply := []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"applied"},"spec":{"ports":[{"port":80}]}}`)
	if got, err := services.Patch(t.Context(), "applied", types.ApplyPatchType, apply, metav1.PatchOptions{DryRun: all, FieldManager: "test"}); err != nil || got.Name != "applied" {
		t.Errorf("apply: %v, %v", got, err)
	}
	if err := services.Delete(t.Context(), "kept", metav1.DeleteOptions{DryRun: all}); err != nil {
		t.Errorf("delete: %v", err)
	}
	// It is checked as if it were meant.
	if _, err := services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "No"}, Spec: spec}, metav1.CreateOptions{DryRun: all}); !apierrors.IsInvalid(err) {
		t.Errorf("an invalid one: %v", err)
	}
	after, err := services.Get(t.Context(), "kept", metav1.GetOptions{})
	if diff := cmp.Diff(kept, after); err != nil || diff != "" {
		t.Errorf("kept, before (-) and after (+): %v\n%s", err, diff)
	}
	for _, name := range []string{"tried", "applied"} {
		if _, err := services.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The address that it asked for is not taken.
	if _, err := services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "taker"}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	wrong := ask(t, config, http.MethodPost, "/api/v1/namespaces/default/configmaps?dryRun=Some", inJSON, `{"metadata":{"name":"a"}}`)
	if got := words(t, wrong); wrong.status != http.StatusUnprocessableEntity || !strings.Contains(got, `dryRun: Unsupported value: ["Some"]: supported values: "All"`) {
		t.Errorf("dryRun=Some: %d %s", wrong.status, got)
	}
}

// testVersion wants a version that clients can reckon with.
func testVersion(t *testing.T, config *rest.Config) {
	info := fetch[apiversion.Info](t, config, "/version", inJSON)
	v, err := version.ParseSemantic(info.GitVersion)
	if err != nil || info.Major != fmt.Sprint(v.Major()) || info.Minor != fmt.Sprint(v.Minor()) || info.Platform == "" || info.GoVersion == "" {
		t.Errorf("%+v: %v", info, err)
	}
}

func dynamicFor(t *testing.T, config *rest.Config) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
