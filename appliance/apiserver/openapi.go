package apiserver

import (
	"archive/zip"
	"bytes"
	"crypto/sha512"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	definitionlisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	definitionbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/labels"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/cached"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// builtinDocuments are the OpenAPI documents of the built-in kinds, as upstream's code makes them: one file for each
// group and version, which is its path below /openapi/v3 and whose comment is its hash, and one for /openapi/v2. Making
// them takes more time and memory than the rest of the start together, and few ask. TestDocuments makes them.
//
//go:embed openapi.zip
var builtinDocuments []byte

// documentV2 is the file for /openapi/v2.
const documentV2 = "v2"

// Media types of the documents.
const (
	mediaJSON       = "application/json"
	mediaProtobufV3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// documents serves /openapi/v2 and /openapi/v3: the built-in kinds' as they were made, those of definitions when somebody
// asks.
type documents struct {
	definitions definitionlisters.CustomResourceDefinitionLister
	loose       looseKinds

	mu      sync.Mutex
	version string                     // of the definitions that the following were made of
	custom  map[string]*customDocument // by path below /openapi/v3
	swagger *spec.Swagger
}

// customDocument is the document of a group and version that definitions define.
type customDocument struct {
	text []byte
	hash string
}

// install serves the documents.
func (d *documents) install(s *genericapiserver.GenericAPIServer) {
	s.Handler.NonGoRestfulMux.Handle("/openapi/v3", http.HandlerFunc(d.index))
	s.Handler.NonGoRestfulMux.HandlePrefix("/openapi/v3/", http.HandlerFunc(d.document))
	handler.NewOpenAPIServiceLazy(cached.Func(d.v2)).RegisterOpenAPIVersionedService("/openapi/v2", s.Handler.NonGoRestfulMux)
}

// index lists the documents with their hashes.
func (d *documents) index(w http.ResponseWriter, _ *http.Request) {
	all := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	add := func(path, hash string) {
		all.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: "/openapi/v3/" + path + "?hash=" + hash}
	}
	custom, err := d.fromDefinitions()
	if err == nil {
		var archive *zip.Reader
		if archive, err = builtinArchive(); err == nil {
			for _, f := range archive.File {
				if f.Name != documentV2 {
					add(f.Name, f.Comment)
				}
			}
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for path, c := range custom {
		add(path, c.hash)
	}
	w.Header().Set("Content-Type", mediaJSON)
	_ = json.NewEncoder(w).Encode(all) // a client that has gone needs no answer
}

// document serves one group and version, as JSON or, to those who ask for it alone, in the wire form.
func (d *documents) document(w http.ResponseWriter, r *http.Request) {
	text, hash, err := d.read(strings.TrimPrefix(r.URL.Path, "/openapi/v3/"))
	if err == nil && text == nil {
		http.NotFound(w, r)
		return
	}
	media := mediaJSON
	if accept := r.Header.Get("Accept"); err == nil && strings.Contains(accept, "protobuf") && !strings.Contains(accept, mediaJSON) {
		media = mediaProtobufV3
		text, err = handler3.ToV3ProtoBinary(text)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Etag", strconv.Quote(hash))
	w.Header().Set("Content-Type", media)
	w.Header().Set("Vary", "Accept")
	if asked := r.URL.Query().Get("hash"); asked == hash { // what has this hash never changes
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", "Thu, 31 Dec 2099 23:59:59 GMT")
	}
	_, _ = w.Write(text) // as above
}

// read gives the document of a path, or nil when there is none.
func (d *documents) read(path string) (text []byte, hash string, err error) {
	custom, err := d.fromDefinitions()
	if err != nil {
		return nil, "", err
	}
	if c := custom[path]; c != nil {
		return c.text, c.hash, nil
	}
	archive, err := builtinArchive()
	if err != nil {
		return nil, "", err
	}
	for _, f := range archive.File {
		if f.Name == path && path != documentV2 {
			text, err = unpack(f)
			return text, f.Comment, err
		}
	}
	return nil, "", nil
}

func builtinArchive() (*zip.Reader, error) {
	archive, err := zip.NewReader(bytes.NewReader(builtinDocuments), int64(len(builtinDocuments)))
	if err != nil {
		return nil, fmt.Errorf("read the built-in OpenAPI documents: %w", err)
	}
	return archive, nil
}

func unpack(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("read OpenAPI document %s: %w", f.Name, err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read OpenAPI document %s: %w", f.Name, err)
	}
	return text, nil
}

// fromDefinitions gives the documents of what definitions define, made anew when a definition changed.
func (d *documents) fromDefinitions() (map[string]*customDocument, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.refresh()
	return d.custom, err
}

// refresh makes the definitions' documents anew when a definition changed.
func (d *documents) refresh() error {
	all, err := d.definitions.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list definitions: %w", err)
	}
	version := versionOf(all)
	if d.custom != nil && version == d.version {
		return nil
	}
	byPath := map[string][]*spec3.OpenAPI{}
	for _, definition := range served(all) {
		for _, v := range definition.Spec.Versions {
			if !v.Served {
				continue
			}
			made, err := definitionbuilder.BuildOpenAPIV3(d.loose.describe(definition), v.Name, definitionbuilder.Options{IncludeSelectableFields: true})
			if err != nil {
				return fmt.Errorf("describe %s: %w", definition.Name, err)
			}
			path := "apis/" + definition.Spec.Group + "/" + v.Name
			byPath[path] = append(byPath[path], made)
		}
	}
	custom := map[string]*customDocument{}
	for path, parts := range byPath {
		merged, err := definitionbuilder.MergeSpecsV3(parts...)
		if err != nil {
			return fmt.Errorf("describe %s: %w", path, err)
		}
		text, err := json.Marshal(merged)
		if err != nil {
			return fmt.Errorf("describe %s: %w", path, err)
		}
		custom[path] = &customDocument{text, hashOf(text)}
	}
	d.custom, d.version, d.swagger = custom, version, nil
	return nil
}

// v2 is the one document of /openapi/v2, with the definitions' kinds. It is kept from the first question on.
func (d *documents) v2() (*spec.Swagger, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refresh(); err != nil {
		return nil, "", err
	}
	if d.swagger == nil {
		made, err := d.merge()
		if err != nil {
			return nil, "", err
		}
		d.swagger = made
	}
	return d.swagger, d.version, nil
}

// merge joins the built-in document with the definitions'.
func (d *documents) merge() (*spec.Swagger, error) {
	archive, err := builtinArchive()
	if err != nil {
		return nil, err
	}
	builtin := &spec.Swagger{}
	for _, f := range archive.File {
		if f.Name != documentV2 {
			continue
		}
		text, err := unpack(f)
		if err != nil {
			return nil, err
		}
		if err := builtin.UnmarshalJSON(text); err != nil {
			return nil, fmt.Errorf("read the built-in OpenAPI document: %w", err)
		}
	}
	all, err := d.definitions.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list definitions: %w", err)
	}
	var parts []*spec.Swagger
	for _, definition := range served(all) {
		for _, v := range definition.Spec.Versions {
			if !v.Served {
				continue
			}
			made, err := definitionbuilder.BuildOpenAPIV2(d.loose.describe(definition), v.Name, definitionbuilder.Options{V2: true})
			if err != nil {
				return nil, fmt.Errorf("describe %s: %w", definition.Name, err)
			}
			parts = append(parts, made)
		}
	}
	return definitionbuilder.MergeSpecs(builtin, parts...)
}

// served leaves out definitions that are not established.
func served(all []*apiextensionsv1.CustomResourceDefinition) []*apiextensionsv1.CustomResourceDefinition {
	var established []*apiextensionsv1.CustomResourceDefinition
	for _, d := range all {
		if apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Established) {
			established = append(established, d)
		}
	}
	return established
}

// versionOf changes when a definition does.
func versionOf(all []*apiextensionsv1.CustomResourceDefinition) string {
	var versions []string
	for _, d := range all {
		versions = append(versions, string(d.UID)+"/"+d.ResourceVersion)
	}
	slices.Sort(versions)
	return hashOf([]byte(strings.Join(versions, " ")))
}

func hashOf(text []byte) string {
	return strings.ToUpper(fmt.Sprintf("%x", sha512.Sum512(text)))
}
