package dataplane

import (
	"strconv"
	"strings"
	"time"
)

// String gives the canonical text form, one thing a line, in the snapshot's own order: what logs, goldens and diffs
// show and what Parse reads back. Words that hold anything but plain printable characters are quoted as in Go.
//
//	listener lsn-1 alb HTTP 80 lb=alb-x
//	  socket 127.77.0.2:80
//	  client idle=15s request=1m0s header=32768 requests=100
//	  forward x-forwarded-for trace
//	  route rule-1 name=rule-80-1 source="Ingress default/coffee"
//	    host exact ingress-demo.com
//	    path prefix /coffee/
//	    timeouts connect=5s request=1m0s
//	    to sgp-1 weight=100
//	  noroute 503
//	upstream sgp-1 http keepalive name=default-coffee-svc-80
//	  endpoint eni-1 192.168.0.12:80 weight=100
//	certificate crt-1 ECC names=tea.example,*.tea.example from=2026-01-01T00:00:00Z to=2026-04-01T00:00:00Z sha256=4e1f…
//
// An HTTPS listener has lines "tls h2 default=crt-1 policy=…", "cert crt-1", "cert crt-1 host=tea.example"; other lines
// are quic, reload, response, rewrite and body. Keys are never printed.
func (s *Snapshot) String() string {
	var w textWriter
	for i := range s.Listeners {
		w.listener(&s.Listeners[i])
	}
	for i := range s.Upstreams {
		w.upstream(&s.Upstreams[i])
	}
	for i := range s.Certificates {
		w.certificate(&s.Certificates[i])
	}
	return w.b.String()
}

// textWriter writes lines of words.
type textWriter struct {
	b       strings.Builder
	started bool
}

// line begins a line.
func (w *textWriter) line(indent int, words ...string) {
	w.b.WriteString(strings.Repeat("  ", indent))
	w.started = false
	w.words(words...)
}

// words adds words to the line.
func (w *textWriter) words(words ...string) {
	for _, s := range words {
		if w.started {
			w.b.WriteByte(' ')
		}
		w.started = true
		w.b.WriteString(quoteWord(s))
	}
}

// pair adds key=value unless the value is empty.
func (w *textWriter) pair(key, value string) {
	if value != "" {
		w.b.WriteString(" " + key + "=" + quoteWord(value))
	}
}

// number adds key=value unless the value is 0.
func (w *textWriter) number(key string, v int) {
	if v != 0 {
		w.pair(key, strconv.Itoa(v))
	}
}

// duration adds key=value unless the value is 0.
func (w *textWriter) duration(key string, v time.Duration) {
	if v != 0 {
		w.pair(key, v.String())
	}
}

func (w *textWriter) end() { w.b.WriteByte('\n') }

// listener writes a listener with its routes.
func (w *textWriter) listener(l *Listener) {
	w.line(0, "listener", l.ID, string(l.Class), string(l.Protocol), strconv.Itoa(l.Port))
	w.pair("lb", l.LoadBalancer)
	w.end()
	for _, s := range l.Sockets {
		w.line(1, "socket", s)
		w.end()
	}
	if l.TLS != nil {
		w.tls(l.TLS)
	}
	if l.QUIC != "" {
		w.line(1, "quic", l.QUIC)
		w.end()
	}
	w.manners(l)
	w.response(1, l.Response)
	for i := range l.Routes {
		w.route(&l.Routes[i])
	}
	if l.NoRoute != (Reply{}) {
		w.reply(1, "noroute", &l.NoRoute)
	}
}

// manners writes a listener's limits, fields about the client and reloads.
func (w *textWriter) manners(l *Listener) {
	if l.Client != (ClientLimits{}) {
		w.line(1, "client")
		w.duration("idle", l.Client.Idle)
		w.duration("request", l.Client.Request)
		w.number("header", l.Client.HeaderBytes)
		w.number("requests", l.Client.Requests)
		w.end()
	}
	if l.Forward != (ForwardHeaders{}) {
		w.line(1, "forward")
		f := l.Forward
		for _, flag := range f.flags() {
			if *flag.on {
				w.words(flag.name)
			}
		}
		w.end()
	}
	if l.Generation != 0 || l.CutAfter != 0 {
		w.line(1, "reload")
		w.pair("generation", strconv.FormatUint(l.Generation, 10))
		w.duration("cut", l.CutAfter)
		w.end()
	}
}

// tls writes how a listener speaks TLS.
func (w *textWriter) tls(t *TLS) {
	w.line(1, "tls")
	if t.HTTP2 {
		w.words("h2")
	}
	w.pair("default", t.Default)
	w.pair("policy", t.Policy)
	w.end()
	for _, id := range t.Certificates {
		w.line(2, "cert", id)
		w.end()
	}
	for _, h := range t.Hosts {
		w.line(2, "cert", h.Certificate)
		w.pair("host", h.Host)
		w.end()
	}
	for _, h := range t.Challenges {
		w.line(2, "challenge", h.Certificate)
		w.pair("host", h.Host)
		w.end()
	}
}

// response writes the fields set on answers.
func (w *textWriter) response(indent int, fields []Field) {
	for _, f := range fields {
		w.line(indent, "response", f.Name, f.Value)
		w.end()
	}
}

// certificate writes what a certificate says about itself, never its key.
func (w *textWriter) certificate(c *Certificate) {
	info := c.describe()
	w.line(0, "certificate", c.ID)
	if info.Kind != "" {
		w.words(string(info.Kind))
	}
	w.pair("names", strings.Join(info.Names, ","))
	w.time("from", info.NotBefore)
	w.time("to", info.NotAfter)
	w.pair("sha256", info.SHA256)
	w.end()
}

// time adds key=value, in UTC to the second, unless the time is zero.
func (w *textWriter) time(key string, t time.Time) {
	if !t.IsZero() {
		w.pair(key, t.UTC().Format(time.RFC3339))
	}
}

// forwardFlag is one switch of ForwardHeaders and its word.
type forwardFlag struct {
	name string
	on   *bool
}

// flags lists the switches in their order in the text form.
func (f *ForwardHeaders) flags() []forwardFlag {
	return []forwardFlag{
		{"x-forwarded-for", &f.XForwardedFor},
		{"x-forwarded-proto", &f.XForwardedProto},
		{"x-forwarded-port", &f.XForwardedPort},
		{"x-forwarded-host", &f.XForwardedHost},
		{"client-srcport", &f.ClientSrcPort},
		{"slb-id", &f.SLBID},
		{"trace", &f.Trace},
		{"x-real-ip", &f.XRealIP},
		{"x-request-id", &f.RequestID},
	}
}

// route writes a route.
func (w *textWriter) route(r *Route) {
	w.line(1, "route", r.ID)
	w.pair("name", r.Name)
	w.pair("source", r.Source)
	w.end()
	for _, h := range r.Match.Hosts {
		w.line(2, "host", string(h.Kind), h.Value)
		w.end()
	}
	for _, p := range r.Match.Paths {
		w.line(2, "path", string(p.Kind), p.Value)
		w.end()
	}
	if t := r.Timeouts; t != (Timeouts{}) {
		w.line(2, "timeouts")
		w.duration("connect", t.Connect)
		w.duration("request", t.Request)
		w.duration("read", t.Read)
		w.duration("send", t.Send)
		w.duration("tunnel", t.Tunnel)
		w.end()
	}
	w.policies(r)
	for _, f := range r.Action.Forward {
		w.line(2, "to", f.Upstream)
		w.pair("weight", strconv.Itoa(f.Weight))
		w.end()
	}
	if to := r.Action.Redirect; to != nil {
		w.line(2, "redirect", strconv.Itoa(to.Status))
		w.pair("scheme", to.Scheme)
		w.pair("host", to.Host)
		w.number("port", to.Port)
		w.pair("path", to.Path)
		w.pair("query", to.Query)
		if to.TrimSlash {
			w.words("trimslash")
		}
		w.end()
	}
	if r.Action.Reply != nil {
		w.reply(2, "reply", r.Action.Reply)
	}
}

// policies writes what a route does to requests and answers besides its action.
func (w *textWriter) policies(r *Route) {
	if r.Rewrite != nil {
		w.line(2, "rewrite", r.Rewrite.Regex, r.Rewrite.Replacement)
		w.end()
	}
	if r.BodyBytes != 0 {
		w.line(2, "body", strconv.FormatInt(r.BodyBytes, 10))
		w.end()
	}
	w.response(2, r.Response)
}

// reply writes a fixed answer.
func (w *textWriter) reply(indent int, word string, r *Reply) {
	w.line(indent, word, strconv.Itoa(r.Status))
	w.pair("type", r.ContentType)
	w.pair("body", r.Body)
	w.end()
}

// upstream writes an upstream with its endpoints.
func (w *textWriter) upstream(u *Upstream) {
	w.line(0, "upstream", u.ID, u.Scheme)
	if u.KeepAlive {
		w.words("keepalive")
	}
	w.pair("name", u.Name)
	w.end()
	for _, e := range u.Endpoints {
		w.line(1, "endpoint", e.ID, e.Addr)
		w.pair("weight", strconv.Itoa(e.Weight))
		w.end()
	}
}

// quoteWord quotes a word that would not read back as one.
func quoteWord(s string) string {
	if s == "" {
		return `""`
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' || s[i] == '=' || s[i] == '#' {
			return strconv.Quote(s)
		}
	}
	return s
}
