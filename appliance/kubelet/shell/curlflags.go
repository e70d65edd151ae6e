package shell

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// curlOptions are what curl is told.
type curlOptions struct {
	urls                              []string
	silent, showError, verbose, help  bool
	version, include, headOnly        bool
	insecure, location, failHTTP, get bool
	hasBody, remoteName               bool
	custom, output, format, dump      string
	agent, referer, cookie            string
	authorization, contentType        string
	fields                            []string
	body                              []byte
	connectTimeout, maxTime           time.Duration
	maxRedirects                      int
	resolve                           map[string]string // host:port → host:port to connect to
	roots                             *x509.CertPool
}

// curlFlag is one row of the table: with set it takes a value, with on it does not, with neither it has no effect here.
type curlFlag struct {
	letter byte
	name   string
	on     func(*curlOptions)
	set    func(*process, *curlOptions, string) error
}

// curlFlags is the table of options.
func curlFlags() []curlFlag {
	text := func(into func(*curlOptions) *string) func(*process, *curlOptions, string) error {
		return func(_ *process, o *curlOptions, v string) error {
			*into(o) = v
			return nil
		}
	}
	return []curlFlag{
		{'A', "user-agent", nil, text(func(o *curlOptions) *string { return &o.agent })},
		{'b', "cookie", nil, text(func(o *curlOptions) *string { return &o.cookie })},
		{0, "cacert", nil, (*process).curlRoots},
		{0, "connect-timeout", nil, func(_ *process, o *curlOptions, v string) (err error) { o.connectTimeout, err = seconds(v); return err }},
		{'d', "data", nil, func(p *process, o *curlOptions, v string) error { return p.curlData(o, v, true) }},
		{0, "data-ascii", nil, func(p *process, o *curlOptions, v string) error { return p.curlData(o, v, true) }},
		{0, "data-binary", nil, func(p *process, o *curlOptions, v string) error { return p.curlData(o, v, false) }},
		{0, "data-raw", nil, func(_ *process, o *curlOptions, v string) error { o.append([]byte(v)); return nil }},
		{'D', "dump-header", nil, text(func(o *curlOptions) *string { return &o.dump })},
		{'f', "fail", func(o *curlOptions) { o.failHTTP = true }, nil},
		{'G', "get", func(o *curlOptions) { o.get = true }, nil},
		{'H', "header", nil, func(_ *process, o *curlOptions, v string) error {
			if strings.ContainsAny(v, "\r\n") {
				return errors.New("option -H: a header field has one line")
			}
			o.fields = append(o.fields, v)
			return nil
		}},
		{'h', "help", func(o *curlOptions) { o.help = true }, nil},
		{0, "http1.1", nil, nil},
		{'i', "include", func(o *curlOptions) { o.include = true }, nil},
		{0, "show-headers", func(o *curlOptions) { o.include = true }, nil},
		{'I', "head", func(o *curlOptions) { o.headOnly = true }, nil},
		{'k', "insecure", func(o *curlOptions) { o.insecure = true }, nil},
		{0, "json", nil, func(p *process, o *curlOptions, v string) error {
			o.contentType = "application/json"
			o.fields = append(o.fields, "Accept: application/json")
			return p.curlData(o, v, false)
		}},
		{'L', "location", func(o *curlOptions) { o.location = true }, nil},
		{'m', "max-time", nil, func(_ *process, o *curlOptions, v string) (err error) { o.maxTime, err = seconds(v); return err }},
		{0, "max-redirs", nil, func(_ *process, o *curlOptions, v string) (err error) {
			o.maxRedirects, err = strconv.Atoi(v)
			return err
		}},
		{'N', "no-buffer", nil, nil},
		{0, "noproxy", nil, func(*process, *curlOptions, string) error { return nil }},
		{'o', "output", nil, text(func(o *curlOptions) *string { return &o.output })},
		{'O', "remote-name", func(o *curlOptions) { o.remoteName = true }, nil},
		{'e', "referer", nil, text(func(o *curlOptions) *string { return &o.referer })},
		{'X', "request", nil, text(func(o *curlOptions) *string { return &o.custom })},
		{0, "resolve", nil, func(_ *process, o *curlOptions, v string) error { return o.pin(v, "--resolve") }},
		{0, "connect-to", nil, func(_ *process, o *curlOptions, v string) error { return o.redirect(v) }},
		{'s', "silent", func(o *curlOptions) { o.silent = true }, nil},
		{'S', "show-error", func(o *curlOptions) { o.showError = true }, nil},
		{0, "url", nil, func(_ *process, o *curlOptions, v string) error { o.urls = append(o.urls, v); return nil }},
		{'u', "user", nil, func(_ *process, o *curlOptions, v string) error {
			o.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(v))
			return nil
		}},
		{'v', "verbose", func(o *curlOptions) { o.verbose = true }, nil},
		{'V', "version", func(o *curlOptions) { o.version = true }, nil},
		{'w', "write-out", nil, text(func(o *curlOptions) *string { return &o.format })},
		{'4', "ipv4", nil, nil},
	}
}

func curlHelp() string {
	var b strings.Builder
	b.WriteString("Usage: curl [options...] <url>\nThe curl of the appliance's built-in images speaks HTTP/1.1 and knows:\n")
	for _, f := range curlFlags() {
		letter := "    "
		if f.letter != 0 {
			letter = fmt.Sprintf("-%c, ", f.letter)
		}
		value := ""
		if f.set != nil {
			value = " <value>"
		}
		fmt.Fprintf(&b, " %s--%s%s\n", letter, f.name, value)
	}
	return b.String()
}

// parseCurl reads the command line; options and URLs may be mixed.
func parseCurl(p *process) (curlOptions, error) {
	o := curlOptions{agent: "curl/" + curlVersion, contentType: "application/x-www-form-urlencoded", maxRedirects: 50, resolve: map[string]string{}}
	args, flags := p.args[1:], curlFlags()
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		var err error
		switch {
		case strings.HasPrefix(word, "--") && len(word) > 2:
			args, err = o.long(p, flags, word, args)
		case len(word) > 1 && word[0] == '-' && word != "--":
			args, err = o.short(p, flags, word, args)
		case word != "--":
			o.urls = append(o.urls, word)
		}
		if err != nil {
			return o, err
		}
	}
	if len(o.urls) == 0 && !o.help && !o.version {
		return o, errors.New("(2) no URL specified")
	}
	return o, nil
}

func (o *curlOptions) long(p *process, flags []curlFlag, word string, args []string) ([]string, error) {
	i := slices.IndexFunc(flags, func(f curlFlag) bool { return f.name == word[2:] })
	if i < 0 {
		return nil, fmt.Errorf("option %s: is unknown", word)
	}
	return o.apply(p, flags[i], word, args)
}

// short reads letters; one that takes a value takes the rest of the word, or the next one.
func (o *curlOptions) short(p *process, flags []curlFlag, word string, args []string) ([]string, error) {
	for at := 1; at < len(word); at++ {
		i := slices.IndexFunc(flags, func(f curlFlag) bool { return f.letter == word[at] })
		if i < 0 {
			return nil, fmt.Errorf("option %s: is unknown", word)
		}
		if flags[i].set != nil && at+1 < len(word) {
			return args, flags[i].set(p, o, word[at+1:])
		}
		var err error
		if args, err = o.apply(p, flags[i], word, args); err != nil {
			return nil, err
		}
	}
	return args, nil
}

func (o *curlOptions) apply(p *process, f curlFlag, word string, args []string) ([]string, error) {
	switch {
	case f.set != nil && len(args) == 0:
		return nil, fmt.Errorf("option %s: requires parameter", word)
	case f.set != nil:
		return args[1:], f.set(p, o, args[0])
	case f.on != nil:
		f.on(o)
	}
	return args, nil
}

func seconds(v string) (time.Duration, error) {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || n < 0 || n > 1e8 {
		return 0, fmt.Errorf("expected a proper number of seconds instead of %q", v)
	}
	return time.Duration(n * float64(time.Second)), nil
}

// bodyCapacity bounds what -d sends, in bytes.
const bodyCapacity = 4 << 20

// curlData is -d: text, or a file behind an @; what comes again is joined by an ampersand.
func (p *process) curlData(o *curlOptions, v string, ascii bool) error {
	name, file := strings.CutPrefix(v, "@")
	if !file {
		o.append([]byte(v))
		return nil
	}
	in := p.in
	if name != "-" {
		f, err := p.Files.OpenFile(p.abs(name), os.O_RDONLY)
		if err != nil {
			return fmt.Errorf("option -d: error encountered when reading a file: %s: %s", name, reason(err))
		}
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, bodyCapacity))
	if err != nil {
		return fmt.Errorf("option -d: error encountered when reading a file: %w", err)
	}
	if ascii {
		data = []byte(strings.NewReplacer("\r", "", "\n", "").Replace(string(data)))
	}
	o.append(data)
	return nil
}

func (o *curlOptions) append(data []byte) {
	if o.hasBody {
		o.body = append(o.body, '&')
	}
	o.body, o.hasBody = append(o.body, data...), true
}

// pin is --resolve HOST:PORT:ADDRESS.
func (o *curlOptions) pin(v, option string) error {
	host, rest, ok := strings.Cut(v, ":")
	port, address, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return fmt.Errorf("(49) Couldn't parse CURLOPT_RESOLVE entry '%s'; %s wants HOST:PORT:ADDRESS", v, option)
	}
	address, _, _ = strings.Cut(address, ",")
	o.resolve[strings.ToLower(host)+":"+port] = net.JoinHostPort(strings.Trim(address, "[]"), port)
	return nil
}

// redirect is --connect-to HOST1:PORT1:HOST2:PORT2.
func (o *curlOptions) redirect(v string) error {
	parts := strings.Split(v, ":")
	if len(parts) != 4 {
		return fmt.Errorf("option --connect-to: %q is not HOST1:PORT1:HOST2:PORT2", v)
	}
	o.resolve[strings.ToLower(parts[0])+":"+parts[1]] = net.JoinHostPort(parts[2], parts[3])
	return nil
}

// curlRoots is --cacert.
func (p *process) curlRoots(o *curlOptions, name string) error {
	f, err := p.Files.OpenFile(p.abs(name), os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("(77) error setting certificate verify locations: CAfile: %s", name)
	}
	text, err := io.ReadAll(f)
	o.roots = x509.NewCertPool()
	if err != nil || !o.roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("(77) error setting certificate verify locations: CAfile: %s", name)
	}
	return nil
}

// tlsConfig verifies as curl does: first who issued the certificate, then whose it is.
func (t *transfer) tlsConfig(host string) *tls.Config {
	c := &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	if t.insecure {
		return c
	}
	c.VerifyConnection = func(s tls.ConnectionState) error {
		o := x509.VerifyOptions{Roots: t.roots, CurrentTime: t.Clock.Now(), Intermediates: x509.NewCertPool()}
		for _, above := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(above)
		}
		if _, err := s.PeerCertificates[0].Verify(o); err != nil {
			return err
		}
		return s.PeerCertificates[0].VerifyHostname(host)
	}
	return c
}
