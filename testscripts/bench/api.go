package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Sizes of the API's part.
const (
	creates   = 1000   // ConfigMaps of one writer, and of all writers together
	writers   = 16     // at once
	listed    = 10_000 // ConfigMaps in a list
	lists     = 5      // how often it is asked for
	watchers  = 100    // of one namespace
	changes   = 100    // that they see
	ingresses = 10_000 // stored at a start
)

// clientOf is a client without a limit of its own.
func clientOf(data string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(data, "kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return kubernetes.NewForConfig(config)
}

// measureAPI times the Kubernetes API over its socket: JSON over HTTP/2 with a client certificate, durable writes.
func measureAPI(binary, data string) error {
	s, err := start(binary, data)
	if err != nil {
		return err
	}
	defer s.stop()
	client, err := clientOf(data)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	alone, err := timeCreates(ctx, client, "alone", 1, creates)
	if err != nil {
		return err
	}
	many, err := timeCreates(ctx, client, "many", writers, creates/writers)
	if err != nil {
		return err
	}
	seen, err := timeWatches(ctx, client)
	if err != nil {
		return err
	}
	if _, err := timeCreates(ctx, client, "listed", writers, listed/writers); err != nil {
		return err
	}
	list, err := timeLists(ctx, client, "listed")
	if err != nil {
		return err
	}
	printTimes([]times{
		{"create a ConfigMap", alone},
		{fmt.Sprintf("create a ConfigMap, %d writers", writers), many},
		{fmt.Sprintf("change to the last of %d watchers", watchers), seen},
		{fmt.Sprintf("list of %d ConfigMaps", listed), list},
	})
	s.printMemory("memory after that")
	return nil
}

// timeCreates has writers create ConfigMaps in a namespace of their own and takes the time of each.
func timeCreates(ctx context.Context, client kubernetes.Interface, namespace string, writers, each int) ([]time.Duration, error) {
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var running sync.WaitGroup
	for writer := range writers {
		running.Go(func() {
			for n := range each {
				began := time.Now()
				_, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%d-%d", writer, n)}, Data: map[string]string{"key": "a value of some length"},
				}, metav1.CreateOptions{})
				mu.Lock()
				took = append(took, time.Since(began))
				if err != nil {
					failed = err
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	running.Wait()
	return took, failed
}

// timeWatches takes the time from asking for a change until the last of many watchers has seen it.
func timeWatches(ctx context.Context, client kubernetes.Interface) ([]time.Duration, error) {
	const namespace = "watched"
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	arrived := make(chan string, watchers)
	for range watchers {
		w, err := client.CoreV1().Secrets(namespace).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		defer w.Stop()
		go func() {
			for e := range w.ResultChan() {
				if s, ok := e.Object.(*corev1.Secret); ok {
					arrived <- s.Name
				}
			}
		}()
	}
	var took []time.Duration
	for n := range changes {
		name := "s-" + strconv.Itoa(n)
		began := time.Now()
		if _, err := client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		for range watchers {
			select {
			case <-arrived:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// timeLists takes the time of whole lists, decoded.
func timeLists(ctx context.Context, client kubernetes.Interface, namespace string) ([]time.Duration, error) {
	var took []time.Duration
	for range lists {
		began := time.Now()
		list, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		if len(list.Items) < listed {
			return nil, fmt.Errorf("the list has %d of %d ConfigMaps", len(list.Items), listed)
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// measureFull stores many Ingresses of class nginx and times starts with them.
func measureFull(binary, data string, starts int) error {
	s, err := start(binary, data)
	if err != nil {
		return err
	}
	client, err := clientOf(data)
	if err == nil {
		err = storeIngresses(client)
	}
	if stopErr := s.stop(); err != nil || stopErr != nil {
		return fmt.Errorf("store %d Ingresses: %v, %v", ingresses, err, stopErr)
	}
	var ready, cpu []time.Duration
	for range starts {
		s, err := start(binary, data)
		if err != nil {
			return err
		}
		ready, cpu = append(ready, s.ready), append(cpu, s.cpu)
		if err := s.stop(); err != nil {
			return err
		}
	}
	fmt.Printf("%-44s %10s p50, CPU %s\n", fmt.Sprintf("start with %d Ingresses", ingresses), milliseconds(at(ready, 0.5)), milliseconds(at(cpu, 0.5)))
	return nil
}

func storeIngresses(client kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	class, prefix := "nginx", networkingv1.PathTypePrefix
	var mu sync.Mutex
	var failed error
	var running sync.WaitGroup
	for writer := range writers {
		running.Go(func() {
			for n := range ingresses / writers {
				name := fmt.Sprintf("i-%d-%d", writer, n)
				_, err := client.NetworkingV1().Ingresses("default").Create(ctx, &networkingv1.Ingress{
					ObjectMeta: metav1.ObjectMeta{Name: name},
					Spec: networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{
						Host: name + ".example.com",
						IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
							Path: "/", PathType: &prefix,
							Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}},
						}}}},
					}}},
				}, metav1.CreateOptions{})
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
		})
	}
	running.Wait()
	return failed
}
