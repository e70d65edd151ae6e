package kubelet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// postStart runs the hook after the start. While it runs the container counts as running; upstream holds it back, which
// nobody sees but by the time.
func (c *container) postStart(e *execution) {
	if c.spec.Lifecycle == nil || c.spec.Lifecycle.PostStart == nil {
		return
	}
	c.hook(c.spec.Lifecycle.PostStart, e, func(err error) {
		if err != nil && c.execution == e {
			c.tell(corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed: "+err.Error())
			c.stop(c.pod.gracePeriod(), "FailedPostStartHook")
		}
	})
}

// preStop runs the hook, then stops the program. The grace period goes on meanwhile.
func (c *container) preStop(e *execution) {
	if c.spec.Lifecycle == nil || c.spec.Lifecycle.PreStop == nil {
		e.stop()
		return
	}
	c.hook(c.spec.Lifecycle.PreStop, e, func(err error) {
		if err != nil {
			c.tell(corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: "+err.Error())
		}
		e.stop()
	})
}

// hook runs beside the pod, until the container is killed; what follows is posted.
func (c *container) hook(h *corev1.LifecycleHandler, e *execution, then func(error)) {
	p := c.pod
	question := prober{network: p.options.Network, container: c.spec, ip: p.ip, version: p.options.Version, run: c.target().output}
	p.executions.Go(func() {
		ctx, cancel := context.WithCancel(p.ctx)
		defer cancel()
		done := make(chan error, 1)
		p.executions.Go(func() { done <- p.runHook(ctx, h, question) })
		var err error
		select {
		case err = <-done:
		case <-e.killed:
		}
		p.post(func() { then(err) })
	})
}

func (p *pod) runHook(ctx context.Context, h *corev1.LifecycleHandler, question prober) error {
	switch {
	case h.Sleep != nil:
		timer := p.options.Clock.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.Chan():
		case <-ctx.Done():
		}
		return nil
	case h.Exec != nil:
		printed, code, err := question.run(ctx, h.Exec.Command)
		if err == nil && code != 0 {
			err = fmt.Errorf("command '%s' exited with %d: %s", strings.Join(h.Exec.Command, " "), code, printed)
		}
		if err != nil {
			message := fmt.Sprintf("Exec lifecycle hook (%v) for Container %q in Pod %q failed - error: %v, message: %q",
				h.Exec.Command, question.container.Name, p.label(), err, printed)
			return errors.New(message) // upstream's words
		}
		return nil
	case h.HTTPGet != nil:
		return question.get(ctx, h.HTTPGet)
	case h.TCPSocket != nil:
		return nil // kept by the API for old manifests; upstream does not run it either
	default:
		return fmt.Errorf("invalid handler: %v", h)
	}
}
