package shell

import (
	"context"
	"io"
	"regexp"
	"strings"
)

// runGrep is grep [-E|-F] [-i] [-v] [-c] [-q] [-n] [-o] PATTERN [FILE…]. A pattern is an extended regular expression either
// way, but for -F.
func runGrep(_ context.Context, p *process) int {
	letters, rest, ok := p.flagsOf("EFivcqnohHw")
	if !ok {
		return 2
	}
	if len(rest) == 0 {
		return p.fail(2, "usage: grep [-EFivcqno] PATTERN [FILE]...")
	}
	has := func(letter string) bool { return strings.Contains(letters, letter) }
	pattern, names := rest[0], rest[1:]
	if has("F") {
		pattern = regexp.QuoteMeta(pattern)
	}
	if has("w") {
		pattern = `\b(?:` + pattern + `)\b`
	}
	if has("i") {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return p.fail(2, "bad regex '%s': %v", rest[0], err)
	}
	total := 0
	code := p.inputs(names, func(name string, in io.Reader) {
		prefix, number, matched := "", 0, 0
		if (len(names) > 1 || has("H")) && !has("h") {
			prefix = name + ":"
		}
		lines(in, func(line string) bool {
			number++
			if re.MatchString(line) == has("v") {
				return true
			}
			matched++
			switch {
			case has("q"):
				return false
			case has("c"):
			case has("o"):
				for _, part := range re.FindAllString(line, -1) {
					p.printf("%s%s\n", prefix, part)
				}
			case has("n"):
				p.printf("%s%d:%s\n", prefix, number, line)
			default:
				p.printf("%s%s\n", prefix, line)
			}
			return true
		})
		if has("c") && !has("q") {
			p.printf("%s%d\n", prefix, matched)
		}
		total += matched
	})
	switch {
	case code != 0:
		return 2
	case total == 0:
		return 1
	default:
		return 0
	}
}
