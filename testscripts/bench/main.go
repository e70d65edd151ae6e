// Command bench measures the appliance as a user meets it: from exec to ready, memory when idle, and from an accepted
// Ingress to its first 200 through the load balancer. It prints medians and asserts nothing.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func main() {
	binary := flag.String("binary", "bin/appliance", "the program to measure")
	starts := flag.Int("starts", 10, "how many starts of each kind")
	rounds := flag.Int("ingresses", 100, "how many Ingresses are timed")
	helm := flag.String("helm", "bin/helm", "the helm that installs a chart")
	script := flag.String("chart", "testscripts/testdata/kubernetes_helm.txtar", "the scenario whose chart it installs")
	flag.Parse()
	if err := run(*binary, *helm, *script, *starts, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(binary, helm, script string, starts, rounds int) error {
	fmt.Printf("%s/%s, %d cores, %s\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	dir, err := os.MkdirTemp("", "appliance-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := measureStarts(binary, dir, starts); err != nil {
		return err
	}
	if err := measureIngresses(binary, filepath.Join(dir, "ingresses"), rounds); err != nil {
		return err
	}
	if err := measureHelm(binary, helm, script, filepath.Join(dir, "helm")); err != nil {
		return err
	}
	if err := measureAPI(binary, filepath.Join(dir, "api")); err != nil {
		return err
	}
	return measureFull(binary, filepath.Join(dir, "full"), starts)
}

// idle is how long an appliance is left alone before its memory is taken.
const idle = 3 * time.Second

// started is a running appliance.
type started struct {
	cmd   *exec.Cmd
	data  string
	ready time.Duration
	cpu   time.Duration
}

func start(binary, data string) (*started, error) {
	cmd := exec.Command(binary, "serve", "--data-dir", data, "--listen", "127.0.0.1:0", "--vip-range", "127.78.0.0/16", "--address-mode", "ports", "--log-level", "error")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			s := &started{cmd: cmd, data: data, ready: time.Since(began)}
			s.cpu, err = cpuOf(cmd.Process.Pid)
			return s, err
		}
	}
	return nil, errors.Join(errors.New("it ended before it was ready"), cmd.Wait())
}

func (s *started) stop() error {
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return s.cmd.Wait()
}

// cpuOf is the CPU time that a process has used; 0 where /proc does not tell.
func cpuOf(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // user and system time
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	const perSecond = 100 // the kernel's USER_HZ on every architecture Go runs on
	return time.Duration(ticks) * time.Second / perSecond, nil
}

// memoryOf gives resident and anonymous memory in MiB; 0 where /proc does not tell.
func memoryOf(pid int) (resident, anonymous float64) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "Rss:":
			resident = kib / 1024
		case "Anonymous:":
			anonymous = kib / 1024
		}
	}
	return resident, anonymous
}

func measureStarts(binary, dir string, n int) error {
	fmt.Printf("%-28s %10s %10s %10s %12s %12s\n", "", "p50", "worst", "CPU p50", "RSS MiB", "anon MiB")
	restarted := filepath.Join(dir, "restart")
	for _, kind := range []struct {
		name string
		data func(int) string
	}{
		{"exec to ready, first start", func(i int) string { return filepath.Join(dir, "first"+strconv.Itoa(i)) }},
		{"exec to ready, restart", func(int) string { return restarted }},
	} {
		var ready, cpu []time.Duration
		var rss, anon []float64
		for i := range n + 1 {
			s, err := start(binary, kind.data(i))
			if err != nil {
				return err
			}
			if i > 0 { // the first of each kind warms the page cache, or makes the directory
				ready, cpu = append(ready, s.ready), append(cpu, s.cpu)
			}
			if i > 0 && i <= 3 {
				time.Sleep(idle)
				r, a := memoryOf(s.cmd.Process.Pid)
				rss, anon = append(rss, r), append(anon, a)
			}
			if err := s.stop(); err != nil {
				return err
			}
		}
		fmt.Printf("%-28s %10s %10s %10s %12.0f %12.0f\n", kind.name, milliseconds(at(ready, 0.5)), milliseconds(at(ready, 1)), milliseconds(at(cpu, 0.5)), at(rss, 0.5), at(anon, 0.5))
	}
	return nil
}

func measureIngresses(binary, data string, n int) error {
	s, err := start(binary, data)
	if err != nil {
		return err
	}
	defer s.stop()
	client, err := clientOf(data)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := deploy(ctx, client); err != nil {
		return err
	}
	if _, err := timeIngress(ctx, binary, data, client, 0); err != nil { // waits for the pod and the socket
		return err
	}
	var took []time.Duration
	for i := range n {
		d, err := timeIngress(ctx, binary, data, client, i+1)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	ready, err := timePods(ctx, client, n)
	if err != nil {
		return err
	}
	printTimes([]times{{fmt.Sprintf("Ingress to 200, over %d", n), took}, {fmt.Sprintf("pod to Ready, over %d", n), ready}})
	return nil
}

// times are how long the same thing took, again and again.
type times struct {
	name   string
	values []time.Duration
}

func printTimes(rows []times) {
	fmt.Printf("\n%-44s %10s %10s %10s\n", "", "p50", "p99", "worst")
	for _, row := range rows {
		fmt.Printf("%-44s %10s %10s %10s\n", row.name, milliseconds(at(row.values, 0.5)), milliseconds(at(row.values, 0.99)), milliseconds(at(row.values, 1)))
	}
}

// printMemory prints what the process holds now.
func (s *started) printMemory(when string) {
	rss, anonymous := memoryOf(s.cmd.Process.Pid)
	fmt.Printf("%-44s %10.0f MiB, anonymous %.0f MiB\n", when, rss, anonymous)
}

// timePods creates pods one after the other and takes the time from the API's answer to Ready, as a watch sees it.
func timePods(ctx context.Context, client kubernetes.Interface, n int) ([]time.Duration, error) {
	pods := client.CoreV1().Pods("default")
	var took []time.Duration
	for i := range n {
		name, grace := "bench-"+strconv.Itoa(i), int64(0)
		created, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginxdemos/hello:plain-text"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		began := time.Now()
		if err := awaitReady(ctx, client, created); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
		if err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
			return nil, err
		}
	}
	return took, nil
}

func awaitReady(ctx context.Context, client kubernetes.Interface, created *corev1.Pod) error {
	events, err := client.CoreV1().Pods(created.Namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + created.Name, ResourceVersion: created.ResourceVersion,
	})
	if err != nil {
		return err
	}
	defer events.Stop()
	for e := range events.ResultChan() {
		if p, ok := e.Object.(*corev1.Pod); ok {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("pod %s: the watch ended before it was ready", created.Name)
}

func deploy(ctx context.Context, client kubernetes.Interface) error {
	labels, one := map[string]string{"app": "web"}, int32(1)
	_, err := client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginxdemos/hello:plain-text"}}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	return err
}

// timeIngress creates an Ingress, asks until it answers, takes the time from the API's answer, and deletes it again.
func timeIngress(ctx context.Context, binary, data string, client kubernetes.Interface, i int) (time.Duration, error) {
	socket, err := firstSocket(ctx, binary, data)
	if err != nil {
		return 0, err
	}
	class, prefix := "alb", networkingv1.PathTypePrefix
	name := "bench-" + strconv.Itoa(i)
	ingresses := client.NetworkingV1().Ingresses("default")
	_, err = ingresses.Create(ctx, &networkingv1.Ingress{
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
		return 0, err
	}
	began := time.Now()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+socket+"/", nil)
		if err != nil {
			return 0, err
		}
		request.Host = name + ".example.com"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			break
		}
		time.Sleep(200 * time.Microsecond)
	}
	took := time.Since(began)
	return took, ingresses.Delete(ctx, name, metav1.DeleteOptions{})
}

// firstSocket waits until the load balancer listens.
func firstSocket(ctx context.Context, binary, data string) (string, error) {
	for {
		raw, err := exec.CommandContext(ctx, binary, "--data-dir", data, "endpoints", "-o", "json").Output()
		if err != nil {
			return "", err
		}
		var view struct {
			LoadBalancers []struct {
				Listeners []struct{ Sockets []string }
			}
		}
		if err := json.Unmarshal(raw, &view); err != nil {
			return "", err
		}
		for _, lb := range view.LoadBalancers {
			for _, l := range lb.Listeners {
				if len(l.Sockets) > 0 {
					return l.Sockets[0], nil
				}
			}
		}
	}
}

// at gives the value at a share of the sorted values.
func at[T time.Duration | float64](values []T, share float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
