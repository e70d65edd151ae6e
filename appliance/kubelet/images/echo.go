package images

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// runEchoJSON is the echo server of the Ingress and Gateway API conformance suites.
func runEchoJSON(ctx context.Context, c *Container) error {
	if c.Env["TLS_SERVER_CERT"] != "" && c.Env["TLS_SERVER_PRIVKEY"] != "" {
		return c.exit(2, "panic: Failed to start listening: open %s: no such file or directory (built-in images see no volumes)", c.Env["TLS_SERVER_CERT"])
	}
	plain, err := port(c.env("HTTP_PORT", "3000"))
	if err != nil {
		return c.exit(2, "panic: Failed to start listening: HTTP_PORT: %v", err)
	}
	c.printf("Starting server, listening on port %d (http)", plain)
	sockets := newSockets(c, socketLimits{})
	defer sockets.closeAll()
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "OK") })
	mux.HandleFunc("/status/", statusOf)
	mux.Handle("/ws", sockets)
	mux.HandleFunc("/", c.echoJSON)
	collapse := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for strings.Contains(r.URL.Path, "//") {
			r.URL.Path = strings.ReplaceAll(r.URL.Path, "//", "/")
		}
		mux.ServeHTTP(w, r)
	})
	return c.serveHTTP(ctx, collapse, plain)
}

// statusOf answers with the status that the path names.
func statusOf(w http.ResponseWriter, r *http.Request) {
	status, err := strconv.Atoi(path.Base(r.URL.Path))
	if err != nil || status < 200 || status > 599 {
		status = http.StatusBadRequest
	}
	w.WriteHeader(status)
}

// echo is the answer of the conformance echo servers.
type echo struct {
	Path      string              `json:"path"`
	Host      string              `json:"host"`
	Method    string              `json:"method"`
	Proto     string              `json:"proto"`
	Headers   map[string][]string `json:"headers"`
	Namespace string              `json:"namespace"`
	Ingress   string              `json:"ingress"`
	Service   string              `json:"service"`
	Pod       string              `json:"pod"`
}

func (c *Container) echoJSON(w http.ResponseWriter, r *http.Request) {
	c.printf("Echoing back request made to %s to client (%s)", r.RequestURI, r.RemoteAddr)
	body, err := json.MarshalIndent(echo{
		Path: r.RequestURI, Host: r.Host, Method: r.Method, Proto: r.Proto, Headers: r.Header,
		Namespace: c.Env["NAMESPACE"], Ingress: c.Env["INGRESS_NAME"], Service: c.Env["SERVICE_NAME"], Pod: c.Env["POD_NAME"],
	}, "", " ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(body) // a client that left is no failure
}

// echoTextOn is the echo server of ingress-nginx' own tests.
func echoTextOn(port uint16) func(context.Context, *Container) error {
	return func(ctx context.Context, c *Container) error {
		return c.serveHTTP(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.echoText(w, r, port) }), port)
	}
}

func (c *Container) echoText(w http.ResponseWriter, r *http.Request, port uint16) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n\nHostname: %s\n\nPod Information:\n%s\nServer values:\n\tserver_version=%s\n\n", c.Hostname, c.podInformation(), "nginx: 1.27.1 - lua: 10026")
	fmt.Fprintf(&b, "Request Information:\n\tclient_address=%s\n\tmethod=%s\n\treal path=%s\n\tquery=%s\n\trequest_version=%d.%d\n\trequest_scheme=http\n\trequest_uri=http://%s:%d%s\n\n",
		clientHost(r), r.Method, r.RequestURI, r.URL.RawQuery, r.ProtoMajor, r.ProtoMinor, hostOnly(r.Host), port, r.RequestURI)
	b.WriteString("Request Headers:\n")
	b.WriteString(headerLines(r))
	text := string(body)
	if text == "" {
		text = "\t-no body in request-"
	}
	fmt.Fprintf(&b, "\nRequest Body:\n%s\n\n", text)
	w.Header().Set("Server", "echoserver")
	w.Header().Set("Content-Type", "text/plain")
	if r.URL.Query().Get("hsts") == "true" {
		w.Header().Set("Strict-Transport-Security", "max-age=3600; preload")
	}
	io.WriteString(w, b.String()) // a client that left is no failure
}

func (c *Container) podInformation() string {
	var b strings.Builder
	for _, v := range []struct{ name, label string }{
		{"NODE_NAME", "node name"}, {"POD_NAME", "pod name"}, {"POD_NAMESPACE", "pod namespace"}, {"POD_IP", "pod IP"},
	} {
		if c.Env[v.name] != "" {
			fmt.Fprintf(&b, "\t%s:\t%s\n", v.label, c.Env[v.name])
		}
	}
	if b.Len() == 0 {
		return "\t-no pod information available-\n"
	}
	return b.String()
}

// headerLines lists name=value, one a line, lower-case and sorted.
func headerLines(r *http.Request) string {
	lines := map[string]string{"host": r.Host}
	for name, values := range r.Header {
		lines[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(&b, "\t%s=%s\n", name, lines[name])
	}
	return b.String()
}
