package kubelet

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alb-appliance/appliance/appliance/kubelet/images"
)

const reasonStartError = "StartError"

// start makes the container run, or says why it cannot.
func (c *container) start() {
	image, ok := c.image()
	if !ok {
		return
	}
	if c.waitsFor == nil {
		c.pulled()
	}
	env, err := c.environment()
	if err != nil {
		c.configError(err)
		return
	}
	c.waitsFor = nil
	if c.everEnded {
		ended := c.ended
		c.restarted, c.last = c.restarted+1, &ended
	}
	c.replaced, c.pod.executed = false, true
	expand := expander(env)
	args, err := image.Check(expandAll(c.spec.Command, expand), expandAll(c.spec.Args, expand))
	if err != nil {
		c.cannotStart(err)
		return
	}
	c.state = starting
	c.execute(image, env, args)
	c.warnUnsupported()
}

// pulled says what a pull of a built-in image comes to.
func (c *container) pulled() {
	ref := c.spec.Image
	if c.spec.ImagePullPolicy != corev1.PullAlways {
		c.tell(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", ref))
		return
	}
	c.tell(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", ref))
	c.tell(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in 0s (0s including waiting). Image size: 0 bytes.", ref))
}

// pullFailed is ErrImagePull and, a while later, ImagePullBackOff. The catalogue does not change while this process
// runs, so nothing is tried again before the pod's image changes.
func (c *container) pullFailed(ref string) {
	why := fmt.Sprintf("no built-in image is called %q, and this version runs built-in images only: %s", ref, strings.Join(images.Names(), ", "))
	c.tell(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", ref))
	c.tell(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %s", ref, why))
	c.tell(corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
	c.wait("ErrImagePull", why)
	c.arm(firstBackoff, func() {
		message := fmt.Sprintf("Back-off pulling image %q", ref)
		c.tell(corev1.EventTypeNormal, "BackOff", message)
		c.tell(corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		c.wait("ImagePullBackOff", message+": ErrImagePull: "+why)
		c.hopeless = true
	})
}

// configError has the container wait for what its environment is made of.
func (c *container) configError(err error) {
	var missing *missingError
	if errors.As(err, &missing) {
		c.waitsFor = &missing.object
		c.pod.await(missing.object, missing.version)
	} else {
		c.pod.wakeAfter(firstBackoff)
	}
	message := err.Error()
	if c.waitingFor.Message != message {
		c.tell(corev1.EventTypeWarning, "Failed", "Error: "+message)
	}
	c.wait("CreateContainerConfigError", message)
}

// cannotStart is the end of a container that never ran.
func (c *container) cannotStart(err error) {
	now := metav1.NewTime(c.pod.options.Clock.Now()).Rfc3339Copy()
	c.tell(corev1.EventTypeNormal, "Created", "Container created")
	c.tell(corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
	c.everEnded, c.state = true, exited
	c.ended = corev1.ContainerStateTerminated{
		ExitCode: 128, Reason: reasonStartError, Message: err.Error(), FinishedAt: now, ContainerID: newID(),
	}
	if c.restarts() {
		if c.backoff.delay == 0 {
			c.backoff.next(now.Time) // what cannot start does not start the next moment either
		}
		c.afterExit()
	}
}

// onStarted is posted when the program has opened its ports.
func (c *container) onStarted(e *execution) {
	if c.execution != e || c.state != starting {
		return
	}
	c.state, c.startedAt = running, metav1.NewTime(c.pod.options.Clock.Now()).Rfc3339Copy()
	c.tell(corev1.EventTypeNormal, "Created", "Container created")
	c.tell(corev1.EventTypeNormal, "Started", "Container started")
	c.startProbes()
	c.postStart(e)
}

// onExit is posted when the program has ended.
func (c *container) onExit(e *execution, code int32, startErr error) {
	if c.execution != e {
		return
	}
	c.stopProbes()
	c.disarm()
	c.execution = nil
	if startErr != nil {
		c.cannotStart(startErr)
		return
	}
	now := metav1.NewTime(c.pod.options.Clock.Now()).Rfc3339Copy()
	if c.state == starting {
		c.startedAt = now
		c.tell(corev1.EventTypeNormal, "Created", "Container created")
		c.tell(corev1.EventTypeNormal, "Started", "Container started")
	}
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	c.state, c.everEnded = exited, true
	c.ended = corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, StartedAt: c.startedAt, FinishedAt: now, ContainerID: e.id}
}

// stop has the program end within a grace period. Called again it can only shorten it.
func (c *container) stop(grace time.Duration, message string) {
	if c.state == waiting || c.state == exited {
		c.disarm()
		return
	}
	deadline := c.pod.options.Clock.Now().Add(grace)
	e := c.execution
	if c.state != stopping {
		if c.state == starting {
			c.startedAt = metav1.NewTime(c.pod.options.Clock.Now()).Rfc3339Copy()
		}
		c.state = stopping
		c.stopProbes()
		c.tell(corev1.EventTypeNormal, "Killing", message)
		c.deadline = deadline
		c.arm(grace, e.kill)
		c.preStop(e)
	} else if deadline.Before(c.deadline) {
		c.deadline = deadline
		c.arm(grace, e.kill)
	}
	if grace <= 0 {
		e.kill()
	}
}

// kill cuts the program at once.
func (c *container) kill() {
	c.disarm()
	c.stopProbes()
	if c.execution != nil {
		c.execution.kill()
	}
}

// warnUnsupported says once what the pod asks for and a built-in image cannot give.
func (c *container) warnUnsupported() {
	if c.execution == nil || c.execution.console != nil {
		return // a command reads files
	}
	var unread []string
	for _, m := range c.spec.VolumeMounts {
		if m.MountPath != "/var/run/secrets/kubernetes.io/serviceaccount" && !c.pod.isEmptyDir(m.Name) {
			unread = append(unread, m.MountPath)
		}
	}
	if len(unread) > 0 {
		c.tellOnce(corev1.EventTypeWarning, "VolumeNotRead", fmt.Sprintf("Container %s mounts %s, but the programs of built-in images read no files: what is mounted there has no effect on them",
			c.spec.Name, strings.Join(unread, ", ")))
	}
}
