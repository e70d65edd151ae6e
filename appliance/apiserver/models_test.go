package apiserver_test

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/gob"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	apiextensionsserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/alb-appliance/appliance/appliance/apiserver"
)

// TestModels has upstream make the models of what is served, as it does at a start, and compares them with those that
// are built in.
func TestModels(t *testing.T) {
	t.Parallel()
	want := makeModels(t, start(t, openStore(t), nil))
	if *update {
		if err := os.WriteFile("models.zip", packModels(t, want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for group, w := range want {
		// As text: upstream shares some types with the running server, which notes in them what it has looked up.
		if got, err := apiserver.ReadModels(group); err != nil || !bytes.Equal(encodeModels(t, got), encodeModels(t, w)) {
			t.Errorf("models.zip is not what group %q needs (%v); make it anew: go test ./appliance/apiserver -run TestModels -update", group, err)
		}
	}
}

// makeModels makes the models of each group.
func makeModels(t *testing.T, s *server) map[string]*apiserver.GroupModels {
	t.Helper()
	_, lists, err := s.client(t).Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]map[schema.GroupVersionKind]bool{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if kind := kindServed(gv, r); legacyscheme.Scheme.Recognizes(kind) {
				if kinds[gv.Group] == nil {
					kinds[gv.Group] = map[schema.GroupVersionKind]bool{}
				}
				kinds[gv.Group][kind] = true
			}
		}
	}
	all := map[string]*apiserver.GroupModels{}
	for group, kinds := range kinds {
		all[group] = modelsOf(t, kinds)
	}
	return all
}

// kindServed is what a resource's objects are; a subresource may have those of another group.
func kindServed(gv schema.GroupVersion, r metav1.APIResource) schema.GroupVersionKind {
	if r.Version != "" {
		gv = schema.GroupVersion{Group: r.Group, Version: r.Version}
	}
	return gv.WithKind(r.Kind)
}

// modelsOf is what upstream's getOpenAPIModels and managedfields.NewTypeConverter do for kinds.
func modelsOf(t *testing.T, kinds map[schema.GroupVersionKind]bool) *apiserver.GroupModels {
	t.Helper()
	var names []string
	for kind := range kinds {
		o, err := legacyscheme.Scheme.New(kind)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, util.GetCanonicalTypeName(o))
	}
	namer := openapinamer.NewDefinitionNamer(legacyscheme.Scheme, apiextensionsserver.Scheme)
	definitions, err := builder3.BuildOpenAPIDefinitionsForResources(genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer), names...)
	if err != nil {
		t.Fatal(err)
	}
	made, err := schemaconv.ToSchemaFromOpenAPI(definitions, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range made.Types {
		fix(made.Types[i].Atom)
	}
	slices.SortFunc(made.Types, func(a, b smdschema.TypeDef) int { return cmp.Compare(a.Name, b.Name) })
	m := &apiserver.GroupModels{Types: made.Types}
	for name, definition := range definitions {
		for _, kind := range kindsOf(t, definition) {
			m.Kinds = append(m.Kinds, apiserver.KindModel{GroupVersionKind: kind, Type: name})
		}
	}
	slices.SortFunc(m.Kinds, func(a, b apiserver.KindModel) int { return cmp.Compare(a.String()+a.Type, b.String()+b.Type) })
	return m
}

// fix removes what is another at each making and means the same: the order of fields, and the types of defaults that are
// strings.
func fix(a smdschema.Atom) {
	if a.List != nil {
		fix(a.List.ElementType.Inlined)
	}
	if a.Map == nil {
		return
	}
	fix(a.Map.ElementType.Inlined)
	slices.SortFunc(a.Map.Fields, func(a, b smdschema.StructField) int { return cmp.Compare(a.Name, b.Name) })
	for i := range a.Map.Fields {
		f := &a.Map.Fields[i]
		fix(f.Type.Inlined)
		if v := reflect.ValueOf(f.Default); v.Kind() == reflect.String {
			f.Default = v.String()
		}
	}
}

// kindsOf reads the extension in which upstream tells the kinds of a definition.
func kindsOf(t *testing.T, s *spec.Schema) []schema.GroupVersionKind {
	t.Helper()
	var all []schema.GroupVersionKind
	told, _ := s.Extensions["x-kubernetes-group-version-kind"].([]any)
	for _, one := range told {
		k, ok := one.(map[string]any)
		if !ok {
			t.Fatalf("a kind is told as %T", one)
		}
		all = append(all, schema.GroupVersionKind{Group: k["group"].(string), Version: k["version"].(string), Kind: k["kind"].(string)})
	}
	return all
}

func packModels(t *testing.T, models map[string]*apiserver.GroupModels) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, group := range slices.Sorted(maps.Keys(models)) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: apiserver.ModelsFile(group), Method: zip.Deflate})
		if err == nil {
			_, err = f.Write(encodeModels(t, models[group]))
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

func encodeModels(t *testing.T, m *apiserver.GroupModels) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
