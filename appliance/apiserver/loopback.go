package apiserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
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
	h := l.handler.Load()
	if h == nil {
		return nil, errNotServing
	}
	ctx, cancel := context.WithCancel(req.Context())
	in := req.Clone(ctx)
	in.RequestURI, in.Host, in.RemoteAddr = req.URL.RequestURI(), req.URL.Host, "127.0.0.1:0"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	if in.Body == nil {
		in.Body = http.NoBody
	}
	s := newStream(req, cancel)
	go func() {
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
	closed bool // the reader has gone
}

func newStream(req *http.Request, cancel context.CancelFunc) *stream {
	s := &stream{req: req, cancel: cancel, header: http.Header{}, response: make(chan *http.Response, 1), gone: make(chan bool, 1)}
	s.more.L = &s.mu
	return s
}

func (s *stream) Header() http.Header { return s.header }

func (s *stream) WriteHeader(code int) {
	s.once.Do(func() {
		s.response <- &http.Response{
			StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/2.0", ProtoMajor: 2,
			Header: s.header.Clone(), Body: body{s}, Request: s.req, ContentLength: -1,
		}
	})
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

// finish ends the body. A panicking handler (http.ErrAbortHandler is upstream's way to cut a response short) ends it too.
func (s *stream) finish() {
	if p := recover(); p != nil && p != http.ErrAbortHandler {
		s.header.Set("Content-Type", "text/plain")
		s.WriteHeader(http.StatusInternalServerError)
	}
	s.WriteHeader(http.StatusOK)
	s.mu.Lock()
	s.done = true
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
	if s.closed || s.buf.Len() == 0 {
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
