package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// curlVersion is the release whose words are used.
const curlVersion = "8.14.1"

// transfer is one run of curl.
type transfer struct {
	*process
	curlOptions
	began time.Time
	// What -w tells of.
	answer    *answer
	url       *url.URL
	redirects int
	received  int64
	code      int
}

// runCurl is curl.
func runCurl(ctx context.Context, p *process) int {
	o, err := parseCurl(p)
	if err != nil {
		fmt.Fprintf(p.err, "curl: %v\ncurl: try 'curl --help' for more information\n", err)
		return curlUsage
	}
	if o.help {
		p.printf("%s", curlHelp())
		return 0
	}
	if o.version {
		p.printf("curl %s (the appliance's built-in images)\nProtocols: http https\nFeatures: SSL\n", curlVersion)
		return 0
	}
	code := 0
	for _, target := range o.urls {
		t := &transfer{process: p, curlOptions: o, began: p.Clock.Now()}
		t.code = t.run(ctx, target)
		t.report()
		code = t.code
	}
	return code
}

// run does one URL and gives the exit code.
func (t *transfer) run(ctx context.Context, target string) int {
	ctx, done := t.within(ctx, t.maxTime)
	defer done()
	err := t.follow(ctx, target)
	if t.answer != nil {
		t.answer.close()
	}
	if err == nil {
		return 0
	}
	var failed *curlError
	if !errors.As(err, &failed) {
		failed = curlErrorf(curlReceive, "%v", err)
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		failed = curlErrorf(curlTimeout, "Operation timed out after %d milliseconds with %d bytes received", t.Clock.Since(t.began).Milliseconds(), t.received)
	}
	t.complain(failed)
	return failed.code
}

func (t *transfer) complain(e *curlError) {
	if t.silent && !t.showError {
		return
	}
	fmt.Fprintf(t.err, "curl: (%d) %s\n", e.code, e.text)
	if e.code == curlCertificate {
		fmt.Fprint(t.err, "More details here: https://curl.se/docs/sslcerts.html\n\ncurl failed to verify the legitimacy of the server and therefore could not\n"+
			"establish a secure connection to it. To learn more about this situation and\nhow to fix it, please visit the webpage mentioned above.\n")
	}
}

// follow asks, and with -L asks again where the answer points.
func (t *transfer) follow(ctx context.Context, target string) error {
	method, body := t.method(), t.body
	for {
		u, err := parseURL(target)
		if err != nil {
			return err
		}
		if t.get && t.url == nil && len(body) > 0 {
			u.RawQuery, body = strings.Trim(u.RawQuery+"&"+string(body), "&"), nil
		}
		t.url = u
		if t.answer, err = t.exchange(ctx, t.request(method, u, body)); err != nil {
			return err
		}
		next := t.answer.Header.Get("Location")
		if !t.location || next == "" || t.answer.StatusCode/100 != 3 {
			return t.receive(ctx)
		}
		if t.redirects == t.maxRedirects {
			return curlErrorf(curlRedirects, "Maximum (%d) redirects followed", t.maxRedirects)
		}
		if err := t.heads(); err != nil {
			return err
		}
		t.answer.close()
		t.redirects++
		relative, err := u.Parse(next)
		if err != nil {
			return curlErrorf(curlBadURL, "URL rejected: %v", err)
		}
		target = relative.String()
		if s := t.answer.StatusCode; s != http.StatusTemporaryRedirect && s != http.StatusPermanentRedirect && t.custom == "" && method == http.MethodPost {
			method, body = http.MethodGet, nil
		}
	}
}

// parseURL reads a URL as curl does: without a scheme it is http.
func parseURL(target string) (*url.URL, error) {
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	u, err := url.Parse(target)
	switch {
	case err != nil || strings.ContainsAny(target, " \t\r\n"):
		return nil, curlErrorf(curlBadURL, "URL rejected: Malformed input to a URL function")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, curlErrorf(curlBadProtocol, "Protocol %q not supported", u.Scheme)
	case u.Hostname() == "":
		return nil, curlErrorf(curlBadURL, "URL rejected: No host part in the URL")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

func (o *curlOptions) method() string {
	switch {
	case o.custom != "":
		return o.custom
	case o.headOnly:
		return http.MethodHead
	case o.hasBody && !o.get:
		return http.MethodPost
	default:
		return http.MethodGet
	}
}

// request makes a request with the fields that curl sends, where -H says nothing else.
func (t *transfer) request(method string, u *url.URL, body []byte) *request {
	r := &request{method: method, url: u, body: body, connectTimeout: t.connectTimeout, tls: t.tlsConfig(u.Hostname()), trace: t.trace}
	given := map[string]bool{}
	for _, line := range t.fields {
		name, _, _ := strings.Cut(line, ":")
		given[strings.ToLower(strings.TrimRight(name, ";"))] = true
	}
	add := func(name, value string) {
		if value != "" && !given[strings.ToLower(name)] {
			r.header = append(r.header, name+": "+value)
		}
	}
	add("Host", u.Host)
	add("Authorization", t.authorization)
	add("User-Agent", t.agent)
	add("Accept", "*/*")
	add("Referer", t.referer)
	add("Cookie", t.cookie)
	for _, line := range t.fields {
		name, value, hasValue := strings.Cut(line, ":")
		switch {
		case strings.HasSuffix(line, ";") && !hasValue:
			r.header = append(r.header, strings.TrimSuffix(line, ";")+":")
		case strings.TrimSpace(value) != "":
			r.header = append(r.header, name+": "+strings.TrimSpace(value))
		}
	}
	if len(body) > 0 || method == http.MethodPost {
		add("Content-Length", strconv.Itoa(len(body)))
		add("Content-Type", t.contentType)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	r.connect = t.resolve[strings.ToLower(u.Hostname())+":"+port]
	return r
}

// trace prints what -v shows.
func (t *transfer) trace(mark byte, line string) {
	if t.verbose {
		fmt.Fprintf(t.err, "%c %s\n", mark, line)
	}
}

// heads prints the answer's head where it is asked for.
func (t *transfer) heads() error {
	if t.dump != "" {
		if err := t.into(t.dump, func(w io.Writer) error {
			_, err := w.Write(t.answer.head)
			return err
		}); err != nil {
			return err
		}
	}
	if t.include || t.headOnly {
		t.out.Write(t.answer.head)
	}
	return nil
}

// into writes to a file, or to the output when it is "-".
func (t *transfer) into(name string, write func(io.Writer) error) error {
	if name == "-" {
		return write(t.out)
	}
	f, err := t.Files.OpenFile(t.abs(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		if !t.silent {
			fmt.Fprintf(t.err, "Warning: Failed to open the file %s: %s\n", name, reason(err))
		}
		return curlErrorf(curlWriteError, "client returned ERROR on writing, failed to open %s", name)
	}
	defer f.Close()
	return write(f)
}

// receive prints the answer.
func (t *transfer) receive(ctx context.Context) error {
	if t.failHTTP && t.answer.StatusCode >= 400 {
		return curlErrorf(curlHTTPError, "The requested URL returned error: %d", t.answer.StatusCode)
	}
	name := t.output
	if t.remoteName {
		if name = path.Base(t.url.Path); name == "/" || name == "." {
			name = "curl_response"
		}
	}
	if name == "" {
		name = "-"
	}
	err := t.into(name, func(w io.Writer) error {
		if t.include || t.headOnly {
			w.Write(t.answer.head)
		}
		return t.copy(ctx, w)
	})
	if t.dump != "" && err == nil {
		err = t.into(t.dump, func(w io.Writer) error {
			_, err := w.Write(t.answer.head)
			return err
		})
	}
	t.progress(name == "-" && t.tty)
	if err == nil {
		t.trace('*', fmt.Sprintf("Connection #0 to host %s left intact", t.url.Hostname()))
	}
	return err
}

// copy passes the body on as it comes.
func (t *transfer) copy(ctx context.Context, w io.Writer) error {
	buffer := make([]byte, 16<<10)
	for {
		n, err := t.answer.Body.Read(buffer)
		t.received += int64(n)
		if n > 0 {
			if _, failed := w.Write(buffer[:n]); failed != nil {
				return curlErrorf(curlWriteError, "Failure writing output to destination, passed %d returned 0", n)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF) && t.answer.ContentLength > 0:
			return curlErrorf(curlPartial, "end of response with %d bytes missing", t.answer.ContentLength-t.received)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return curlErrorf(curlPartial, "transfer closed with outstanding read data remaining")
		case err != nil:
			return t.broken(ctx, err)
		}
	}
}

// progress is the meter that curl shows when its output is no terminal: here only its last state.
func (t *transfer) progress(terminal bool) {
	if t.silent || terminal {
		return
	}
	fmt.Fprintf(t.err, "  %% Total    %% Received %% Xferd  Average Speed   Time    Time     Time  Current\n"+
		"                                 Dload  Upload   Total   Spent    Left  Speed\n")
	rate := int64(float64(t.received) / max(t.Clock.Since(t.began).Seconds(), 0.001))
	fmt.Fprintf(t.err, "100 %5d  100 %5d    0     0 %6d      0 --:--:-- --:--:-- --:--:-- %5d\n", t.received, t.received, rate, rate)
}

// report prints what -w asks for.
func (t *transfer) report() {
	if t.format == "" {
		return
	}
	text := strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\r`, "\r").Replace(t.format)
	for {
		before, rest, ok := strings.Cut(text, "%{")
		t.printf("%s", strings.ReplaceAll(before, "%%", "%"))
		name, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			return
		}
		t.printf("%s", t.variable(name))
		text = after
	}
}

// variable is a value of -w. One that is not known is empty, as curl has it.
func (t *transfer) variable(name string) string {
	a := t.answer
	if a == nil {
		a = &answer{Response: &http.Response{Header: http.Header{}}}
	}
	since := func(at time.Time) string {
		if at.IsZero() {
			at = t.began
		}
		return fmt.Sprintf("%.6f", at.Sub(t.began).Seconds())
	}
	switch name {
	case "http_code", "response_code":
		return fmt.Sprintf("%03d", a.StatusCode)
	case "size_download":
		return strconv.FormatInt(t.received, 10)
	case "size_header":
		return strconv.Itoa(len(a.head))
	case "content_type":
		return a.Header.Get("Content-Type")
	case "num_redirects":
		return strconv.Itoa(t.redirects)
	case "redirect_url":
		if location, err := a.Location(); err == nil {
			if !location.IsAbs() {
				location = t.url.ResolveReference(location)
			}
			return location.String()
		}
	case "remote_ip":
		if a.remote.Addr() != (netip.Addr{}) {
			return a.remote.Addr().String()
		}
	case "remote_port":
		return strconv.Itoa(int(a.remote.Port()))
	case "url_effective", "url":
		if t.url != nil {
			return t.url.String()
		}
	case "http_version":
		return "1.1"
	case "method":
		return t.method()
	case "scheme":
		if t.url != nil {
			return t.url.Scheme
		}
	case "exitcode":
		return strconv.Itoa(t.code)
	case "time_namelookup":
		return since(a.times.resolved)
	case "time_connect":
		return since(a.times.connected)
	case "time_starttransfer":
		return since(a.times.began)
	case "time_total":
		return since(t.Clock.Now())
	}
	return ""
}
