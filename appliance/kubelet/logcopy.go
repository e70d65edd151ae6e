package kubelet

import (
	"context"
	"io"
	"time"
)

// stampFormat has nine digits always, as the kubelet's.
const stampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// copy writes what the options ask for; with follow, until the execution or ctx ends. A reader that left ends it.
func (b *logBuffer) copy(ctx context.Context, w io.Writer, flush func() error, o logOptions) {
	if o.sinceSeconds > 0 {
		o.since = o.now.Add(-time.Duration(o.sinceSeconds) * time.Second)
	}
	lines, next, ended, changed := b.from(0)
	lines = selected(lines, o)
	out := &limited{w: w, left: o.limit}
	for {
		for _, l := range lines {
			if !out.line(l, o.timestamps) {
				return
			}
		}
		if !o.follow || ended || flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		lines, next, ended, changed = b.from(next)
	}
}

// selected applies what is about the past: since, then tail.
func selected(lines []logLine, o logOptions) []logLine {
	for len(lines) > 0 && lines[0].at.Before(o.since) {
		lines = lines[1:]
	}
	if o.tail >= 0 && o.tail < len(lines) {
		lines = lines[len(lines)-o.tail:]
	}
	return lines
}

// limited writes up to a number of bytes; a negative number is no limit.
type limited struct {
	w    io.Writer
	left int64
}

// line writes one line; false when nothing more is to be written.
func (l *limited) line(line logLine, stamp bool) bool {
	text := line.text
	if stamp {
		text = append([]byte(line.at.UTC().Format(stampFormat)+" "), text...)
	}
	last := false
	if l.left >= 0 {
		last = int64(len(text)) >= l.left
		text = text[:min(int64(len(text)), l.left)]
		l.left -= int64(len(text))
	}
	_, err := l.w.Write(text)
	return err == nil && !last
}
