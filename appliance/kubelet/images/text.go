package images

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// flags reads arguments as Go programs do; what is wrong with them ends the container with exit code 2 and the usage in
// the log.
func (c *Container) flags(name string, define func(*flag.FlagSet)) (*flag.FlagSet, error) {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(c.Stdout)
	define(set)
	if err := set.Parse(c.Args); err != nil {
		return nil, &ExitError{Code: 2}
	}
	return set, nil
}

// runHTTPEcho answers every path with one text.
func runHTTPEcho(ctx context.Context, c *Container) error {
	var listen, text string
	set, err := c.flags("http-echo", func(f *flag.FlagSet) {
		f.StringVar(&listen, "listen", ":5678", "address and port to listen")
		f.StringVar(&text, "text", "", "text to put on the webpage")
	})
	if err != nil {
		return err
	}
	if text == "" {
		text = c.Env["ECHO_TEXT"]
	}
	if text == "" {
		return c.exit(127, "Missing -text option OR ENV var TEXT is empty!")
	}
	if set.NArg() > 0 {
		return c.exit(127, "Too many arguments!")
	}
	at, err := port(listen[strings.LastIndexByte(listen, ':')+1:])
	if err != nil {
		c.logf("[ERR] server exited with: listen tcp: address %s: %v", listen, err)
		return &ExitError{Code: 1}
	}
	c.logf("[INFO] server is listening on %s", listen)
	return c.serveHTTP(ctx, c.httpEcho(text), at)
}

func (c *Container) httpEcho(text string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		appHeaders(w)
		fmt.Fprintln(w, `{"status":"ok"}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		began, rec := c.Clock.Now(), &recorder{ResponseWriter: w}
		appHeaders(rec)
		fmt.Fprintln(rec, text)
		c.logf(`%s %s "%s %s %s" %d %d "%s" %v`, r.Host, r.RemoteAddr, r.Method, r.URL.Path, r.Proto, rec.status, rec.bytes, r.UserAgent(), c.Clock.Since(began))
	})
	return mux
}

func appHeaders(w http.ResponseWriter) {
	w.Header().Set("X-App-Name", "http-echo")
	w.Header().Set("X-App-Version", "1.0.0")
}

// runCafe is the ALB sample with one path.
func runCafe(ctx context.Context, c *Container) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"hello":"coffee"}`)
	})
	c.logf("listening on port 8080")
	return c.serveHTTP(ctx, mux, 8080)
}
