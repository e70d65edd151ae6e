//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSectionIsReplaced wants a document to keep what is not between the marks, however often it is written.
func TestSectionIsReplaced(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(name, []byte("before\n"+sectionBegin+"\nold\n"+sectionEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cost := newResult("keepalive", "GET", perRequest, 0.8)
	for _, round := range []float64{10, 11} {
		cost.add("nginx", 2*round)
		cost.add("loop", round)
		cost.addMore("loop", "units/s", 1000)
	}
	r := &report{Contestants: []*contestant{{Name: "nginx", Version: "nginx/1"}, {Name: "loop", Version: "ours"}}, Results: []*result{cost}}
	for range 2 {
		if err := r.writeSection(name); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, want := range []string{
		"before\n" + sectionBegin + "\nMeasured ", sectionEnd + "\nafter\n", "- nginx: nginx/1\n", "| 1000 units/s |",
		"| GET, µs CPU/request | 21.0 [20.0..22.0] | 10.5 [10.0..11.0] | loop 0.50 of nginx, aim 0.80: hit |\n",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not there once in\n%s", want, text)
		}
	}
	if strings.Contains(text, "old") {
		t.Error("the old section is still there")
	}
	if err := os.WriteFile(name, []byte("no marks\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.writeSection(name); err == nil || !strings.Contains(err.Error(), "has no lines") {
		t.Errorf("err = %v", err)
	}
}
