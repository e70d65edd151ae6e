package dataplane

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// AccessRecord is one request as the access log tells it, written at its end. The fields are those of the real log
// (ALB-FACTS 4.13); Reason, Route and Upstream are ours. Whoever gets one from an engine may use it only until the
// call returns: engines use it, and the memory of its texts, again (Clone).
type AccessRecord struct {
	Time                 time.Time
	Listener             string
	LoadBalancer         string // app_lb_id
	Port                 int    // slb_vport
	ClientIP             string
	Host                 string // without port, as routes compare it
	HTTPHost             string // as sent
	Referer              string
	UserAgent            string
	XForwardedFor        string
	XRealIP              string
	Method               string
	URI                  string
	Scheme               string
	Proto                string
	Status               int
	BodyBytesSent        int64
	RequestLength        int64 // bytes, head and body
	RequestTime          time.Duration
	ReadRequestTime      time.Duration
	TLSProtocol          string
	TLSCipher            string
	UpstreamAddr         string // of the last attempt; empty when none was made
	UpstreamStatus       int    // 0 when no answer came
	UpstreamResponseTime time.Duration
	VIPAddr              string // the local address
	WriteResponseTime    time.Duration
	Reason               Reason
	Route                string // Route.ID
	Upstream             string // Upstream.ID
}

// Fill sets what follows from a request and its decision.
func (a *AccessRecord) Fill(r *Request, d *Decision) {
	if d.Listener != nil {
		a.Listener, a.LoadBalancer, a.Port = d.Listener.ID, d.Listener.LoadBalancer, d.Listener.Port
	}
	a.ClientIP = r.peerIP()
	a.Host, a.HTTPHost = hostOf(r.Authority), r.Authority
	a.Referer, a.UserAgent = r.Get("Referer"), r.Get("User-Agent")
	a.XForwardedFor, a.XRealIP = r.Get("X-Forwarded-For"), r.Get("X-Real-IP")
	a.Method, a.URI, a.Scheme, a.Proto = r.Method, r.Target(), r.Scheme, r.Proto
	if r.TLS != nil {
		a.TLSProtocol, a.TLSCipher = r.TLS.Version, r.TLS.Cipher
	}
	if d.Route != nil {
		a.Route = d.Route.ID
	}
	if d.Upstream != nil {
		a.Upstream = d.Upstream.ID
	}
}

// AppendJSON appends the record as one line of JSON, line feed included, without allocating beyond dst. Fields that
// have no value are "-" if they are text, as in the real log.
func (a *AccessRecord) AppendJSON(dst []byte) []byte {
	w := jsonLine{dst: append(dst, `{"time":"`...)}
	w.dst = a.Time.AppendFormat(w.dst, time.RFC3339Nano)
	w.dst = append(w.dst, '"')
	w.text(`,"app_lb_id":"`, a.LoadBalancer)
	w.number(`,"slb_vport":`, int64(a.Port))
	w.text(`,"client_ip":"`, a.ClientIP)
	w.text(`,"host":"`, a.Host)
	w.text(`,"http_host":"`, a.HTTPHost)
	w.text(`,"http_referer":"`, a.Referer)
	w.text(`,"http_user_agent":"`, a.UserAgent)
	w.text(`,"http_x_forwarded_for":"`, a.XForwardedFor)
	w.text(`,"http_x_real_ip":"`, a.XRealIP)
	w.text(`,"request_method":"`, a.Method)
	w.text(`,"request_uri":"`, a.URI)
	w.text(`,"scheme":"`, a.Scheme)
	w.text(`,"server_protocol":"`, a.Proto)
	w.number(`,"status":`, int64(a.Status))
	w.number(`,"body_bytes_sent":`, a.BodyBytesSent)
	w.number(`,"request_length":`, a.RequestLength)
	w.seconds(`,"request_time":`, a.RequestTime)
	w.number(`,"read_request_time":`, a.ReadRequestTime.Milliseconds())
	w.text(`,"ssl_protocol":"`, a.TLSProtocol)
	w.text(`,"ssl_cipher":"`, a.TLSCipher)
	w.text(`,"upstream_addr":"`, a.UpstreamAddr)
	w.number(`,"upstream_status":`, int64(a.UpstreamStatus))
	w.seconds(`,"upstream_response_time":`, a.UpstreamResponseTime)
	w.text(`,"vip_addr":"`, a.VIPAddr)
	w.number(`,"write_response_time":`, a.WriteResponseTime.Milliseconds())
	w.text(`,"reason":"`, string(a.Reason))
	w.text(`,"listener":"`, a.Listener)
	w.text(`,"route":"`, a.Route)
	w.text(`,"upstream":"`, a.Upstream)
	return append(w.dst, "}\n"...)
}

// jsonLine writes one flat JSON object. Keys come with all the punctuation before their values.
type jsonLine struct{ dst []byte }

func (w *jsonLine) number(key string, v int64) {
	w.dst = strconv.AppendInt(append(w.dst, key...), v, 10)
}

// seconds writes a duration in seconds with three decimals, rounded.
func (w *jsonLine) seconds(key string, d time.Duration) {
	w.dst = append(w.dst, key...)
	if d < 0 {
		w.dst, d = append(w.dst, '-'), -d
	}
	ms := int64((d + time.Millisecond/2) / time.Millisecond)
	w.dst = strconv.AppendInt(w.dst, ms/1000, 10)
	ms %= 1000
	w.dst = append(w.dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

func (w *jsonLine) text(key, v string) {
	w.dst = append(w.dst, key...)
	switch {
	case v == "":
		w.dst = append(w.dst, '-')
	case isPlainJSON(v):
		w.dst = append(w.dst, v...)
	default:
		w.escaped(v)
	}
	w.dst = append(w.dst, '"')
}

// isPlainJSON tells whether a text stands in JSON as it is; nearly all do.
func isPlainJSON(v string) bool {
	for i := range len(v) {
		if !plainJSON[v[i]] {
			return false
		}
	}
	return true
}

var plainJSON = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c < 0x7f && c != '"' && c != '\\'
	}
	return t
}()

func (w *jsonLine) escaped(v string) {
	for i := 0; i < len(v); {
		r, n := utf8.DecodeRuneInString(v[i:])
		switch {
		case r == '"' || r == '\\':
			w.dst = append(w.dst, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			w.dst = append(w.dst, `\u00`...)
			w.dst = append(w.dst, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		case r == utf8.RuneError && n == 1:
			w.dst = append(w.dst, `\ufffd`...)
		default:
			w.dst = append(w.dst, v[i:i+n]...)
		}
		i += n
	}
}

// Clone copies the record and its texts, which an engine may keep in memory that it uses again.
func (a *AccessRecord) Clone() *AccessRecord {
	c := *a
	for _, text := range []*string{
		&c.Listener, &c.LoadBalancer, &c.ClientIP, &c.Host, &c.HTTPHost, &c.Referer, &c.UserAgent, &c.XForwardedFor, &c.XRealIP,
		&c.Method, &c.URI, &c.Scheme, &c.Proto, &c.TLSProtocol, &c.TLSCipher, &c.UpstreamAddr, &c.VIPAddr, &c.Route, &c.Upstream,
	} {
		*text = strings.Clone(*text)
	}
	return &c
}
