//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// appliance is one of our engines, alone.
type appliance struct{ engine string }

func (a *appliance) version(program string) (string, error) {
	out, err := output(program, "dataplane", "--help")
	if err != nil {
		return "", err
	}
	if !regexp.MustCompile(`(?s)--engine=.*\b` + regexp.QuoteMeta(a.engine) + `\b`).MatchString(out) {
		return "", fmt.Errorf("%s has no engine %s", program, a.engine)
	}
	out, err = output(program, "version")
	if err != nil {
		return "", err
	}
	version, _, _ := strings.Cut(strings.TrimSpace(out), ",")
	return fmt.Sprintf("%s, engine %s", version, a.engine), nil
}

func (a *appliance) configure(dir string, s *site, p ports) ([]string, error) {
	file := filepath.Join(dir, "snapshot")
	if err := os.WriteFile(file, []byte(snapshotOf(s, p).String()), 0o644); err != nil {
		return nil, err
	}
	return []string{
		"dataplane", "--snapshot", file, "--engine", a.engine, "--certificate", "crt-bench=" + s.cert + "," + s.key,
		"--access-log", a.logFile(dir), "--metrics", address(p.metrics), "--log-level", "error",
	}, nil
}

// snapshotOf is the site in our words.
func snapshotOf(s *site, p ports) *dataplane.Snapshot {
	snap := &dataplane.Snapshot{Certificates: []dataplane.Certificate{{ID: "crt-bench"}}}
	listener := dataplane.Listener{
		ID: "http", Class: dataplane.ClassALB, LoadBalancer: loadBalancer, Protocol: dataplane.ProtocolHTTP, Port: p.http, Sockets: []string{address(p.http)},
		Client:   dataplane.ClientLimits{Idle: 300 * time.Second, Request: 60 * time.Second, HeaderBytes: maxHead, Requests: maxRequests},
		Forward:  dataplane.ForwardHeaders{XForwardedFor: true, XForwardedProto: true, XForwardedPort: true, XForwardedHost: true, XRealIP: true},
		Response: []dataplane.Field{{Name: responseField, Value: responseValue}},
		NoRoute:  dataplane.Reply{Status: 404},
	}
	for h := range hosts {
		up := dataplane.Upstream{ID: upstreamID(h), Scheme: "http", KeepAlive: true}
		for i, port := range s.backends {
			up.Endpoints = append(up.Endpoints, dataplane.Endpoint{ID: fmt.Sprintf("%s-%d", up.ID, i), Addr: address(port), Weight: 100})
		}
		snap.Upstreams = append(snap.Upstreams, up)
		for path := range pathsPerHost {
			listener.Routes = append(listener.Routes, routeOf(h, path))
		}
	}
	secure := listener
	secure.ID, secure.Protocol, secure.Port, secure.Sockets = "https", dataplane.ProtocolHTTPS, p.https, []string{address(p.https)}
	secure.TLS = &dataplane.TLS{Certificates: []string{"crt-bench"}, Policy: "tls_cipher_policy_1_2_strict_with_1_3"}
	snap.Listeners = []dataplane.Listener{listener, secure}
	return snap
}

func routeOf(h, path int) dataplane.Route {
	return dataplane.Route{
		ID: routeID(h, path),
		Match: dataplane.Match{
			Hosts: []dataplane.HostMatch{{Kind: dataplane.HostExact, Value: hostName(h)}},
			Paths: []dataplane.PathMatch{{Kind: dataplane.PathPrefix, Value: pathOf(path)}},
		},
		Timeouts:  dataplane.Timeouts{Connect: 5 * time.Second, Request: 60 * time.Second},
		BodyBytes: maxBody,
		Action:    dataplane.Action{Forward: []dataplane.WeightedUpstream{{Upstream: upstreamID(h), Weight: 100}}},
	}
}

func (a *appliance) logFile(dir string) string { return filepath.Join(dir, "access.log") }

func (a *appliance) metrics() (path, requests string) {
	return "/metrics", `(?m)^dataplane_requests_total\{.*\} (\d+)$`
}
