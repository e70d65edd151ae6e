package apiserver

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"encoding/gob"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// builtinModels say how the fields of built-in kinds merge, by which managed fields and server-side apply are worked out:
// one file for each group. They are what upstream makes of its OpenAPI definitions at each start, which takes a sixth of
// the CPU of a start and is needed for the groups alone that somebody writes to. TestModels makes them.
//
//go:embed models.zip
var builtinModels []byte

// coreModels is the file of the group whose name is empty.
const coreModels = "core"

// groupModels is one file of builtinModels, in encoding/gob.
type groupModels struct {
	Types []smdschema.TypeDef
	Kinds []kindModel
}

// kindModel says which of Types is a kind's.
type kindModel struct {
	schema.GroupVersionKind
	Type string
}

func init() { gob.Register(map[string]any{}) } // the default of a field that is a map

func readModels(group string) (*groupModels, error) {
	file := group
	if group == "" {
		file = coreModels
	}
	archive, err := zip.NewReader(bytes.NewReader(builtinModels), int64(len(builtinModels)))
	if err != nil {
		return nil, fmt.Errorf("read the built-in models: %w", err)
	}
	f, err := archive.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the built-in models: %w", err)
	}
	defer f.Close()
	m := &groupModels{}
	if err := gob.NewDecoder(f).Decode(m); err != nil {
		return nil, fmt.Errorf("read the built-in models of %s: %w", file, err)
	}
	return m, nil
}

// converter is upstream's converter for the kinds of a group (managedfields.NewTypeConverter), made when it is needed.
type converter struct {
	managedfields.TypeConverter // upstream's, which knows no kind: for the error it gives, whose type is its own

	kinds func() (map[schema.GroupVersionKind]typed.ParseableType, error)
}

func newConverter(group string) (managedfields.TypeConverter, error) {
	none, err := managedfields.NewTypeConverter(nil, false)
	if err != nil {
		return nil, fmt.Errorf("make type converter: %w", err)
	}
	return converter{none, sync.OnceValues(func() (map[schema.GroupVersionKind]typed.ParseableType, error) {
		m, err := readModels(group)
		if err != nil {
			return nil, err
		}
		parser := typed.Parser{Schema: smdschema.Schema{Types: m.Types}}
		kinds := make(map[schema.GroupVersionKind]typed.ParseableType, len(m.Kinds))
		for _, k := range m.Kinds {
			kinds[k.GroupVersionKind] = parser.Type(k.Type)
		}
		return kinds, nil
	})}, nil
}

// ObjectToTyped implements managedfields.TypeConverter.
func (c converter) ObjectToTyped(o runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	kinds, err := c.kinds()
	if err != nil {
		return nil, err
	}
	model, known := kinds[o.GetObjectKind().GroupVersionKind()]
	if !known {
		return c.TypeConverter.ObjectToTyped(o, options...)
	}
	if u, is := o.(*unstructured.Unstructured); is {
		return model.FromUnstructured(u.UnstructuredContent(), options...)
	}
	return model.FromStructured(o, options...)
}
