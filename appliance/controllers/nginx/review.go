package nginx

import (
	"fmt"
	"regexp"

	networkingv1 "k8s.io/api/networking/v1"
)

// ReviewerName is the name under which the real controller's webhook refuses (NGINX-FACTS 7).
const ReviewerName = "validate.nginx.ingress.kubernetes.io"

// plainPath is what paths of type Exact and Prefix may be (NGINX-FACTS 2).
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._/-]*$`)

// Review looks at an Ingress that is about to be stored: its warnings name what has no effect here, its error is the
// webhook's refusal. Ingresses of other classes pass. It is safe for concurrent use once Run has begun.
func (c *Controller) Review(ing *networkingv1.Ingress) (warnings []string, refusal error) {
	if !c.listers.ours(ing) {
		return nil, nil
	}
	return Unsupported(ing), review(ing, c.listers.withPath)
}

// review refuses in the webhook's order: paths, annotations, overlaps. others gives the Ingresses that have a path.
func review(ing *networkingv1.Ingress, others func(hostPath) []*networkingv1.Ingress) error {
	paths := pathsOf(ing)
	for _, p := range paths {
		if p.kind != networkingv1.PathTypeImplementationSpecific && !plainPath.MatchString(p.path) {
			return fmt.Errorf("ingress contains invalid paths: path %s cannot be used with pathType %s", p.path, p.kind)
		}
	}
	if _, err := readSettings(ing); err != nil {
		return err
	}
	for _, p := range paths {
		for _, other := range others(p) {
			if other.Namespace != ing.Namespace || other.Name != ing.Name {
				return fmt.Errorf("host %q and path %q is already defined in ingress %s", p.host, p.path, key(other))
			}
		}
	}
	return nil
}

type hostPath struct {
	host, path string
	kind       networkingv1.PathType
}

// String is the path's key in the informer's index.
func (p hostPath) String() string { return p.host + "\x00" + p.path + "\x00" + string(p.kind) }

func pathsOf(ing *networkingv1.Ingress) []hostPath {
	var all []hostPath
	for _, rule := range ing.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, p := range rule.HTTP.Paths {
			kind := networkingv1.PathTypeImplementationSpecific
			if p.PathType != nil {
				kind = *p.PathType
			}
			all = append(all, hostPath{rule.Host, p.Path, kind})
		}
	}
	return all
}
