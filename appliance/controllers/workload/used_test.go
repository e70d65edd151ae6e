package workload

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// TestWhenUsed makes a late controller on informers that do not run yet, though the others run and know pods long since:
// upstream's constructors add handlers before the controller is complete.
func TestWhenUsed(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}})
	s := &set{options: Options{Logger: slog.New(slog.DiscardHandler)}, client: client, factory: newFactory(client)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	start := func(run func(context.Context)) { running.Go(func() { run(ctx) }) }
	made := make(chan *set, 1)
	pods, budgets := s.factory.Core().V1().Pods().Informer(), s.factory.Policy().V1().PodDisruptionBudgets().Informer()
	err := s.whenUsed(ctx, start, budgets, func(late *set, _ context.Context, _ starter) error {
		if !pods.HasSynced() {
			t.Error("the informers of the others do not run")
		}
		if late.factory.Core().V1().Pods().Informer().HasSynced() {
			t.Error("the late controller's informers run already")
		}
		made <- late
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.factory.Start(ctx.Done())
	s.factory.WaitForCacheSync(ctx.Done())
	select {
	case <-made:
		t.Error("a controller was made that nobody uses")
	default:
	}
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "default"}}
	if _, err := client.PolicyV1().PodDisruptionBudgets("default").Create(ctx, budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	late := <-made
	for kind, synced := range late.factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			t.Errorf("the late informer of %s does not run afterwards", kind)
		}
	}
	cancel()
	running.Wait()
	s.factory.Shutdown()
}
