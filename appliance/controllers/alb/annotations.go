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
	annotationClass     = "kubernetes.io/ingress.class"
)

var knownAnnotations = []string{annotationAlbConfig, annotationOrder, annotationOldOrder, annotationPorts, annotationScheduler}

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
