package shell

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/syntax"
)

// converse is a shell on a terminal: it prints a prompt, reads a line, runs it. Ctrl-C cuts what runs, Ctrl-D or exit
// end it. Programs that it runs have no input: what is typed meanwhile is for the next line.
func (p *process) converse(ctx context.Context, v invocation) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys := newKeyboard(ctx, p.in)
	terminal := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys, p.out}, p.prompt("/"))
	if p.sizes != nil {
		go p.resize(ctx, terminal)
	}
	p.in, p.out, p.err = strings.NewReader(""), terminal, terminal
	s, err := p.newSession(v)
	if err != nil {
		return p.fail(codeUsage, "%v", err)
	}
	defer s.close()
	code, pending := 0, ""
	for {
		line, err := terminal.ReadLine()
		if err != nil && !errors.Is(err, term.ErrPasteIndicator) {
			return code
		}
		code, pending = s.line(ctx, keys, pending+line+"\n", code)
		if s.runner.Exited() || ctx.Err() != nil {
			return code
		}
		terminal.SetPrompt("> ")
		if pending == "" {
			terminal.SetPrompt(p.prompt(s.runner.Dir))
		}
	}
}

// resize has the terminal know how wide it is, until ctx ends.
func (p *process) resize(ctx context.Context, t *term.Terminal) {
	for {
		select {
		case s := <-p.sizes:
			if s.Width > 0 && s.Height > 0 { // else nobody knows
				t.SetSize(s.Width, s.Height)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (p *process) prompt(dir string) string { return p.Hostname + ":" + dir + "# " }

// line runs what was typed, or gives it back when more is to come.
func (s *session) line(ctx context.Context, keys *keyboard, text string, before int) (code int, pending string) {
	file, err := syntax.NewParser().Parse(strings.NewReader(text), "")
	if err != nil {
		if syntax.IsIncomplete(err) && len(text) < scriptCapacity {
			return before, text
		}
		return s.syntaxError(err), ""
	}
	running, cut := context.WithCancel(ctx)
	defer cut()
	keys.cuts(cut)
	defer keys.cuts(nil)
	code = before
	for _, stmt := range file.Stmts {
		code = s.statement(running, stmt)
		if s.runner.Exited() {
			break
		}
		if running.Err() != nil {
			return codeInterrupted, ""
		}
	}
	return code, ""
}

// Keys that mean something besides themselves.
const (
	keyInterrupt = 3  // Ctrl-C
	keyForget    = 21 // Ctrl-U: forget the line
)

// codeInterrupted is the exit code of what Ctrl-C cut.
const codeInterrupted = 130

// typedAhead is how many reads are kept while a command runs; what is typed beyond is lost.
const typedAhead = 256

// keyboard reads what is typed at any time, so that Ctrl-C cuts what runs, or else the line.
type keyboard struct {
	ctx   context.Context
	typed chan []byte
	left  []byte

	mu  sync.Mutex
	cut context.CancelFunc
}

// newKeyboard reads until ctx or the stream ends.
func newKeyboard(ctx context.Context, stream io.Reader) *keyboard {
	k := &keyboard{ctx: ctx, typed: make(chan []byte, typedAhead)}
	go func() {
		defer close(k.typed)
		for ctx.Err() == nil {
			b := make([]byte, 1<<10)
			n, err := stream.Read(b)
			select {
			case k.typed <- k.heard(b[:n]):
			default: // typed too far ahead
			}
			if err != nil {
				return
			}
		}
	}()
	return k
}

// cuts says what Ctrl-C cuts; nil for the line.
func (k *keyboard) cuts(f context.CancelFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = f
}

func (k *keyboard) heard(b []byte) []byte {
	if bytes.IndexByte(b, keyInterrupt) < 0 {
		return b
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cut != nil {
		k.cut()
	}
	return bytes.ReplaceAll(b, []byte{keyInterrupt}, []byte{keyForget})
}

// Read implements io.Reader.
func (k *keyboard) Read(b []byte) (int, error) {
	if len(k.left) == 0 {
		select {
		case more, ok := <-k.typed:
			if !ok {
				return 0, io.EOF
			}
			k.left = more
		case <-k.ctx.Done():
			return 0, io.EOF
		}
	}
	n := copy(b, k.left)
	k.left = k.left[n:]
	return n, nil
}
