package dataplane

import "strings"

// Candidate is a certificate that a listener of class alb may show.
type Candidate struct {
	ID string
	// Default marks the listener's default certificate; at most one has it. The others are additional ones.
	Default bool
	Info    CertificateInfo
}

// ChooseCertificate gives the id of the certificate for a client and why (ALB-FACTS 3.6): of those that name the host
// itself, else of those that cover it by a wildcard of one label; ECC before RSA if the client can verify it; among RSA
// additional ones before the default; then the one that is valid longest; then the order given. When no name fits, or
// only certificates that the client cannot verify, it is the default one, or without a default the first. It is ""
// when there are no candidates.
func ChooseCertificate(from []Candidate, h Hello) (id, why string) {
	if len(from) == 0 {
		return "", "the listener has no certificate"
	}
	for _, wildcard := range []bool{false, true} {
		if best := bestNamed(from, h, wildcard); best != nil {
			return best.ID, whyNamed(best, h, wildcard)
		}
	}
	best := &from[0]
	for i := range from {
		if from[i].Default {
			best = &from[i]
		}
	}
	if h.ServerName == "" {
		return best.ID, "the client names no host, so it gets the default certificate"
	}
	return best.ID, "no certificate is for " + h.ServerName + ", so the client gets the default one"
}

// bestNamed gives the best of those that cover the host, or nil.
func bestNamed(from []Candidate, h Hello, wildcard bool) *Candidate {
	var best *Candidate
	for i := range from {
		c := &from[i]
		if (c.Info.Kind == KeyRSA || h.ECC) && covers(c.Info.Names, h.ServerName, wildcard) && (best == nil || c.before(best)) {
			best = c
		}
	}
	return best
}

// whyNamed explains a choice by name.
func whyNamed(c *Candidate, h Hello, wildcard bool) string {
	if wildcard {
		return string(c.Info.Kind) + " certificate with a wildcard for " + h.ServerName
	}
	return string(c.Info.Kind) + " certificate for " + h.ServerName
}

// before reports whether c is preferred to o, both covering the name in the same way.
func (c *Candidate) before(o *Candidate) bool {
	if c.Info.Kind != o.Info.Kind {
		return c.Info.Kind != KeyRSA
	}
	if c.Info.Kind == KeyRSA && c.Default != o.Default {
		return o.Default
	}
	return c.Info.NotAfter.After(o.Info.NotAfter)
}

// covers reports whether one of the names is the host, or covers it by a wildcard that stands for one label.
func covers(names []string, host string, wildcard bool) bool {
	if host == "" {
		return false
	}
	if wildcard {
		label, rest, ok := strings.Cut(host, ".")
		if !ok || label == "" {
			return false
		}
		host = "*." + rest
	}
	for _, n := range names {
		if n == host {
			return true
		}
	}
	return false
}

// chooseByHost is the choice of class nginx: the host itself, else the wildcard of its server, else the default
// (NGINX-FACTS 2 and 4).
func chooseByHost(hosts map[string]string, fallback, name string) (id, why string) {
	if fallback == "" && len(hosts) == 0 {
		return "", "the listener has no certificate"
	}
	if id, ok := hosts[name]; ok && name != "" {
		return id, "certificate registered for " + name
	}
	if rest, ok := labelRest(name); ok {
		if id, ok := hosts["*."+rest]; ok {
			return id, "certificate registered for *." + rest
		}
	}
	if name == "" {
		return fallback, "the client names no host, so it gets the default certificate"
	}
	return fallback, "no certificate is registered for " + name + ", so the client gets the default one"
}
