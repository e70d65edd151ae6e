package shell

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// wgetOptions are what busybox' wget is told.
type wgetOptions struct {
	quiet, spider, head, insecure bool
	output, data                  string
	post                          bool
	fields                        []string
	agent, url                    string
	timeout                       time.Duration
}

// runWget is busybox' wget.
func runWget(ctx context.Context, p *process) int {
	o, err := parseWget(p.args[1:])
	if err != nil {
		return p.fail(1, "%v", err)
	}
	ctx, done := p.within(ctx, o.timeout)
	defer done()
	if err := p.wget(ctx, o); err != nil {
		if errors.Is(context.Cause(ctx), errTimeout) {
			err = errors.New("download timed out")
		}
		return p.fail(1, "%v", err)
	}
	return 0
}

// parseWget reads the command line.
func parseWget(args []string) (wgetOptions, error) {
	o := wgetOptions{agent: "Wget", timeout: 900 * time.Second}
	values := map[string]func(string) error{
		"O": func(v string) error { o.output = v; return nil },
		"T": func(v string) (err error) { o.timeout, err = seconds(v); return err },
		"U": func(v string) error { o.agent = v; return nil },
		"header": func(v string) error {
			o.fields = append(o.fields, v)
			return nil
		},
		"post-data": func(v string) error { o.post, o.data = true, v; return nil },
	}
	long := map[string]string{"output-document": "O", "timeout": "T", "user-agent": "U", "quiet": "q", "server-response": "S"}
	switches := map[string]func(){
		"q": func() { o.quiet = true }, "S": func() { o.head = true }, "spider": func() { o.spider = true }, "c": func() {},
		"no-check-certificate": func() { o.insecure = true },
	}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if len(word) < 2 || word[0] != '-' {
			if o.url != "" {
				return o, errors.New("one URL at a time")
			}
			o.url = word
			continue
		}
		name, value, inline := strings.Cut(word, "=")
		names := []string{strings.TrimPrefix(name, "--")}
		if short, ok := long[names[0]]; ok {
			names[0] = short
		}
		if !strings.HasPrefix(word, "--") {
			names, value, inline = letters(word[1:], values)
		}
		for _, n := range names {
			set, takes := values[n]
			turn, known := switches[n]
			switch {
			case takes && !inline && len(args) == 0:
				return o, fmt.Errorf("option requires an argument -- %s", n)
			case takes && !inline:
				value, args = args[0], args[1:]
				fallthrough
			case takes:
				if err := set(value); err != nil {
					return o, err
				}
			case known:
				turn()
			default:
				return o, fmt.Errorf("unrecognized option: %s", n)
			}
		}
	}
	if o.url == "" {
		return o, errors.New("missing URL")
	}
	return o, nil
}

// letters takes a word of options apart: the first that takes a value takes the rest.
func letters(word string, values map[string]func(string) error) (names []string, value string, inline bool) {
	for i := range word {
		name := word[i : i+1]
		names = append(names, name)
		if values[name] != nil && i+1 < len(word) {
			return names, word[i+1:], true
		}
	}
	return names, "", false
}

// wgetRedirects is how many answers may point elsewhere.
const wgetRedirects = 20

// wget asks until an answer does not point elsewhere.
func (p *process) wget(ctx context.Context, o wgetOptions) error {
	target := o.url
	for range wgetRedirects {
		u, err := parseURL(target)
		if err != nil {
			return fmt.Errorf("not an http or ftp url: %s", target)
		}
		r := &request{method: http.MethodGet, url: u, trace: func(byte, string) {},
			tls: &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}
		if o.post {
			r.method, r.body = http.MethodPost, []byte(o.data)
		}
		r.header = append([]string{"Host: " + u.Host, "User-Agent: " + o.agent, "Connection: close"}, o.fields...)
		if o.post {
			r.header = append(r.header, "Content-Type: application/x-www-form-urlencoded", "Content-Length: "+strconv.Itoa(len(r.body)))
		}
		host, port, err := destination(r)
		if err != nil {
			return fmt.Errorf("bad port spec '%s'", u.Host)
		}
		all := p.Network.Resolver().addresses(host)
		if len(all) == 0 {
			return fmt.Errorf("bad address '%s'", u.Host)
		}
		p.note(o, "Connecting to %s (%s:%d)\n", u.Host, all[0], port)
		if u.Scheme == "https" && !o.insecure {
			// Busybox's own sentence, word for word: it says so, and goes on.
			p.note(o, "wget: note: TLS certificate validation not implemented\n")
		}
		a, err := p.exchange(ctx, r)
		if err != nil {
			return wgetError(err, all[0].String())
		}
		next, err := p.fetched(o, u, a)
		a.close()
		if err != nil || next == "" {
			return err
		}
		relative, err := u.Parse(next)
		if err != nil {
			return fmt.Errorf("not an http or ftp url: %s", next)
		}
		target = relative.String()
	}
	return errors.New("too many redirections")
}

func (p *process) note(o wgetOptions, format string, a ...any) {
	if !o.quiet {
		fmt.Fprintf(p.err, format, a...)
	}
}

func wgetError(err error, address string) error {
	var failed *curlError
	if !errors.As(err, &failed) {
		return err
	}
	switch failed.code {
	case curlNoConnect:
		return fmt.Errorf("can't connect to remote host (%s): Connection refused", address)
	case curlEmpty, curlReceive, curlBadProtocol:
		return errors.New("error getting response")
	default:
		return err
	}
}

// fetched handles one answer; next is where it points to.
func (p *process) fetched(o wgetOptions, u *url.URL, a *answer) (next string, err error) {
	if o.head {
		for line := range strings.Lines(string(a.head)) {
			if line = strings.TrimSpace(line); line != "" {
				fmt.Fprintf(p.err, "  %s\n", line)
			}
		}
	}
	switch {
	case a.StatusCode/100 == 3 && a.Header.Get("Location") != "":
		return a.Header.Get("Location"), nil
	case a.StatusCode/100 != 2:
		line, _, _ := strings.Cut(string(a.head), "\r\n")
		return "", fmt.Errorf("server returned error: %s", line)
	case o.spider:
		p.note(o, "remote file exists\n")
		return "", nil
	}
	name := o.output
	if name == "" {
		if name = path.Base(u.Path); name == "/" || name == "." {
			name = "index.html"
		}
	}
	if name == "-" {
		p.note(o, "writing to stdout\n")
		n, err := io.Copy(p.out, a.Body)
		p.note(o, "-                    100%% |********************************| %5d  0:00:00 ETA\nwritten to stdout\n", n)
		return "", err
	}
	f, err := p.Files.OpenFile(p.abs(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return "", fmt.Errorf("can't open '%s': %s", name, reason(err))
	}
	defer f.Close()
	p.note(o, "saving to '%s'\n", name)
	if _, err := io.Copy(f, a.Body); err != nil {
		return "", err
	}
	p.note(o, "'%s' saved\n", name)
	return "", nil
}
