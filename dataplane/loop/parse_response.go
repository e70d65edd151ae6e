//go:build linux

package loop

import (
	"bytes"

	"github.com/alb-appliance/appliance/dataplane"
)

// responseHead is what an answer's head says about its framing and its connection.
type responseHead struct {
	reason  string // the reason phrase, as sent
	chunked bool
	length  int64 // -1 when there is none
	close   bool  // the connection ends after this answer
	upgrade string
}

// parseResponse reads a complete head into r, whose Fields it uses again; the texts of r lie in p. False when it is not
// valid. Endpoints are given what nginx gives them: lines may end in a bare LF. Two lengths, or a length beside a
// coding, are refused all the same: where such an answer ends is anybody's guess.
func parseResponse(p []byte, r *dataplane.Response) (responseHead, bool) {
	h := responseHead{length: -1}
	line, rest, _ := cutLoose(p)
	minor, ok := h.statusLine(line, r)
	if !ok {
		return h, false
	}
	keepAlive := false
	r.Fields = r.Fields[:0]
	for {
		if line, rest, ok = cutLoose(rest); !ok {
			return h, false
		}
		if len(line) == 0 {
			break
		}
		f, ok := parseField(line)
		if !ok || !h.note(f, &keepAlive) {
			return h, false
		}
		r.Fields = append(r.Fields, f)
	}
	if minor == 0 && !keepAlive {
		h.close = true
	}
	return h, !h.chunked || h.length < 0 && minor > 0
}

// cutLoose takes a line that ends in LF, with or without CR.
func cutLoose(p []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		return nil, nil, false
	}
	line = p[:i]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, p[i+1:], true
}

// statusLine reads version, status and reason phrase (RFC 9112 section 4).
func (h *responseHead) statusLine(line []byte, r *dataplane.Response) (minor int, ok bool) {
	const shortest = len("HTTP/1.1 200")
	if len(line) < shortest || string(line[:7]) != "HTTP/1." || !isDigit(line[7]) || line[8] != ' ' {
		return 0, false
	}
	if len(line) > shortest && line[shortest] != ' ' {
		return 0, false
	}
	for _, c := range line[9:12] {
		if !isDigit(c) {
			return 0, false
		}
	}
	r.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	if len(line) > shortest {
		phrase := line[shortest+1:]
		if !slowValueOK(phrase) {
			return 0, false
		}
		h.reason = text(phrase)
	}
	return int(line[7] - '0'), r.Status >= 100
}

// note takes in a field that frames the message or concerns the connection.
func (h *responseHead) note(f dataplane.Field, keepAlive *bool) bool {
	switch len(f.Name) {
	case len("Upgrade"):
		if equalFold(f.Name, "upgrade") {
			h.upgrade = f.Value
		}
	case len("Connection"):
		if equalFold(f.Name, "connection") {
			h.close = h.close || hasToken(f.Value, "close")
			*keepAlive = *keepAlive || hasToken(f.Value, "keep-alive")
		}
	case len("Content-Length"):
		if equalFold(f.Name, "content-length") {
			n, ok := parseLength(f.Value)
			if !ok || h.length >= 0 {
				return false
			}
			h.length = n
		}
	case len("Transfer-Encoding"):
		if equalFold(f.Name, "transfer-encoding") {
			if h.chunked || !equalFold(f.Value, "chunked") {
				return false
			}
			h.chunked = true
		}
	}
	return true
}
