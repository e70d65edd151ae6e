//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/testscripts/bench/dataplane/load"
)

// serveManifest is an application with two pods behind an ALB.
const serveManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginxdemos/hello:plain-text, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  ingressClassName: alb
  rules:
  - host: h0.bench.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
`

// served is a whole appliance with an application.
type served struct {
	program, data string
	process       *process
	socket        string
}

// measureServe measures the whole appliance: API, controllers, data plane and the pods that answer, in one process.
func measureServe(ctx context.Context, b *bench, r row) ([]*result, error) {
	dir := filepath.Join(b.dir, "serve")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &served{program: b.options.appliance, data: filepath.Join(dir, "data")}
	var err error
	if s.program, err = filepath.Abs(s.program); err != nil {
		return nil, err
	}
	s.process, err = startProcess("serve", dir, s.program, "serve", "--data-dir", s.data, "--listen", "127.0.0.1:0",
		"--vip-range", "127.79.0.0/16", "--address-mode", "ports", "--log-level", "error")
	if err != nil {
		return nil, err
	}
	defer s.process.stop()
	if err := s.deploy(ctx, filepath.Join(dir, "web.yaml")); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, s.process.said())
	}
	job := r.job
	job.Address, job.Connections, job.Warmup, job.Duration = s.socket, b.options.connections, warmup, b.options.duration
	whole := newResult(r.id, r.title, r.unit, r.aim)
	for range b.options.rounds {
		t, err := b.timed(s.process, job, 1)
		if err != nil {
			return nil, err
		}
		whole.add("serve", t.cost)
		whole.addMore("serve", "units/s", t.throughput)
		whole.addMore("serve", "p99 µs", float64(t.p99.Microseconds()))
	}
	whole.Verdicts["serve"] = "pods and API in the same process: no peer"
	return []*result{whole}, nil
}

// deploy waits for the appliance, applies the manifest, and waits for the first 200.
func (s *served) deploy(ctx context.Context, manifest string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := until(ctx, "the appliance is not ready", func() bool { return strings.Contains(s.process.said(), "\nready\n") }); err != nil {
		return err
	}
	if err := os.WriteFile(manifest, []byte(serveManifest), 0o644); err != nil {
		return err
	}
	if _, err := output(s.program, "--data-dir", s.data, "kubectl", "apply", "-f", manifest); err != nil {
		return err
	}
	return until(ctx, "the Ingress does not answer with 200", func() bool { return s.findSocket() == nil && answers(s.socket) })
}

// until waits for something, and says what did not happen if that takes too long.
func until(ctx context.Context, what string, happened func() bool) error {
	for !happened() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// findSocket asks where the load balancer listens.
func (s *served) findSocket() error {
	out, err := output(s.program, "--data-dir", s.data, "endpoints", "-o", "json")
	if err != nil {
		return err
	}
	var view struct {
		LoadBalancers []struct{ Listeners []struct{ Sockets []string } }
	}
	if err := json.Unmarshal([]byte(out), &view); err != nil {
		return err
	}
	for _, lb := range view.LoadBalancers {
		for _, l := range lb.Listeners {
			if len(l.Sockets) > 0 {
				s.socket = l.Sockets[0]
				return nil
			}
		}
	}
	return fmt.Errorf("the load balancer has no socket yet")
}

// answers reports whether the application does.
func answers(socket string) bool {
	r, err := http.NewRequest(http.MethodGet, "http://"+socket+"/", nil)
	if err != nil {
		return false
	}
	r.Host = hostName(0)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// serveTargets are what the application answers.
func serveTargets() []load.Target { return []load.Target{{Host: hostName(0), Path: "/"}} }
