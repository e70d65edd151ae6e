package alb

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
)

// ReviewerName is the name under which the controller's webhook refuses Ingresses. The real one's name is known for
// AlbConfigs only, albconfig.alb.validate.k8s.io (ALB-FACTS 0.2); this one follows it.
const ReviewerName = "ingress.alb.validate.k8s.io"

// booleans are the annotations that the webhook wants to be true or false (ALB-FACTS 1.11).
var booleans = []string{
	annotationPrefix + "canary", annotationPrefix + "enable-cors", annotationPrefix + "cors-allow-credentials", annotationRedirect,
}

// Review looks at an Ingress that is about to be stored; its error is the webhook's refusal. Ingresses of other classes
// pass (ALB-FACTS 1.11). It is safe for concurrent use once Run has begun.
func (c *Controller) Review(ing *networkingv1.Ingress) (warnings []string, refusal error) {
	if c.listers.binding(ing) == (binding{}) {
		return nil, nil
	}
	return nil, review(ing)
}

func review(ing *networkingv1.Ingress) error {
	for _, name := range booleans {
		if value, ok := ing.Annotations[name]; ok && value != "true" && value != "false" {
			return fmt.Errorf("the value %s is invalid. Please set the value as one of: [true false]", value)
		}
	}
	return nil
}
