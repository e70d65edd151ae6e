package shell

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jonboulle/clockwork"
)

// Container is what commands run in. It may run several at a time.
type Container struct {
	// Env is the environment; HOME and PATH are set when it lacks them.
	Env map[string]string
	// Hostname is what `hostname` prints.
	Hostname string
	// Program is the container's own, process 1.
	Program string
	// Files is the file system. The programs of this package are in its /bin, unless the image is Bare.
	Files *Files
	// Network is what commands connect through.
	Network Network
	// Clock is the time.
	Clock clockwork.Clock
	// Bare says that the image holds its own program and no others.
	Bare bool
}

// Streams are what a command reads and writes. Any may be nil.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Sizes tell how large the terminal is. May be nil.
	Sizes <-chan Size
	// TTY says that In and Out are a terminal in raw mode; Err is not used then.
	TTY bool
}

// Size is how large a terminal is, in characters.
type Size struct{ Width, Height int }

// NotFoundError says that a command cannot be started, because there is no such program.
type NotFoundError struct {
	// Program is what was looked for.
	Program string
	path    bool
}

// Error is what runc says.
func (e *NotFoundError) Error() string {
	if e.path {
		return fmt.Sprintf("exec: %q: stat %s: no such file or directory", e.Program, e.Program)
	}
	return fmt.Sprintf("exec: %q: executable file not found in $PATH", e.Program)
}

// codeKilled is the exit code of what was cut (SIGKILL).
const codeKilled = 137

// Run runs one command to its end and gives its exit code. An error says that it could not be started. When ctx ends,
// the command is cut.
func (c *Container) Run(ctx context.Context, command []string, s Streams) (int, error) {
	p := &process{Container: c, env: c.environment(s.TTY), dir: "/", args: command, in: s.In, out: s.Out, err: s.Err, tty: s.TTY, sizes: s.Sizes}
	if p.in == nil {
		p.in = strings.NewReader("")
	}
	if p.out == nil {
		p.out = io.Discard
	}
	if p.err == nil {
		p.err = io.Discard
	}
	if p.tty {
		p.err = p.out
	}
	program, err := p.find(command[0])
	if err != nil {
		return 0, err
	}
	code := program.run(ctx, p)
	if ctx.Err() != nil {
		return codeKilled, nil
	}
	return code, nil
}

// Find says, by a NotFoundError, when there is no such program.
func (c *Container) Find(program string) error {
	_, err := (&process{Container: c, env: c.environment(false), dir: "/"}).find(program)
	return err
}

// searchPath is where programs are looked for when nothing else is said.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (c *Container) environment(tty bool) map[string]string {
	env := map[string]string{"PATH": searchPath, "HOME": "/root"}
	if tty {
		env["TERM"] = "xterm"
	}
	maps.Copy(env, c.Env)
	return env
}

// process is one program that runs.
type process struct {
	*Container
	env      map[string]string
	dir      string
	args     []string // the first is the program's name
	in       io.Reader
	out, err io.Writer
	tty      bool
	sizes    <-chan Size
}

// printf writes output. A reader that has left ends the command by its context.
func (p *process) printf(format string, a ...any) { fmt.Fprintf(p.out, format, a...) }

// fail says what went wrong, in the program's name, and gives the exit code.
func (p *process) fail(code int, format string, a ...any) int {
	fmt.Fprintf(p.err, p.name()+": "+format+"\n", a...)
	return code
}

func (p *process) name() string { return path.Base(p.args[0]) }

// abs is a path of the command line in full.
func (p *process) abs(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(p.dir, name)
}

// find looks a program up as exec does.
func (p *process) find(name string) (program, error) {
	where, err := p.look(name)
	if err != nil {
		return program{}, err
	}
	return programs()[path.Base(where)], nil
}

// look gives the path of a program.
func (p *process) look(name string) (string, error) {
	if strings.Contains(name, "/") {
		if full := p.abs(name); p.executable(full) {
			return full, nil
		}
		return "", &NotFoundError{Program: name, path: true}
	}
	for _, dir := range strings.Split(p.env["PATH"], ":") {
		if full := path.Join("/", dir, name); name != "" && p.executable(full) {
			return full, nil
		}
	}
	return "", &NotFoundError{Program: name}
}

// executable says whether a program is there.
func (c *Container) executable(full string) bool {
	dir, name := path.Split(full)
	_, ok := programs()[name]
	return ok && !c.Bare && (dir == "/bin/" || dir == "/usr/bin/")
}

// program is one row of the table.
type program struct {
	run  func(context.Context, *process) int
	help string
}

// Names lists the programs.
func Names() []string { return slices.Sorted(maps.Keys(programs())) }

// programs is the table of what can be run.
func programs() map[string]program {
	return map[string]program{
		"sh":       {runShell, "run a script, or commands one after the other"},
		"ash":      {runShell, "the same"},
		"bash":     {runShell, "the same"},
		"cat":      {runCat, "print files"},
		"curl":     {runCurl, "ask a web server"},
		"date":     {runDate, "print the time"},
		"echo":     {runEcho, "print its arguments"},
		"env":      {runEnv, "print the environment, or run a program in another one"},
		"printenv": {runPrintenv, "print variables"},
		"false":    {func(context.Context, *process) int { return 1 }, "fail"},
		"true":     {func(context.Context, *process) int { return 0 }, "succeed"},
		"grep":     {runGrep, "print lines that match"},
		"head":     {runHead, "print the first lines"},
		"tail":     {runTail, "print the last lines"},
		"hostname": {runHostname, "print the host's name"},
		"id":       {runID, "print who one is"},
		"whoami":   {func(_ context.Context, p *process) int { p.printf("root\n"); return 0 }, "print who one is"},
		"ls":       {runList, "list files"},
		"nslookup": {runLookup, "ask for the addresses of a name"},
		"ps":       {runProcesses, "list processes"},
		"pwd":      {func(_ context.Context, p *process) int { p.printf("%s\n", p.dir); return 0 }, "print the directory"},
		"sleep":    {runSleep, "wait"},
		"tar":      {runTar, "pack files, and unpack them"},
		"test":     {runTest, "compare, and look at files"},
		"sort":     {runSort, "sort lines"},
		"wc":       {runCount, "count lines, words and bytes"},
		"wget":     {runWget, "fetch from a web server"},
		"which":    {runWhich, "print where programs are"},
	}
}
