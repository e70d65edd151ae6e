package kubelet

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// TestCommand runs commands as containers: what they print, their exit codes, what cannot be started.
func TestCommand(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		image         string
		command, args []string
		code          int32
		log, message  string
	}{
		"prints":       {image: "busybox", command: []string{"sh", "-c"}, args: []string{"echo out; echo err >&2"}, log: "out\nerr\n"},
		"fails":        {image: "alpine:3.20", args: []string{"sh", "-c", "exit 7"}, code: 7},
		"no-input":     {image: "busybox"}, // a shell without input ends, as the real one
		"curl-options": {image: "curlimages/curl", args: []string{"--version"}, log: "curl "},
		"curl-url":     {image: "curlimages/curl", args: []string{"http://10.9.9.9/"}, code: 7, log: "curl: (7)"},
		"curl-other":   {image: "curlimages/curl", args: []string{"echo", "not", "curl"}, log: "not curl\n"},
		"unknown":      {image: "busybox", command: []string{"nosuch"}, code: 128, message: `runc create failed: unable to start container process: error during container init: exec: "nosuch": executable file not found in $PATH: unknown`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			w.create(podOf(name, row.image, func(p *corev1.Pod) {
				p.Spec.RestartPolicy = corev1.RestartPolicyNever
				p.Spec.Containers[0].Command, p.Spec.Containers[0].Args = row.command, row.args
			}))
			state := w.until(name, isTerminal).Status.ContainerStatuses[0].State.Terminated
			if state.ExitCode != row.code || !strings.Contains(state.Message, row.message) {
				t.Errorf("it ended with %d, %q", state.ExitCode, state.Message)
			}
			response, err := http.Get(w.serve().String() + "/containerLogs/default/" + name + "/main")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil || !strings.Contains(string(text), row.log) {
				t.Errorf("log %q, %v; want %q", text, err, row.log)
			}
		})
	}
}

// TestAttachToCommand types to a shell that waits for it; the end of the input ends it.
func TestAttachToCommand(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.create(podOf("typed", "busybox", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Stdin, p.Spec.Containers[0].StdinOnce = true, true
	}))
	w.until("typed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	u := w.serve()
	u.Path, u.RawQuery = "/attach/default/typed/main", "input=1&output=1&error=1"
	executor, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: u.Host}, http.MethodPost, u)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("echo seen; echo wrong >&2; exit 3\n"), Stdout: &out, Stderr: &errs})
	if err != nil || out.String() != "seen\n" || errs.String() != "wrong\n" {
		t.Errorf("%q, %q, %v", out.String(), errs.String(), err)
	}
	if code := w.until("typed", isTerminal).Status.ContainerStatuses[0].State.Terminated.ExitCode; code != 3 {
		t.Errorf("exit code %d", code)
	}
}
