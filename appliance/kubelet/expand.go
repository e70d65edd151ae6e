package kubelet

import "strings"

// expander looks up variables of an environment.
func expander(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
}

func expandAll(all []string, lookup func(string) (string, bool)) []string {
	var out []string
	for _, s := range all {
		out = append(out, expand(s, lookup))
	}
	return out
}

// expand replaces $(NAME). A name that is not known stays as it is; $$ is a dollar sign.
func expand(s string, lookup func(string) (string, bool)) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		switch s[0] {
		case '$':
			b.WriteByte('$')
			s = s[1:]
		case '(':
			end := strings.IndexByte(s, ')')
			if end < 0 {
				b.WriteString("$(")
				s = s[1:]
				continue
			}
			if v, ok := lookup(s[1:end]); ok {
				b.WriteString(v)
			} else {
				b.WriteString("$" + s[:end+1])
			}
			s = s[end+1:]
		default:
			b.WriteByte('$')
		}
	}
}
