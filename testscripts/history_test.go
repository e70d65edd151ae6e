package testscripts

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// TestWatcherLeftBehind wants a watch from a revision that is forgotten to be told so with 410, by the store itself
// (Events have no watch cache) once the clock has gone on, and by the watch cache after a crash; and a client that lists
// and watches, as all informers do, to see every object in the end.
func TestWatcherLeftBehind(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client := clientFor(t, s.start(t))
	var now atomic.Pointer[kubernetes.Clientset]
	now.Store(client)
	informer := cache.NewSharedInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return now.Load().CoreV1().ConfigMaps("default").List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return now.Load().CoreV1().ConfigMaps("default").Watch(ctx, o)
		},
	}, &corev1.ConfigMap{}, 0)
	go informer.Run(t.Context().Done())
	sees := func(name string) bool {
		_, there, err := informer.GetStore().GetByKey("default/" + name)
		return there && err == nil
	}

	events := client.CoreV1().Events("default")
	first := createEvent(t, client, "first")
	createConfigMap(t, client, "before")
	until(t, "the informer sees the first object", func() bool { return sees("before") })
	createEvent(t, client, "second")
	until(t, "a watch of Events from the first is told that it is too late", func() bool {
		if _, err := s.command("cloud", "clock", "advance", "6m"); err != nil {
			t.Fatal(err)
		}
		w, err := events.Watch(t.Context(), metav1.ListOptions{ResourceVersion: first, TimeoutSeconds: new(int64(1))})
		return expired(t, w, err)
	})
	list, err := events.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := events.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	createEvent(t, client, "third")
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			t.Fatalf("a watch from the list says %v", e.Object)
		}
		if e.Object.(*corev1.Event).Name == "third" {
			break
		}
	}

	old, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "before", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.kill()
	client = clientFor(t, s.start(t))
	now.Store(client)
	createConfigMap(t, client, "after")
	until(t, "a watch of ConfigMaps from before the crash is told that it is too late", func() bool {
		w, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: old.ResourceVersion, TimeoutSeconds: new(int64(1))})
		return expired(t, w, err)
	})
	until(t, "the informer sees what was made after the crash", func() bool { return sees("before") && sees("after") })
}

// expired tells whether a watch ends with 410 before anything else comes.
func expired(t *testing.T, w watch.Interface, err error) bool {
	t.Helper()
	if err != nil {
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			t.Fatal(err)
		}
		return true
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Bookmark {
			continue
		}
		err := apierrors.FromObject(e.Object)
		return e.Type == watch.Error && (apierrors.IsResourceExpired(err) || apierrors.IsGone(err))
	}
	return false
}

func clientFor(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func createConfigMap(t *testing.T, client *kubernetes.Clientset, name string) {
	t.Helper()
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// createEvent gives the Event's resource version.
func createEvent(t *testing.T, client *kubernetes.Clientset, name string) string {
	t.Helper()
	e, err := client.CoreV1().Events("default").Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{Namespace: "default"}, Message: fmt.Sprint(name, " happened"),
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return e.ResourceVersion
}

// until waits for something that another process does.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(awaitLimit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after %s: %s", awaitLimit, what)
		}
	}
}
