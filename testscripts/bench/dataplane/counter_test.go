//go:build linux

package main

import "testing"

func TestInstructionRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		"# started on Thu Nov 26 00:00:00 2026\n\n3000000,,instructions:u,1500000,100.00,,\n": 2,
		"<not supported>,,instructions:u,0,100.00,,\n":                                        0,
		"": 0,
	} {
		if got := instructionRate(text); got != want {
			t.Errorf("%q gives %v, want %v", text, got, want)
		}
	}
}
