package nginx

import (
	"cmp"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/alb-appliance/appliance/dataplane"
)

// location is one path of one Ingress on one host.
type location struct {
	path    string
	exact   bool
	ingress *networkingv1.Ingress
	rule    settings
	backend networkingv1.IngressBackend
}

// newLocation reads a path; ImplementationSpecific and none are Prefix here (NGINX-FACTS 2).
func newLocation(p networkingv1.HTTPIngressPath, ing *networkingv1.Ingress, s settings) location {
	return location{
		path: cmp.Or(p.Path, "/"), exact: p.PathType != nil && *p.PathType == networkingv1.PathTypeExact,
		ingress: ing, rule: s, backend: p.Backend,
	}
}

// sortLocations puts the longer path first, then descending text, and of one path the exact location (NGINX-FACTS 2).
func sortLocations(all []location) {
	slices.SortStableFunc(all, func(a, b location) int {
		return cmp.Or(-cmp.Compare(len(a.path), len(b.path)), -strings.Compare(a.path, b.path), exactFirst(a.exact, b.exact))
	})
}

func exactFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// matches are the conditions of a location. On a host with a regular expression every path is one, without case and
// without regard for segments (NGINX-FACTS 2).
func (l location) matches(regexHost bool) []dataplane.PathMatch {
	switch {
	case regexHost:
		return []dataplane.PathMatch{{Kind: dataplane.PathRegex, Value: "(?i)^" + l.path}}
	case l.exact:
		return []dataplane.PathMatch{{Kind: dataplane.PathExact, Value: l.path}}
	case l.path == "/":
		return []dataplane.PathMatch{{Kind: dataplane.PathPrefix, Value: "/"}}
	}
	trimmed := strings.TrimSuffix(l.path, "/")
	return []dataplane.PathMatch{{Kind: dataplane.PathExact, Value: trimmed}, {Kind: dataplane.PathPrefix, Value: trimmed + "/"}}
}
