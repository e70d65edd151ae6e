package dataplane

import (
	"strconv"
	"strings"
)

// redirect answers with a Location made from the redirect's parts and, where they are empty, the request's.
func (d *Decision) redirect(to *Redirect, r *Request) {
	d.Kind = KindRedirect
	d.Location = location(to, r)
	d.Outcome = Outcome{Status: to.Status, Reason: ReasonRedirect}
	d.Reply = ErrorPage(d.Class(), to.Status)
}

// location builds the URL. The client's port is kept only while scheme and host are: a port belongs to them
// (NGINX-FACTS 4: the redirect to https drops it). A port that the redirect names is written even where the scheme
// needs none: ALB answers https://host:443 (ALB-FACTS 0.2).
func location(to *Redirect, r *Request) string {
	scheme, authority := r.Scheme, r.Authority
	if to.Scheme != "" && to.Scheme != r.Scheme {
		scheme = to.Scheme
		authority = withoutPort(authority)
	}
	if to.Host != "" {
		authority = to.Host
	}
	if to.Port != 0 {
		authority = withoutPort(authority) + ":" + strconv.Itoa(to.Port)
	}
	path, query := r.Path, r.Query
	if to.Path != "" {
		path = to.Path
	}
	if to.Query != "" {
		query = to.Query
	}
	rest := path
	if query != "" {
		rest += "?" + query
	}
	if to.TrimSlash {
		rest = strings.TrimSuffix(rest, "/")
	}
	return scheme + "://" + authority + rest
}

// withoutPort drops the port of an authority.
func withoutPort(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.Contains(authority[i:], "]") {
		return authority[:i]
	}
	return authority
}
