package nginx_test

import (
	"bufio"
	"bytes"
	"context"
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
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/alb-appliance/appliance/appliance/controllers/nginx"
	"github.com/alb-appliance/appliance/dataplane"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestBuild builds the cluster in each testdata file: objects.yaml in, want out. Lines about the fake certificate and the
// generation are left out of want, for they differ from run to run.
func TestBuild(t *testing.T) {
	t.Parallel()
	fake, err := nginx.FakeCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	network := nginx.Network{
		Socket: func(port int) string { return fmt.Sprintf("127.77.0.80:%d", port) },
		Open: func(string) func(context.Context) (int, error) {
			return func(context.Context) (int, error) { return -1, os.ErrInvalid }
		},
		Fake: fake, Now: time.Now(),
	}
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
			snapshot, problems := nginx.Build(readCluster(t, archive.Files[0].Data), network)
			if _, compiled := dataplane.Compile(nil, snapshot); len(compiled) > 0 {
				t.Error(compiled)
			}
			var got strings.Builder
			for _, p := range problems {
				fmt.Fprintf(&got, "problem %s %s %s\n", p.Ingress, p.Reason, p.Message)
			}
			for line := range strings.Lines(snapshot.String()) {
				if !strings.Contains(line, "generation") && !strings.HasPrefix(line, "certificate ") {
					got.WriteString(line)
				}
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

func readCluster(t *testing.T, manifests []byte) *nginx.Cluster {
	t.Helper()
	c := &nginx.Cluster{Services: map[string]*corev1.Service{}, Slices: map[string][]*discoveryv1.EndpointSlice{}, Secrets: map[string]*corev1.Secret{}}
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	for {
		raw, err := documents.Read()
		if err == io.EOF {
			return c
		}
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch o := object.(type) {
		case *networkingv1.Ingress:
			c.Ingresses = append(c.Ingresses, o)
		case *corev1.Service:
			c.Services[o.Namespace+"/"+o.Name] = o
		case *corev1.Secret:
			c.Secrets[o.Namespace+"/"+o.Name] = o
		case *discoveryv1.EndpointSlice:
			name := o.Namespace + "/" + o.Labels[discoveryv1.LabelServiceName]
			c.Slices[name] = append(c.Slices[name], o)
		default:
			t.Fatalf("%T in a cluster", object)
		}
	}
}
