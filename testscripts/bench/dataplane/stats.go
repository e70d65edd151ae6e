//go:build linux

package main

import (
	"fmt"
	"slices"
)

// series are the values of several rounds, in their order.
type series []float64

func (s series) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// format gives the median and, in brackets, the least and the largest value.
func (s series) format(digits int) string {
	if len(s) == 0 {
		return "–"
	}
	if len(s) == 1 {
		return fmt.Sprintf("%.*f", digits, s[0])
	}
	return fmt.Sprintf("%.*f [%.*f..%.*f]", digits, s.median(), digits, slices.Min(s), digits, slices.Max(s))
}

// over gives the ratios round by round: what the machine does to one round it does to both.
func (s series) over(t series) series {
	var r series
	for i := range min(len(s), len(t)) {
		r = append(r, s[i]/t[i])
	}
	return r
}

// Words of a verdict.
const (
	hit  = "hit"
	miss = "miss"
	// undecided is said of rounds that differ too much to tell.
	undecided = "undecided, too noisy"
)

// noisy is how far apart the ratios of rounds may be, the largest to the least, for a verdict that not all share.
const noisy = 2

// verdict compares ours with a peer: the median ratio, whether that is noise, and whether the aim is reached.
type verdict struct {
	Ratio float64
	// Equal tells that some rounds were above 1 and others below.
	Equal bool
	Word  string
}

func compare(ours, peer series, aim float64) verdict {
	ratios := ours.over(peer)
	v := verdict{Ratio: ratios.median(), Word: miss}
	least, most := slices.Min(ratios), slices.Max(ratios)
	v.Equal = least < 1 && most > 1
	switch {
	case most <= aim:
		v.Word = hit
	case least > aim:
	case most > noisy*least, v.Equal && v.Ratio <= aim && aim < 1:
		v.Word = undecided
	case v.Ratio <= aim || v.Equal && aim >= 1:
		v.Word = hit
	}
	return v
}

func (v verdict) String() string {
	text := fmt.Sprintf("%.2f", v.Ratio)
	if v.Equal {
		text += " (equal)"
	}
	return text
}

// hitOrMiss is the verdict of a figure without a peer.
func hitOrMiss(reached bool) string {
	if reached {
		return hit
	}
	return miss
}
