// Package recorder makes what controllers write Events with.
package recorder

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// New gives a recorder of Events from a source, and what ends it together with the calls that it is in.
func New(client kubernetes.Interface, source string) (recorder record.EventRecorder, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(sink{ctx, client.CoreV1().Events("")})
	// Built-in objects get their kind from the scheme; unstructured ones carry it themselves.
	return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: source}), func() {
		cancel()
		broadcaster.Shutdown()
	}
}

// sink writes Events until its context ends: upstream's own would go on trying at an API that has gone.
type sink struct {
	ctx    context.Context
	events typedcorev1.EventInterface
}

// Create implements record.EventSink.
func (s sink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.events.CreateWithEventNamespaceWithContext(s.ctx, e)
}

// Update implements record.EventSink.
func (s sink) Update(e *corev1.Event) (*corev1.Event, error) {
	return s.events.UpdateWithEventNamespaceWithContext(s.ctx, e)
}

// Patch implements record.EventSink.
func (s sink) Patch(e *corev1.Event, patch []byte) (*corev1.Event, error) {
	return s.events.PatchWithEventNamespaceWithContext(s.ctx, e, patch)
}
