//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is a measured row.
type result struct {
	ID, Title, Unit string
	Aim             float64
	Order           []string // of the contestants
	Values          map[string]series
	// More are other figures of the same turns, by contestant and name.
	More map[string]map[string]series
	// Verdicts are those of rows that have no peers, by name.
	Verdicts map[string]string
}

func newResult(id, title, unit string, aim float64) *result {
	return &result{ID: id, Title: title, Unit: unit, Aim: aim, Values: map[string]series{}, More: map[string]map[string]series{}, Verdicts: map[string]string{}}
}

func (r *result) add(name string, v float64) {
	if !slices.Contains(r.Order, name) {
		r.Order = append(r.Order, name)
	}
	r.Values[name] = append(r.Values[name], v)
}

func (r *result) addMore(name, figure string, v float64) {
	if r.More[name] == nil {
		r.More[name] = map[string]series{}
	}
	r.More[name][figure] = append(r.More[name][figure], v)
}

// peers are the contestants that are not ours.
var peers = []string{"nginx", "haproxy", "caddy"}

// best is the peer with the least median; empty without peers.
func (r *result) best() string {
	best, least := "", math.Inf(1)
	for _, name := range r.Order {
		if m := r.Values[name].median(); slices.Contains(peers, name) && m < least {
			best, least = name, m
		}
	}
	return best
}

// verdictOf compares one of ours with the best peer; "" for a peer.
func (r *result) verdictOf(name string) string {
	if v, ok := r.Verdicts[name]; ok {
		return v
	}
	best := r.best()
	if best == "" || slices.Contains(peers, name) {
		return ""
	}
	v := compare(r.Values[name], r.Values[best], r.Aim)
	return fmt.Sprintf("%s of %s, aim %.2f: %s", v, best, r.Aim, v.Word)
}

// digits are enough for three figures that count.
func digits(v float64) int {
	switch {
	case v >= 100:
		return 0
	case v >= 10:
		return 1
	}
	return 2
}

// print writes the row for a terminal.
func (r *result) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (%s)\n", r.Title, r.Unit)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, name := range r.Order {
		s := r.Values[name]
		fmt.Fprintf(t, "  %s\t%s", name, s.format(digits(s.median())))
		fmt.Fprintf(t, "\t%s\t%s\n", r.more(name), r.verdictOf(name))
	}
	_ = t.Flush()
}

// report is a whole run.
type report struct {
	Date        time.Time
	Machine     string
	Contestants []*contestant
	Skipped     []string
	// Notes are what a reader should know about this run.
	Notes    []string
	Rounds   int
	Duration time.Duration
	Results  []*result
}

// printHead writes what is measured, and on what.
func (r *report) printHead(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.Machine)
	for _, c := range r.Contestants {
		fmt.Fprintf(w, "%-10s %s\n", c.Name, c.Version)
	}
	for _, s := range r.Skipped {
		fmt.Fprintln(w, s)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
}

// writeSection puts the report into a file, between the marks.
func (r *report) writeSection(name string) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	section := sectionBegin + "\n" + r.markdown() + sectionEnd
	text := string(old)
	begin, end := strings.Index(text, sectionBegin), strings.Index(text, sectionEnd)
	if begin < 0 || end < begin {
		return fmt.Errorf("%s has no lines %q and %q for the result to go between", name, sectionBegin, sectionEnd)
	}
	return os.WriteFile(name, []byte(text[:begin]+section+text[end+len(sectionEnd):]), 0o644)
}

// Marks of the section in a document.
const (
	sectionBegin = "<!-- bench-dataplane: begin -->"
	sectionEnd   = "<!-- bench-dataplane: end -->"
)

// markdown is the report for a document.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s; %d rounds of %s.\n\n", r.Date.Format(time.DateOnly), r.Machine, r.Rounds, r.Duration)
	for _, c := range r.Contestants {
		fmt.Fprintf(&b, "- %s: %s\n", c.Name, c.Version)
	}
	for _, s := range append(r.Skipped, r.Notes...) {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	compared := r.compared()
	if len(compared) > 0 {
		r.table(&b, "median [least..most]", compared, func(result *result, name string) string {
			s := result.Values[name]
			return s.format(digits(s.median()))
		}, true)
		r.table(&b, "of the same turns", compared, (*result).more, false)
	}
	for _, result := range r.Results {
		if !slices.Contains(compared, result) {
			result.markdown(&b)
		}
	}
	return b.String()
}

// compared are the rows in which ours stand beside peers.
func (r *report) compared() (all []*result) {
	for _, result := range r.Results {
		if len(result.Verdicts) == 0 && result.best() != "" {
			all = append(all, result)
		}
	}
	return all
}

// table writes a line for each row and a column for each contestant.
func (r *report) table(b *strings.Builder, title string, results []*result, cell func(*result, string) string, verdicts bool) {
	fmt.Fprintf(b, "\n| %s |", title)
	for _, c := range r.Contestants {
		fmt.Fprintf(b, " %s |", c.Name)
	}
	if verdicts {
		b.WriteString(" ours to the best peer |")
	}
	fmt.Fprintf(b, "\n|%s", strings.Repeat("---|", 1+len(r.Contestants)))
	if verdicts {
		b.WriteString("---|")
	}
	b.WriteByte('\n')
	for _, result := range results {
		fmt.Fprintf(b, "| %s, %s |", result.Title, result.Unit)
		var words []string
		for _, c := range r.Contestants {
			fmt.Fprintf(b, " %s |", cell(result, c.Name))
			if v := result.verdictOf(c.Name); v != "" {
				words = append(words, c.Name+" "+v)
			}
		}
		if verdicts {
			fmt.Fprintf(b, " %s |", strings.Join(words, "; "))
		}
		b.WriteByte('\n')
	}
}

// more gives the other figures of a contestant's turns.
func (r *result) more(name string) string {
	var all []string
	for _, figure := range slices.Sorted(maps.Keys(r.More[name])) {
		m := r.More[name][figure].median()
		all = append(all, fmt.Sprintf("%.*f %s", digits(m), m, figure))
	}
	return strings.Join(all, ", ")
}

// markdown writes a row that has no peers.
func (r *result) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n| %s, %s | median [least..most] | |\n|---|---|---|\n", r.Title, r.Unit)
	for _, name := range r.Order {
		s := r.Values[name]
		words := []string{}
		for _, text := range []string{r.more(name), r.verdictOf(name)} {
			if text != "" {
				words = append(words, text)
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, s.format(digits(s.median())), strings.Join(words, "; "))
	}
}
