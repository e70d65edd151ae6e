package dataplane

import (
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"strings"
)

// The field in which an ALB notes the rules a request has matched, and how many entries pass (ALB-FACTS 4.5, 4.6).
const (
	traceField   = "ALICLOUD-ALB-TRACE"
	traceEntries = 16
)

// forwarding knows the fields about the client that one forwarded request gets.
type forwarding struct {
	r     *Request
	d     *Decision
	f     ForwardHeaders
	nginx bool
}

func newForwarding(r *Request, d *Decision) forwarding {
	fw := forwarding{r: r, d: d, nginx: d.Class() == ClassNGINX}
	if d.Listener != nil {
		fw.f = d.Listener.Forward
	}
	return fw
}

// replaces reports whether the client's own field of that name is taken out because add writes it.
func (fw *forwarding) replaces(name string) bool {
	if len(name) < 6 {
		return false
	}
	switch name[0] | 0x20 {
	case 'x':
		return fw.replacesX(name)
	case 's':
		return fw.f.SLBID && isNamed(name, "slb-id")
	case 'a':
		return fw.f.Trace && isNamed(name, "alicloud-alb-trace")
	}
	return false
}

// replacesX is replaces for names that begin with X.
func (fw *forwarding) replacesX(name string) bool {
	switch len(name) {
	case len("x-scheme"):
		return fw.nginx && fw.f.XForwardedProto && isNamed(name, "x-scheme")
	case len("x-real-ip"):
		return fw.f.XRealIP && isNamed(name, "x-real-ip")
	case len("x-request-id"):
		return fw.f.RequestID && isNamed(name, "x-request-id")
	case len("x-forwarded-for"):
		return fw.f.XForwardedFor && isNamed(name, "x-forwarded-for")
	case len("x-forwarded-port"):
		return fw.f.XForwardedPort && isNamed(name, "x-forwarded-port") || fw.f.XForwardedHost && isNamed(name, "x-forwarded-host")
	case len("x-forwarded-proto"):
		return fw.f.XForwardedProto && isNamed(name, "x-forwarded-proto")
	case len("x-forwarded-scheme"):
		return fw.nginx && fw.f.XForwardedProto && isNamed(name, "x-forwarded-scheme")
	case len("x-original-forwarded-for"):
		return fw.nginx && fw.f.XForwardedFor && isNamed(name, "x-original-forwarded-for")
	case len("x-original-forwarded-host"):
		return fw.nginx && fw.f.XForwardedHost && isNamed(name, "x-original-forwarded-host")
	case len("x-forwarded-client-srcport"):
		return fw.f.ClientSrcPort && isNamed(name, "x-forwarded-client-srcport")
	}
	return false
}

// add appends the fields.
func (fw *forwarding) add(dst []Field) []Field {
	put := func(on bool, name, value string) {
		if f := (Field{name, value}); on && FieldOK(f) {
			dst = append(dst, f)
		}
	}
	peer := fw.r.peerIP()
	put(fw.f.RequestID, "X-Request-ID", fw.d.RequestID)
	put(fw.f.XRealIP, "X-Real-IP", peer)
	if fw.nginx {
		// Class nginx does not trust the client's list: it is replaced and set aside (NGINX-FACTS 5).
		put(fw.f.XForwardedFor, "X-Forwarded-For", peer)
		put(fw.f.XForwardedFor && hasField(fw.r.Fields, "X-Forwarded-For"), "X-Original-Forwarded-For", fw.joined("X-Forwarded-For"))
		put(fw.f.XForwardedHost && hasField(fw.r.Fields, "X-Forwarded-Host"), "X-Original-Forwarded-Host", fw.joined("X-Forwarded-Host"))
	} else {
		put(fw.f.XForwardedFor, "X-Forwarded-For", appendList(fw.joined("X-Forwarded-For"), peer))
	}
	put(fw.f.XForwardedHost, "X-Forwarded-Host", fw.r.Authority)
	put(fw.f.XForwardedPort, "X-Forwarded-Port", fw.port())
	put(fw.f.XForwardedProto, "X-Forwarded-Proto", fw.r.Scheme)
	put(fw.f.XForwardedProto && fw.nginx, "X-Forwarded-Scheme", fw.r.Scheme)
	put(fw.f.XForwardedProto && fw.nginx, "X-Scheme", fw.r.Scheme)
	put(fw.f.ClientSrcPort, "X-Forwarded-Client-srcport", strconv.Itoa(int(fw.r.Peer.Port())))
	if fw.f.SLBID {
		put(true, "SLB-ID", fw.d.Listener.LoadBalancer)
	}
	if fw.f.Trace && fw.d.Route != nil {
		put(true, traceField, appendList(fw.joined(traceField), ruleHash(fw.d.Route.ID)))
	}
	return dst
}

// port is the listener's port as clients know it.
func (fw *forwarding) port() string {
	switch {
	case fw.d.Listener == nil:
		return ""
	case fw.d.listener != nil:
		return fw.d.listener.port
	}
	return strconv.Itoa(fw.d.Listener.Port)
}

// joined gives all values of a field as one list (RFC 9110 section 5.3), without those that may not be written.
func (fw *forwarding) joined(name string) string {
	out := ""
	for _, f := range fw.r.Fields {
		if strings.EqualFold(f.Name, name) && valueOK(f.Value) {
			out = appendList(out, f.Value)
		}
	}
	return out
}

// appendList appends an element to a comma list.
func appendList(list, element string) string {
	if list == "" {
		return element
	}
	return list + ", " + element
}

// ruleHash is the 16-character name of a rule in the trace field. The real function is not known; this one is
// stable across snapshots and runs.
func ruleHash(id string) string {
	h := fnv.New64a()
	h.Write([]byte(id))
	return hex.EncodeToString(h.Sum(nil))
}

// isLoop reports whether the request has matched the route before, or has more entries than may pass (ALB-FACTS 4.5).
func isLoop(r *Request, route *Route) bool {
	if !hasField(r.Fields, traceField) {
		return false
	}
	hash, n := ruleHash(route.ID), 0
	for _, f := range r.Fields {
		if !strings.EqualFold(f.Name, traceField) {
			continue
		}
		for entry := range strings.SplitSeq(f.Value, ",") {
			n++
			if strings.TrimSpace(entry) == hash {
				return true
			}
		}
	}
	return n > traceEntries
}

// requestID keeps the client's id or draws 32 hexadecimal digits (NGINX-FACTS 5).
func requestID(r *Request, in *Inputs) string {
	if id := r.Get("X-Request-ID"); id != "" && valueOK(id) {
		return id
	}
	var raw [16]byte
	for i, hi := 0, uint64(0); i < len(raw); i++ {
		if i%8 == 0 {
			hi = in.rand()
		}
		raw[i] = byte(hi >> (8 * (i % 8)))
	}
	return hex.EncodeToString(raw[:])
}
