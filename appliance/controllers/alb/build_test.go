package alb_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/appliance/controllers/alb"
	"github.com/alb-appliance/appliance/cloudsim"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestBuild builds the group in each testdata file: objects.yaml in, want out. A first comment "flannel" in the file
// chooses that network plugin; objects of kind Certificate are what the certificate service has.
func TestBuild(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cluster := alb.Cluster{ID: "c0123456789", NetworkPlugin: alb.Terway}
			if bytes.Contains(archive.Comment, []byte("flannel")) {
				cluster.NetworkPlugin = alb.Flannel
			}
			var got strings.Builder
			model, problems := alb.Build(readGroup(t, archive.Files[0].Data), cluster)
			for _, p := range problems {
				fmt.Fprintln(&got, p)
			}
			if model != nil {
				got.WriteString(model.String())
			}
			want := &archive.Files[1]
			if *update {
				want.Data = []byte(got.String())
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func readGroup(t *testing.T, manifests []byte) *alb.Group {
	t.Helper()
	g := &alb.Group{
		Services: map[string]*corev1.Service{}, Slices: map[string][]*discoveryv1.EndpointSlice{}, Secrets: map[string]*corev1.Secret{},
		Now: time.Date(2026, time.November, 22, 0, 0, 0, 0, time.UTC),
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	for {
		raw, err := documents.Read()
		if err == io.EOF {
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "kind: AlbConfig") {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(raw, &u.Object); err != nil {
				t.Fatal(err)
			}
			if g.AlbConfig, err = v1.Decode(u); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if strings.Contains(string(raw), "kind: Certificate") {
			var c cloudsim.Certificate
			if err := yaml.Unmarshal(raw, &c); err != nil {
				t.Fatal(err)
			}
			g.Certificates = append(g.Certificates, c)
			continue
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch o := object.(type) {
		case *networkingv1.Ingress:
			g.Ingresses = append(g.Ingresses, o)
		case *corev1.Service:
			g.Services[o.Namespace+"/"+o.Name] = o
		case *discoveryv1.EndpointSlice:
			name := o.Namespace + "/" + o.Labels[discoveryv1.LabelServiceName]
			g.Slices[name] = append(g.Slices[name], o)
		case *corev1.Secret:
			g.Secrets[o.Namespace+"/"+o.Name] = o
		case *corev1.Node:
			g.Nodes = append(g.Nodes, o)
		default:
			t.Fatalf("%T in a group", object)
		}
	}
}
