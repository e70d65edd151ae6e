package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
	"k8s.io/klog/v2"
)

// newLogger writes to w, in colour on a terminal, and takes over klog, which Kubernetes' libraries write to.
//
// Once ctx has ended klog is silent: stopping, upstream's controllers report every wait that is cut short as an error.
func newLogger(ctx context.Context, w io.Writer, level string) *slog.Logger {
	least := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "error": slog.LevelError}[level]
	var handler slog.Handler = slog.NewTextHandler(w, &slog.HandlerOptions{Level: least})
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		handler = tint.NewTextHandler(w, &tint.Options{Level: least, TimeFormat: time.TimeOnly})
	}
	logger := slog.New(handler)
	klog.SetSlogLogger(slog.New(quiet{ctx, handler}).With("component", "kubernetes"))
	return logger
}

// quiet is a handler for libraries that find everything worth telling: what upstream's controllers report as errors
// they try again, so all of it is our details.
type quiet struct {
	until context.Context
	slog.Handler
}

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	// klog's verbosity n is level -n: what is beyond 4 is for upstream's own developers.
	return l >= slog.LevelDebug && q.until.Err() == nil && q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if !q.Enabled(ctx, r.Level) { // klog writes errors without asking
		return nil
	}
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quiet{q.until, q.Handler.WithAttrs(attrs)}
}

func (q quiet) WithGroup(name string) slog.Handler {
	return quiet{q.until, q.Handler.WithGroup(name)}
}
