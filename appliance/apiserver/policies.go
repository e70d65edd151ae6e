package apiserver

import (
	"context"
	"fmt"
	"io"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// policies is upstream's ValidatingAdmissionPolicy, which is asked only while there is a binding: it looks whether it is
// ready every 100 ms, and each start would wait for that.
type policies struct {
	*validating.Plugin
	bindings cache.SharedIndexInformer
}

func registerPolicies(plugins *admission.Plugins) {
	plugins.Register(validating.PluginName, func(config io.Reader) (admission.Interface, error) {
		plugin, err := validating.NewPlugin(config)
		if err != nil {
			return nil, fmt.Errorf("make policies: %w", err)
		}
		return &policies{Plugin: plugin}, nil
	})
}

// SetExternalKubeInformerFactory implements initializer.WantsExternalKubeInformerFactory.
func (p *policies) SetExternalKubeInformerFactory(f informers.SharedInformerFactory) {
	p.Plugin.SetExternalKubeInformerFactory(f)
	p.bindings = f.Admissionregistration().V1().ValidatingAdmissionPolicyBindings().Informer()
}

// Validate implements admission.ValidationInterface.
func (p *policies) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if p.bindings.HasSynced() && len(p.bindings.GetStore().ListKeys()) == 0 {
		return nil
	}
	return p.Plugin.Validate(ctx, a, o)
}
