package apiserver

import (
	"context"
	"net/http"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	webhookerrors "k8s.io/apiserver/pkg/admission/plugin/webhook/errors"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// IngressReview is what a controller's admission webhook would say of an Ingress that is about to be stored, asked in
// process.
type IngressReview struct {
	// Webhook is the name under which it refuses.
	Webhook string
	// Review gives warnings for the user's terminal, and an error to refuse.
	Review func(*networkingv1.Ingress) (warnings []string, refusal error)
}

// ingressReviews asks each review (admission.ValidationInterface).
type ingressReviews []IngressReview

var ingresses = schema.GroupResource{Group: "networking.k8s.io", Resource: "ingresses"}

// Handles implements admission.Interface.
func (ingressReviews) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Validate implements admission.ValidationInterface. A refusal reads as that of the real webhook.
func (r ingressReviews) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != ingresses || a.GetSubresource() != "" {
		return nil
	}
	ing := &networkingv1.Ingress{}
	if err := legacyscheme.Scheme.Convert(a.GetObject(), ing, nil); err != nil {
		return admission.NewForbidden(a, err)
	}
	for _, review := range r {
		warnings, refusal := review.Review(ing)
		for _, w := range warnings {
			warning.AddWarning(ctx, "", w)
		}
		if refusal != nil {
			return webhookerrors.ToStatusErr(review.Webhook, &metav1.Status{Status: metav1.StatusFailure, Message: refusal.Error(), Code: http.StatusBadRequest})
		}
	}
	return nil
}
