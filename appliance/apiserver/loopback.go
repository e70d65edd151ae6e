package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"k8s.io/klog/v2"
)

// loopback is a http.RoundTripper that calls a handler in this process: no socket, no TLS, no copy through the kernel.
// The controllers, the CRD server and admission speak to the API through it, and the API to the kubelet.
type loopback struct {
	handler atomic.Pointer[http.Handler]
}

var errNotServing = errors.New("call the API in process: it does not serve yet")

// serve sets the handler; requests made before fail.
func (l *loopback) serve(h http.Handler) { l.handler.Store(&h) }

// RoundTrip implements http.RoundTripper. The response comes as soon as the handler has written its header; the body
// streams until the handler returns or the caller closes it.
func (l *loopback) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil {
		req = req.Clone(req.Context()) // the caller's own stays as it is
		req.Body = http.NoBody
	}
	h := l.handler.Load()
	if h == nil {
		req.Body.Close()
		return nil, errNotServing
	}
	ctx, cancel := context.WithCancel(req.Context())
	in := req.Clone(ctx)
	in.RequestURI, in.Host, in.RemoteAddr = req.URL.RequestURI(), req.URL.Host, "127.0.0.1:0"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	s := newStream(req, cancel)
	go func() {
		defer in.Body.Close()
		defer s.finish()
		(*h).ServeHTTP(s, in)
	}()
	select {
	case resp := <-s.response:
		return resp, nil
	case <-req.Context().Done():
		cancel()
		return nil, context.Cause(req.Context())
	}
}

// stream is the http.ResponseWriter of a loopback request and the body of its response. Its buffer has no bound:
// a watch that blocks its writer would hold up the API's event dispatch.
type stream struct {
	req      *http.Request
	cancel   context.CancelFunc
	header   http.Header
	response chan *http.Response
	once     sync.Once
	gone     chan bool

	mu     sync.Mutex
	more   sync.Cond
	buf    bytes.Buffer
	done   bool // the handler has returned
	cut    bool // the handler has not written all it wanted to
	closed bool // the reader has gone
}

func newStream(req *http.Request, cancel context.CancelFunc) *stream {
	s := &stream{req: req, cancel: cancel, header: http.Header{}, response: make(chan *http.Response, 1), gone: make(chan bool, 1)}
	s.more.L = &s.mu
	return s
}

func (s *stream) Header() http.Header { return s.header }

func (s *stream) WriteHeader(code int) { s.once.Do(func() { s.respond(code) }) }

func (s *stream) respond(code int) {
	s.response <- &http.Response{
		StatusCode: code, Status: fmt.Sprintf("%d %s", code, http.StatusText(code)), Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: s.header.Clone(), Body: body{s}, Request: s.req, ContentLength: -1,
	}
}

func (s *stream) Write(b []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	s.buf.Write(b)
	s.more.Signal()
	return len(b), nil
}

// Flush implements http.Flusher: a watch announces itself before its first event.
func (s *stream) Flush() { s.WriteHeader(http.StatusOK) }

// CloseNotify implements http.CloseNotifier: the API's wrappers keep Flusher only for writers that have it.
func (s *stream) CloseNotify() <-chan bool { return s.gone }

// finish ends the body. What a panicking handler has begun is cut short (http.ErrAbortHandler is upstream's way to ask
// for that); when it has not begun, the caller is told of the panic.
func (s *stream) finish() {
	p := recover()
	cut := p != nil
	if cut && p != http.ErrAbortHandler {
		klog.Background().Error(nil, "handler panicked", "path", s.req.URL.Path, "panic", p, "stack", string(debug.Stack()))
		s.once.Do(func() {
			cut = false
			fmt.Fprintf(&s.buf, "the handler of %s panicked: %v", s.req.URL.Path, p) // nobody reads it yet
			s.respond(http.StatusInternalServerError)
		})
	}
	s.WriteHeader(http.StatusOK)
	s.mu.Lock()
	s.done, s.cut = true, cut
	s.more.Broadcast()
	s.mu.Unlock()
	s.cancel()
}

type body struct{ s *stream }

func (b body) Read(p []byte) (int, error) {
	s := b.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.buf.Len() == 0 && !s.done && !s.closed {
		s.more.Wait()
	}
	switch {
	case s.closed:
		return 0, http.ErrBodyReadAfterClose
	case s.buf.Len() == 0 && s.cut:
		return 0, io.ErrUnexpectedEOF
	case s.buf.Len() == 0:
		return 0, io.EOF
	}
	n, _ := s.buf.Read(p)
	if s.buf.Len() == 0 && s.buf.Cap() > 64<<10 {
		s.buf = bytes.Buffer{} // a large list must not stay with a quiet watch
	}
	return n, nil
}

func (b body) Close() error {
	b.s.cancel()
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if !b.s.closed {
		b.s.closed = true
		b.s.gone <- true
		b.s.more.Broadcast()
	}
	return nil
}
