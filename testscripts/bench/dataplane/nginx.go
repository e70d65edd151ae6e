//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// nginx runs a master and a worker for each core.
type nginx struct{}

func (nginx) version(program string) (string, error) {
	out, err := output(program, "-V")
	if err != nil {
		return "", err
	}
	version := after(out, "nginx version: ")
	if library := after(out, "running with "); library != "" {
		return version + ", " + strings.TrimSuffix(library, ")"), nil
	}
	return version + ", " + after(out, "built with "), nil
}

// after gives what follows a mark in a line; empty without it.
func after(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

func (nginx) logFile(dir string) string { return filepath.Join(dir, "access.log") }

// nginxLog are the fields of our access log in nginx's words; what it does not know is "-".
const nginxLog = `'{"time":"$time_iso8601","app_lb_id":"` + loadBalancer + `","slb_vport":$server_port,"client_ip":"$remote_addr","host":"$host",'
    '"http_host":"$http_host","http_referer":"$http_referer","http_user_agent":"$http_user_agent","http_x_forwarded_for":"$http_x_forwarded_for",'
    '"http_x_real_ip":"$http_x_real_ip","request_method":"$request_method","request_uri":"$request_uri","scheme":"$scheme",'
    '"server_protocol":"$server_protocol","status":$status,"body_bytes_sent":$body_bytes_sent,"request_length":$request_length,'
    '"request_time":$request_time,"read_request_time":0,"ssl_protocol":"$ssl_protocol","ssl_cipher":"$ssl_cipher","upstream_addr":"$upstream_addr",'
    '"upstream_status":"$upstream_status","upstream_response_time":"$upstream_response_time","vip_addr":"$server_addr","write_response_time":0,'
    '"reason":"-","listener":"$scheme","route":"$route","upstream":"$proxy_host"}'`

func (n nginx) configure(dir string, s *site, p ports) ([]string, error) {
	var b strings.Builder
	if os.Getuid() == 0 {
		fmt.Fprintln(&b, "user root;") // the directory is this user's alone
	}
	fmt.Fprintf(&b, `daemon off; worker_processes %d; worker_rlimit_nofile %d; pid %s/pid; error_log %s/error.log error;
events { worker_connections %d; multi_accept on; }
http {
  log_format access escape=json %s;
  access_log %s access buffer=64k flush=1s;
  server_tokens off; sendfile on; tcp_nodelay on; tcp_nopush on; reset_timedout_connection on;
  keepalive_requests %d; keepalive_timeout 300s; client_header_timeout 60s; client_body_timeout 60s; send_timeout 60s;
  client_header_buffer_size 2k; large_client_header_buffers 4 %d; client_max_body_size %d; server_names_hash_max_size 1024;
  client_body_temp_path %[3]s/body; proxy_temp_path %[3]s/proxy; fastcgi_temp_path %[3]s/fastcgi; uwsgi_temp_path %[3]s/uwsgi; scgi_temp_path %[3]s/scgi;
`, workers(), 2*maxClients, dir, dir, maxClients, nginxLog, n.logFile(dir), maxRequests, maxHead, maxBody)
	fmt.Fprintf(&b, `  proxy_http_version 1.1; proxy_connect_timeout 5s; proxy_read_timeout 300s; proxy_send_timeout 60s; proxy_next_upstream error timeout;
  proxy_buffering on; proxy_buffer_size 16k; proxy_buffers 16 16k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  proxy_set_header Host $http_host; proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Port $server_port;
  proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Real-IP $remote_addr;
  add_header %s %s always;
  ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.3; ssl_ecdh_curve X25519; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
  ssl_session_cache off; ssl_session_tickets on; ssl_buffer_size 16k;
  server { listen %s; location = /status { access_log off; stub_status; } }
`, responseField, responseValue, s.cert, s.key, address(p.metrics))
	for h := range hosts {
		fmt.Fprintf(&b, "  upstream %s { keepalive %d; keepalive_requests %d;", upstreamID(h), keepAlivePerEndpoint*len(s.backends), maxRequests)
		for _, port := range s.backends {
			fmt.Fprintf(&b, " server %s;", address(port))
		}
		fmt.Fprintln(&b, " }")
	}
	listen := fmt.Sprintf("listen %s%%s backlog=4096 reuseport; listen %s ssl%%s backlog=4096 reuseport;", address(p.http), address(p.https))
	fmt.Fprintf(&b, "  server { "+listen+" server_name _; set $route -; return 404; }\n", " default_server", " default_server")
	for h := range hosts {
		fmt.Fprintf(&b, "  server { listen %s; listen %s ssl; server_name %s; set $route -;\n", address(p.http), address(p.https), hostName(h))
		for path := range pathsPerHost {
			fmt.Fprintf(&b, "    location %s { set $route %s; proxy_pass http://%s; }\n", pathOf(path), routeID(h, path), upstreamID(h))
		}
		fmt.Fprintln(&b, "    location / { return 404; }\n  }")
	}
	fmt.Fprintln(&b, "}")
	file := filepath.Join(dir, "nginx.conf")
	return []string{"-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log")}, os.WriteFile(file, []byte(b.String()), 0o644)
}

func (nginx) metrics() (path, requests string) {
	return "/status", `requests\s+\d+\s+\d+\s+(\d+)`
}
