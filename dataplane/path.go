package dataplane

import "strings"

// matchPath gives the path that routes of the class compare. Class nginx normalises it: percent escapes are decoded,
// dot segments resolved and slashes merged (NGINX-FACTS 2); what goes to the endpoint stays as the client sent it.
// For class alb nothing of the kind is documented, so the path is compared as sent.
func matchPath(class Class, raw string) string {
	if class != ClassNGINX || isPlainPath(raw) {
		return raw
	}
	return resolveSegments(unescape(raw))
}

// isPlainPath reports whether normalising would change nothing; nearly every path is plain.
func isPlainPath(p string) bool {
	return strings.HasPrefix(p, "/") && !strings.Contains(p, "%") &&
		!strings.Contains(p, "//") && !strings.Contains(p, "/.")
}

// unescape decodes percent escapes; broken ones stay as they are.
func unescape(p string) string {
	if !strings.Contains(p, "%") {
		return p
	}
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			hi, okHi := hexValue(p[i+1])
			lo, okLo := hexValue(p[i+2])
			if okHi && okLo {
				out = append(out, hi<<4|lo)
				i += 2
				continue
			}
		}
		out = append(out, p[i])
	}
	return string(out)
}

// hexValue reads one hexadecimal digit.
func hexValue(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// resolveSegments merges slashes and takes away "." and ".." segments; ".." never climbs above the root.
func resolveSegments(p string) string {
	var kept []string
	segments := strings.Split(p, "/")
	last := segments[len(segments)-1]
	for _, s := range segments {
		switch s {
		case "", ".":
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		default:
			kept = append(kept, s)
		}
	}
	out := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && (last == "" || last == "." || last == "..") {
		out += "/"
	}
	return out
}

// globMatch reports whether s matches a pattern in which * stands for any run of characters and ? for one
// (ALB-FACTS 3.3). It takes time in proportion to len(s)*len(pattern) at worst, whatever the pattern.
func globMatch(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// isGlob reports whether the text holds a wildcard.
func isGlob(s string) bool { return strings.ContainsAny(s, "*?") }
