package testscripts

import (
	"bytes"
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// flip turns one bit of a file: the lowest of the first byte of a text in it. flip FILE TEXT
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip file text")
	}
	path := ts.MkAbs(args[0])
	content, err := os.ReadFile(path)
	ts.Check(err)
	found := false
	for at := 0; ; at++ { // every copy of it: one may lie in a page that is free
		i := bytes.Index(content[at:], []byte(args[1]))
		if i < 0 {
			break
		}
		found, at = true, at+i
		content[at] ^= 1
	}
	if !found {
		ts.Fatalf("flip: %s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, content, 0o600))
}

// cut takes the end of a file away: cut FILE BYTES
func cut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut file bytes")
	}
	length, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), length))
}
