package images

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// whoami tells who answers and what was asked.
type whoami struct {
	c       *Container
	name    string
	verbose bool
	health  atomic.Int32
}

func runWhoami(ctx context.Context, c *Container) error {
	var at, cert, key string
	w := &whoami{c: c}
	w.health.Store(http.StatusOK)
	_, err := c.flags("whoami", func(f *flag.FlagSet) {
		f.StringVar(&at, "port", c.env("WHOAMI_PORT_NUMBER", "80"), "give me a port number")
		f.StringVar(&w.name, "name", c.Env["WHOAMI_NAME"], "give me a name")
		f.BoolVar(&w.verbose, "verbose", false, "Enable verbose logging")
		f.StringVar(&cert, "cert", "", "give me a certificate")
		f.StringVar(&key, "key", "", "give me a key")
	})
	if err != nil {
		return err
	}
	if cert != "" && key != "" {
		return c.exit(1, "open %s: no such file or directory (built-in images see no volumes)", cert)
	}
	number, err := port(at)
	if err != nil {
		return c.exit(1, "listen tcp: address :%s: %v", at, err)
	}
	c.logf("Starting up on port %d", number)
	sockets := newSockets(c, socketLimits{})
	defer sockets.closeAll()
	return c.serveHTTP(ctx, w.logged(w.routes(sockets)), number)
}

func (w *whoami) routes(sockets http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/echo", sockets)
	mux.HandleFunc("/bench", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain")
		io.WriteString(rw, "1")
	})
	mux.HandleFunc("/data", whoamiData)
	mux.HandleFunc("/api", w.api)
	mux.HandleFunc("/health", w.serveHealth)
	mux.HandleFunc("/", w.text)
	return mux
}

func (w *whoami) logged(next http.Handler) http.Handler {
	if !w.verbose {
		return next
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(rw, r)
		w.c.logf(`%s - - [%s] "%s %s %s" - -`, r.RemoteAddr, w.c.Clock.Now().UTC().Format(nginxTime), r.Method, r.URL.Path, r.Proto)
	})
}

func (w *whoami) addresses() []string { return []string{"127.0.0.1", "::1", w.c.PodIP.String()} }

func (w *whoami) text(rw http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if d, err := time.ParseDuration(query.Get("wait")); err == nil {
		w.c.sleep(r.Context(), d)
	}
	if w.name != "" {
		fmt.Fprintln(rw, "Name:", w.name)
	}
	fmt.Fprintln(rw, "Hostname:", w.c.Hostname)
	for _, ip := range w.addresses() {
		fmt.Fprintln(rw, "IP:", ip)
	}
	fmt.Fprintln(rw, "RemoteAddr:", r.RemoteAddr)
	if err := r.Write(rw); err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	if ok, _ := strconv.ParseBool(query.Get("env")); ok {
		for _, name := range slices.Sorted(maps.Keys(w.c.Env)) {
			fmt.Fprintf(rw, "%s=%s\n", name, w.c.Env[name])
		}
	}
}

// whoamiAnswer is what /api says.
type whoamiAnswer struct {
	Hostname   string            `json:"hostname,omitempty"`
	IP         []string          `json:"ip,omitempty"`
	Headers    http.Header       `json:"headers,omitempty"`
	URL        string            `json:"url,omitempty"`
	Host       string            `json:"host,omitempty"`
	Method     string            `json:"method,omitempty"`
	Name       string            `json:"name,omitempty"`
	RemoteAddr string            `json:"remoteAddr,omitempty"`
	Environ    map[string]string `json:"environ,omitempty"`
}

func (w *whoami) api(rw http.ResponseWriter, r *http.Request) {
	answer := whoamiAnswer{
		Hostname: w.c.Hostname, IP: w.addresses(), Headers: r.Header, URL: r.URL.RequestURI(), Host: r.Host,
		Method: r.Method, Name: w.name, RemoteAddr: r.RemoteAddr,
	}
	if ok, _ := strconv.ParseBool(r.URL.Query().Get("env")); ok {
		answer.Environ = w.c.Env
	}
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(answer) // a client that left is no failure
}

// serveHealth answers with the status that was last posted, so that a health check can be made to fail.
func (w *whoami) serveHealth(rw http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		rw.WriteHeader(int(w.health.Load()))
		return
	}
	var status int32
	if err := json.NewDecoder(r.Body).Decode(&status); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	if status < 200 || status > 599 {
		http.Error(rw, "the status must be between 200 and 599", http.StatusBadRequest)
		return
	}
	w.c.printf("Update health check status code [%d]", status)
	w.health.Store(status)
}

// whoamiData sends as many bytes as asked.
func whoamiData(rw http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	size, err := strconv.ParseInt(query.Get("size"), 10, 64)
	if err != nil {
		size = 1
	}
	units := map[string]int64{"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
	if unit, ok := units[strings.ToLower(query.Get("unit"))]; ok {
		size *= unit
	}
	if ok, _ := strconv.ParseBool(query.Get("attachment")); ok {
		rw.Header().Set("Content-Disposition", "Attachment")
	}
	io.CopyN(rw, letters{}, max(size, 0)) // a client that left is no failure
}

// letters is an endless alphabet.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A' + byte(i%26)
	}
	return len(p), nil
}
