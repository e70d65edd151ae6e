package scheduler

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// bind writes a pod's node. Until it is seen the node counts as taken; when it fails the pod is decided on again.
func (s *scheduler) bind(ctx context.Context, p *corev1.Pod, node string) {
	s.mu.Lock()
	s.assumed[p.UID] = node
	delete(s.told, p.UID)
	s.mu.Unlock()
	s.writing.Go(func() {
		err := s.client.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: node},
		}, metav1.CreateOptions{})
		if err == nil {
			s.tell(ctx, p, corev1.EventTypeNormal, "Scheduled", fmt.Sprintf("Successfully assigned %s/%s to %s", p.Namespace, p.Name, node))
			return
		}
		s.mu.Lock()
		delete(s.assumed, p.UID)
		s.mu.Unlock()
		if ctx.Err() != nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return // deleted, or bound by somebody else: the watch tells
		}
		s.tell(ctx, p, corev1.EventTypeWarning, "FailedScheduling", fmt.Sprintf("bind to %s: %v", node, err))
		s.clock.AfterFunc(bindRetry, s.wake)
	})
}

// reject says why a pod fits nowhere, when that is news.
func (s *scheduler) reject(ctx context.Context, p *corev1.Pod, why string) {
	s.mu.Lock()
	known := s.told[p.UID] == why
	s.told[p.UID] = why
	s.mu.Unlock()
	if known {
		return
	}
	s.writing.Go(func() {
		s.tell(ctx, p, corev1.EventTypeWarning, "FailedScheduling", why)
		if err := s.markUnschedulable(ctx, p, why); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
			s.logger.Debug("condition not written", "pod", p.Namespace+"/"+p.Name, "err", err)
		}
	})
}

func (s *scheduler) markUnschedulable(ctx context.Context, p *corev1.Pod, why string) error {
	condition := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: why,
		LastTransitionTime: metav1.NewTime(s.clock.Now()).Rfc3339Copy(), ObservedGeneration: p.Generation,
	}
	for _, c := range p.Status.Conditions {
		if c.Type == condition.Type && c.Status == condition.Status {
			condition.LastTransitionTime = c.LastTransitionTime
			if c.Message == why {
				return nil // told before this process started
			}
		}
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.UID}, "status": map[string]any{"conditions": []corev1.PodCondition{condition}},
	})
	if err != nil {
		return fmt.Errorf("encode condition: %w", err)
	}
	_, err = s.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// tell writes an Event about a pod, stamped by the clock. Each is told once, so that none is counted.
func (s *scheduler) tell(ctx context.Context, p *corev1.Pod, kind, reason, message string) {
	now := metav1.NewTime(s.clock.Now())
	_, err := s.client.CoreV1().Events(p.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", p.Name, now.UnixNano()), Namespace: p.Namespace},
		InvolvedObject: corev1.ObjectReference{
			Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
		},
		Reason: reason, Message: message, Type: kind, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: Name}, ReportingController: Name,
	}, metav1.CreateOptions{})
	if err != nil && ctx.Err() == nil {
		s.logger.Debug("event lost", "reason", reason, "pod", p.Namespace+"/"+p.Name, "err", err)
	}
}
