package apiserver

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
)

// idleKinds warns whoever writes an object of a kind that is stored and has no effect here: better than a manifest that
// seems to work (admission.ValidationInterface).
type idleKinds struct{}

// Handles implements admission.Interface.
func (idleKinds) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Validate implements admission.ValidationInterface.
func (idleKinds) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	if k, _ := kindOf(a.GetResource().GroupResource()); k.idle != "" {
		warning.AddWarning(ctx, "", fmt.Sprintf("%s %s is stored and has no effect: %s", a.GetKind().Kind, a.GetName(), k.idle))
	}
	return nil
}
