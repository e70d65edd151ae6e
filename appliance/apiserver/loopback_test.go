package apiserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func askLoopback(t *testing.T, h http.HandlerFunc) (*http.Response, error) {
	t.Helper()
	l := &loopback{}
	l.serve(h)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://in-process/path?q=1", strings.NewReader("sent"))
	if err != nil {
		t.Fatal(err)
	}
	return l.RoundTrip(r)
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		status  string
		body    string
		err     error
	}{
		{"echo", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Uri", r.RequestURI)
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.Copy(w, r.Body)
		}, "202 Accepted", "sent", nil},
		{"nothing written", func(http.ResponseWriter, *http.Request) {}, "200 OK", "", nil},
		{"panic before the answer", func(http.ResponseWriter, *http.Request) { panic("oops") }, "500 Internal Server Error", "the handler of /path panicked: oops", nil},
		{"panic in the answer", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic("oops")
		}, "200 OK", "half", io.ErrUnexpectedEOF},
		{"abort", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		}, "200 OK", "half", io.ErrUnexpectedEOF},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			response, err := askLoopback(t, row.handler)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(response.Body)
			if response.Status != row.status || string(raw) != row.body || !errors.Is(err, row.err) {
				t.Errorf("got %s %q %v, want %s %q %v", response.Status, raw, err, row.status, row.body, row.err)
			}
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
			if _, err := response.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("read after close: %v", err)
			}
		})
	}
}

// TestLoopbackLeaves wants the handler to learn that its caller has gone, by Close and by its context.
func TestLoopbackLeaves(t *testing.T) {
	t.Parallel()
	for _, byClose := range []bool{true, false} {
		l, gone := &loopback{}, make(chan error, 1)
		l.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			_, err := io.WriteString(w, "late")
			gone <- err
		}))
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://in-process/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := l.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if byClose {
			_ = response.Body.Close()
		} else {
			cancel()
		}
		if err := <-gone; byClose && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("it wrote to nobody: %v", err)
		}
		cancel()
		_ = response.Body.Close()
	}
}

func TestLoopbackBeforeServe(t *testing.T) {
	t.Parallel()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://in-process/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&loopback{}).RoundTrip(r); !errors.Is(err, errNotServing) {
		t.Errorf("got %v", err)
	}
}
