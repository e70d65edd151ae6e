package shell

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// runEcho is echo, with -n.
func runEcho(_ context.Context, p *process) int {
	words, end := p.args[1:], "\n"
	if len(words) > 0 && words[0] == "-n" {
		words, end = words[1:], ""
	}
	p.printf("%s%s", strings.Join(words, " "), end)
	return 0
}

// runEnv is env [NAME=VALUE…] [PROGRAM ARGS…].
func runEnv(ctx context.Context, p *process) int {
	rest := p.args[1:]
	changed := maps.Clone(p.env)
	for len(rest) > 0 {
		name, value, ok := strings.Cut(rest[0], "=")
		if !ok {
			break
		}
		changed[name], rest = value, rest[1:]
	}
	if len(rest) == 0 {
		for _, name := range slices.Sorted(maps.Keys(changed)) {
			p.printf("%s=%s\n", name, changed[name])
		}
		return 0
	}
	if rest[0][0] == '-' {
		return p.fail(1, "unrecognized option: %s", rest[0])
	}
	inner := *p
	inner.env, inner.args = changed, rest
	program, err := inner.find(rest[0])
	if err != nil {
		return p.fail(codeNotFound, "can't execute '%s': No such file or directory", rest[0])
	}
	return program.run(ctx, &inner)
}

// runPrintenv is printenv [NAME…].
func runPrintenv(ctx context.Context, p *process) int {
	if len(p.args) == 1 {
		return runEnv(ctx, p)
	}
	code := 0
	for _, name := range p.args[1:] {
		if v, ok := p.env[name]; ok {
			p.printf("%s\n", v)
		} else {
			code = 1
		}
	}
	return code
}

// runHostname is hostname, with -i for the address.
func runHostname(_ context.Context, p *process) int {
	switch {
	case len(p.args) == 1:
		p.printf("%s\n", p.Hostname)
	case p.args[1] == "-i":
		for _, a := range p.Network.Resolver().addresses(p.Hostname) {
			p.printf("%s\n", a)
		}
	default:
		return p.fail(1, "sethostname: Operation not permitted")
	}
	return 0
}

// runID is id, with -u, -g and -n.
func runID(_ context.Context, p *process) int {
	switch letters := strings.Join(p.args[1:], ""); {
	case letters == "":
		p.printf("uid=0(root) gid=0(root) groups=0(root)\n")
	case strings.Trim(letters, "-ugnrG") != "":
		return p.fail(1, "unrecognized option: %s", p.args[1])
	case strings.Contains(letters, "n"):
		p.printf("root\n")
	default:
		p.printf("0\n")
	}
	return 0
}

// runProcesses is ps: the container's own program and itself.
func runProcesses(_ context.Context, p *process) int {
	p.printf("PID   USER     TIME  COMMAND\n    1 root      0:00 %s\n    7 root      0:00 %s\n", p.Program, strings.Join(p.args, " "))
	return 0
}

// runDate is date [-u] [+FORMAT], always in UTC.
func runDate(_ context.Context, p *process) int {
	format := "%a %b %e %H:%M:%S UTC %Y"
	for _, a := range p.args[1:] {
		switch {
		case strings.HasPrefix(a, "+"):
			format = a[1:]
		case a == "-u" || a == "--utc":
		default:
			return p.fail(1, "invalid date '%s'", a)
		}
	}
	p.printf("%s\n", strftime(p.Clock.Now().UTC(), format))
	return 0
}

// strftime formats a time by the letters that date knows.
func strftime(t time.Time, format string) string {
	layouts := map[byte]string{
		'a': "Mon", 'b': "Jan", 'e': "_2", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'Y': "2006", 'm': "01", 'y': "06",
		'T': "15:04:05", 'F': "2006-01-02", 'Z': "MST", 'z': "-0700", 'A': "Monday", 'B': "January", 'R': "15:04", 'N': "000000000",
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i == len(format)-1 {
			b.WriteByte(format[i])
			continue
		}
		i++
		switch layout, ok := layouts[format[i]]; {
		case format[i] == 'N': // Go formats fractions behind a point only
			b.WriteString(t.Format(".000000000")[1:])
		case ok:
			b.WriteString(t.Format(layout))
		case format[i] == 's':
			b.WriteString(strconv.FormatInt(t.Unix(), 10))
		case format[i] == '%':
			b.WriteByte('%')
		default:
			b.WriteString(format[i-1 : i+1])
		}
	}
	return b.String()
}

// runSleep is sleep TIME…, a number with s, m, h or d.
func runSleep(ctx context.Context, p *process) int {
	var total time.Duration
	if len(p.args) == 1 {
		return p.fail(1, "missing operand")
	}
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	for _, a := range p.args[1:] {
		if a == "infinity" || a == "inf" {
			a = "36500d"
		}
		unit, digits := time.Second, a
		if u, ok := units[a[max(len(a)-1, 0)]]; a != "" && ok {
			unit, digits = u, a[:len(a)-1]
		}
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || n < 0 || n*unit.Seconds() > (100*365*24*time.Hour).Seconds() {
			return p.fail(1, "invalid number '%s'", a)
		}
		total += time.Duration(n * float64(unit))
	}
	p.wait(ctx, total)
	return 0
}

// runWhich is which NAME….
func runWhich(_ context.Context, p *process) int {
	code := 0
	for _, name := range p.args[1:] {
		where, err := p.look(name)
		if err != nil {
			code = 1
			continue
		}
		p.printf("%s\n", where)
	}
	return code
}

// flagsOf splits arguments into letters and the rest; false at a letter that is not known.
func (p *process) flagsOf(known string) (letters string, rest []string, ok bool) {
	args := p.args[1:]
	for i, a := range args {
		switch {
		case a == "--":
			return letters, append(rest, args[i+1:]...), true
		case len(a) > 1 && a[0] == '-':
			if unknown := strings.Trim(a[1:], known); unknown != "" {
				p.fail(1, "unrecognized option: %s", unknown[:1])
				return "", nil, false
			}
			letters += a[1:]
		default:
			rest = append(rest, a)
		}
	}
	return letters, rest, true
}

// inputs calls f with each file, or with the input when none is named; a name that cannot be read makes the code 1.
func (p *process) inputs(names []string, f func(name string, in io.Reader)) int {
	if len(names) == 0 {
		names = []string{"-"}
	}
	code := 0
	for _, name := range names {
		if name == "-" {
			f(name, p.in)
			continue
		}
		file, err := p.Files.OpenFile(p.abs(name), os.O_RDONLY)
		if err != nil {
			code = p.fail(1, "can't open '%s': %s", name, reason(err))
			continue
		}
		f(name, file)
	}
	return code
}

// runCat is cat [-n] [FILE…].
func runCat(_ context.Context, p *process) int {
	letters, names, ok := p.flagsOf("nu")
	if !ok {
		return 1
	}
	number := 0
	return p.inputs(names, func(_ string, in io.Reader) {
		if letters == "" || letters == "u" {
			io.Copy(p.out, in)
			return
		}
		lines(in, func(line string) bool {
			number++
			p.printf("%6d  %s\n", number, line)
			return true
		})
	})
}

// lineCapacity bounds one line, in bytes; the rest behind a longer one is not read.
const lineCapacity = 1 << 20

// lines calls f with each line until it says false.
func lines(in io.Reader, f func(string) bool) {
	s := bufio.NewScanner(in)
	s.Buffer(nil, lineCapacity)
	for s.Scan() && f(s.Text()) {
	}
}

// runHead is head [-n N | -N] [FILE…].
func runHead(_ context.Context, p *process) int {
	count, names, ok := p.count()
	if !ok {
		return 1
	}
	return p.inputs(names, func(_ string, in io.Reader) {
		left := count
		lines(in, func(line string) bool {
			if left--; left < 0 {
				return false
			}
			p.printf("%s\n", line)
			return left > 0
		})
	})
}

// runTail is tail [-n N | -N] [FILE…].
func runTail(_ context.Context, p *process) int {
	count, names, ok := p.count()
	if !ok {
		return 1
	}
	return p.inputs(names, func(_ string, in io.Reader) {
		var last []string
		lines(in, func(line string) bool {
			if last = append(last, line); len(last) > count {
				last = last[1:]
			}
			return true
		})
		for _, line := range last {
			p.printf("%s\n", line)
		}
	})
}

// tailCapacity bounds how many lines head and tail are asked for.
const tailCapacity = 100_000

// count reads the number of head and tail, which is 10 by default.
func (p *process) count() (int, []string, bool) {
	args, count := p.args[1:], "10"
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		switch {
		case args[0] == "-n" && len(args) > 1:
			count, args = args[1], args[2:]
		default:
			count, args = strings.TrimPrefix(args[0][1:], "n"), args[1:]
		}
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > tailCapacity {
		p.fail(1, "invalid number '%s'", count)
		return 0, nil, false
	}
	return n, args, true
}

// runSort is sort [-r] [-u] [FILE…].
func runSort(_ context.Context, p *process) int {
	letters, names, ok := p.flagsOf("ru")
	if !ok {
		return 1
	}
	var all []string
	code := p.inputs(names, func(_ string, in io.Reader) {
		lines(io.LimitReader(in, scratchCapacity), func(line string) bool {
			all = append(all, line)
			return true
		})
	})
	slices.Sort(all)
	if strings.Contains(letters, "u") {
		all = slices.Compact(all)
	}
	if strings.Contains(letters, "r") {
		slices.Reverse(all)
	}
	for _, line := range all {
		p.printf("%s\n", line)
	}
	return code
}

// runCount is wc [-l] [-w] [-c] [FILE…].
func runCount(_ context.Context, p *process) int {
	letters, names, ok := p.flagsOf("lwc")
	if !ok {
		return 1
	}
	return p.inputs(names, func(name string, in io.Reader) {
		var counts [3]int
		inWord := false
		for r := bufio.NewReader(in); ; {
			b, err := r.ReadByte()
			if err != nil {
				break
			}
			counts[2]++
			if b == '\n' {
				counts[0]++
			}
			space := bytes.IndexByte([]byte(" \t\r\n\v\f"), b) >= 0
			if !space && !inWord {
				counts[1]++
			}
			inWord = !space
		}
		var words []string
		for i, letter := range "lwc" {
			if letters == "" || strings.ContainsRune(letters, letter) {
				words = append(words, strconv.Itoa(counts[i]))
			}
		}
		if name != "-" {
			words = append(words, name)
		}
		p.printf("%s\n", strings.Join(words, " "))
	})
}

// runList is ls [-l] [-a] [-1] [-d] [NAME…].
func runList(_ context.Context, p *process) int {
	letters, names, ok := p.flagsOf("la1hdFA")
	if !ok {
		return 1
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	code := 0
	var shown []fs.FileInfo
	var dirs []string
	for _, name := range names {
		found, err := fs.Stat(p.Files, unrooted(p.abs(name)))
		switch {
		case err != nil:
			code = p.fail(1, "%s: %s", name, reason(err))
		case found.IsDir() && !strings.Contains(letters, "d"):
			dirs = append(dirs, name)
		default:
			shown = append(shown, named{found, name})
		}
	}
	p.list(shown, letters)
	for i, dir := range dirs {
		if len(names) > 1 {
			p.printf("%s%s:\n", map[bool]string{true: "\n"}[i > 0 || len(shown) > 0], dir)
		}
		all, _ := fs.ReadDir(p.Files, unrooted(p.abs(dir))) // it was there
		var inside []fs.FileInfo
		for _, d := range all {
			if found, err := d.Info(); err == nil && (d.Name()[0] != '.' || strings.ContainsAny(letters, "aA")) {
				inside = append(inside, found)
			}
		}
		if strings.Contains(letters, "l") {
			p.printf("total 0\n")
		}
		p.list(inside, letters)
	}
	return code
}

// named is a file under the name that it was asked for by.
type named struct {
	fs.FileInfo
	name string
}

func (n named) Name() string { return n.name }

func (p *process) list(files []fs.FileInfo, letters string) {
	for _, f := range files {
		if !strings.Contains(letters, "l") {
			p.printf("%s\n", f.Name())
			continue
		}
		mode := "-"
		switch {
		case f.IsDir():
			mode = "d"
		case f.Mode()&fs.ModeDevice != 0:
			mode = "c"
		}
		p.printf("%s%s    1 root     root      %8d %s %s\n", mode, f.Mode().Perm().String()[1:], f.Size(), f.ModTime().UTC().Format("Jan _2 15:04"), f.Name())
	}
}
