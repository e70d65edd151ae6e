package kubelet

import (
	"bytes"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// logCapacity bounds what is kept of one container's output, in bytes.
const logCapacity = 1 << 20

// logs are a container's latest and last but one output. It is safe for concurrent use.
type logs struct {
	mu                sync.Mutex
	current, previous *logBuffer
}

// begin opens the log of a new execution.
func (l *logs) begin(clock clockwork.Clock) *logBuffer {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.previous, l.current = l.current, &logBuffer{clock: clock, changed: make(chan struct{})}
	return l.current
}

// get gives a log, or nil when there is none.
func (l *logs) get(previous bool) *logBuffer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if previous {
		return l.previous
	}
	return l.current
}

// logLine is one line with its newline, stamped when it was whole.
type logLine struct {
	at   time.Time
	text []byte
}

// logBuffer keeps the latest lines of one execution. It is safe for concurrent use; many may follow it.
type logBuffer struct {
	clock clockwork.Clock

	mu      sync.Mutex
	lines   []logLine
	dropped int // lines that made room
	size    int
	partial []byte
	ended   bool
	changed chan struct{} // closed at the next change
}

// Write takes output; it never fails.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return len(p), nil
	}
	rest := p
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		b.add(append(b.partial, rest[:i+1]...))
		b.partial, rest = nil, rest[i+1:]
	}
	b.partial = append(b.partial, rest...)
	if len(b.partial) >= logCapacity/4 {
		b.add(b.partial) // a line without end does not grow without end
		b.partial = nil
	}
	b.notify()
	return len(p), nil
}

func (b *logBuffer) line(text string) { b.Write([]byte(text + "\n")) }

// add takes a line that is the buffer's own.
func (b *logBuffer) add(text []byte) {
	b.lines = append(b.lines, logLine{b.clock.Now(), bytes.Clone(text)})
	b.size += len(text)
	drop := 0
	for b.size > logCapacity && drop < len(b.lines)-1 {
		b.size -= len(b.lines[drop].text)
		drop++
	}
	if drop > 0 {
		clear(b.lines[:drop])
		b.lines = b.lines[drop:]
		b.dropped += drop
	}
}

func (b *logBuffer) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// end says that nothing more will come.
func (b *logBuffer) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.partial) > 0 {
		b.add(b.partial)
		b.partial = nil
	}
	b.ended = true
	b.notify()
}

// from gives the lines from a position on, the position behind them, whether more may come, and what tells of it.
func (b *logBuffer) from(position int) (lines []logLine, next int, ended bool, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := max(position-b.dropped, 0); i < len(b.lines) {
		lines = append(lines, b.lines[i:]...)
	}
	return lines, b.dropped + len(b.lines), b.ended, b.changed
}
