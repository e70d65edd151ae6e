package images

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// runGoHTTPBin is mccutchen/go-httpbin itself.
func runGoHTTPBin(ctx context.Context, c *Container) error {
	var host, prefix string
	var at string
	if _, err := c.flags("go-httpbin", func(f *flag.FlagSet) {
		f.StringVar(&at, "port", c.env("PORT", "8080"), "Port to listen on")
		f.StringVar(&host, "host", c.env("HOST", "0.0.0.0"), "Host to listen on")
		f.StringVar(&prefix, "prefix", c.Env["PREFIX"], "Path prefix (empty or start with slash and does not end with slash)")
	}); err != nil {
		return err
	}
	number, err := port(at)
	if err != nil {
		return c.exit(1, "error: invalid value for PORT: %v", err)
	}
	logger := c.slog()
	logger.Info(fmt.Sprintf("go-httpbin listening on http://%s:%d", host, number))
	return c.serveHTTP(ctx, c.httpbin(httpbin.WithPrefix(prefix), httpbin.WithObserver(httpbin.StdLogObserver(logger))), number)
}

// runHTTPBin is kennethreitz/httpbin: the same paths on another port.
func runHTTPBin(ctx context.Context, c *Container) error {
	info := func(text string) {
		c.printf("[%s] [1] [INFO] %s", c.Clock.Now().UTC().Format("2006-01-02 15:04:05 -0700"), text)
	}
	info("Starting gunicorn 19.9.0")
	info("Listening at: http://0.0.0.0:80 (1)")
	return c.serveHTTP(ctx, c.httpbin(), 80)
}

// runHTTPBun is the twin that ingress-nginx' tests use.
func runHTTPBun(ctx context.Context, c *Container) error {
	number, err := port(c.env("HTTPBUN_PORT", "80"))
	if err != nil {
		return c.exit(1, "HTTPBUN_PORT: %v", err)
	}
	c.printf("Serving on http://0.0.0.0:%d", number)
	return c.serveHTTP(ctx, c.httpbin(), number)
}

func (c *Container) httpbin(options ...httpbin.OptionFunc) http.Handler {
	return httpbin.New(append(options, httpbin.WithHostname(c.Hostname))...)
}

// slog logs lines of text, stamped by the container's clock.
func (c *Container) slog() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				a.Value = slog.TimeValue(c.Clock.Now().UTC())
			}
			return a
		},
	}))
}
