package images_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/appliance/kubelet/images"
	"github.com/alb-appliance/appliance/appliance/podnet"
)

// output is a container's log.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// pod is an image that runs.
type pod struct {
	network *podnet.Network
	client  *http.Client
	clock   *clockwork.FakeClock
	out     *output
	stop    context.CancelFunc
	kill    func()
	ended   chan struct{}
	err     error // once ended
}

var podIP = netip.MustParseAddr("10.1.0.7")

// run starts an image and waits until it serves; it ends with the test.
func run(t *testing.T, ref string, env map[string]string, args ...string) *pod {
	t.Helper()
	image, ok := images.Lookup(ref)
	if !ok {
		t.Fatalf("no image %s", ref)
	}
	ctx, cancel := context.WithCancel(context.Background())
	killed := make(chan struct{})
	p := &pod{
		network: podnet.New(), clock: clockwork.NewFakeClockAt(time.Date(2026, 11, 21, 20, 26, 29, 0, time.UTC)), out: &output{}, stop: cancel,
		kill: sync.OnceFunc(func() { close(killed) }), ended: make(chan struct{}),
	}
	started := make(chan struct{})
	go func() {
		p.err = image.Run(ctx, &images.Container{
			Image: ref, Env: env, Args: args, PodIP: podIP, Hostname: "coffee-1", Stdout: p.out, Clock: p.clock,
			Listen:  func(port uint16) (net.Listener, error) { return p.network.Listen(netip.AddrPortFrom(podIP, port)) },
			Started: func() { close(started) }, Killed: killed,
		})
		close(p.ended)
	}()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
		return p.network.DialContext(ctx, to)
	}}
	p.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		cancel()
		p.kill()
		<-p.ended
	})
	select {
	case <-started:
	case <-p.ended:
		if !errors.As(p.err, new(*images.ExitError)) && !errors.As(p.err, new(*images.StartError)) {
			t.Fatalf("ended: %v\n%s", p.err, p.out)
		}
	}
	return p
}

func (p *pod) do(t *testing.T, method, target, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	response, err := p.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(b)
}

// TestAnswers asks each image what NGINX-FACTS 8 says that it answers.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, image string
		env         map[string]string
		args        []string
		ask         string // METHOD HOST:PORT/PATH
		headers     []string
		body        string
		status      int
		want        []string // parts of the body
		wantHeaders []string
		wantLog     string
		exactly     bool // want[0] is the whole body
	}{
		{name: "coffee to curl", image: "acs-sample/nginxdemos", ask: "GET 10.1.0.7:80/coffee?x=1", status: 200,
			want:        []string{"Server address: 10.1.0.7:80\nServer name: coffee-1\nDate: 21/Nov/2026:20:26:29 +0000\nURI: /coffee?x=1\nRequest ID: "},
			wantHeaders: []string{"Content-Type", "text/plain", "Cache-Control", "no-cache", "Expires", "Sat, 21 Nov 2026 20:26:28 GMT"},
			wantLog:     `"GET /coffee?x=1 HTTP/1.1" 200 `},
		{name: "coffee to a browser", image: "nginxdemos/hello", ask: "GET 10.1.0.7:80/tea", headers: []string{"Accept", "text/html,*/*"}, status: 200,
			want: []string{"Server&nbsp;name:</span> <span>coffee-1<", "10.1.0.7:80", "/tea", "Request ID"}, wantHeaders: []string{"Content-Type", "text/html"}},
		{name: "plain-text tag to a browser", image: "nginxdemos/hello:plain-text", ask: "GET 10.1.0.7:80/", headers: []string{"Accept", "text/html"}, status: 200,
			want: []string{"Server address: 10.1.0.7:80"}},
		{name: "coffee HEAD", image: "nginxdemos", ask: "HEAD 10.1.0.7:80/coffee", status: 200},
		{name: "nginx-hello", image: "nginxdemos/nginx-hello", ask: "GET 10.1.0.7:8080/", status: 200, want: []string{"Server address: 10.1.0.7:8080"}},
		{name: "nginx", image: "nginx", ask: "GET 10.1.0.7:80/", status: 200, want: []string{"Welcome to nginx!"}, wantHeaders: []string{"Server", "nginx/1.29.1", "Content-Type", "text/html"}, wantLog: "start worker processes"},
		{name: "nginx with its own command", image: "nginx", args: []string{"-g", "daemon off;"}, ask: "GET 10.1.0.7:80/", status: 200},
		{name: "nginx unknown path", image: "library/nginx", ask: "GET 10.1.0.7:80/x", status: 404, want: []string{"<center><h1>404 Not Found</h1></center>"}},
		{name: "nginx POST", image: "nginx", ask: "POST 10.1.0.7:80/", status: 405, want: []string{"405 Not Allowed"}},
		{name: "WebSocket server, plain HTTP", image: "websocket-echo-server", ask: "GET 10.1.0.7:1337/any", status: 426, want: []string{"Upgrade Required"}, exactly: true,
			wantHeaders: []string{"Content-Type", "text/plain", "Content-Length", "16"}, wantLog: "Server listening on [::]:1337\n"},
		{name: "conformance health", image: "registry.k8s.io/ingressconformance/echoserver", ask: "GET 10.1.0.7:3000/health", status: 200, want: []string{"OK"}, exactly: true},
		{name: "conformance echo", image: "echo-basic", env: map[string]string{"NAMESPACE": "ns", "INGRESS_NAME": "in", "SERVICE_NAME": "svc", "POD_NAME": "pod-1"},
			ask: "POST 10.1.0.7:3000//a//b?c=d", headers: []string{"Host", "x.example", "X-One", "1"}, status: 200,
			want:        []string{"{\n \"path\": \"//a//b?c=d\",\n \"host\": \"x.example\",\n \"method\": \"POST\",\n \"proto\": \"HTTP/1.1\",", "\"X-One\": [\n   \"1\"\n  ]", "\"namespace\": \"ns\",\n \"ingress\": \"in\",\n \"service\": \"svc\",\n \"pod\": \"pod-1\"\n}"},
			wantHeaders: []string{"Content-Type", "application/json", "X-Content-Type-Options", "nosniff"}, wantLog: "Starting server, listening on port 3000 (http)\n"},
		{name: "conformance other port", image: "echo-basic", env: map[string]string{"HTTP_PORT": "8000"}, ask: "GET 10.1.0.7:8000/health", status: 200},
		{name: "ingress-nginx echo", image: "ingress-nginx/e2e-test-echo", env: map[string]string{"POD_NAME": "p1"}, ask: "GET 10.1.0.7:80/a?hsts=true", headers: []string{"Host", "h.example:81", "X-B", "2"}, status: 200,
			want:        []string{"Hostname: coffee-1\n", "\tpod name:\tp1\n", "\tmethod=GET\n\treal path=/a?hsts=true\n\tquery=hsts=true\n\trequest_version=1.1\n\trequest_scheme=http\n\trequest_uri=http://h.example:80/a?hsts=true\n", "\thost=h.example:81\n", "\tx-b=2\n", "-no body in request-"},
			wantHeaders: []string{"Server", "echoserver", "Strict-Transport-Security", "max-age=3600; preload"}},
		{name: "ingress-nginx echo body", image: "e2e-test-echo", ask: "POST 10.1.0.7:80/", body: "hello", status: 200, want: []string{"Request Body:\nhello\n", "-no pod information available-"}},
		{name: "httpbin", image: "kennethreitz/httpbin", ask: "GET 10.1.0.7:80/status/418", status: 418},
		{name: "httpbun", image: "ingress-nginx/httpbun", ask: "GET 10.1.0.7:80/headers", status: 200, want: []string{`"headers"`}},
		{name: "go-httpbin", image: "mccutchen/go-httpbin", ask: "GET 10.1.0.7:8080/get?a=b", status: 200, want: []string{`"a"`}, wantLog: `time=2026-11-21T20:26:29.000Z level=INFO msg="go-httpbin listening on http://0.0.0.0:8080"`},
		{name: "go-httpbin other port", image: "go-httpbin", env: map[string]string{"PORT": "9000"}, ask: "GET 10.1.0.7:9000/get", status: 200},
		{name: "http-echo", image: "hashicorp/http-echo", args: []string{"-text=hello world", "-listen=:8081"}, ask: "GET 10.1.0.7:8081/x", status: 200, want: []string{"hello world\n"}, exactly: true, wantHeaders: []string{"X-App-Name", "http-echo"}, wantLog: "[INFO] server is listening on :8081\n"},
		{name: "http-echo health", image: "http-echo", env: map[string]string{"ECHO_TEXT": "x"}, ask: "GET 10.1.0.7:5678/health", status: 200, want: []string{"{\"status\":\"ok\"}\n"}, exactly: true},
		{name: "whoami", image: "traefik/whoami", args: []string{"--name", "me"}, ask: "GET 10.1.0.7:80/a?b", headers: []string{"Host", "w.example"}, status: 200,
			want: []string{"Name: me\nHostname: coffee-1\nIP: 127.0.0.1\nIP: ::1\nIP: 10.1.0.7\nRemoteAddr: 127.0.0.1:", "GET /a?b HTTP/1.1\r\nHost: w.example\r\n"}, wantLog: "2026/11/21 20:26:29 Starting up on port 80\n"},
		{name: "whoami other port", image: "whoami", env: map[string]string{"WHOAMI_PORT_NUMBER": "8082"}, ask: "GET 10.1.0.7:8082/api", status: 200, want: []string{`"hostname":"coffee-1"`}},
		{name: "whoami data", image: "whoami", ask: "GET 10.1.0.7:80/data?size=3", status: 200, want: []string{"ABC"}, exactly: true},
		{name: "cafe", image: "alb-sample/cafe:v1", ask: "GET 10.1.0.7:8080/hello", status: 200, want: []string{`{"hello":"coffee"}`}, exactly: true},
		{name: "cafe unknown path", image: "cafe", ask: "GET 10.1.0.7:8080/", status: 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := run(t, test.image, test.env, test.args...)
			method, target, _ := strings.Cut(test.ask, " ")
			response, body := p.do(t, method, target, test.body, test.headers...)
			if response.StatusCode != test.status {
				t.Errorf("status %d, want %d", response.StatusCode, test.status)
			}
			for _, want := range test.want {
				if !strings.Contains(body, want) || test.exactly && body != want {
					t.Errorf("body %q lacks %q", body, want)
				}
			}
			for i := 0; i+1 < len(test.wantHeaders); i += 2 {
				if got := response.Header.Get(test.wantHeaders[i]); got != test.wantHeaders[i+1] {
					t.Errorf("%s: %q, want %q", test.wantHeaders[i], got, test.wantHeaders[i+1])
				}
			}
			p.stop()
			if <-p.ended; p.err != nil {
				t.Errorf("end: %v", p.err)
			}
			if !strings.Contains(p.out.String(), test.wantLog) {
				t.Errorf("log %q lacks %q", p.out, test.wantLog)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		image string
		env   map[string]string
		args  []string
		code  int32
		log   string
	}{
		{image: "http-echo", code: 127, log: "Missing -text option"},
		{image: "http-echo", args: []string{"-text=a", "b"}, code: 127, log: "Too many arguments!"},
		{image: "http-echo", args: []string{"-nope"}, code: 2, log: "flag provided but not defined: -nope"},
		{image: "whoami", args: []string{"-port", "x"}, code: 1, log: "listen tcp: address :x"},
		{image: "websocket-echo-server", env: map[string]string{"BIND_PORT": "99999"}, code: 1, log: "ERR_SOCKET_BAD_PORT"},
		{image: "echo-basic", env: map[string]string{"TLS_SERVER_CERT": "/c", "TLS_SERVER_PRIVKEY": "/k"}, code: 2, log: "open /c: no such file"},
	} {
		p := run(t, test.image, test.env, test.args...)
		var exit *images.ExitError
		if <-p.ended; !errors.As(p.err, &exit) || exit.Code != test.code || !strings.Contains(p.out.String(), test.log) {
			t.Errorf("%s %q: %v, log %q; want code %d, log %q", test.image, test.args, p.err, p.out, test.code, test.log)
		}
	}
}

func TestWhoamiHealthCanBeSet(t *testing.T) {
	t.Parallel()
	p := run(t, "whoami", nil)
	p.do(t, "POST", "10.1.0.7:80/health", "503")
	if response, _ := p.do(t, "GET", "10.1.0.7:80/health", ""); response.StatusCode != 503 {
		t.Errorf("status %d, want 503", response.StatusCode)
	}
}

// TestGracefulShutdown has a request in flight while the container is told to end: the port is closed at once, the
// answer still comes.
func TestGracefulShutdown(t *testing.T) {
	t.Parallel()
	p := run(t, "whoami", nil)
	answers := make(chan string, 1)
	go func() {
		response, err := p.client.Get("http://10.1.0.7:80/?wait=5s")
		if err != nil {
			answers <- err.Error()
			return
		}
		defer response.Body.Close()
		b, _ := io.ReadAll(response.Body)
		answers <- string(b)
	}()
	if err := p.clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	p.stop()
	for {
		c, err := p.network.DialContext(t.Context(), "10.1.0.7:80")
		if err != nil {
			break
		}
		c.Close()
	}
	p.clock.Advance(5 * time.Second)
	if got := <-answers; !strings.Contains(got, "Hostname: coffee-1") {
		t.Errorf("answer %q", got)
	}
	if <-p.ended; p.err != nil {
		t.Errorf("end: %v", p.err)
	}
}

// TestKilled has a request in flight that does not end within the grace period.
func TestKilled(t *testing.T) {
	t.Parallel()
	p := run(t, "whoami", nil)
	failed := make(chan error, 1)
	go func() {
		response, err := p.client.Get("http://10.1.0.7:80/?wait=1h")
		if err == nil {
			response.Body.Close()
		}
		failed <- err
	}()
	if err := p.clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p.kill()
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
	<-p.ended
}

func TestEchoJSONIsJSON(t *testing.T) {
	t.Parallel()
	p := run(t, "echo-basic", nil)
	_, body := p.do(t, "GET", "10.1.0.7:3000/", "")
	if !json.Valid([]byte(body)) {
		t.Errorf("%q is no JSON", body)
	}
}
