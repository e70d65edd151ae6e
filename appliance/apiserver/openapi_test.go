package apiserver_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	apiextensionsserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"

	"github.com/alb-appliance/appliance/appliance/apiserver"
)

var update = flag.Bool("update", false, "rewrite openapi.zip")

// TestDocuments has upstream make the documents of what is served and compares them with those that are built in.
func TestDocuments(t *testing.T) {
	t.Parallel()
	want := makeDocuments(t, start(t, openStore(t), nil))
	if *update {
		if err := os.WriteFile("openapi.zip", pack(t, want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := apiserver.BuiltinDocuments()
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("openapi.zip does not describe what is served; make it anew: go test ./appliance/apiserver -run TestDocuments -update")
	}
}

func makeDocuments(t *testing.T, s *server) map[string][]byte {
	t.Helper()
	namer := openapinamer.NewDefinitionNamer(legacyscheme.Scheme, apiextensionsserver.Scheme)
	v2 := genericapiserver.DefaultOpenAPIConfig(generatedopenapi.GetOpenAPIDefinitions, namer)
	v3 := genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer)
	v2.Info.Title, v3.Info.Title, v2.Info.Version, v3.Info.Version = "Kubernetes", "Kubernetes", "v1.36.3", "v1.36.3"
	paths := mux.NewPathRecorderMux("documents")
	text, err := json.Marshal(apiserver.Describe(s.Server, routes.OpenAPI{Config: v2, V3Config: v3}, paths))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{apiserver.DocumentV2: text}
	var index handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(ask(paths, "/openapi/v3"), &index); err != nil {
		t.Fatal(err)
	}
	for path, entry := range index.Paths {
		all[path] = ask(paths, strings.SplitN(entry.ServerRelativeURL, "?", 2)[0])
	}
	return all
}

func ask(h http.Handler, path string) []byte {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Body.Bytes()
}

func pack(t *testing.T, documents map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Comment: apiserver.HashOf(documents[name]), Method: zip.Deflate})
		if err == nil {
			_, err = f.Write(documents[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
