package scheduler

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a scheduler on a fake API that binds as the real one does. It ends with the test.
func start(t *testing.T, objects ...runtime.Object) (*fake.Clientset, <-chan string, <-chan string) {
	t.Helper()
	client := fake.NewClientset(objects...)
	bound, told := make(chan string, 10), make(chan string, 10)
	client.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "binding" {
			return false, nil, nil
		}
		b := a.(clienttesting.CreateAction).GetObject().(*corev1.Binding)
		o, err := client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("pods"), b.Namespace, b.Name)
		if err != nil {
			return true, nil, err
		}
		p := o.(*corev1.Pod).DeepCopy()
		p.Spec.NodeName = b.Target.Name
		bound <- b.Name + " " + b.Target.Name
		return true, b, client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), p, b.Namespace)
	})
	client.PrependReactor("create", "events", func(a clienttesting.Action) (bool, runtime.Object, error) {
		e := a.(clienttesting.CreateAction).GetObject().(*corev1.Event)
		told <- e.Reason + ": " + e.Message
		return true, e, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, client, Options{Clock: clockwork.NewFakeClock(), Logger: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return client, bound, told
}

func expect(t *testing.T, from <-chan string, want string) {
	t.Helper()
	select {
	case got := <-from:
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	case <-t.Context().Done():
		t.Fatalf("nothing came, want %q", want)
	}
}

func TestBindsAndTells(t *testing.T) {
	t.Parallel()
	client, bound, told := start(t, node("n1", "a"), node("n2", "b"), pod("p1"))
	expect(t, bound, "p1 n1")
	expect(t, told, "Scheduled: Successfully assigned default/p1 to n1")
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod("p2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, bound, "p2 n2")
}

func TestUnschedulableUntilANodeFits(t *testing.T) {
	t.Parallel()
	client, bound, told := start(t, node("n1", "a"), pod("p", selects("x", "y")))
	expect(t, told, "FailedScheduling: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
	fits := node("n2", "a")
	fits.Labels["x"] = "y"
	if _, err := client.CoreV1().Nodes().Create(t.Context(), fits, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, bound, "p n2")
}

func TestLeavesOthersPods(t *testing.T) {
	t.Parallel()
	other := pod("other", func(p *corev1.Pod) { p.Spec.SchedulerName = "mine" })
	gated := pod("gated", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} })
	_, bound, _ := start(t, node("n1", "a"), other, gated, pod("z"))
	expect(t, bound, "z n1")
	if len(bound) > 0 {
		t.Errorf("also bound: %s", <-bound)
	}
}
