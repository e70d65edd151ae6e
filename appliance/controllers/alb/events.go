package alb

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// Reasons of the Events that the controller writes, from its source "ingress" (ALB-FACTS 3.9).
const (
	eventSource = "ingress"

	reasonSync               = "Sync"
	reasonReconciled         = "SuccessfullyReconciled"
	reasonFailedBuildModel   = "FailedBuildModel"
	reasonFailedApplyModel   = "FailedApplyModel"
	reasonFailedAddFinalizer = "FailedAddFinalizer"
	reasonFailedRemove       = "FailedRemoveFinalizer"
	reasonFailedStatus       = "FailedUpdateStatus"
	// reasonNotSimulated is ours: the object asks for something that the real product does and this one does not yet.
	reasonNotSimulated = "NotSimulated"

	messageSync       = "Scheduled for sync"
	messageReconciled = "Successfully reconciled"
)

// newRecorder gives a recorder of Events, and what ends it together with the calls that it is in.
func newRecorder(events typedcorev1.EventInterface) (recorder record.EventRecorder, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(sink{ctx, events})
	// Built-in objects get their kind from the scheme; unstructured ones carry it themselves.
	return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: eventSource}), func() {
		cancel()
		broadcaster.Shutdown()
	}
}

// sink writes Events until its context ends: upstream's own would go on trying at an API that has gone.
type sink struct {
	ctx    context.Context
	events typedcorev1.EventInterface
}

func (s sink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.events.CreateWithEventNamespaceWithContext(s.ctx, e)
}

func (s sink) Update(e *corev1.Event) (*corev1.Event, error) {
	return s.events.UpdateWithEventNamespaceWithContext(s.ctx, e)
}

func (s sink) Patch(e *corev1.Event, patch []byte) (*corev1.Event, error) {
	return s.events.PatchWithEventNamespaceWithContext(s.ctx, e, patch)
}
