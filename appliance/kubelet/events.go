package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
)

// events writes Events behind the back of who has something to tell. It counts and filters with client-go's correlator,
// as every component does, but stamps by the clock, which client-go's recorder cannot.
type events struct {
	client     kubernetes.Interface
	clock      clockwork.Clock
	logger     *slog.Logger
	correlator *record.EventCorrelator

	mu    sync.Mutex
	queue []*corev1.Event
	wake  chan struct{} // one slot
}

func newEvents(client kubernetes.Interface, clock clockwork.Clock, logger *slog.Logger) *events {
	return &events{
		client: client, clock: clock, logger: logger, wake: make(chan struct{}, 1),
		correlator: record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{Clock: clock}),
	}
}

// tell queues an Event from component kubelet of a node. It does not block.
func (e *events) tell(about corev1.ObjectReference, node, kind, reason, message string) {
	now := metav1.NewTime(e.clock.Now())
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", about.Name, now.UnixNano()), Namespace: namespace},
		InvolvedObject: about, Reason: reason, Message: message, Type: kind, Count: 1,
		FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: "kubelet", Host: node}, ReportingController: "kubelet", ReportingInstance: node,
	}
	e.mu.Lock()
	e.queue = append(e.queue, event)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default: // it is awake already
	}
}

// run writes what is told until ctx ends.
func (e *events) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		e.mu.Lock()
		batch := e.queue
		e.queue = nil
		e.mu.Unlock()
		for _, event := range batch {
			if err := e.write(ctx, event); err != nil && ctx.Err() == nil {
				e.logger.Debug("event lost", "reason", event.Reason, "object", event.InvolvedObject.Name, "err", err)
			}
		}
	}
}

func (e *events) write(ctx context.Context, event *corev1.Event) error {
	result, err := e.correlator.EventCorrelate(event)
	if err != nil || result.Skip {
		return err
	}
	event = result.Event
	api := e.client.CoreV1().Events(event.Namespace)
	if event.Count > 1 {
		written, err := api.Patch(ctx, event.Name, types.StrategicMergePatchType, result.Patch, metav1.PatchOptions{})
		if err == nil {
			e.correlator.UpdateState(written)
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		event.ResourceVersion = "" // it had expired: it is written anew
	}
	written, err := api.Create(ctx, event, metav1.CreateOptions{})
	if err == nil {
		e.correlator.UpdateState(written)
	}
	return err
}
