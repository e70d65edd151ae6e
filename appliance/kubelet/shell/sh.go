package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// Exit codes of shells.
const (
	codeUsage    = 2
	codeNotFound = 127
)

// invocation is how a shell was called: sh [-eux] [-c COMMANDS [NAME]] [FILE] [ARGS].
type invocation struct {
	options  []string
	commands *string
	file     string
	name     string // what $0 is
	args     []string
}

func (p *process) invocation() (invocation, error) {
	v := invocation{name: p.args[0]}
	rest := p.args[1:]
	for len(rest) > 0 && len(rest[0]) > 1 && (rest[0][0] == '-' || rest[0][0] == '+') {
		word := rest[0]
		rest = rest[1:]
		if word == "--" {
			break
		}
		if word == "--login" || word == "--norc" || word == "--noprofile" {
			continue
		}
		inline := false
		for _, letter := range word[1:] {
			switch letter {
			case 'c':
				inline = true
			case 'e', 'u', 'x', 'f', 'n':
				v.options = append(v.options, word[:1]+string(letter))
			case 'i', 'l', 's':
			default:
				return v, fmt.Errorf("illegal option -%c", letter)
			}
		}
		if inline {
			if len(rest) == 0 {
				return v, errors.New("option requires an argument -- c")
			}
			v.commands = &rest[0]
			if v.args = rest[1:]; len(v.args) > 0 {
				v.name, v.args = v.args[0], v.args[1:]
			}
			return v, nil
		}
	}
	if len(rest) > 0 {
		v.file, v.name, v.args = rest[0], rest[0], rest[1:]
	}
	return v, nil
}

// runShell is sh.
func runShell(ctx context.Context, p *process) int {
	v, err := p.invocation()
	if err != nil {
		return p.fail(codeUsage, "%v", err)
	}
	var script, typed io.Reader
	switch {
	case v.commands != nil:
		script = strings.NewReader(*v.commands)
	case v.file != "":
		f, err := p.Files.OpenFile(p.abs(v.file), os.O_RDONLY)
		if err != nil {
			return p.fail(codeUsage, "can't open '%s': %s", v.file, reason(err))
		}
		script = f
	case p.tty:
		return p.converse(ctx, v)
	default:
		typed, p.in = p.in, strings.NewReader("") // the commands come by the input: none is left for them
	}
	s, err := p.newSession(v)
	if err != nil {
		return p.fail(codeUsage, "%v", err)
	}
	defer s.close()
	if script == nil {
		return s.typed(ctx, typed)
	}
	file, err := syntax.NewParser().Parse(io.LimitReader(script, scriptCapacity), v.name)
	if err != nil {
		return s.syntaxError(err)
	}
	return s.statement(ctx, file)
}

// session is a shell that runs statements one after the other.
type session struct {
	*process
	runner *interp.Runner
	closed []func()
}

func (p *process) newSession(v invocation) (*session, error) {
	s := &session{process: p}
	in, err := s.stdin()
	if err != nil {
		return nil, err
	}
	s.runner, err = interp.New(
		interp.Env(environ(p.env)), func(r *interp.Runner) error { r.Dir = p.dir; return nil },
		interp.StdIO(in, p.out, p.err), interp.Params(append(append(v.options, "--"), v.args...)...),
		interp.CallHandler(s.call), interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return s.exec }),
		interp.OpenHandler(s.open), interp.ReadDirHandler2(s.readDir), interp.StatHandler(s.stat), interp.AccessHandler(s.access),
	)
	if err != nil {
		s.close()
	}
	return s, err
}

// stdin gives the input as the file that the interpreter wants. The pipe ends with the session.
func (s *session) stdin() (*os.File, error) {
	if f, ok := s.in.(*os.File); ok {
		return f, nil
	}
	from, to, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open a pipe for the input: %w", err)
	}
	s.closed = append(s.closed, func() { from.Close() })
	go func() {
		defer to.Close()
		io.Copy(to, s.in) // ends with the stream, or with the pipe
	}()
	return from, nil
}

func (s *session) close() {
	for _, f := range s.closed {
		f()
	}
}

// scriptCapacity bounds what is read of a script, in bytes.
const scriptCapacity = 1 << 20

// typed runs statements as they are read.
func (s *session) typed(ctx context.Context, script io.Reader) int {
	code := 0
	for stmt, err := range syntax.NewParser().StmtsSeq(io.LimitReader(script, scriptCapacity)) {
		if err != nil {
			return s.syntaxError(err)
		}
		code = s.statement(ctx, stmt)
		if s.runner.Exited() || ctx.Err() != nil {
			return code
		}
	}
	s.statement(ctx, &syntax.File{}) // the end runs what is to be run then (trap)
	return code
}

func (s *session) syntaxError(err error) int {
	var wrong syntax.ParseError
	if errors.As(err, &wrong) {
		return s.fail(codeUsage, "syntax error: line %d: %s", wrong.Pos.Line(), wrong.Text)
	}
	return s.fail(codeUsage, "syntax error: %v", err)
}

// statement runs a statement or a whole script and gives its exit code.
func (s *session) statement(ctx context.Context, node syntax.Node) int {
	if unsupported(node) {
		return s.fail(codeUsage, "this is the small shell of the appliance's built-in images: it knows bash's grammar, but no process substitution <(…); use a pipe")
	}
	var status interp.ExitStatus
	err := s.runner.Run(ctx, node)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case ctx.Err() != nil:
		return codeKilled
	default:
		return s.fail(codeUsage, "%v", err)
	}
}

// unsupported finds what would need files of the machine.
func unsupported(node syntax.Node) bool {
	found := false
	syntax.Walk(node, func(n syntax.Node) bool {
		_, substitution := n.(*syntax.ProcSubst)
		found = found || substitution
		return !found
	})
	return found
}

// runTest is test, which is a part of the shell.
func runTest(ctx context.Context, p *process) int {
	words := []string{"test"}
	for _, word := range p.args[1:] {
		quoted, err := syntax.Quote(word, syntax.LangBash)
		if err != nil {
			return p.fail(codeUsage, "%v", err)
		}
		words = append(words, quoted)
	}
	inner := *p
	inner.args = []string{"sh", "-c", strings.Join(words, " ")}
	return runShell(ctx, &inner)
}

// call replaces what the interpreter would ask the machine for.
func (s *session) call(_ context.Context, args []string) ([]string, error) {
	switch {
	case args[0] == "type", args[0] == "help":
		return append([]string{internal + args[0]}, args[1:]...), nil
	case args[0] == "command" && len(args) > 1 && (args[1] == "-v" || args[1] == "-V"):
		return append([]string{internal + "type"}, args[2:]...), nil
	}
	return args, nil
}

// internal marks commands of the shell that no program can be named like.
const internal = "\x00"

// exec runs a program of a script.
func (s *session) exec(ctx context.Context, args []string) error {
	h := interp.HandlerCtx(ctx)
	p := &process{Container: s.Container, env: map[string]string{}, dir: h.Dir, args: args, in: h.Stdin, out: h.Stdout, err: h.Stderr, tty: s.tty}
	for name, v := range h.Env.Each {
		if v.Exported && v.IsSet() {
			p.env[name] = v.String()
		}
	}
	if f, ok := p.in.(*os.File); ok && f == nil || p.in == nil {
		p.in = strings.NewReader("")
	}
	if code := p.run(ctx); code != 0 {
		return interp.ExitStatus(code)
	}
	return nil
}

// run runs a program that a shell found, or what is part of the shell itself.
func (p *process) run(ctx context.Context) int {
	switch p.args[0] {
	case internal + "type":
		return p.types()
	case internal + "help":
		return p.help()
	}
	program, err := p.find(p.args[0])
	if err != nil {
		fmt.Fprintf(p.err, "sh: %s: not found\n", p.args[0])
		return codeNotFound
	}
	return program.run(ctx, p)
}

// types is `type` and `command -v`.
func (p *process) types() int {
	code := 0
	for _, name := range p.args[1:] {
		where, err := p.look(name)
		switch {
		case interp.IsBuiltin(name):
			p.printf("%s\n", name)
		case err == nil:
			p.printf("%s\n", where)
		default:
			code = codeNotFound
		}
	}
	return code
}

// help says what there is.
func (p *process) help() int {
	p.printf("This is the small shell of the appliance's built-in images. Its grammar is bash's; these are its programs:\n")
	all := programs()
	for _, name := range Names() {
		p.printf("  %-9s %s\n", name, all[name].help)
	}
	return 0
}

func (s *session) open(ctx context.Context, name string, flags int, _ fs.FileMode) (io.ReadWriteCloser, error) {
	f, err := s.Files.OpenFile(inDir(ctx, name), flags)
	var failed *fs.PathError
	if errors.As(err, &failed) { // the interpreter prints it
		verb := map[bool]string{true: "create", false: "open"}[flags&(os.O_WRONLY|os.O_RDWR) != 0]
		return nil, &fs.PathError{Op: "sh: can't " + verb, Path: name, Err: errors.New(reason(err))}
	}
	return f, err
}

func (s *session) readDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	return fs.ReadDir(s.Files, unrooted(inDir(ctx, name)))
}

func (s *session) stat(ctx context.Context, name string, _ bool) (fs.FileInfo, error) {
	return fs.Stat(s.Files, unrooted(inDir(ctx, name)))
}

// access grants what root may do: everything, but to execute what no one may.
func (s *session) access(ctx context.Context, name string, mode interp.AccessMode) error {
	found, err := s.stat(ctx, name, true)
	if err == nil && mode&interp.AccessExec != 0 && found.Mode()&0o111 == 0 {
		return fs.ErrPermission
	}
	return err
}

func inDir(ctx context.Context, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(interp.HandlerCtx(ctx).Dir, name)
}

// reason is the cause of a failed call to a file system, as programs print it.
func reason(err error) string {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// environ is an environment for the interpreter, without what it would ask the machine for.
type environ map[string]string

// notExported are variables of the shell itself. The directory for temporary files cannot hold any.
var notExported = map[string]string{"UID": "0", "EUID": "0", "GID": "0", "TMPDIR": os.DevNull}

// Get implements expand.Environ.
func (e environ) Get(name string) expand.Variable {
	if v, ok := e[name]; ok {
		return expand.Variable{Set: true, Exported: true, Kind: expand.String, Str: v}
	}
	if v, ok := notExported[name]; ok {
		return expand.Variable{Set: true, Kind: expand.String, Str: v}
	}
	return expand.Variable{}
}

// Each implements expand.Environ.
func (e environ) Each(f func(string, expand.Variable) bool) {
	for name := range e {
		if !f(name, e.Get(name)) {
			return
		}
	}
}
