package kubelet

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/alb-appliance/appliance/appliance/kubelet/images"
)

// report writes the pod's status when it differs from what the API has.
func (p *pod) report() error {
	next := p.status()
	if equality.Semantic.DeepEqual(p.object.Status, next) {
		return nil
	}
	patch, err := statusPatch(p.uid, p.object.Status, next)
	if err != nil {
		return err
	}
	written, err := p.client.CoreV1().Pods(p.name.Namespace).Patch(p.ctx, p.name.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	switch {
	case err == nil:
		p.observe(written)
		return nil
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // the uid in the patch is another's
		p.gone = true
		return nil
	default:
		return err
	}
}

// statusPatch holds what changed only, so that conditions of others stay theirs.
func statusPatch(uid types.UID, before, after corev1.PodStatus) ([]byte, error) {
	old, err := json.Marshal(corev1.Pod{Status: before})
	if err != nil {
		return nil, fmt.Errorf("encode pod status: %w", err)
	}
	next, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}, Status: after})
	if err != nil {
		return nil, fmt.Errorf("encode pod status: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(old, next, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("compare pod status: %w", err)
	}
	return patch, nil
}

// status is what the pod is now. What others wrote into it stays.
func (p *pod) status() corev1.PodStatus {
	s := *p.object.Status.DeepCopy()
	s.ObservedGeneration = p.object.Generation
	s.StartTime = &p.startTime
	host := p.node.Address.String()
	s.HostIP, s.HostIPs = host, []corev1.HostIP{{IP: host}}
	if p.ip.IsValid() {
		s.PodIP, s.PodIPs = p.ip.String(), []corev1.PodIP{{IP: p.ip.String()}}
	}
	s.InitContainerStatuses, s.ContainerStatuses = nil, nil
	for _, c := range p.containers {
		if c.init {
			s.InitContainerStatuses = append(s.InitContainerStatuses, c.status())
		} else {
			s.ContainerStatuses = append(s.ContainerStatuses, c.status())
		}
	}
	s.Phase = p.phase()
	p.conditions(&s)
	return s
}

// status is the container's part.
func (c *container) status() corev1.ContainerStatus {
	started := c.state == running && c.startupPassed()
	s := corev1.ContainerStatus{Name: c.spec.Name, Image: c.spec.Image, RestartCount: c.restarted, Started: &started, Ready: c.ready()}
	if c.init && !c.sidecar() {
		s.Ready = c.initialized()
	}
	if image, ok := images.Lookup(c.spec.Image); ok && (c.everEnded || c.runs()) {
		s.ImageID = "builtin://" + image.Name
	}
	ended := c.ended
	switch c.state {
	case running, stopping, starting:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: c.startedAt}
		s.ContainerID, s.LastTerminationState.Terminated = c.execution.id, c.last
	case exited:
		s.State.Terminated, s.LastTerminationState.Terminated = &ended, c.last
		s.ContainerID = ended.ContainerID
	default:
		why := c.waitingFor
		s.State.Waiting = &why
		if c.everEnded {
			s.LastTerminationState.Terminated, s.ContainerID = &ended, ended.ContainerID
		}
	}
	return s
}

// phase sums the containers up as upstream does.
func (p *pod) phase() corev1.PodPhase {
	if p.failed && p.stopped() {
		return corev1.PodFailed
	}
	var running, waiting, stopped, succeeded, again int
	for _, c := range p.containers {
		switch {
		case c.init && !c.initialized() && !(c.sidecar() && c.everEnded) && !p.stoppedForGood():
			return corev1.PodPending
		case c.init:
		case c.runs():
			running++
		case c.state == exited:
			stopped++
			if c.ended.ExitCode == 0 {
				succeeded++
			}
			if c.restarts() {
				again++
			}
		case c.everEnded: // it waits to be started again
			stopped++
			again++
		default:
			waiting++
		}
	}
	switch {
	case waiting > 0:
		return corev1.PodPending
	case running > 0 || again > 0 && !p.terminating:
		return corev1.PodRunning
	case stopped == succeeded:
		return corev1.PodSucceeded
	default:
		return corev1.PodFailed
	}
}

// stoppedForGood says whether the pod ends and nothing runs any more.
func (p *pod) stoppedForGood() bool { return p.terminating && p.stopped() }

// conditions sets the conditions that are the kubelet's.
func (p *pod) conditions(s *corev1.PodStatus) {
	var unready, uninitialized []string
	for _, c := range p.containers {
		if c.init && !c.initialized() {
			uninitialized = append(uninitialized, c.spec.Name)
		}
		if (!c.init || c.sidecar()) && !c.ready() {
			unready = append(unready, c.spec.Name)
		}
	}
	now := metav1.NewTime(p.options.Clock.Now()).Rfc3339Copy()
	set := func(t corev1.PodConditionType, reason, message string) {
		status := corev1.ConditionTrue
		if reason != "" && !(s.Phase == corev1.PodSucceeded && t == corev1.PodInitialized) || t == corev1.PodReadyToStartContainers && !p.ip.IsValid() {
			status = corev1.ConditionFalse
		}
		setCondition(s, corev1.PodCondition{Type: t, Status: status, Reason: reason, Message: message, ObservedGeneration: p.object.Generation, LastTransitionTime: now})
	}
	set(corev1.PodReadyToStartContainers, "", "")
	reason, message := because(uninitialized, "ContainersNotInitialized", "containers with incomplete status: %s")
	if s.Phase == corev1.PodSucceeded {
		reason, message = "PodCompleted", ""
	}
	set(corev1.PodInitialized, reason, message)
	reason, message = because(unready, "ContainersNotReady", "containers with unready status: %s")
	switch s.Phase {
	case corev1.PodSucceeded:
		reason, message = "PodCompleted", ""
	case corev1.PodFailed:
		reason, message = "PodFailed", ""
	}
	set(corev1.ContainersReady, reason, message)
	if reason == "" {
		reason, message = p.gates(s)
	}
	set(corev1.PodReady, reason, message)
	set(corev1.PodScheduled, "", "")
}

func because(names []string, reason, format string) (string, string) {
	if len(names) == 0 {
		return "", ""
	}
	return reason, fmt.Sprintf(format, names)
}

// gates are conditions of others that the pod waits for.
func (p *pod) gates(s *corev1.PodStatus) (string, string) {
	var unmet []string
	for _, g := range p.object.Spec.ReadinessGates {
		switch c := condition(s, g.ConditionType); {
		case c == nil:
			unmet = append(unmet, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", g.ConditionType))
		case c.Status != corev1.ConditionTrue:
			unmet = append(unmet, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", g.ConditionType, c.Status))
		}
	}
	if len(unmet) == 0 {
		return "", ""
	}
	return "ReadinessGatesNotReady", strings.Join(unmet, ", ")
}

func condition(s *corev1.PodStatus, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setCondition writes a condition; the time of its last transition moves only with its status.
func setCondition(s *corev1.PodStatus, c corev1.PodCondition) {
	have := condition(s, c.Type)
	if have == nil {
		s.Conditions = append(s.Conditions, c)
		return
	}
	if have.Status == c.Status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	c.LastProbeTime = have.LastProbeTime
	*have = c
}
