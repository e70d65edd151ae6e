//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// haproxy runs one process with a thread for each core.
type haproxy struct{}

func (haproxy) version(program string) (string, error) {
	out, err := output(program, "-vv")
	if err != nil {
		return "", err
	}
	version, _, _ := strings.Cut(out, " 20") // the date
	return strings.Replace(version, " version ", " ", 1) + ", " + after(out, "Running on OpenSSL version : "), nil
}

// logFile is the ring that HAProxy logs to, in memory that is mapped to this file: it writes to no other file itself.
func (haproxy) logFile(dir string) string { return filepath.Join(dir, "access.ring") }

// haproxyLog are the fields of our access log in HAProxy's words; what it does not know is "-".
const haproxyLog = `{"time":"%trg","app_lb_id":"` + loadBalancer + `","slb_vport":%fp,"client_ip":"%ci","host":"%[capture.req.hdr(0),json(utf8s)]",` +
	`"http_host":"%[capture.req.hdr(0),json(utf8s)]","http_referer":"%[capture.req.hdr(1),json(utf8s)]","http_user_agent":"%[capture.req.hdr(2),json(utf8s)]",` +
	`"http_x_forwarded_for":"%[capture.req.hdr(3),json(utf8s)]","http_x_real_ip":"%[capture.req.hdr(4),json(utf8s)]","request_method":"%HM",` +
	`"request_uri":"%[capture.req.uri,json(utf8s)]","scheme":"%[ssl_fc,iif(https,http)]","server_protocol":"%HV","status":%ST,"body_bytes_sent":%B,"request_length":%U,` +
	`"request_time":%Ta,"read_request_time":%TR,"ssl_protocol":"%sslv","ssl_cipher":"%sslc","upstream_addr":"%si:%sp","upstream_status":%ST,` +
	`"upstream_response_time":%Tr,"vip_addr":"%fi","write_response_time":%Td,"reason":"%ts","listener":"%f","route":"%[var(txn.route),field(2,/)]","upstream":"%b"}`

func (h haproxy) configure(dir string, s *site, p ports) ([]string, error) {
	routes := filepath.Join(dir, "routes.map")
	if err := os.WriteFile(routes, []byte(haproxyRoutes()), 0o644); err != nil {
		return nil, err
	}
	both := filepath.Join(dir, "both.pem")
	if err := join(both, s.cert, s.key); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `global
  nbthread %d
  maxconn %d
  log ring@access format raw local0
  tune.bufsize %d
  tune.maxrewrite 1024
  tune.ssl.cachesize 0
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
ring access
  format raw
  maxlen 8192
  size 8388608
  backing-file %s
defaults
  mode http
  log global
  option http-keep-alive
  option splice-auto
  http-reuse always
  balance roundrobin
  retries 1
  backlog 4096
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-request 60s
  timeout http-keep-alive 300s
  timeout tunnel 300s
`, workers(), maxClients, maxHead+1024, h.logFile(dir))
	haproxyFrontend(&b, routes, both, p)
	for i := range hosts {
		fmt.Fprintf(&b, "backend %s\n", upstreamID(i))
		for n, port := range s.backends {
			fmt.Fprintf(&b, "  server s%d %s pool-max-conn %d\n", n, address(port), keepAlivePerEndpoint)
		}
	}
	fmt.Fprintln(&b, "backend none\n  http-request return status 404")
	file := filepath.Join(dir, "haproxy.cfg")
	return []string{"-db", "-f", file}, os.WriteFile(file, []byte(b.String()), 0o644)
}

// haproxyRoutes maps host and path to upstream and route.
func haproxyRoutes() string {
	var b strings.Builder
	for h := range hosts {
		for p := range pathsPerHost {
			fmt.Fprintf(&b, "%s%s %s/%s\n", hostName(h), pathOf(p), upstreamID(h), routeID(h, p))
		}
	}
	return b.String()
}

func haproxyFrontend(b *strings.Builder, routes, certificate string, p ports) {
	fmt.Fprintf(b, `frontend bench
  bind %s
  bind %s ssl crt %s curves X25519 alpn http/1.1
  capture request header Host len 128
  capture request header Referer len 256
  capture request header User-Agent len 256
  capture request header X-Forwarded-For len 256
  capture request header X-Real-IP len 64
  log-format '%s'
  http-request deny deny_status 413 if { req.body_size gt %d }
  http-request set-var(txn.route) base,map_beg(%s,none/-)
  http-request set-header X-Real-IP %%[src]
  http-request set-header X-Forwarded-Proto %%[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Port %%[dst_port]
  http-request set-header X-Forwarded-Host %%[req.hdr(host)]
  option forwardfor
  http-response set-header %s %s
  use_backend %%[var(txn.route),field(1,/)]
frontend metrics
  bind %s
  no log
  http-request use-service prometheus-exporter if { path /metrics }
`, address(p.http), address(p.https), certificate, haproxyLog, maxBody, routes, responseField, responseValue, address(p.metrics))
}

// join writes files one after the other into one.
func join(to string, from ...string) error {
	var all []byte
	for _, name := range from {
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(all, raw...)
	}
	return os.WriteFile(to, all, 0o600)
}

func (haproxy) metrics() (path, requests string) {
	return "/metrics", `(?m)^haproxy_frontend_http_requests_total\{proxy="bench"\} (\d+)`
}
