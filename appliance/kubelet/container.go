package kubelet

import (
	"fmt"
	"time"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alb-appliance/appliance/appliance/kubelet/images"
)

// state is where a container is in its life.
type state int

const (
	waiting  state = iota // not started; waitingFor says why
	starting              // handed to its goroutine, not yet started
	running               //
	stopping              // told to end
	exited                // ended; last says how
)

// container is one container of a pod. The pod's goroutine owns it, but for its logs.
type container struct {
	pod  *pod
	spec *corev1.Container
	init bool

	state      state
	waitingFor corev1.ContainerStateWaiting
	execution  *execution
	startedAt  metav1.Time
	ended      corev1.ContainerStateTerminated // of the latest execution that ended
	everEnded  bool
	last       *corev1.ContainerStateTerminated // of the one before the latest
	restarted  int32
	replaced   bool    // its definition changed: it starts again whatever the policy
	hopeless   bool    // nothing is tried before its image changes
	waitsFor   *object // what its environment lacks
	backoff    backoff
	timer      clockwork.Timer // for the next start, or for the end of the grace period
	deadline   time.Time       // of the grace period
	probes     []*probe
	logs       logs
}

func newContainer(p *pod, spec *corev1.Container, init bool) *container {
	c := &container{pod: p, spec: spec, init: init}
	c.waitingFor.Reason = "ContainerCreating"
	if init || len(p.object.Spec.InitContainers) > 0 {
		c.waitingFor.Reason = "PodInitializing"
	}
	c.recover()
	return c
}

// recover continues the counts of a container that ran before this process did; it was cut as on a node that lost power.
func (c *container) recover() {
	all := c.pod.object.Status.ContainerStatuses
	if c.init {
		all = c.pod.object.Status.InitContainerStatuses
	}
	for _, s := range all {
		if s.Name != c.spec.Name {
			continue
		}
		c.restarted, c.last = s.RestartCount, s.LastTerminationState.Terminated
		switch {
		case s.State.Running != nil:
			c.everEnded = true
			c.ended = corev1.ContainerStateTerminated{
				ExitCode: 255, Reason: "Unknown", StartedAt: s.State.Running.StartedAt,
				FinishedAt: metav1.NewTime(c.pod.options.Clock.Now()).Rfc3339Copy(), ContainerID: s.ContainerID,
			}
		case s.State.Terminated != nil:
			c.everEnded, c.ended, c.state = true, *s.State.Terminated, exited
		case s.LastTerminationState.Terminated != nil:
			c.everEnded, c.ended = true, *s.LastTerminationState.Terminated
		}
	}
}

// sidecar is an init container that keeps running.
func (c *container) sidecar() bool {
	return c.init && c.spec.RestartPolicy != nil && *c.spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// runs says whether its program runs.
func (c *container) runs() bool {
	return c.state == starting || c.state == running || c.state == stopping
}

// initialized says whether the containers behind an init container may start.
func (c *container) initialized() bool {
	if c.sidecar() {
		return c.state == running && c.startupPassed()
	}
	return c.state == exited && c.ended.ExitCode == 0
}

// restarts says whether the container starts again after it ended.
func (c *container) restarts() bool {
	policy := c.pod.object.Spec.RestartPolicy
	switch {
	case c.replaced || c.sidecar():
		return true
	case c.init:
		return c.ended.ExitCode != 0 && policy != corev1.RestartPolicyNever
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure:
		return c.ended.ExitCode != 0
	default:
		return true
	}
}

// observe takes the container as the pod has it now. Only its image can change.
func (c *container) observe(spec *corev1.Container) {
	changed := c.spec.Image != spec.Image
	c.spec = spec
	if !changed {
		return
	}
	c.backoff, c.hopeless = backoff{}, false
	if c.state == waiting {
		c.disarm()
		c.waitingFor = corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
		return
	}
	c.replaced = true
	c.stop(c.pod.gracePeriod(), fmt.Sprintf("Container %s definition changed, will be restarted", spec.Name))
}

// step starts the container when it is time.
func (c *container) step() {
	switch c.state {
	case waiting:
		if c.timer == nil && !c.hopeless && (c.waitsFor == nil || c.pod.awaited[*c.waitsFor] == nil) {
			c.start()
		}
	case exited:
		c.afterExit()
	}
}

// afterExit starts an ended container again, or has it wait, or lets it rest.
func (c *container) afterExit() {
	if !c.restarts() {
		if c.init && c.ended.ExitCode != 0 {
			c.pod.failed = true
		}
		return
	}
	now := c.pod.options.Clock.Now()
	if wait := c.backoff.remaining(c.ended.FinishedAt.Time, now); wait > 0 && !c.replaced {
		c.holdBack(wait)
		return
	}
	c.backoff.next(now)
	c.state = waiting
	c.start()
}

// holdBack is CrashLoopBackOff. A container that could not even be started keeps saying why.
func (c *container) holdBack(wait time.Duration) {
	c.state = waiting
	if c.ended.Reason == reasonStartError {
		c.waitingFor = corev1.ContainerStateWaiting{Reason: "RunContainerError", Message: c.ended.Message}
	} else {
		c.waitingFor = corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: fmt.Sprintf(
			"back-off %s restarting failed container=%s pod=%s", c.backoff.delay, c.spec.Name, c.pod.label())}
	}
	c.tell(corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.spec.Name, c.pod.label()))
	c.arm(wait, func() {
		c.backoff.next(c.pod.options.Clock.Now())
	})
}

// label is how Events name a pod.
func (p *pod) label() string { return fmt.Sprintf("%s_%s(%s)", p.name.Name, p.name.Namespace, p.uid) }

// arm does something in the pod's goroutine after a while.
func (c *container) arm(d time.Duration, do func()) {
	c.disarm()
	var t clockwork.Timer
	t = c.pod.options.Clock.AfterFunc(d, func() {
		c.pod.post(func() {
			if c.timer == t { // else it was disarmed while it rang
				c.timer = nil
				do()
			}
		})
	})
	c.timer = t
}

func (c *container) disarm() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// wait has the container wait, with a reason that kubectl shows.
func (c *container) wait(reason, message string) {
	c.state = waiting
	c.waitingFor = corev1.ContainerStateWaiting{Reason: reason, Message: message}
}

// field is how Events name the container inside its pod.
func (c *container) field() string {
	if c.init {
		return fmt.Sprintf("spec.initContainers{%s}", c.spec.Name)
	}
	return fmt.Sprintf("spec.containers{%s}", c.spec.Name)
}

func (c *container) tell(kind, reason, message string) {
	c.pod.tellField(kind, reason, message, c.field())
}

// tellOnce is for what would be told again with every start.
func (c *container) tellOnce(kind, reason, message string) {
	key := c.spec.Name + reason + message
	if !c.pod.told[key] {
		c.pod.told[key] = true
		c.tell(kind, reason, message)
	}
}

// Waiting times between restarts and between pulls, upstream's.
const (
	firstBackoff = 10 * time.Second
	maxBackoff   = 5 * time.Minute
)

// backoff doubles with each restart and is forgotten after a quiet time.
type backoff struct {
	delay time.Duration
	last  time.Time // of the last restart
}

// remaining is how long a container that ended then has to wait now. The first restart does not wait.
func (b *backoff) remaining(ended, now time.Time) time.Duration {
	if b.delay == 0 || now.Sub(b.last) > 2*maxBackoff {
		return 0
	}
	return ended.Add(b.delay).Sub(now)
}

func (b *backoff) next(now time.Time) {
	switch {
	case b.delay == 0 || now.Sub(b.last) > 2*maxBackoff:
		b.delay = firstBackoff
	default:
		b.delay = min(2*b.delay, maxBackoff)
	}
	b.last = now
}

// image finds what runs the container, or has it wait.
func (c *container) image() (images.Image, bool) {
	ref := c.spec.Image
	if _, err := images.Repository(ref); err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", ref, err)
		c.tell(corev1.EventTypeWarning, "InspectFailed", message)
		c.tell(corev1.EventTypeWarning, "Failed", "Error: InvalidImageName")
		c.wait("InvalidImageName", message)
		c.hopeless = true
		return images.Image{}, false
	}
	image, ok := images.Lookup(ref)
	if !ok {
		c.pullFailed(ref)
	}
	return image, ok
}
