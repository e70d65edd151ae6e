//go:build linux

package main

import "testing"

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ours, peer series
		aim        float64
		want       verdict
	}{
		"better than the aim":           {series{7, 8, 9}, series{10, 10, 10}, 0.8, verdict{Ratio: 0.8, Word: hit}},
		"better, but not enough":        {series{9, 9, 9}, series{10, 10, 10}, 0.8, verdict{Ratio: 0.9, Word: miss}},
		"noise is equal":                {series{9, 11, 10.5}, series{10, 10, 10}, 0.8, verdict{Ratio: 1.05, Equal: true, Word: miss}},
		"equal is enough for 1":         {series{9, 11, 10.5}, series{10, 10, 10}, 1, verdict{Ratio: 1.05, Equal: true, Word: hit}},
		"nothing is enough for a guess": {series{5, 40, 11}, series{10, 10, 10}, 1, verdict{Ratio: 1.1, Equal: true, Word: undecided}},
		"equal is not better":           {series{6, 7, 11}, series{10, 10, 10}, 0.8, verdict{Ratio: 0.7, Equal: true, Word: undecided}},
		"every round may be clear":      {series{2, 7, 1}, series{10, 10, 10}, 0.8, verdict{Ratio: 0.2, Word: hit}},
		"rounds are compared, not all":  {series{10, 20, 30}, series{20, 40, 60}, 0.8, verdict{Ratio: 0.5, Word: hit}},
		"one round is what it is":       {series{9}, series{10}, 0.95, verdict{Ratio: 0.9, Word: hit}},
	} {
		if got := compare(test.ours, test.peer, test.aim); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestSeriesFormat(t *testing.T) {
	t.Parallel()
	if got, want := (series{3, 1, 2, 10}).format(1), "2.5 [1.0..10.0]"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
