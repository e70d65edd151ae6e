package images_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/alb-appliance/appliance/appliance/kubelet/images"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLookup(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{
		"registry-cn-hangzhou.ack.aliyuncs.com/ack-demo/websocket-echo-server:latest": "websocket-echo-server",
		"registry.cn-hangzhou.aliyuncs.com/acs-sample/nginxdemos:latest":              "nginxdemos",
		"nginxdemos/hello:plain-text":                                                 "nginxdemos",
		"docker.io/nginxdemos/nginx-hello:0.4":                                        "nginx-hello",
		"nginx":                                                                       "nginx",
		"library/nginx:1.27-alpine":                                                   "nginx",
		"localhost:5000/nginx@sha256:aaaa":                                            "nginx",
		"bitnami/nginx":                                                               "nginx-unprivileged",
		"gcr.io/k8s-staging-ingressconformance/echoserver:v1":                         "echoserver",
		"registry.k8s.io/ingressconformance/echoserver:v1":                            "ingressconformance/echoserver",
		"gcr.io/k8s-staging-gateway-api/echo-basic:v2":                                "echo-basic",
		"registry.k8s.io/ingress-nginx/e2e-test-echo:v1.2.0":                          "e2e-test-echo",
		"kennethreitz/httpbin":                                                        "httpbin",
		"ghcr.io/mccutchen/go-httpbin:2.15":                                           "go-httpbin",
		"hashicorp/http-echo:1.0":                                                     "http-echo",
		"traefik/whoami":                                                              "whoami",
		"alb-sample/cafe:v1":                                                          "alb-sample/cafe",
		"docker.io/library/busybox:1.36":                                              "busybox",
		"alpine:3.20":                                                                 "alpine",
		"curlimages/curl:8.9.1":                                                       "curl",
		"example.com/nginx-ingress":                                                   "",
		"Nginx":                                                                       "",
		"":                                                                            "",
		"nginx:":                                                                      "",
	} {
		image, ok := images.Lookup(ref)
		if ok != (want != "") || image.Name != want {
			t.Errorf("Lookup(%q) = %q, %t; want %q", ref, image.Name, ok, want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		image         string
		command, args []string
		want          []string
		fails         bool
	}{
		{image: "nginx"},
		{image: "http-echo", args: []string{"-text=x"}, want: []string{"-text=x"}},
		{image: "http-echo", command: []string{"/http-echo", "-text"}, args: []string{"x"}, want: []string{"-text", "x"}},
		{image: "http-echo", command: []string{"sh", "-c", "x"}, fails: true},
		{image: "websocket-echo-server", args: []string{"x"}, fails: true},
	} {
		image, _ := images.Lookup(test.image)
		got, err := image.Check(test.command, test.args)
		if (err != nil) != test.fails || len(got) != len(test.want) {
			t.Errorf("%s %q %q: %q, %v", test.image, test.command, test.args, got, err)
		}
	}
}

func FuzzRepository(f *testing.F) {
	for _, seed := range []string{"nginx", "a.b/c/d:e@sha256:f", "localhost:5000/x", "a//b", "@", ":", "/", "A/b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		parts, err := images.Repository(ref)
		if err != nil {
			return
		}
		if len(parts) == 0 {
			t.Fatalf("%q: no parts and no error", ref)
		}
		for _, p := range parts {
			again, err := images.Repository(p)
			if err != nil || len(again) != 1 || again[0] != p {
				t.Fatalf("%q: part %q is read as %q, %v", ref, p, again, err)
			}
		}
	})
}
