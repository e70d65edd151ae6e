package dataplane

import (
	"fmt"
	"regexp"
	"strings"
)

// Rewrite replaces the path of a request before it goes to an endpoint (NGINX-FACTS 2, ALB-FACTS 1.3). The query is
// kept.
type Rewrite struct {
	// Regex is an RE2 expression that the path, as routes compare it, has to match somewhere; else the path stays. It
	// regards case unless it begins with (?i).
	Regex string
	// Replacement is the whole new path. $1 to $9, and ${1} and on, stand for what the expression's groups matched, or
	// for nothing. What follows a ? is a query that goes before the client's; a ? at the very end drops the client's.
	Replacement string
}

// rewriteRule is a compiled Rewrite.
type rewriteRule struct {
	re          *regexp.Regexp
	path, query []rewritePart
	ownQuery    bool // the replacement has a query, perhaps an empty one
	dropQuery   bool
}

// rewritePart is literal text, or a group by number if that is not 0.
type rewritePart struct {
	text  string
	group int
}

// compileRewrite prepares a rewrite.
func compileRewrite(r *Rewrite) (*rewriteRule, error) {
	re, err := regexp.Compile(r.Regex)
	if err != nil {
		return nil, fmt.Errorf("rewrite: %q is not a regular expression: %w", r.Regex, err)
	}
	rule := &rewriteRule{re: re}
	path, query, ownQuery := strings.Cut(r.Replacement, "?")
	rule.ownQuery, rule.dropQuery = ownQuery, strings.HasSuffix(r.Replacement, "?")
	if rule.path, err = rewriteParts(path); err != nil {
		return nil, err
	}
	if rule.query, err = rewriteParts(strings.TrimSuffix(query, "?")); err != nil {
		return nil, err
	}
	return rule, nil
}

// rewriteParts splits a replacement into literal text and groups.
func rewriteParts(s string) ([]rewritePart, error) {
	var parts []rewritePart
	for {
		text, rest, ok := strings.Cut(s, "$")
		if text != "" {
			parts = append(parts, rewritePart{text: text})
		}
		if !ok {
			return parts, nil
		}
		group, n := groupNumber(rest)
		if n == 0 {
			return nil, fmt.Errorf("rewrite: $%s is neither $1 to $9 nor ${number}", rest)
		}
		parts = append(parts, rewritePart{group: group})
		s = rest[n:]
	}
}

// groupNumber reads what follows a dollar sign: one digit, or up to three in braces; the length is 0 if it is neither.
func groupNumber(s string) (number, length int) {
	braces := strings.HasPrefix(s, "{")
	i := 0
	if braces {
		i = 1
	}
	start := i
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9' && i-start < 3; i++ {
		number = number*10 + int(s[i]-'0')
		if !braces {
			i++
			break
		}
	}
	if i == start || number == 0 {
		return 0, 0
	}
	if !braces {
		return number, i
	}
	if i == len(s) || s[i] != '}' {
		return 0, 0
	}
	return number, i + 1
}

// target gives the request target for the endpoint, or "" when the expression does not match. For class nginx the
// path was decoded to be compared, so what has a meaning in a target is escaped again.
func (w *rewriteRule) target(class Class, path string, r *Request) string {
	m := w.re.FindStringSubmatch(path)
	if m == nil {
		return ""
	}
	decoded := class == ClassNGINX
	out := escapeTarget(fill(w.path, m), decoded)
	if !strings.HasPrefix(out, "/") {
		out = "/" + out // a target in origin form has to begin with one (RFC 9112 section 3.2.1)
	}
	query, has := r.Query, r.HasQuery || r.Query != ""
	if w.dropQuery {
		query, has = "", false
	}
	if own := escapeTarget(fill(w.query, m), false); w.ownQuery && own != "" {
		if query != "" {
			own += "&" + query
		}
		query, has = own, true
	}
	if has {
		out += "?" + query
	}
	return out
}

// fill puts what the groups matched in their places.
func fill(parts []rewritePart, m []string) string {
	var b strings.Builder
	for _, p := range parts {
		if p.group == 0 {
			b.WriteString(p.text)
		} else if p.group < len(m) {
			b.WriteString(m[p.group])
		}
	}
	return b.String()
}

// escapeTarget percent-encodes what may not stand in a path or query: controls, spaces, bytes beyond ASCII, the
// characters that RFC 3986 gives no place, and # in any case; % and ? only if the text is decoded.
func escapeTarget(s string, decoded bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>\\^`{|}", c) >= 0 || decoded && (c == '%' || c == '?') {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
