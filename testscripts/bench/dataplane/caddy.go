//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// caddy runs one process in Go with a P for each core. Its access log has fields of its own, which say the same but for
// route and upstream, and is written line by line: it can do neither otherwise.
type caddy struct{}

func (caddy) version(program string) (string, error) {
	out, err := output(program, "version")
	if err != nil {
		return "", err
	}
	return "Caddy " + strings.Fields(out)[0], nil
}

func (caddy) logFile(dir string) string { return filepath.Join(dir, "access.log") }

func (c caddy) configure(dir string, s *site, p ports) ([]string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `{
  admin %s
  auto_https off
  http_port %d
  https_port %d
  log {
    level ERROR
  }
  servers {
    protocols h1
    metrics
    max_header_size %d
    timeouts {
      read_header 60s
      read_body 60s
      idle 300s
    }
  }
}
`, address(p.metrics), p.http, p.https, maxHead-4096) // net/http adds 4 KiB to what it is told
	for _, secure := range []bool{false, true} {
		c.sites(&b, dir, s, p, secure)
	}
	file := filepath.Join(dir, "Caddyfile")
	return []string{"run", "--adapter", "caddyfile", "--config", file}, os.WriteFile(file, []byte(b.String()), 0o644)
}

// sites writes the hosts of one protocol.
func (c caddy) sites(b *strings.Builder, dir string, s *site, p ports, secure bool) {
	scheme, port, tls := "http", p.http, ""
	if secure {
		scheme, port = "https", p.https
		tls = fmt.Sprintf("  tls %s %s {\n    protocols tls1.3\n    curves x25519\n  }\n", s.cert, s.key)
	}
	log := fmt.Sprintf("  bind 127.0.0.1\n  log {\n    output file %s\n    format json\n  }\n", c.logFile(dir))
	fmt.Fprintf(b, "%s://:%d {\n%s%s  respond 404\n}\n", scheme, port, log, tls)
	for h := range hosts {
		fmt.Fprintf(b, "%s://%s:%d {\n%s%s  header %s %s\n  request_body {\n    max_size %d\n  }\n", scheme, hostName(h), port, log, tls, responseField, responseValue, maxBody)
		for path := range pathsPerHost {
			fmt.Fprintf(b, "  handle %s* {\n    reverse_proxy", pathOf(path))
			for _, backend := range s.backends {
				fmt.Fprintf(b, " %s", address(backend))
			}
			fmt.Fprintf(b, ` {
      lb_policy round_robin
      trusted_proxies private_ranges
      header_up X-Real-IP {remote_host}
      header_up X-Forwarded-Port %d
      transport http {
        dial_timeout 5s
        response_header_timeout 60s
        keepalive_idle_conns_per_host %d
        compression off
      }
    }
  }
`, port, keepAlivePerEndpoint)
		}
		fmt.Fprintln(b, "  handle {\n    respond 404\n  }\n}")
	}
}

func (caddy) metrics() (path, requests string) {
	return "/metrics", `(?m)^caddy_http_requests_total\{handler="subroute",.*\} (\d+)$`
}

// checkLog looks for Caddy's own fields.
func (caddy) checkLog(line map[string]any, mark string) error {
	request, _ := line["request"].(map[string]any)
	uri, _ := request["uri"].(string)
	_, tls := request["tls"].(map[string]any)
	if !strings.Contains(uri, mark) || request["host"] == nil || request["headers"] == nil || line["status"] != 200. || line["duration"] == nil || line["size"] == nil || !tls {
		return fmt.Errorf("the access log has the line %v", line)
	}
	return nil
}
