package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alb-appliance/appliance/appliance/kubelet/images"
	"github.com/alb-appliance/appliance/appliance/kubelet/shell"
)

// target is a container that runs, as commands need it. It does not change.
type target struct {
	pod   *pod
	name  types.NamespacedName
	spec  *corev1.Container
	run   *execution
	found *corev1.Pod // the object as last seen
	reach reach
	log   *logBuffer
}

// find asks the pod's goroutine for one of its containers that runs.
func (k *Kubelet) find(ctx context.Context, namespace, name, container string) (*target, int, error) {
	p := k.pods.find(types.NamespacedName{Namespace: namespace, Name: name})
	if p == nil {
		return nil, http.StatusNotFound, errors.New("pod does not exist")
	}
	answers := make(chan *target, 1)
	p.post(func() { answers <- p.target(container) })
	select {
	case t := <-answers:
		if t == nil {
			return nil, http.StatusInternalServerError, fmt.Errorf("container not found (%q)", container)
		}
		return t, http.StatusOK, nil
	case <-p.ctx.Done():
		return nil, http.StatusNotFound, errors.New("pod does not exist")
	case <-ctx.Done():
		return nil, http.StatusBadRequest, ctx.Err()
	}
}

// target gives a container that runs, or nil. An empty name is any.
func (p *pod) target(name string) *target {
	for _, c := range p.containers {
		if (c.spec.Name == name || name == "") && (c.state == running || c.state == stopping) {
			return c.target()
		}
	}
	return nil
}

func (c *container) target() *target {
	p := c.pod
	return &target{
		pod: p, name: p.name, spec: c.spec, run: c.execution, found: p.object, log: c.logs.get(false),
		reach: reach{runtime: p.runtime, ip: p.ip, resolver: p.resolver()},
	}
}

// execute runs a command in the container and gives its exit code. It is cut when ctx ends or the container does.
func (t *target) execute(ctx context.Context, command []string, s shell.Streams) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.run.ended, cancel)()
	if len(command) == 0 {
		return 0, failedExec(errors.New("exec: no command"))
	}
	files, err := t.files(ctx)
	if err != nil {
		return 0, err
	}
	code, err := t.shell(files).Run(ctx, command, s)
	if err != nil {
		return 0, failedExec(err)
	}
	return code, nil
}

// failedExec is how containerd reports what runc could not start.
func failedExec(err error) error {
	id := newID()[len("builtin://"):]
	return fmt.Errorf("failed to exec in container: failed to start exec %q: OCI runtime exec failed: exec failed: unable to start container process: %w: unknown", id, err)
}

// outputCapacity bounds what is kept of what a probe or a hook prints, as upstream has it.
const outputCapacity = 10 << 10

// output runs a command for a probe or a hook: what it printed, and its exit code.
func (t *target) output(ctx context.Context, command []string) (string, int, error) {
	var out bounded
	code, err := t.execute(ctx, command, shell.Streams{Out: &out, Err: &out})
	return out.String(), code, err
}

// bounded keeps the beginning of what is written.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), outputCapacity-b.Len())])
	return len(p), nil
}

// describe is /etc/os-release.
func describe(i images.Image) string {
	return fmt.Sprintf("NAME=\"Appliance built-in image\"\nID=appliance\nPRETTY_NAME=\"built-in image %s of the appliance\"\n", i.Name)
}
