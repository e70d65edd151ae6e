package images

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"html"
	"net/http"
	"strings"
	"time"
)

const (
	nginxVersion = "nginx/1.29.1"
	// nginxTime is nginx's $time_local, the access log's and the sample page's.
	nginxTime = "02/Jan/2006:15:04:05 -0700"
)

// nginxOn is the official image: a welcome page and nothing else.
func nginxOn(port uint16) func(context.Context, *Container) error {
	return func(ctx context.Context, c *Container) error {
		return runNginx(ctx, c, port, http.HandlerFunc(welcome))
	}
}

// helloOn is the sample that tells which pod answered, on every path.
func helloOn(port uint16) func(context.Context, *Container) error {
	return func(ctx context.Context, c *Container) error {
		return runNginx(ctx, c, port, &hello{c: c, port: port, plain: strings.Contains(c.Image, ":plain-text")})
	}
}

// runNginx accepts the arguments that start nginx in the foreground, as it runs anyway.
func runNginx(ctx context.Context, c *Container, port uint16, h http.Handler) error {
	if args := strings.Join(c.Args, " "); args != "" && args != "nginx -g daemon off;" && args != "-g daemon off;" && args != "nginx" {
		return &StartError{fmt.Sprintf("the built-in image nginx runs with its own configuration only, but was given %q; leave args away", c.Args)}
	}
	c.printf("/docker-entrypoint.sh: Configuration complete; ready for start up")
	notice := func(text string) {
		c.printf("%s [notice] 1#1: %s", c.Clock.Now().UTC().Format(logTime), text)
	}
	notice(nginxVersion)
	notice("start worker processes")
	defer notice("exit")
	return c.serveHTTP(ctx, nginxLog(c, h), port)
}

// nginxLog writes the official image's access log and sets what nginx sets.
func nginxLog(c *Container, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", nginxVersion)
		rec := &recorder{ResponseWriter: w}
		h.ServeHTTP(rec, r)
		c.printf(`%s - - [%s] "%s %s %s" %d %d "%s" "%s" "%s"`, clientHost(r), c.Clock.Now().UTC().Format(nginxTime),
			r.Method, r.RequestURI, r.Proto, rec.status, rec.bytes, dash(r.Referer()), dash(r.UserAgent()), dash(r.Header.Get("X-Forwarded-For")))
	})
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

const welcomePage = `<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body>
<h1>Welcome to nginx!</h1>
<p>This page is served by the built-in nginx of the appliance.</p>
</body>
</html>
`

// nginxFiles are the document root, and the configuration that says what the built-in nginx does.
func nginxFiles(port uint16) map[string]string {
	return map[string]string{
		"/usr/share/nginx/html/index.html": welcomePage,
		"/etc/nginx/conf.d/default.conf": fmt.Sprintf("server {\n    listen       %d;\n    server_name  localhost;\n\n    location / {\n"+
			"        root   /usr/share/nginx/html;\n        index  index.html index.htm;\n    }\n}\n", port),
	}
}

// welcome serves the document root of the official image, which has one page.
func welcome(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/" && r.URL.Path != "/index.html":
		nginxError(w, r, http.StatusNotFound)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		nginxError(w, r, http.StatusMethodNotAllowed)
	default:
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("ETag", `"689b61a3-e7"`)
		released := time.Date(2025, time.August, 13, 14, 33, 41, 0, time.UTC)
		http.ServeContent(w, r, "", released, bytes.NewReader([]byte(welcomePage)))
	}
}

// nginxError is nginx's own error page.
func nginxError(w http.ResponseWriter, _ *http.Request, status int) {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	if status == http.StatusMethodNotAllowed {
		title = "405 Not Allowed"
	}
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n<hr><center>%s</center>\r\n</body>\r\n</html>\r\n",
		title, title, nginxVersion) // a client that left is no failure
}

// hello is the coffee and tea sample: HTML for browsers, five lines of text for everybody else (NGINX-FACTS 8).
type hello struct {
	c     *Container
	port  uint16
	plain bool
}

func (h *hello) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := make([]byte, 16)
	rand.Read(id) // never fails
	now := h.c.Clock.Now().UTC()
	address, date, request := fmt.Sprintf("%s:%d", h.c.PodIP, h.port), now.Format(nginxTime), hex.EncodeToString(id)
	w.Header().Set("Expires", now.Add(-time.Second).Format(http.TimeFormat))
	w.Header().Set("Cache-Control", "no-cache")
	if h.plain || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "Server address: %s\nServer name: %s\nDate: %s\nURI: %s\nRequest ID: %s\n",
			address, h.c.Hostname, date, r.RequestURI, request)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, helloPage, html.EscapeString(h.c.Hostname), address, html.EscapeString(r.RequestURI), date,
		html.EscapeString(r.RemoteAddr), request)
}

const helloPage = `<!DOCTYPE html>
<html>
<head><title>Hello World</title></head>
<body>
<p><span>Server&nbsp;name:</span> <span>%s</span></p>
<p><span>Server&nbsp;address:</span> <span>%s</span></p>
<p><span>URI:</span> <span>%s</span></p>
<p><span>Date:</span> <span>%s</span></p>
<p><span>Client&nbsp;IP:</span> <span>%s</span></p>
<label><input type="checkbox" id="refresh"> Auto Refresh</label>
<p>Request ID: %s</p>
<script>
const box = document.getElementById("refresh");
box.checked = sessionStorage.getItem("refresh") === "on";
box.onchange = () => { sessionStorage.setItem("refresh", box.checked ? "on" : "off"); location.reload(); };
if (box.checked) setTimeout(() => location.reload(), 1000);
</script>
</body>
</html>
`
