package alb

import (
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// Annotations that are acted upon (ALB-FACTS section 1).
const (
	annotationPrefix    = "alb.ingress.kubernetes.io/"
	annotationAlbConfig = annotationPrefix + "albconfig.name"
	annotationOrder     = annotationPrefix + "order"
	annotationOldOrder  = annotationPrefix + "albconfig.order"
	annotationPorts     = annotationPrefix + "listen-ports"
	annotationScheduler = annotationPrefix + "backend-scheduler"
	annotationRedirect  = annotationPrefix + "ssl-redirect"
	annotationClass     = "kubernetes.io/ingress.class"

	// annotationNGINXRedirect is read, too, so that Ingresses of the NGINX controller can move over (ALB-FACTS 1.2).
	annotationNGINXRedirect = "nginx.ingress.kubernetes.io/ssl-redirect"
)

var knownAnnotations = []string{annotationAlbConfig, annotationOrder, annotationOldOrder, annotationPorts, annotationScheduler, annotationRedirect}

// redirects tells whether plain HTTP is sent to HTTPS. Where both annotations are set, the NGINX one decides: the
// controller reads it first, as it does for canaries (ALB-FACTS 1.8).
func redirects(ing *networkingv1.Ingress) bool {
	value, ok := ing.Annotations[annotationNGINXRedirect]
	if !ok {
		value = ing.Annotations[annotationRedirect]
	}
	return value == "true"
}

// unknownAnnotations are those of our prefix that have no effect here, sorted.
func unknownAnnotations(ing *networkingv1.Ingress) []string {
	var unknown []string
	for name := range ing.Annotations {
		if strings.HasPrefix(name, annotationPrefix) && !slices.Contains(knownAnnotations, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}
