package dataplane

import (
	"iter"
	"strconv"
	"strings"
)

// hopFields knows which fields of a message are not passed on.
type hopFields struct {
	fields []Field
	// named tells that a Connection field names fields of the message, not only what becomes of the connection.
	named bool
}

// hopByHop finds the fields that belong to one connection (RFC 9110 section 7.6.1).
func hopByHop(fields []Field) hopFields {
	h := hopFields{fields: fields}
	for token := range connectionTokens(fields) {
		switch {
		case strings.EqualFold(token, "keep-alive"), strings.EqualFold(token, "close"), strings.EqualFold(token, "upgrade"):
		default:
			h.named = true
		}
	}
	return h
}

// connectionTokens gives what the Connection fields of a message list.
func connectionTokens(fields []Field) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range fields {
			if !isNamed(fields[i].Name, "connection") {
				continue
			}
			for list, more := fields[i].Value, true; more; {
				var token string
				token, list, more = strings.Cut(list, ",")
				if token = strings.TrimSpace(token); token != "" && !yield(token) {
					return
				}
			}
		}
	}
}

// has reports whether a field must not be passed on. Names that frame or route the message cannot be smuggled away
// by listing them in Connection: Host is set apart, and the end-to-end ones below are kept.
func (h hopFields) has(name string) bool {
	if isHopField(name) {
		return true
	}
	if !h.named || isNamed(name, "content-length") {
		return false
	}
	for token := range connectionTokens(h.fields) {
		if strings.EqualFold(token, name) {
			return true
		}
	}
	return false
}

// isHopField tells the fields that always belong to one connection.
func isHopField(name string) bool {
	switch len(name) {
	case len("te"):
		return isNamed(name, "te")
	case len("trailer"):
		return isNamed(name, "trailer") || isNamed(name, "upgrade")
	case len("connection"):
		return isNamed(name, "connection") || isNamed(name, "keep-alive")
	case len("proxy-connection"):
		return isNamed(name, "proxy-connection")
	case len("transfer-encoding"):
		return isNamed(name, "transfer-encoding")
	}
	return false
}

// isNamed compares a field's name with a lower-case one, without regard to case. Names are ASCII; most differ in length
// or in their first byte.
func isNamed(name, lower string) bool {
	return len(name) == len(lower) && name[0]|0x20 == lower[0] && strings.EqualFold(name, lower)
}

// RequestHead appends to dst the fields of the request that goes to an endpoint, Host first: the client's, without
// those that belong to its connection, then ours, so that a client cannot have ours taken away by naming them in
// Connection. Fields that may not be written (FieldOK) are left out. Framing is the caller's matter, except that
// Content-Length is kept; so is Connection: keep-alive or close.
func RequestHead(dst []Field, r *Request, d *Decision) []Field {
	dst = append(dst, Field{"Host", r.Authority})
	hop := hopByHop(r.Fields)
	nginx := d.Class() == ClassNGINX
	forward := newForwarding(r, d)
	for _, f := range r.Fields {
		switch {
		case hop.has(f.Name), forward.replaces(f.Name), !FieldOK(f), skipsToEndpoint(f.Name, nginx):
		default:
			dst = append(dst, f)
		}
	}
	dst = forward.add(dst)
	if d.Upgrade != "" {
		dst = append(dst, Field{"Connection", "upgrade"}, Field{"Upgrade", r.Get("Upgrade")})
	}
	return dst
}

// skipsToEndpoint lists what a class takes out besides: Expect is answered by us; class nginx drops Proxy and names
// with underscores (NGINX-FACTS 5).
func skipsToEndpoint(name string, nginx bool) bool {
	if isNamed(name, "expect") || isNamed(name, "host") {
		return true
	}
	return nginx && (strings.EqualFold(name, "Proxy") || strings.Contains(name, "_"))
}

// ResponseHead appends to dst the fields of the answer that goes to the client: the endpoint's, without those that
// belong to its connection. Class nginx takes out Server and the X-Accel fields, which speak to nginx itself
// (NGINX-FACTS 5). Fields that listener and route set go before the endpoint's. A switch of protocols keeps its
// Upgrade.
func ResponseHead(dst []Field, resp *Response, d *Decision) []Field {
	hop := hopByHop(resp.Fields)
	nginx := d.Class() == ClassNGINX
	ours := d.setFields()
	for _, f := range resp.Fields {
		switch {
		case hop.has(f.Name), !FieldOK(f), len(ours) > 0 && hasField(ours, f.Name):
		case nginx && (strings.EqualFold(f.Name, "Server") || hasPrefixFold(f.Name, "X-Accel-")):
		default:
			dst = append(dst, f)
		}
	}
	dst = append(dst, ours...)
	if resp.Status == 101 {
		dst = append(dst, Field{"Connection", "upgrade"}, Field{"Upgrade", fieldValue(resp.Fields, "Upgrade")})
	}
	return dst
}

// ReplyHead appends to dst the fields of the decision's own answer (KindReply, KindRedirect), Content-Length included
// unless the status allows no body.
func ReplyHead(dst []Field, d *Decision) []Field {
	reply := &d.Reply
	if reply.ContentType != "" && reply.Body != "" {
		dst = appendOK(dst, Field{"Content-Type", reply.ContentType})
	}
	if d.Location != "" {
		dst = appendOK(dst, Field{"Location", d.Location})
	}
	if reply.Status != 204 && reply.Status != 304 {
		dst = append(dst, Field{"Content-Length", strconv.Itoa(len(reply.Body))})
	}
	return append(dst, d.setFields()...)
}

// setFields lists what listener and route put on every answer, and Alt-Svc. The caller does not change the list.
func (d *Decision) setFields() []Field {
	if d.Listener == nil {
		return nil
	}
	if d.AltSvc == "" && d.listener != nil && (d.Route == nil || len(d.Route.Response) == 0) {
		return d.listener.response
	}
	var route []Field
	if d.Route != nil {
		route = d.Route.Response
	}
	out := joinFields(route, d.Listener.Response)
	if d.AltSvc != "" && !hasField(out, "Alt-Svc") {
		out = append(out, Field{"Alt-Svc", d.AltSvc})
	}
	return out
}

// joinFields gives the fields of a route and of its listener that may be set; the route's go before those of the same
// names.
func joinFields(route, listener []Field) []Field {
	var out []Field
	for _, f := range route {
		out = appendSettable(out, f)
	}
	for _, f := range listener {
		if !hasField(route, f.Name) {
			out = appendSettable(out, f)
		}
	}
	return out
}

// appendSettable appends a field that a rule may set.
func appendSettable(dst []Field, f Field) []Field {
	if !settable(f.Name) {
		return dst
	}
	return appendOK(dst, f)
}

// settable tells the names that rules may set on answers from those that frame a message (ALB-FACTS 4.6).
func settable(name string) bool {
	return !isNamed(name, "content-length") && !isHopField(name)
}

// appendOK appends a field that may be written.
func appendOK(dst []Field, f Field) []Field {
	if !FieldOK(f) {
		return dst
	}
	return append(dst, f)
}

// AltSvcH3 gives the value of Alt-Svc that offers HTTP/3 on a port of the same host (RFC 7838, RFC 9114 section 3.1.1)
// for a day, RFC 7838's default. How long the real product lets clients remember it is not known.
func AltSvcH3(port uint16) string {
	return `h3=":` + strconv.Itoa(int(port)) + `"; ma=86400`
}

// hasPrefixFold is strings.HasPrefix without regard to case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// upgradeOf gives the protocol the client may switch to, lower case, or "". RFC 9110 section 7.8 asks for an Upgrade
// token in Connection; class nginx looks at the Upgrade field alone (NGINX-FACTS 1) and class alb knows WebSocket
// only (ALB-FACTS 4.4). h2c is never passed on: behind it requests would bypass the routes.
func upgradeOf(class Class, r *Request) string {
	if r.Proto != "HTTP/1.1" {
		return ""
	}
	want := strings.ToLower(strings.TrimSpace(r.Get("Upgrade")))
	switch {
	case want == "" || strings.HasPrefix(want, "h2c") || strings.Contains(want, ","):
		return ""
	case class == ClassNGINX:
		return want
	case want != "websocket" || r.Method != "GET":
		return ""
	}
	for token := range connectionTokens(r.Fields) {
		if strings.EqualFold(token, "upgrade") {
			return want
		}
	}
	return ""
}

// FieldOK reports whether a field may be written: its name is a token and its value holds no control characters
// except tab (RFC 9110 section 5), so that nobody splits a message in two.
func FieldOK(f Field) bool {
	if f.Name == "" {
		return false
	}
	for i := range len(f.Name) {
		if !tokenBytes[f.Name[i]] {
			return false
		}
	}
	return valueOK(f.Value)
}

// valueOK reports whether the text may stand in a field value or a request target's place in a head.
func valueOK(v string) bool {
	for i := range len(v) {
		if controlBytes[v[i]] {
			return false
		}
	}
	return true
}

// controlBytes are those that a field value may not hold (RFC 9110 section 5.5).
var controlBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = c < ' ' && c != '\t' || c == 0x7f
	}
	return t
}()

// isToken reports whether a byte may occur in a field name or method (RFC 9110 section 5.6.2).
func isToken(c byte) bool { return tokenBytes[c] }

var tokenBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c > ' ' && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return t
}()
