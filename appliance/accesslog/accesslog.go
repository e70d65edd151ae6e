// Package accesslog writes the access log: a line of JSON for each request, to a file that is rotated.
package accesslog

import (
	"bufio"
	"log/slog"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/alb-appliance/appliance/dataplane"
)

// Bounds of the access log: a line is on disk after flushDelay at the latest, files of maxLogSize are rotated.
const (
	flushDelay     = time.Second
	maxLogSize     = 32 // MiB
	maxLogFiles    = 3
	accessLogBytes = 64 << 10
)

// File appends a line of JSON for each request to a rotated file. Requests only copy into a buffer. Its methods may be
// called from any goroutine.
type File struct {
	clock  clockwork.Clock
	logger *slog.Logger

	mu    sync.Mutex
	file  *lumberjack.Logger
	out   *bufio.Writer
	line  []byte
	timer clockwork.Timer // set while the buffer holds something
}

// New appends to a file, which is opened with the first line. The clock times how long lines stay in memory; the
// logger is told of lines that are lost.
func New(path string, clock clockwork.Clock, logger *slog.Logger) *File {
	l := &File{clock: clock, logger: logger, file: &lumberjack.Logger{Filename: path, MaxSize: maxLogSize, MaxBackups: maxLogFiles}}
	l.out = bufio.NewWriterSize(l.file, accessLogBytes)
	return l
}

// Write appends a record.
func (l *File) Write(r *dataplane.AccessRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = r.AppendJSON(l.line[:0])
	if _, err := l.out.Write(l.line); err != nil {
		l.failed(err)
		return
	}
	if l.timer == nil {
		l.timer = l.clock.AfterFunc(flushDelay, l.flush)
	}
}

func (l *File) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	if err := l.out.Flush(); err != nil {
		l.failed(err)
	}
}

// failed says that lines are lost and starts over, for a full disk may have room again later.
func (l *File) failed(err error) {
	l.logger.Error("access log lines are lost", "err", err)
	l.out.Reset(l.file)
}

// Close writes what is left.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if err := l.out.Flush(); err != nil {
		l.failed(err)
	}
	return l.file.Close()
}
