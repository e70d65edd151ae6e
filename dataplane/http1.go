package dataplane

import (
	"fmt"
	"strconv"
)

// AppendRequestHead appends an HTTP/1.1 request head: request line, fields and the empty line. It refuses a method
// or target that would change the message's shape, and leaves out fields that would (FieldOK).
func AppendRequestHead(dst []byte, method, target string, fields []Field) ([]byte, error) {
	if method == "" || target == "" || !valueOK(target) {
		return dst, fmt.Errorf("write request line %q %q: empty or with control characters", method, target)
	}
	for i := range len(method) {
		if !isToken(method[i]) {
			return dst, fmt.Errorf("write request line: method %q is not a token", method)
		}
	}
	for i := range len(target) {
		if target[i] == ' ' {
			return dst, fmt.Errorf("write request line: target %q holds a space", target)
		}
	}
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\n"...)
	return AppendFields(dst, fields), nil
}

// AppendResponseHead appends an HTTP/1.1 response head: status line, fields and the empty line.
func AppendResponseHead(dst []byte, status int, fields []Field) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if status == 101 {
		dst = append(dst, "Switching Protocols"...)
	} else {
		dst = append(dst, StatusText(status)...)
	}
	dst = append(dst, "\r\n"...)
	return AppendFields(dst, fields)
}

// AppendFields appends field lines and the empty line; fields that would change the message's shape are left out.
func AppendFields(dst []byte, fields []Field) []byte {
	for i := range fields {
		if !FieldOK(fields[i]) {
			continue
		}
		dst = append(dst, fields[i].Name...)
		dst = append(dst, ": "...)
		dst = append(dst, fields[i].Value...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}
