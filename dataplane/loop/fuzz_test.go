//go:build linux

package loop

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/dataplane"
)

// FuzzRequest compares the parser with net/http's, and what would be sent on with what was meant: what is taken here,
// net/http takes too and understands in the same way; and after our writing it is still the same request, to the byte
// where it ends. So no two of us, net/http and an endpoint that reads as either see different requests.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /a?b=c HTTP/1.1\r\nHost: h:80\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\nrest",
		"GET http://other/x HTTP/1.1\r\nHost: h\r\nConnection: close, X-A\r\nX-A: 1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\n folded: 1\r\n\r\n", "GET / HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	prog, _ := dataplane.Compile(nil, simSnapshot(dataplane.ClassALB))
	f.Fuzz(func(t *testing.T, data []byte) {
		end := headEnd(data, 0)
		if end == 0 {
			return
		}
		var r dataplane.Request
		head := slices.Clone(data[:end])
		h, reason := parseRequest(head, &r)
		if reason != dataplane.ReasonNone {
			return
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			if skipsTheirs(&r, err) {
				return
			}
			t.Fatalf("taken here, but not by net/http (%v):\n%q", err, data[:end])
		}
		sameRequest(t, &r, theirs)
		body, used, ok := decodeAll(&r, data[end:])
		if !ok {
			return
		}
		want, err := io.ReadAll(theirs.Body)
		if err != nil || string(want) != string(body) {
			t.Fatalf("the body is %q here and %q (%v) for net/http:\n%q", body, want, err, data)
		}
		d := prog.Decide("l", &r, dataplane.Inputs{})
		sentOn(t, &r, &d, h, body, data[:end+used])
	})
}

// skipsTheirs lists what net/http refuses for reasons that are its own: it parses the target as a URL.
func skipsTheirs(r *dataplane.Request, err error) bool {
	text := err.Error()
	return strings.Contains(text, "invalid URI") || strings.Contains(text, "parse ") || strings.Contains(text, "invalid URL escape") || r.Method == "CONNECT"
}

// sameRequest compares our reading of a head with net/http's.
func sameRequest(t *testing.T, r *dataplane.Request, theirs *http.Request) {
	t.Helper()
	if r.Method == "CONNECT" {
		return // refused later, whatever it says
	}
	if r.Method != theirs.Method || r.Authority != theirs.Host || r.Length != theirs.ContentLength {
		t.Fatalf("read as %s %q length %d, by net/http as %s %q length %d", r.Method, r.Authority, r.Length, theirs.Method, theirs.Host, theirs.ContentLength)
	}
	for name, values := range theirs.Header {
		for _, v := range values {
			if !slices.ContainsFunc(r.Fields, func(f dataplane.Field) bool { return strings.EqualFold(f.Name, name) && f.Value == v }) {
				t.Fatalf("net/http sees field %s: %q, we do not: %v", name, v, r.Fields)
			}
		}
	}
	for _, f := range r.Fields {
		switch {
		case equalFold(f.Name, "transfer-encoding"), equalFold(f.Name, "content-length"), equalFold(f.Name, "trailer"), equalFold(f.Name, "pragma"):
		case !slices.Contains(theirs.Header.Values(f.Name), f.Value):
			t.Fatalf("we see field %s: %q, net/http does not: %v", f.Name, f.Value, theirs.Header)
		}
	}
}

// decodeAll takes a request's whole body out of what follows its head; false when it is not all there, or not valid.
func decodeAll(r *dataplane.Request, data []byte) (body []byte, used int, ok bool) {
	in := lengthFraming(max(0, r.Length))
	if r.Length < 0 {
		in = framing{kind: framingChunked}
	}
	rest := slices.Clone(data)
	for !in.done() && len(rest) > 0 {
		part, n, err := in.take(rest)
		if err != nil {
			return nil, 0, false
		}
		body = append(body, part...)
		used += n
		rest = rest[n:]
	}
	return body, used, in.done()
}

// sentOn checks that what an endpoint would get reads as the request that was meant, and ends where it ends.
func sentOn(t *testing.T, r *dataplane.Request, d *dataplane.Decision, h requestHead, body, sent []byte) {
	t.Helper()
	fields := dataplane.RequestHead(nil, r, d)
	if h.chunked {
		fields = append(fields, dataplane.Field{Name: "Transfer-Encoding", Value: "chunked"})
	}
	out, err := dataplane.AppendRequestHead(nil, r.Method, d.TargetFor(r), fields)
	if err != nil {
		return // refused when it is to be written
	}
	if !h.chunked {
		out = append(out, body...)
	} else {
		if len(body) > 0 {
			out = appendChunk(out, body)
		}
		out = append(out, "0\r\n\r\n"...)
	}
	const next = "GET /next HTTP/1.1\r\nHost: next\r\n\r\n"
	in := bufio.NewReader(io.MultiReader(bytes.NewReader(out), strings.NewReader(next)))
	got, err := http.ReadRequest(in)
	if err != nil {
		if skipsTheirs(r, err) {
			return
		}
		t.Fatalf("an endpoint would not take what it gets (%v):\n%q\nfor %q", err, out, sent)
	}
	gotBody, err := io.ReadAll(got.Body)
	if err != nil || got.Method != r.Method || got.Host != r.Authority || string(gotBody) != string(body) {
		t.Fatalf("an endpoint would read %s %s with %q (%v):\n%q\nfor %q", got.Method, got.Host, gotBody, err, out, sent)
	}
	after, err := http.ReadRequest(in)
	if err != nil || after.URL.Path != "/next" || after.Host != "next" {
		t.Fatalf("behind the request an endpoint would read %v (%v):\n%q\nfor %q", after, err, out, sent)
	}
}

// FuzzResponse compares the parser of answers with net/http's: what is taken here, net/http takes too, and both see the
// same status and the same body.
func FuzzResponse(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", "HTTP/1.1 200 OK\nA: b\n\nclose", "HTTP/1.0 404 Not Found\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200\r\n\r\n", "HTTP/1.1 099 x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx", "220 smtp ready\r\n\r\n",
	} {
		f.Add([]byte(text), false)
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, toHead bool) {
		end := headEnd(data, 0)
		if end == 0 {
			return
		}
		var r dataplane.Response
		head := slices.Clone(data[:end])
		h, ok := parseResponse(head, &r)
		if !ok {
			return
		}
		method := map[bool]string{false: "GET", true: "HEAD"}[toHead]
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("taken here, but not by net/http (%v):\n%q", err, data[:end])
		}
		if theirs.StatusCode != r.Status {
			t.Fatalf("the status is %d here and %d for net/http:\n%q", r.Status, theirs.StatusCode, data)
		}
		if r.Status == 101 {
			return
		}
		body := h.bodyOf(r.Status, method)
		var got []byte
		for rest := slices.Clone(data[end:]); !body.done() && len(rest) > 0; {
			part, n, err := body.take(rest)
			if err != nil {
				return
			}
			got = append(got, part...)
			rest = rest[n:]
		}
		if want, err := io.ReadAll(theirs.Body); (body.done() || body.kind == framingClose) && (err != nil || string(want) != string(got)) {
			t.Fatalf("the body is %q here and %q (%v) for net/http:\n%q", got, want, err, data)
		}
		// As the client gets it.
		fields := dataplane.ResponseHead(nil, &r, &dataplane.Decision{})
		out := appendHead(nil, r.Status, h.reason, fields)
		if _, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), &http.Request{Method: "HEAD"}); err != nil {
			t.Fatalf("a client would not take what it gets (%v):\n%q\nfor %q", err, out, data)
		}
	})
}

// FuzzSplit cuts a connection's bytes into pieces: endpoints get the same requests however they come.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: h.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\nHost: h.example\r\n\r\n"), uint16(7))
	f.Add([]byte("\r\n\r\nPOST /a HTTP/1.1\r\nHost: h.example\r\nContent-Length: 5\r\n\r\nhello"), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, seed uint16) {
		whole := conversation(t, data, []int{len(data)})
		var cuts []int
		for at, step := 0, uint32(seed); at < len(data); {
			n := 1 + int(step%7)
			step = step*31 + 11
			cuts = append(cuts, min(n, len(data)-at))
			at += n
		}
		// A request that we answer ourselves ends the connection unless its body is there already: one may be shorter.
		parts := conversation(t, data, cuts)
		if a, b := bodyBytes(parts), bodyBytes(whole); !strings.HasPrefix(a, b) && !strings.HasPrefix(b, a) {
			t.Fatalf("in one piece the endpoint gets\n%q\nin pieces %v\n%q", whole, cuts, parts)
		}
	})
}

// bodyBytes reads the whole requests, one after the other, and gives what does not depend on where chunks were cut.
func bodyBytes(text string) string {
	in := bufio.NewReader(strings.NewReader(text))
	var out strings.Builder
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return out.String()
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return out.String() // of one that turns out to be none, some may have gone on
		}
		out.WriteString(r.Method + " " + r.RequestURI + " " + r.Host + " " + strconv.Quote(string(body)) + "\n")
	}
}

// conversation has a client send data in pieces and gives all that endpoints got; they answer each request at once.
func conversation(t *testing.T, data []byte, cuts []int) string {
	w := newWorld(t, simSnapshot(dataplane.ClassALB), dataplane.Limits{})
	c := w.dial()
	answered := map[*simSock]int{}
	for _, n := range cuts {
		w.send(c, string(data[:n]))
		data = data[n:]
		for again := true; again; {
			again = false
			for _, u := range w.net.dialled {
				if n := len(bodyBytes(string(u.out))); !u.closed && n > answered[u] {
					answered[u], again = n, true
					w.send(u, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}
		}
	}
	var all strings.Builder
	for _, u := range w.net.dialled {
		all.Write(u.out)
	}
	return all.String()
}
