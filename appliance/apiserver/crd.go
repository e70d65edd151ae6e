package apiserver

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	definitionsopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	crdstore "k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// newCustomResources makes the server of CustomResourceDefinitions and of what they define.
func newCustomResources(generic *genericapiserver.Config, backend Backend) (*apiextensionsserver.CustomResourceDefinitions, error) {
	config := *generic
	config.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	config.RESTOptionsGetter = newOptions(backend, apiextensionsserver.Scheme, apiextensionsserver.Codecs)
	// Upstream works out the managed fields of definitions from it.
	namer := openapinamer.NewDefinitionNamer(apiextensionsserver.Scheme)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitionsopenapi.GetOpenAPIDefinitions, namer)
	config.MergedResourceConfig = apiextensionsserver.DefaultAPIResourceConfigSource()
	server, err := (&apiextensionsserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: config},
		ExtraConfig: apiextensionsserver.ExtraConfig{
			CRDRESTOptionsGetter: customResources{newOptions(backend, nil, apiextensionsserver.Codecs)},
			MasterCount:          1,
		},
	}).Complete().New(genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("make custom resource server: %w", err)
	}
	return server, nil
}

// ensureDefinition stores a CustomResourceDefinition, given as YAML, already established, so that its kind is served
// from the first moment; a stored one with another spec is brought up to this one.
func ensureDefinition(ctx context.Context, backend Backend, manifest []byte) error {
	want, err := decodeDefinition(manifest)
	if err != nil {
		return err
	}
	// Written below the watch cache, which does not run yet.
	options := newOptions(backend, apiextensionsserver.Scheme, apiextensionsserver.Codecs)
	store, err := crdstore.NewREST(apiextensionsserver.Scheme, uncached{options})
	if err != nil {
		return fmt.Errorf("make storage of definitions: %w", err)
	}
	defer store.Destroy()
	ctx = request.WithNamespace(ctx, metav1.NamespaceNone)
	stored, err := store.Get(ctx, want.Name, &metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		stored, err = store.Create(ctx, want, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("store definition %s: %w", want.Name, err)
	}
	current := stored.(*apiextensions.CustomResourceDefinition).DeepCopy()
	if !equality.Semantic.DeepEqual(current.Spec, want.Spec) {
		current.Spec = want.Spec
		updated, _, err := store.Update(ctx, want.Name, rest.DefaultUpdatedObjectInfo(current), nil, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("update definition %s: %w", want.Name, err)
		}
		current = updated.(*apiextensions.CustomResourceDefinition).DeepCopy()
	}
	if apiextensions.IsCRDConditionTrue(current, apiextensions.Established) {
		return nil
	}
	return establish(ctx, store, current) // a crash may have come between
}

func decodeDefinition(manifest []byte) (*apiextensions.CustomResourceDefinition, error) {
	versioned, _, err := apiextensionsserver.Codecs.UniversalDeserializer().Decode(manifest, nil, &apiextensionsv1.CustomResourceDefinition{})
	if err != nil {
		return nil, fmt.Errorf("decode definition: %w", err)
	}
	apiextensionsserver.Scheme.Default(versioned)
	internal := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsserver.Scheme.Convert(versioned, internal, nil); err != nil {
		return nil, fmt.Errorf("convert definition: %w", err)
	}
	return internal, nil
}

func establish(ctx context.Context, store *crdstore.REST, d *apiextensions.CustomResourceDefinition) error {
	// In the past: upstream holds back creates for two seconds after a definition is established, for the sake of other
	// API servers, and there are none.
	now := metav1.NewTime(time.Now().Add(-time.Minute))
	d.Status.AcceptedNames = d.Spec.Names
	d.Status.Conditions = []apiextensions.CustomResourceDefinitionCondition{
		{Type: apiextensions.NamesAccepted, Status: apiextensions.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found", LastTransitionTime: now},
		{Type: apiextensions.Established, Status: apiextensions.ConditionTrue, Reason: "InitialNamesAccepted", Message: "the initial names have been accepted", LastTransitionTime: now},
	}
	status := crdstore.NewStatusREST(apiextensionsserver.Scheme, store)
	if _, _, err := status.Update(ctx, d.Name, rest.DefaultUpdatedObjectInfo(runtime.Object(d)), nil, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("establish definition %s: %w", d.Name, err)
	}
	return nil
}
