package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
)

// maxWarnings bounds what one answer says of one object.
const maxWarnings = 20

// looseKinds are definitions that store anything, by their names, with what they mean. Who writes an object that means
// something else is warned: the fields it has in vain, and those with a value of another type
// (admission.ValidationInterface).
type looseKinds map[string]*apiextensionsv1.JSONSchemaProps

// newLooseKinds reads schemas, YAML, by the name of their definition.
func newLooseKinds(schemas map[string][]byte) (looseKinds, error) {
	l := looseKinds{}
	for name, text := range schemas {
		schema := &apiextensionsv1.JSONSchemaProps{}
		if err := yaml.UnmarshalStrict(text, schema); err != nil {
			return nil, fmt.Errorf("decode schema of %s: %w", name, err)
		}
		l[name] = schema
	}
	return l, nil
}

// describe gives a definition with the schema that says what it means.
func (l looseKinds) describe(d *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	schema := l[d.Name]
	if schema == nil {
		return d
	}
	d = d.DeepCopy()
	for i := range d.Spec.Versions {
		d.Spec.Versions[i].Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: schema}
	}
	return d
}

// Handles implements admission.Interface.
func (looseKinds) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Validate implements admission.ValidationInterface.
func (l looseKinds) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	schema := l[a.GetResource().GroupResource().String()]
	object, ok := a.GetObject().(*unstructured.Unstructured)
	if schema == nil || !ok || a.GetSubresource() != "" {
		return nil
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(object.Object)) {
		switch property, known := schema.Properties[name]; {
		case known:
			all = append(all, deviations(name, object.Object[name], &property)...)
		case name != "apiVersion" && name != "kind" && name != "metadata":
			all = append(all, unknown(name))
		}
	}
	if len(all) > maxWarnings {
		all = append(all[:maxWarnings], fmt.Sprintf("and %d more", len(all)-maxWarnings))
	}
	for _, w := range all {
		warning.AddWarning(ctx, "", w)
	}
	return nil
}

func unknown(path string) string {
	return fmt.Sprintf("unknown field %q: it is stored and has no effect", path)
}

// deviations lists what of a value its schema does not know.
func deviations(path string, value any, schema *apiextensionsv1.JSONSchemaProps) []string {
	wrong := []string{fmt.Sprintf("field %q must be of type %s, not %s: it is stored, and the controller will refuse it", path, wanted(schema), typeOf(value))}
	var all []string
	switch v := value.(type) {
	case nil:
		return nil // as absent
	case map[string]any:
		if schema.Type != "object" {
			return wrong
		}
		if schema.XPreserveUnknownFields != nil && *schema.XPreserveUnknownFields {
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if property := fold(schema.Properties, name); property != nil {
				all = append(all, deviations(path+"."+name, v[name], property)...)
			} else {
				all = append(all, unknown(path+"."+name))
			}
		}
	case []any:
		if schema.Type != "array" {
			return wrong
		}
		for i := range v {
			all = append(all, deviations(path+"["+strconv.Itoa(i)+"]", v[i], schema.Items.Schema)...)
		}
	default:
		if t := typeOf(value); t != schema.Type && !(schema.XIntOrString && (t == "integer" || t == "string")) {
			return wrong
		}
	}
	return all
}

// fold finds a property by its name without regard to case, as the managed controller reads them.
func fold(properties map[string]apiextensionsv1.JSONSchemaProps, name string) *apiextensionsv1.JSONSchemaProps {
	for known, schema := range properties {
		if strings.EqualFold(known, name) {
			return &schema
		}
	}
	return nil
}

func wanted(schema *apiextensionsv1.JSONSchemaProps) string {
	return cmp.Or(schema.Type, "integer or string")
}

func typeOf(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	case float64:
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}
