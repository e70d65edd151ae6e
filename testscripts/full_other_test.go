//go:build !linux

package testscripts

import "github.com/rogpeppe/go-internal/testscript"

// Scenarios that fill the disk of another process run on Linux.
func full(ts *testscript.TestScript, _ bool, _ []string) { ts.Fatalf("full: only on Linux") }
func room(ts *testscript.TestScript, _ bool, _ []string) { ts.Fatalf("room: only on Linux") }
