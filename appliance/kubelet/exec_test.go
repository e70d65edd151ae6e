package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

// serve gives the kubelet's own API on a socket.
func (w *world) serve() *url.URL {
	w.t.Helper()
	s := httptest.NewServer(w.kubelet.Handler())
	w.t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// exec runs a command in a pod as the API server has it run, over SPDY.
func (w *world) exec(ctx context.Context, server *url.URL, pod, in string, command ...string) (out, errs string, err error) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	options := remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}
	if in != "" {
		options.Stdin = strings.NewReader(in)
	}
	err = w.stream(ctx, server, pod, options, command...)
	return stdout.String(), stderr.String(), err
}

func (w *world) stream(ctx context.Context, server *url.URL, pod string, o remotecommand.StreamOptions, command ...string) error {
	w.t.Helper()
	q := url.Values{"command": command, "output": {"1"}, "error": {"1"}}
	if o.Stdin != nil {
		q.Set("input", "1")
	}
	at := *server
	at.Path, at.RawQuery = "/exec/default/"+pod+"/main", q.Encode()
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: server.String()}, http.MethodPost, &at)
	if err != nil {
		w.t.Fatal(err)
	}
	return e.StreamWithContext(ctx, o)
}

func TestExec(t *testing.T) {
	t.Parallel()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "default"}, Data: map[string]string{"a": "1", "b": "2"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "hidden", Namespace: "default"}, Data: map[string][]byte{"key": []byte("s3cret")}}
	w := begin(t, configMap, secret)
	issued := issueTokens(w, time.Hour)
	w.create(podOf("web", "nginx", func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web", "b": "2"}
		p.Spec.ServiceAccountName = "web"
		p.Spec.HostAliases = []corev1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"alias"}}}
		mode := int32(0o400)
		projected := []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "hidden"}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		}
		p.Spec.Volumes = []corev1.Volume{
			{Name: "m", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, DefaultMode: &mode, Items: []corev1.KeyToPath{{Key: "a", Path: "deep/a.txt"}}}}},
			{Name: "all", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
			{Name: "p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: projected}}},
			{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}},
		}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
			{Name: "m", MountPath: "/config"}, {Name: "all", MountPath: "/etc/b.conf", SubPath: "b"}, {Name: "p", MountPath: "/projected"},
			{Name: "e", MountPath: "/scratch"}, {Name: "h", MountPath: "/host"},
		}
	}))
	w.until("web", isReady)
	server := w.serve()
	for _, test := range []struct {
		in      string
		command string
		out     string
		err     string
		code    int
	}{
		{command: "hostname", out: "web\n"},
		{command: "cat", in: "typed", out: "typed"},
		{command: "sh -c 'exit 7'", code: 7},
		{command: "sh -c 'echo out; echo err >&2'", out: "out\n", err: "err\n"},
		{command: "curl -s -o /dev/null -w '%{http_code}' localhost", out: "200"},
		{command: "curl -s http://10.0.0.1/nope -o /dev/null -w '%{http_code}'", out: "404"},
		{command: "cat /etc/resolv.conf", out: "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 172.21.0.10\noptions ndots:5\n"},
		{command: "tail -n 4 /etc/hosts", out: "10.0.0.1\tweb\n\n# Entries added by HostAliases.\n10.1.2.3\talias\n"},
		{command: "cat /config/deep/a.txt /etc/b.conf /projected/key /projected/labels", out: "12s3cretapp=\"web\"\nb=\"2\""},
		{command: "ls /config /projected /host", out: "/config:\ndeep\n\n/projected:\nkey\nlabels\ntoken\n\n/host:\n"},
		{command: "cat /projected/token", out: "token 1 of web"},
		{command: "head -n 1 /etc/nginx/conf.d/default.conf", out: "server {\n"},
		{command: "sh -c 'echo kept > /scratch/f; echo kept > /tmp/f; echo no > /config/f'", err: "sh: can't create /config/f: Read-only file system\n", code: 1},
		{command: "cat /scratch/f /tmp/f", out: "kept\nkept\n"},
	} {
		out, errs, err := w.exec(t.Context(), server, "web", test.in, "sh", "-c", test.command)
		code := 0
		var exit utilexec.CodeExitError
		if errors.As(err, &exit) {
			code = exit.Code
		} else if err != nil {
			t.Errorf("%s: %v", test.command, err)
		}
		if out != test.out || errs != test.err || code != test.code {
			t.Errorf("%s: %q, %q, %d", test.command, out, errs, code)
		}
	}
	if got := issued.Load(); got != 1 {
		t.Errorf("the API was asked for %d tokens; one is good for an hour", got)
	}
	if _, _, err := w.exec(t.Context(), server, "web", "", "nosuch"); err == nil || !strings.Contains(err.Error(), `OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH: unknown`) {
		t.Error(err)
	}
	for path, want := range map[string]string{
		"/exec/default/web/other?command=ls&output=1": "500 container not found (\"other\")", "/exec/default/none/main?command=ls&output=1": "404 pod does not exist",
		"/exec/default/web/main?command=ls": "400 you must specify at least 1 of stdin, stdout, stderr", "/portForward/default/none": "404 pod does not exist",
	} {
		response, err := http.Get(server.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if got := fmt.Sprintf("%d %s", response.StatusCode, strings.TrimSpace(string(body))); got != want {
			t.Errorf("%s: %s; want %s", path, got, want)
		}
	}
}

func TestExecEnds(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("web", "nginx"))
	w.until("web", isReady)
	server := w.serve()
	ended := make(chan error, 1)
	begin := func(ctx context.Context) { // and wait until the command runs
		up, out := io.Pipe()
		go func() {
			ended <- w.stream(ctx, server, "web", remotecommand.StreamOptions{Stdout: out, Stderr: io.Discard}, "sh", "-c", "echo up; sleep 1h")
		}()
		if _, err := io.ReadFull(up, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	begin(ctx)
	cancel() // the client leaves
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	begin(t.Context())
	if err := w.client.CoreV1().Pods("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil { // the container ends
		t.Fatal(err)
	}
	var exit utilexec.CodeExitError
	if err := <-ended; !errors.As(err, &exit) || exit.Code != 137 {
		t.Error(err)
	}
}

func TestExecProbes(t *testing.T) {
	t.Parallel()
	w := begin(t)
	probe := func(command ...string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}}, PeriodSeconds: 5}
	}
	w.create(podOf("p", "nginx", func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = probe("cat", "/tmp/healthy")
		p.Spec.Containers[0].LivenessProbe = probe("true")
	}))
	w.create(podOf("bare", "whoami", func(p *corev1.Pod) { p.Spec.Containers[0].ReadinessProbe = probe("sh", "-c", "true") }))
	w.event("Unhealthy: Readiness probe failed: cat: can't open '/tmp/healthy': No such file or directory")
	w.event("Unhealthy: Readiness probe errored and resulted in unknown state: rpc error: code = Unknown desc = failed to exec in container")
	if _, _, err := w.exec(t.Context(), w.serve(), "p", "", "sh", "-c", "echo yes > /tmp/healthy"); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(5 * time.Second)
	w.until("p", isReady)
}

func TestExecHooks(t *testing.T) {
	t.Parallel()
	w := begin(t)
	hook := func(command ...string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: command}}
	}
	w.create(podOf("good", "nginx", func(p *corev1.Pod) {
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("sh", "-c", "echo started > /tmp/started")}
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "0"}}}}
	}))
	w.create(podOf("bad", "nginx", func(p *corev1.Pod) {
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("sh", "-c", "echo why; exit 3")}
	}))
	w.until("good", isReady)
	w.event(`FailedPostStartHook: PostStartHook failed: Exec lifecycle hook ([sh -c echo why; exit 3]) for Container "main" in Pod "bad_default(uid-bad)" failed - error: command 'sh -c echo why; exit 3' exited with 3: why`)
}
