package kubelet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
)

// The kinds of probes, as Events name them.
const (
	startupProbe   = "Startup"
	livenessProbe  = "Liveness"
	readinessProbe = "Readiness"
)

// probe asks one container again and again. The pod's goroutine owns it; only the asking itself runs beside it.
type probe struct {
	c    *container
	kind string
	spec *corev1.Probe

	timer  clockwork.Timer
	cancel context.CancelFunc // of what is being asked; nil when nothing is
	ended  bool
	passed bool // the result that counts
	asked  bool // there was an answer
	last   bool // the latest answer
	run    int  // how often it was given in a row
}

// startProbes begins to probe a container that has started: the startup probe first, alone.
func (c *container) startProbes() {
	c.probes = nil
	for _, p := range []struct {
		kind string
		spec *corev1.Probe
	}{{startupProbe, c.spec.StartupProbe}, {livenessProbe, c.spec.LivenessProbe}, {readinessProbe, c.spec.ReadinessProbe}} {
		if p.spec != nil && c.canProbe(p.kind, p.spec) {
			c.probes = append(c.probes, &probe{c: c, kind: p.kind, spec: p.spec, passed: p.kind == livenessProbe})
		}
	}
	c.armProbes()
}

// canProbe says once what is not run: a probe by gRPC, which no built-in image speaks.
func (c *container) canProbe(kind string, spec *corev1.Probe) bool {
	if spec.GRPC == nil {
		return true
	}
	c.tellOnce(corev1.EventTypeWarning, "ProbeNotRun", fmt.Sprintf(
		"%s probe of container %s is a gRPC probe, and built-in images do not speak gRPC: it is not run, and the container is treated as if it had none", kind, c.spec.Name))
	return false
}

// armProbes starts the startup probe, or the others once it has passed.
func (c *container) armProbes() {
	startup := c.probe(startupProbe)
	for _, p := range c.probes {
		if p == startup && !p.passed || p != startup && (startup == nil || startup.passed) {
			p.arm(time.Duration(p.spec.InitialDelaySeconds)*time.Second - c.pod.options.Clock.Since(c.startedAt.Time))
		}
	}
}

func (c *container) stopProbes() {
	for _, p := range c.probes {
		p.stop()
	}
	c.probes = nil
}

func (c *container) probe(kind string) *probe {
	for _, p := range c.probes {
		if p.kind == kind {
			return p
		}
	}
	return nil
}

// startupPassed says whether the container counts as started.
func (c *container) startupPassed() bool {
	p := c.probe(startupProbe)
	return p == nil || p.passed
}

// ready says whether the container may get traffic.
func (c *container) ready() bool {
	p := c.probe(readinessProbe)
	return c.state == running && c.startupPassed() && (p == nil || p.passed)
}

// settling says whether a first answer that decides about traffic is on its way.
func (c *container) settling() bool {
	for _, p := range c.probes {
		if p.kind != livenessProbe && !p.asked && p.cancel != nil {
			return true
		}
	}
	return false
}

func (p *probe) stop() {
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.cancel != nil {
		p.cancel()
	}
}

// arm asks after a while, or now.
func (p *probe) arm(d time.Duration) {
	if d <= 0 {
		p.ask()
		return
	}
	p.timer = p.c.pod.options.Clock.AfterFunc(d, func() {
		p.c.pod.post(func() {
			if !p.ended {
				p.ask()
			}
		})
	})
}

// ask sends one question; the answer is posted.
func (p *probe) ask() {
	pod := p.c.pod
	began := pod.options.Clock.Now()
	ctx, cancel := context.WithCancel(pod.ctx)
	p.cancel = cancel
	question := prober{network: pod.options.Network, container: p.c.spec, ip: pod.ip, version: pod.options.Version, run: p.c.target().output}
	spec := *p.spec
	pod.executions.Go(func() {
		defer cancel()
		timeout := time.Duration(max(spec.TimeoutSeconds, 1)) * time.Second
		timer := pod.options.Clock.AfterFunc(timeout, cancel)
		err := question.ask(ctx, &spec)
		if timer.Stop(); ctx.Err() != nil && pod.ctx.Err() == nil {
			err = fmt.Errorf("%w: no answer within %s", context.DeadlineExceeded, timeout)
		}
		pod.post(func() { p.answered(err, began) })
	})
}

// answered counts an answer and acts when it has been given often enough.
func (p *probe) answered(err error, began time.Time) {
	if p.ended {
		return
	}
	p.cancel = nil
	ok := err == nil
	if !ok {
		words := "failed"
		if errors.As(err, new(probeError)) {
			words = "errored and resulted in unknown state"
		}
		p.c.tell(corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe %s: %v", p.kind, words, err))
	}
	if !p.asked || p.last != ok {
		p.run = 0
	}
	p.asked, p.last = true, ok
	p.run++
	threshold := p.spec.SuccessThreshold
	if !ok {
		threshold = p.spec.FailureThreshold
	}
	if p.run >= int(max(threshold, 1)) {
		p.decide(ok)
	}
	if !p.ended && (p.kind != startupProbe || !p.passed) {
		p.arm(max(time.Duration(max(p.spec.PeriodSeconds, 1))*time.Second-p.c.pod.options.Clock.Since(began), 1))
	}
}

// decide acts on a result that counts.
func (p *probe) decide(ok bool) {
	p.passed = ok
	switch {
	case p.kind == startupProbe && ok:
		p.c.armProbes()
	case p.kind != readinessProbe && !ok:
		p.c.failedProbe(p)
	}
}

// failedProbe ends a container that its probe found dead; what happens then is the restart policy's.
func (c *container) failedProbe(p *probe) {
	grace := c.pod.gracePeriod()
	if s := p.spec.TerminationGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	kind := "liveness"
	if p.kind == startupProbe {
		kind = "startup"
	}
	message := fmt.Sprintf("Container %s failed %s probe", c.spec.Name, kind)
	if c.sidecar() || c.pod.object.Spec.RestartPolicy != corev1.RestartPolicyNever {
		message += ", will be restarted"
	}
	c.stop(grace, message)
}
