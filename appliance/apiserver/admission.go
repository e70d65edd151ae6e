package apiserver

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/plugin/pkg/admission/network/defaultingressclass"
)

// newAdmission chains what changes or refuses objects beyond their own validation: upstream's namespace life cycle and
// default ingress class, and the reserved names of ACK.
func newAdmission(client kubernetes.Interface, factory informers.SharedInformerFactory, reviews []IngressReview) (admission.Interface, error) {
	namespaces, err := lifecycle.NewLifecycle(sets.New(metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic))
	if err != nil {
		return nil, fmt.Errorf("make namespace admission: %w", err)
	}
	initialize := initializer.New(client, nil, factory, nil, nil, nil, nil, nil)
	initialize.Initialize(namespaces)
	if err := admission.ValidateInitialization(namespaces); err != nil {
		return nil, fmt.Errorf("initialize namespace admission: %w", err)
	}
	plugins := admission.Plugins{}
	defaultingressclass.Register(&plugins)
	classes, err := plugins.InitPlugin(defaultingressclass.PluginName, nil, initialize)
	if err != nil {
		return nil, fmt.Errorf("make ingress class admission: %w", err)
	}
	return admission.NewChainHandler(namespaces, classes, reservedNames{}, ingressReviews(reviews)), nil
}

// reservedPrefix may not begin the name of an AlbConfig, Ingress, Service or Namespace (seed: quotas and limits).
const reservedPrefix = "aliyun"

// reservedNames refuses reservedPrefix.
type reservedNames struct{}

var reservedKinds = sets.New(
	schema.GroupResource{Group: "alibabacloud.com", Resource: "albconfigs"},
	schema.GroupResource{Group: "networking.k8s.io", Resource: "ingresses"},
	schema.GroupResource{Resource: "services"}, schema.GroupResource{Resource: "namespaces"},
)

// Handles implements admission.Interface.
func (reservedNames) Handles(op admission.Operation) bool { return op == admission.Create }

// Validate implements admission.ValidationInterface.
func (reservedNames) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" || !reservedKinds.Has(a.GetResource().GroupResource()) || !strings.HasPrefix(a.GetName(), reservedPrefix) {
		return nil
	}
	return admission.NewForbidden(a, fmt.Errorf("a name must not begin with %q, which Alibaba Cloud reserves; choose another name", reservedPrefix))
}
