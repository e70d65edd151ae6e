package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	upstream "k8s.io/kubernetes/pkg/controlplane/apiserver/admission"
	"k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds"
	"k8s.io/kubernetes/plugin/pkg/admission/limitranger"
	"k8s.io/kubernetes/plugin/pkg/admission/network/defaultingressclass"
	podpriority "k8s.io/kubernetes/plugin/pkg/admission/priority"
	"k8s.io/kubernetes/plugin/pkg/admission/runtimeclass"
	"k8s.io/kubernetes/plugin/pkg/admission/security/podsecurity"
	"k8s.io/kubernetes/plugin/pkg/admission/serviceaccount"
)

// admissionOrder is upstream's plugins, in upstream's order; those that kube-apiserver has on by default and that have
// something to do here.
var admissionOrder = []string{
	lifecycle.PluginName, limitranger.PluginName, serviceaccount.PluginName, podsecurity.PluginName, podpriority.PluginName,
	defaulttolerationseconds.PluginName, runtimeclass.PluginName, defaultingressclass.PluginName,
	mutatingwebhook.PluginName, validating.PluginName, validatingwebhook.PluginName, resourcequota.PluginName,
}

// newAdmission chains what changes or refuses objects beyond their own validation: upstream's plugins, then the reserved
// names of ACK, the reviews of its controllers, and warnings.
func (s *Server) newAdmission(c *genericapiserver.Config) (admission.Interface, error) {
	plugins := &admission.Plugins{}
	for _, register := range []func(*admission.Plugins){
		lifecycle.Register, limitranger.Register, serviceaccount.Register, podsecurity.Register, podpriority.Register, defaulttolerationseconds.Register,
		runtimeclass.Register, defaultingressclass.Register, mutatingwebhook.Register, registerPolicies, validatingwebhook.Register, resourcequota.Register,
	} {
		register(plugins)
	}
	initializers, err := s.admissionInitializers(c)
	if err != nil {
		return nil, err
	}
	var chain []admission.Interface
	for _, name := range admissionOrder {
		plugin, err := plugins.InitPlugin(name, nil, initializers)
		if err != nil {
			return nil, fmt.Errorf("make admission %s: %w", name, err)
		}
		chain = append(chain, plugin)
	}
	return admission.NewChainHandler(append(chain, reservedNames{}, ingressReviews(s.options.Reviews), idleKinds{}, s.loose)...), nil
}

// admissionInitializers gives plugins what they ask for.
func (s *Server) admissionInitializers(c *genericapiserver.Config) (admission.PluginInitializer, error) {
	objects, err := dynamic.NewForConfig(s.loopback)
	if err != nil {
		return nil, fmt.Errorf("make loopback client: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(s.client.Discovery()))
	config := &upstream.Config{LoopbackClientConfig: s.loopback, ExternalInformers: s.informers, APIResourceConfig: everything{}}
	special, err := config.New(&http.Transport{DialContext: s.dialWebhook}, nil, webhookServices{s.client.CoreV1()}, c.TracerProvider)
	if err != nil {
		return nil, fmt.Errorf("make admission: %w", err)
	}
	generic := initializer.New(s.client, objects, s.informers, c.Authorization.Authorizer, utilfeature.DefaultFeatureGate, c.EffectiveVersion, s.ended, mapper)
	return append(admission.PluginInitializers{generic}, special...), nil
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
