package dataplane

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads the text form that Snapshot.String writes. Empty lines and lines that start with # are skipped;
// indentation means nothing. Endpoints come without Open and certificates without chain and key, which text does not
// carry: the caller sets them. The error names the line.
func Parse(text string) (*Snapshot, error) {
	p := &parser{s: &Snapshot{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		words, pairs, err := splitLine(line)
		if err == nil && len(words) > 0 {
			err = p.line(words[0], words[1:], pairs)
		}
		if err != nil {
			return nil, fmt.Errorf("parse snapshot: line %d: %w", n, err)
		}
	}
	return p.s, nil
}

// parser remembers what the following lines belong to.
type parser struct {
	s        *Snapshot
	listener *Listener
	route    *Route
	upstream *Upstream
}

// line reads one line.
func (p *parser) line(word string, args []string, pairs map[string]string) error {
	a := arguments{words: args, pairs: pairs}
	switch {
	case word == "listener":
		p.s.Listeners = append(p.s.Listeners, Listener{
			ID: a.word(), Class: Class(a.word()), Protocol: Protocol(a.word()), Port: a.int(a.word()), LoadBalancer: a.pair("lb"),
		})
		p.listener, p.route, p.upstream = &p.s.Listeners[len(p.s.Listeners)-1], nil, nil
	case word == "upstream":
		p.s.Upstreams = append(p.s.Upstreams, Upstream{ID: a.word(), Scheme: a.word(), KeepAlive: a.flag("keepalive"), Name: a.pair("name")})
		p.listener, p.route, p.upstream = nil, nil, &p.s.Upstreams[len(p.s.Upstreams)-1]
	case word == "endpoint" && p.upstream != nil:
		p.upstream.Endpoints = append(p.upstream.Endpoints, Endpoint{ID: a.word(), Addr: a.word(), Weight: a.int(a.pair("weight"))})
	case word == "certificate":
		p.s.Certificates = append(p.s.Certificates, a.certificate())
		p.listener, p.route, p.upstream = nil, nil, nil
	case p.listener != nil && p.listenerLine(word, &a):
	case p.route != nil && p.routeLine(word, &a):
	default:
		return fmt.Errorf("%q is unknown or stands in the wrong place", word)
	}
	return a.finish(word)
}

// listenerLine reads a line below a listener; false if it is none.
func (p *parser) listenerLine(word string, a *arguments) bool {
	l := p.listener
	switch word {
	case "tls":
		l.TLS = &TLS{HTTP2: a.flag("h2"), Default: a.pair("default"), Policy: a.pair("policy")}
	case "cert":
		if l.TLS == nil {
			return false
		}
		l.TLS.parseCert(a)
	case "challenge":
		if l.TLS == nil {
			return false
		}
		l.TLS.Challenges = append(l.TLS.Challenges, CertificateHost{Certificate: a.word(), Host: a.pair("host")})
	case "quic":
		l.QUIC = a.word()
	case "reload":
		l.Generation, l.CutAfter = a.uint("generation"), a.duration("cut")
	case "response":
		if p.route != nil {
			return false // it is the route's
		}
		l.Response = append(l.Response, Field{Name: a.word(), Value: a.word()})
	case "socket":
		l.Sockets = append(l.Sockets, a.word())
	case "client":
		l.Client = ClientLimits{
			Idle: a.duration("idle"), Request: a.duration("request"),
			HeaderBytes: a.int(a.pair("header")), Requests: a.int(a.pair("requests")),
		}
	case "forward":
		for _, flag := range l.Forward.flags() {
			*flag.on = a.flag(flag.name)
		}
	case "noroute":
		l.NoRoute = a.reply()
	case "route":
		l.Routes = append(l.Routes, Route{ID: a.word(), Name: a.pair("name"), Source: a.pair("source")})
		p.route = &l.Routes[len(l.Routes)-1]
	default:
		return false
	}
	return true
}

// routeLine reads a line below a route; false if it is none.
func (p *parser) routeLine(word string, a *arguments) bool {
	r := p.route
	switch word {
	case "host":
		r.Match.Hosts = append(r.Match.Hosts, HostMatch{Kind: HostKind(a.word()), Value: a.word()})
	case "path":
		r.Match.Paths = append(r.Match.Paths, PathMatch{Kind: PathKind(a.word()), Value: a.word()})
	case "timeouts":
		r.Timeouts = Timeouts{
			Connect: a.duration("connect"), Request: a.duration("request"), Read: a.duration("read"),
			Send: a.duration("send"), Tunnel: a.duration("tunnel"),
		}
	case "to":
		r.Action.Forward = append(r.Action.Forward, WeightedUpstream{Upstream: a.word(), Weight: a.int(a.pair("weight"))})
	case "redirect":
		r.Action.Redirect = &Redirect{
			Status: a.int(a.word()), Scheme: a.pair("scheme"), Host: a.pair("host"), Port: a.int(a.pair("port")),
			Path: a.pair("path"), Query: a.pair("query"), TrimSlash: a.flag("trimslash"),
		}
	case "rewrite":
		r.Rewrite = &Rewrite{Regex: a.word(), Replacement: a.word()}
	case "body":
		r.BodyBytes = int64(a.int(a.word()))
	case "response":
		r.Response = append(r.Response, Field{Name: a.word(), Value: a.word()})
	case "reply":
		reply := a.reply()
		r.Action.Reply = &reply
	default:
		return false
	}
	return true
}

// parseCert reads one certificate of a listener, for a host or for the names it holds.
func (t *TLS) parseCert(a *arguments) {
	id := a.word()
	if host := a.pair("host"); host != "" {
		t.Hosts = append(t.Hosts, CertificateHost{Host: host, Certificate: id})
		return
	}
	t.Certificates = append(t.Certificates, id)
}

// arguments hands out a line's words and pairs; the first error stays.
type arguments struct {
	words []string
	pairs map[string]string
	err   error
}

// word takes the next word.
func (a *arguments) word() string {
	if len(a.words) == 0 {
		a.fail(fmt.Errorf("a word is missing"))
		return ""
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w
}

// flag takes the next word if it is that one.
func (a *arguments) flag(name string) bool {
	if len(a.words) == 0 || a.words[0] != name {
		return false
	}
	a.words = a.words[1:]
	return true
}

// pair takes the value of a key, or "".
func (a *arguments) pair(key string) string {
	v := a.pairs[key]
	delete(a.pairs, key)
	return v
}

// int reads a number; an empty text is 0.
func (a *arguments) int(text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		a.fail(fmt.Errorf("%q is not a whole number", text))
	}
	return n
}

// duration reads a pair's duration.
func (a *arguments) duration(key string) time.Duration {
	text := a.pair(key)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		a.fail(fmt.Errorf("%s=%q is not a duration such as 15s", key, text))
	}
	return d
}

// uint reads a pair's number; a missing one is 0.
func (a *arguments) uint(key string) uint64 {
	text := a.pair(key)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		a.fail(fmt.Errorf("%s=%q is not a whole number from 0 on", key, text))
	}
	return n
}

// time reads a pair's time.
func (a *arguments) time(key string) time.Time {
	text := a.pair(key)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		a.fail(fmt.Errorf("%s=%q is not a time such as 2026-01-02T03:04:05Z", key, text))
	}
	return t.UTC().Truncate(time.Second)
}

// certificate reads what text tells about a certificate.
func (a *arguments) certificate() Certificate {
	c := Certificate{ID: a.word()}
	for _, kind := range []KeyKind{KeyECC, KeyRSA} {
		if a.flag(string(kind)) {
			c.Info.Kind = kind
		}
	}
	if names := a.pair("names"); names != "" {
		c.Info.Names = strings.Split(names, ",")
	}
	c.Info.NotBefore, c.Info.NotAfter, c.Info.SHA256 = a.time("from"), a.time("to"), a.pair("sha256")
	return c
}

// reply reads a fixed answer.
func (a *arguments) reply() Reply {
	return Reply{Status: a.int(a.word()), ContentType: a.pair("type"), Body: a.pair("body")}
}

func (a *arguments) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// finish reports the first error, or what nobody took.
func (a *arguments) finish(word string) error {
	if a.err != nil {
		return fmt.Errorf("%s: %w", word, a.err)
	}
	for _, w := range a.words {
		return fmt.Errorf("%s: %q is unknown", word, w)
	}
	for k := range a.pairs {
		return fmt.Errorf("%s: %q is unknown", word, k+"=")
	}
	return nil
}

// splitLine splits a line into words and key=value pairs.
func splitLine(line string) (words []string, pairs map[string]string, err error) {
	rest := strings.TrimSpace(line)
	if strings.HasPrefix(rest, "#") {
		return nil, nil, nil
	}
	for rest != "" {
		key := ""
		if i := strings.IndexAny(rest, "=\" "); i > 0 && rest[i] == '=' {
			key, rest = rest[:i], rest[i+1:]
		}
		word := ""
		if word, rest, err = takeWord(rest); err != nil {
			return nil, nil, err
		}
		if key == "" {
			words = append(words, word)
			continue
		}
		if pairs == nil {
			pairs = map[string]string{}
		}
		if _, ok := pairs[key]; ok {
			return nil, nil, fmt.Errorf("%q stands twice", key+"=")
		}
		pairs[key] = word
	}
	return words, pairs, nil
}

// takeWord takes one word, quoted or not, and the space after it.
func takeWord(s string) (word, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		word, rest, _ = strings.Cut(s, " ")
		return word, strings.TrimLeft(rest, " "), nil
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", fmt.Errorf("%q begins a quoted word that does not end", s)
	}
	if word, err = strconv.Unquote(quoted); err != nil {
		return "", "", fmt.Errorf("%s is not a quoted word", quoted)
	}
	rest = s[len(quoted):]
	if rest != "" && rest[0] != ' ' {
		return "", "", fmt.Errorf("a space is missing after %s", quoted)
	}
	return word, strings.TrimLeft(rest, " "), nil
}
