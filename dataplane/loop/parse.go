//go:build linux

package loop

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unsafe"

	"github.com/alb-appliance/appliance/dataplane"
)

// A head is parsed in two steps: headEnd finds where it ends, without looking at anything twice; then its bytes are
// copied once to where they stay as long as the request does, and parseRequest or parseResponse makes texts of them that
// lie in that copy.

// headEnd gives the length of the head at the start of p, empty line included; 0 when it is not complete. Lines before
// from have been looked at. Lines end in LF here; whether CR has to stand before it is the parser's matter.
func headEnd(p []byte, from int) int {
	for from < len(p) {
		i := bytes.IndexByte(p[from:], '\n')
		if i < 0 {
			return 0
		}
		from += i + 1
		switch {
		case from < len(p) && p[from] == '\n':
			return from + 1
		case from+1 < len(p) && p[from] == '\r' && p[from+1] == '\n':
			return from + 2
		}
	}
	return 0
}

// resumeAt is where headEnd goes on when more than the n bytes it has seen are there: its last line may end in them.
func resumeAt(n int) int { return max(0, n-3) }

// text makes a string of bytes without copying them; they must not change while anybody has it.
func text(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// requestHead is what a request's head says about its framing and its connection.
type requestHead struct {
	chunked bool
	// length is Content-Length, -1 when there is none.
	length int64
	// close and keepAlive are the options of Connection (RFC 9112 section 9.3).
	close, keepAlive bool
	expect           bool // Expect: 100-continue
	minor            int  // of HTTP/1.x
}

// parseRequest reads a complete head into r, whose Fields it uses again. The texts of r lie in p. It gives the reason to
// refuse it, or ReasonNone. What RFC 9112 leaves to a recipient's mercy is refused, since the next one may read it in
// another way: bare LF, folded lines, space before a colon, repeated or signed lengths, lengths beside codings.
func parseRequest(p []byte, r *dataplane.Request) (requestHead, dataplane.Reason) {
	h := requestHead{length: -1}
	line, rest, ok := cutLine(p)
	if !ok {
		return h, dataplane.ReasonBadRequest
	}
	target, reason := h.requestLine(line, r)
	if reason != dataplane.ReasonNone {
		return h, reason
	}
	r.Fields = r.Fields[:0]
	host, hosts := "", 0
	for {
		if line, rest, ok = cutLine(rest); !ok {
			return h, dataplane.ReasonBadRequest
		}
		if len(line) == 0 {
			break
		}
		f, ok := parseField(line)
		if !ok {
			return h, dataplane.ReasonBadRequest
		}
		if equalFold(f.Name, "host") {
			host, hosts = f.Value, hosts+1
			continue
		}
		if reason := h.note(f); reason != dataplane.ReasonNone {
			return h, reason
		}
		r.Fields = append(r.Fields, f)
	}
	if hosts > 1 || hosts == 0 && h.minor > 0 || !hostOK(host) {
		return h, dataplane.ReasonBadRequest
	}
	r.Authority = host
	if !setTarget(r, target) {
		return h, dataplane.ReasonBadRequest
	}
	return h, h.framing(r)
}

// beginsRequest tells whether a line may become a request line: up to its first space it is a method.
func beginsRequest(line []byte) bool {
	for i, c := range line {
		if c == ' ' {
			return i > 0
		}
		if !tokenByte[c] && !(i == len(line)-1 && c == '\r') {
			return false
		}
	}
	return true
}

// framing sets the request's length (RFC 9112 section 6.3).
func (h *requestHead) framing(r *dataplane.Request) dataplane.Reason {
	switch {
	case h.chunked && (h.length >= 0 || h.minor == 0):
		return dataplane.ReasonBadRequest
	case h.chunked:
		r.Length = -1
	default:
		r.Length = max(0, h.length)
	}
	return dataplane.ReasonNone
}

// requestLine reads method, target and version.
func (h *requestHead) requestLine(line []byte, r *dataplane.Request) (target []byte, reason dataplane.Reason) {
	a, b := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if a <= 0 || b <= a+1 {
		return nil, dataplane.ReasonBadRequest
	}
	method, target, version := line[:a], line[a+1:b], line[b+1:]
	for _, c := range method {
		if !tokenByte[c] {
			return nil, dataplane.ReasonBadRequest
		}
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return nil, dataplane.ReasonBadRequest
		}
	}
	if len(version) != len("HTTP/1.1") || string(version[:5]) != "HTTP/" || !isDigit(version[5]) || version[6] != '.' || !isDigit(version[7]) {
		return nil, dataplane.ReasonBadRequest
	}
	if version[5] != '1' {
		return nil, dataplane.ReasonUnsupported
	}
	r.Method, r.Proto, h.minor = text(method), "HTTP/1.1", 1
	if version[7] == '0' {
		r.Proto, h.minor = "HTTP/1.0", 0
	}
	return target, dataplane.ReasonNone
}

// note takes in a field that frames the message or concerns the connection.
func (h *requestHead) note(f dataplane.Field) dataplane.Reason {
	switch len(f.Name) {
	case len("Expect"):
		if equalFold(f.Name, "expect") && equalFold(f.Value, "100-continue") && h.minor > 0 {
			h.expect = true
		}
	case len("Connection"):
		if equalFold(f.Name, "connection") {
			h.close = h.close || hasToken(f.Value, "close")
			h.keepAlive = h.keepAlive || hasToken(f.Value, "keep-alive")
		}
	case len("Content-Length"):
		if equalFold(f.Name, "content-length") {
			n, ok := parseLength(f.Value)
			if !ok || h.length >= 0 {
				return dataplane.ReasonBadRequest
			}
			h.length = n
		}
	case len("Transfer-Encoding"):
		if equalFold(f.Name, "transfer-encoding") {
			if h.chunked {
				return dataplane.ReasonBadRequest
			}
			if !equalFold(f.Value, "chunked") {
				return dataplane.ReasonUnsupported
			}
			h.chunked = true
		}
	}
	return dataplane.ReasonNone
}

// setTarget splits a request target (RFC 9112 section 3.2). An absolute one brings its own authority, which goes
// before Host.
func setTarget(r *dataplane.Request, target []byte) bool {
	r.Sent = ""
	switch {
	case r.Method == "CONNECT":
		r.Path, r.Query, r.HasQuery = text(target), "", false
		return true
	case target[0] == '*':
		r.Path, r.Query, r.HasQuery = "*", "", false
		return len(target) == 1 && r.Method == "OPTIONS"
	case target[0] != '/':
		scheme := bytes.Index(target, []byte("://"))
		if scheme <= 0 || !equalFold(text(target[:scheme]), "http") && !equalFold(text(target[:scheme]), "https") {
			return false
		}
		target = target[scheme+3:]
		end := bytes.IndexAny(target, "/?#")
		if end < 0 {
			end = len(target)
		}
		r.Authority = text(target[:end])
		if target = target[end:]; r.Authority == "" || !hostOK(r.Authority) {
			return false
		}
		if len(target) == 0 || target[0] != '/' {
			r.Path = "/"
			r.HasQuery = len(target) > 0 && target[0] == '?'
			r.Query = ""
			if r.HasQuery {
				r.Query = text(target[1:])
			}
			return len(target) == 0 || r.HasQuery
		}
	}
	path, query, found := bytes.Cut(target, question)
	r.Path, r.Query, r.HasQuery, r.Sent = text(path), text(query), found, text(target)
	return true
}

var question = []byte("?")

// cutLine takes a line that ends in CR LF; the line is given without them.
func cutLine(p []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(p, '\n')
	if i < 1 || p[i-1] != '\r' {
		return nil, nil, false
	}
	return p[:i-1], p[i+1:], true
}

// parseField reads a field line. The name is a token that ends at the colon; the value holds no control characters but
// tabs, and neither CR nor NUL in particular.
func parseField(line []byte) (dataplane.Field, bool) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return dataplane.Field{}, false
	}
	for _, c := range line[:colon] {
		if !tokenByte[c] {
			return dataplane.Field{}, false
		}
	}
	value := trimSpace(line[colon+1:])
	return dataplane.Field{Name: text(line[:colon]), Value: text(value)}, valueOK(value)
}

// trimSpace drops optional white space at both ends (RFC 9110 section 5.6.3).
func trimSpace(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		p = p[1:]
	}
	for len(p) > 0 && (p[len(p)-1] == ' ' || p[len(p)-1] == '\t') {
		p = p[:len(p)-1]
	}
	return p
}

// valueOK looks for control characters, eight bytes at a time: those below a space show in the high bit of a
// subtraction, DEL in that of a comparison with itself; high bytes are masked out.
func valueOK(p []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(p) >= 8 {
		w := binary.LittleEndian.Uint64(p)
		del := w ^ ones*0x7f
		if ((w-ones*' ')&^w|(del-ones)&^del)&highs != 0 && !slowValueOK(p[:8]) {
			return false
		}
		p = p[8:]
	}
	return slowValueOK(p)
}

func slowValueOK(p []byte) bool {
	for _, c := range p {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// tokenByte tells the bytes of names and methods (RFC 9110 section 5.6.2).
var tokenByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c != 0 && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0
	}
	return t
}()

// hostOK tells whether a Host field may be routed by and passed on: what RFC 3986 allows in an authority without user
// information, so neither spaces, slashes nor lists.
func hostOK(host string) bool {
	for i := range len(host) {
		if !hostByte[host[i]] {
			return false
		}
	}
	return true
}

var hostByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80 || c != 0 && bytes.IndexByte([]byte("-._~%!$&'()*+;=:[]"), byte(c)) >= 0
	}
	return t
}()

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// parseLength reads a Content-Length: digits only, not more than fit.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	n := int64(0)
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// equalFold compares a text with a lower-case one, without regard to the case of ASCII letters.
func equalFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// hasToken tells whether a comma-separated list holds a lower-case token.
func hasToken(list, token string) bool {
	for list != "" {
		item := list
		if i := strings.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			list = ""
		}
		for item != "" && (item[0] == ' ' || item[0] == '\t') {
			item = item[1:]
		}
		for item != "" && (item[len(item)-1] == ' ' || item[len(item)-1] == '\t') {
			item = item[:len(item)-1]
		}
		if equalFold(item, token) {
			return true
		}
	}
	return false
}
