package dataplane

import (
	"net/netip"
	"strings"
)

// Field is one header field line. Names compare without regard to case; their spelling is kept.
type Field struct {
	Name  string
	Value string
}

// Request is the head of a request as a listener received it, the same for every protocol. It is read-only while
// anybody uses it.
type Request struct {
	Method string
	// Scheme is what the client spoke: "http" or "https".
	Scheme string
	// Authority is the Host field or the :authority pseudo field, port included if the client sent one.
	Authority string
	// Path is the path as sent, not decoded; "*" for OPTIONS *.
	Path string
	// Query is what follows the question mark. HasQuery tells "/a?" from "/a".
	Query    string
	HasQuery bool
	// Sent is the request target as it was sent, if it was in origin form: what Target gives, without joining it anew.
	Sent string
	// Fields are in the order received and do not hold Host.
	Fields []Field
	// Length is the body's length in bytes, -1 when it is not known beforehand, 0 when there is none.
	Length int64
	Peer   netip.AddrPort
	// PeerIP is the peer's address as text, for engines that make it once a connection; empty has it made.
	PeerIP string
	// TLS is nil on a clear connection.
	TLS *TLSInfo
	// Proto is "HTTP/1.0", "HTTP/1.1", "HTTP/2.0" or "HTTP/3.0".
	Proto string
}

// TLSInfo describes the client's TLS session, for logs.
type TLSInfo struct {
	Version    string
	Cipher     string
	ServerName string
}

// Response is the head of an endpoint's answer.
type Response struct {
	Status int
	Fields []Field
}

// Get returns the value of the first field of that name, or "".
func (r *Request) Get(name string) string { return fieldValue(r.Fields, name) }

// peerIP gives the peer's address as text; empty when there is none.
func (r *Request) peerIP() string {
	if r.PeerIP == "" && r.Peer.IsValid() {
		return r.Peer.Addr().Unmap().String()
	}
	return r.PeerIP
}

// Target returns the request target in origin form: path and query as sent.
func (r *Request) Target() string {
	switch {
	case r.Sent != "":
		return r.Sent
	case !r.HasQuery && r.Query == "":
		return r.Path
	}
	return r.Path + "?" + r.Query
}

// HeadBytes is the size in bytes of the head as HTTP/1.1 would carry it: request line and field lines.
func (r *Request) HeadBytes() int {
	n := len(r.Method) + len(r.Path) + len(r.Query) + len(r.Proto) + 4
	n += len("Host: \r\n") + len(r.Authority)
	for i := range r.Fields {
		n += len(r.Fields[i].Name) + len(r.Fields[i].Value) + 4
	}
	return n
}

// fieldValue returns the value of the first field called name, or "".
func fieldValue(fields []Field, name string) string {
	for i := range fields {
		if strings.EqualFold(fields[i].Name, name) {
			return fields[i].Value
		}
	}
	return ""
}

// hasField reports whether a field of that name is there, empty or not.
func hasField(fields []Field, name string) bool {
	for i := range fields {
		if strings.EqualFold(fields[i].Name, name) {
			return true
		}
	}
	return false
}

// hostOf gives the host that routes compare: lower case, without port, brackets of IPv6 kept, one final dot dropped.
func hostOf(authority string) string {
	host := authority
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.Contains(host[i:], "]") {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
