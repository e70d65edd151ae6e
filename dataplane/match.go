package dataplane

import (
	"fmt"
	"regexp"
	"strings"
)

// matches reports whether a host, as hostOf gives it, satisfies the condition.
func (h HostMatch) matches(host string) bool {
	value := strings.ToLower(h.Value)
	switch h.Kind {
	case HostExact:
		return value == host
	case HostGlob:
		return globMatch(value, host)
	case HostLabel:
		rest, ok := labelRest(host)
		return ok && "*."+rest == value
	}
	return false
}

// labelRest gives what follows the first label of host; false when that label could not stand for the star of
// "*.rest" (NGINX-FACTS 2: exactly one label of letters, digits, underscore, hyphen).
func labelRest(host string) (string, bool) {
	label, rest, ok := strings.Cut(host, ".")
	if !ok || label == "" || rest == "" {
		return "", false
	}
	for i := range len(label) {
		c := label[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return "", false
		}
	}
	return rest, true
}

// describe says how the condition compared, for explanations.
func (h HostMatch) describe(matched bool) string {
	return describe(string(h.Kind), h.Value, matched, map[HostKind][2]string{
		HostExact: {"equal", "not equal to %s"},
		HostGlob:  {"matches %s", "does not match %s"},
		HostLabel: {"one label in place of the star of %s", "not one label in place of the star of %s"},
	}[h.Kind])
}

// describe fills the phrase for a condition's result.
func describe(kind, value string, matched bool, phrases [2]string) string {
	phrase := phrases[1]
	if matched {
		phrase = phrases[0]
	}
	switch {
	case phrase == "":
		return fmt.Sprintf("unknown kind %q of condition", kind)
	case strings.Contains(phrase, "%s"):
		return fmt.Sprintf(phrase, value)
	}
	return phrase
}

// pathRule is one compiled path condition.
type pathRule struct {
	PathMatch
	re *regexp.Regexp
}

// compilePath prepares a path condition; only a regular expression or an unknown kind can fail.
func compilePath(m PathMatch) (pathRule, error) {
	rule := pathRule{PathMatch: m}
	switch m.Kind {
	case PathExact, PathPrefix, PathGlob:
		return rule, nil
	case PathRegex:
		re, err := regexp.Compile(m.Value)
		if err != nil {
			return rule, fmt.Errorf("path %q is not a regular expression: %w", m.Value, err)
		}
		rule.re = re
		return rule, nil
	}
	return rule, fmt.Errorf("path %q has the unknown kind %q", m.Value, m.Kind)
}

// matches reports whether a path, as matchPath gives it, satisfies the condition.
func (p *pathRule) matches(path string) bool {
	switch p.Kind {
	case PathExact:
		return p.Value == path
	case PathPrefix:
		return strings.HasPrefix(path, p.Value)
	case PathGlob:
		return globMatch(p.Value, path)
	case PathRegex:
		return p.re.MatchString(path)
	}
	return false
}

// simple gives the condition in its plainest form, so that more of them can be looked up in an index: a glob
// without wildcards is exact, one whose only wildcard is a final star is a prefix.
func (p PathMatch) simple() PathMatch {
	if p.Kind != PathGlob {
		return p
	}
	if !isGlob(p.Value) {
		return PathMatch{Kind: PathExact, Value: p.Value}
	}
	if head, ok := strings.CutSuffix(p.Value, "*"); ok && !isGlob(head) {
		return PathMatch{Kind: PathPrefix, Value: head}
	}
	return p
}

// describe says how the condition compared, for explanations.
func (p PathMatch) describe(matched bool) string {
	return describe(string(p.Kind), p.Value, matched, map[PathKind][2]string{
		PathExact:  {"equal", "not equal to %s"},
		PathPrefix: {"under %s", "not under %s"},
		PathGlob:   {"matches %s", "does not match %s"},
		PathRegex:  {"matches the expression %s", "does not match the expression %s"},
	}[p.Kind])
}
