package testscripts

import (
	"os"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// capture puts the first group of a match in a program's output into a variable: capture NAME RE PROGRAM ARGS…
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: capture variable regexp program args...")
	}
	out := run(ts, args[2:])
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(out)
	if len(m) < 2 {
		ts.Fatalf("capture %q: no match with a group in\n%s", args[1], out)
	}
	ts.Setenv(args[0], m[1])
}

// expand replaces $VARIABLES in files.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand file...")
	}
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
}
