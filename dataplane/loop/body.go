//go:build linux

package loop

import (
	"bytes"
	"errors"
	"strconv"
)

// framing tells where a message's body ends, and takes the body out of what carries it.
type framing struct {
	kind    framingKind
	left    int64 // of a body with a length, or of a chunk
	state   chunkState
	line    int    // bytes of the current line, or of all trailers
	trailer []byte // the fields after a chunked body, as lines
}

type framingKind uint8

const (
	framingNone framingKind = iota // there is no body
	framingLength
	framingChunked
	framingClose // the body ends with the connection
)

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkEnd
)

// Bounds of what stands around chunks: the extensions of one chunk, and the trailers of a message. Endless ones would
// keep a connection busy without a byte of body.
const (
	maxChunkLine   = 4 << 10
	maxTrailer     = 16 << 10
	maxChunkDigits = 32
)

var errChunk = errors.New("the body is not valid chunked coding")

// lengthFraming is a body of n bytes.
func lengthFraming(n int64) framing {
	if n == 0 {
		return framing{}
	}
	return framing{kind: framingLength, left: n}
}

// done tells whether the body has ended.
func (f *framing) done() bool {
	switch f.kind {
	case framingNone:
		return true
	case framingLength:
		return f.left == 0
	case framingChunked:
		return f.state == chunkEnd
	}
	return false
}

// take takes the body's bytes out of p: data, which lies in p or, for a chunked body, is gathered at the front of p, and
// how many bytes of p it has used up. What is behind the body's end is not used up.
func (f *framing) take(p []byte) (data []byte, used int, err error) {
	switch f.kind {
	case framingLength:
		n := int(min(int64(len(p)), f.left))
		f.left -= int64(n)
		return p[:n], n, nil
	case framingClose:
		return p, len(p), nil
	case framingChunked:
		return f.takeChunks(p)
	}
	return nil, 0, nil
}

// takeChunks decodes chunked coding (RFC 9112 section 7.1). Lines end in CR LF, nothing else.
func (f *framing) takeChunks(p []byte) (data []byte, used int, err error) {
	end := 0 // of the data gathered
	for used < len(p) && f.state != chunkEnd {
		switch f.state {
		case chunkData:
			n := int(min(int64(len(p)-used), f.left))
			end += copy(p[end:], p[used:used+n])
			used += n
			if f.left -= int64(n); f.left == 0 {
				f.state = chunkDataCR
			}
		case chunkTrailer:
			n, err := f.takeTrailer(p[used:])
			if err != nil {
				return p[:end], used, err
			}
			used += n
		default:
			if err := f.step(p[used]); err != nil {
				return p[:end], used, err
			}
			used++
		}
	}
	return p[:end], used, nil
}

// step reads one byte of what stands around chunks.
func (f *framing) step(c byte) error {
	f.line++
	switch f.state {
	case chunkSize:
		digit := hexDigit(c)
		switch {
		case digit >= 0 && f.left < 1<<55 && f.line <= maxChunkDigits:
			f.left = f.left<<4 | int64(digit)
		case digit >= 0 || f.line == 1:
			return errChunk
		case c == '\r':
			f.state = chunkSizeLF
		case c == ';' || c == ' ' || c == '\t':
			f.state = chunkExtension
		default:
			return errChunk
		}
	case chunkExtension:
		switch {
		case c == '\r':
			f.state = chunkSizeLF
		case f.line > maxChunkLine || c < ' ' && c != '\t' || c == 0x7f:
			return errChunk
		}
	case chunkSizeLF:
		if c != '\n' {
			return errChunk
		}
		f.line = 0
		f.state = chunkData
		if f.left == 0 {
			f.state = chunkTrailer
		}
	case chunkDataCR:
		if c != '\r' {
			return errChunk
		}
		f.state = chunkDataLF
	case chunkDataLF:
		if c != '\n' {
			return errChunk
		}
		f.line, f.state = 0, chunkSize
	}
	return nil
}

// takeTrailer gathers the lines after the last chunk up to the empty one.
func (f *framing) takeTrailer(p []byte) (used int, err error) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		used = len(p)
	} else {
		used = i + 1
	}
	if f.line += used; f.line > maxTrailer {
		return used, errChunk
	}
	f.trailer = append(f.trailer, p[:used]...)
	if i < 0 {
		return used, nil
	}
	last := f.trailer
	if j := bytes.LastIndexByte(last[:len(last)-1], '\n'); j >= 0 {
		last = last[j+1:]
	}
	line, _, ok := cutLine(last)
	switch {
	case !ok:
		return used, errChunk
	case len(line) == 0:
		f.state = chunkEnd
		f.trailer = f.trailer[:len(f.trailer)-2]
	default:
		if _, ok := parseField(line); !ok {
			return used, errChunk
		}
	}
	return used, nil
}

// appendTrailer appends the end of a chunked body with the trailers that may be passed on: none that would frame the
// message, route it or belong to a connection (RFC 9110 section 6.5.1).
func (f *framing) appendTrailer(dst []byte) []byte {
	dst = append(dst, "0\r\n"...)
	rest := f.trailer
	for len(rest) > 0 {
		line, after, ok := cutLine(rest)
		if !ok {
			break
		}
		if field, ok := parseField(line); ok && trailerOK(field.Name) {
			dst = append(append(dst, line...), '\r', '\n')
		}
		rest = after
	}
	return append(dst, '\r', '\n')
}

// trailerOK tells the names that may stand in a trailer.
func trailerOK(name string) bool {
	for _, forbidden := range [...]string{
		"content-length", "transfer-encoding", "host", "connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade",
		"expect", "authorization", "content-type", "content-encoding", "content-range", "set-cookie", "cookie",
	} {
		if equalFold(name, forbidden) {
			return false
		}
	}
	return true
}

// appendChunk appends data as one chunk.
func appendChunk(dst, data []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(data)), 16)
	dst = append(dst, '\r', '\n')
	dst = append(dst, data...)
	return append(dst, '\r', '\n')
}

// hexDigit gives a digit's value, -1 for other bytes.
func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// bodyOf gives the framing of an answer's body (RFC 9112 section 6.3).
func (h *responseHead) bodyOf(status int, method string) framing {
	switch {
	case method == "HEAD" || status < 200 || status == 204 || status == 304:
		return framing{}
	case h.chunked:
		return framing{kind: framingChunked}
	case h.length >= 0:
		return lengthFraming(h.length)
	}
	return framing{kind: framingClose}
}
