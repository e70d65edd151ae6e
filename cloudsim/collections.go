package cloudsim

import "slices"

// The slices of an Inventory are never changed in place: these give new ones.

func appended[T any](s []T, v ...T) []T {
	return append(slices.Clip(slices.Clone(s)), v...)
}

func replaced[T any](s []T, is func(*T) bool, v T) []T {
	next := slices.Clone(s)
	for i := range next {
		if is(&next[i]) {
			next[i] = v
		}
	}
	return next
}

func without[T any](s []T, is func(*T) bool) []T {
	var next []T
	for i := range s {
		if !is(&s[i]) {
			next = append(next, s[i])
		}
	}
	return next
}

// found gives the first element, or nil.
func found[T any](s []T, is func(*T) bool) *T {
	for i := range s {
		if is(&s[i]) {
			return &s[i]
		}
	}
	return nil
}

func count[T any](s []T, is func(*T) bool) int {
	n := 0
	for i := range s {
		if is(&s[i]) {
			n++
		}
	}
	return n
}

// matches tells whether a resource is selected.
func (f Filter) matches(id string, tags []Tag) bool {
	if len(f.IDs) > 0 && !slices.Contains(f.IDs, id) {
		return false
	}
	for _, t := range f.Tags {
		if !slices.Contains(tags, t) {
			return false
		}
	}
	return true
}
