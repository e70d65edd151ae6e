package apiserver

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// What the tests of this package see of its inside.
const DocumentV2 = documentV2

var HashOf = hashOf

type (
	GroupModels = groupModels
	KindModel   = kindModel
)

var ReadModels = readModels

// ModelsFile is where the models of a group are.
func ModelsFile(group string) string {
	if group == "" {
		return coreModels
	}
	return group
}

// Describe has upstream make the OpenAPI documents of what s serves.
func Describe(s *Server, maker routes.OpenAPI, paths *mux.PathRecorderMux) *spec.Swagger {
	container := s.api.Handler.GoRestfulContainer
	_, swagger := maker.InstallV2(container, paths)
	maker.InstallV3(container, paths)
	return swagger
}

// BuiltinDocuments gives the embedded documents; each has its hash beside it.
func BuiltinDocuments() (map[string][]byte, error) {
	archive, err := builtinArchive()
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, f := range archive.File {
		if all[f.Name], err = unpack(f); err != nil {
			return nil, err
		}
		if f.Comment != hashOf(all[f.Name]) {
			return nil, fmt.Errorf("%s has the hash of another text", f.Name)
		}
	}
	return all, nil
}

// KindsTable is the table of docs/kubernetes.md: what is served, and what of it is warned about.
func KindsTable() string {
	var b strings.Builder
	b.WriteString("| group | versions | acted on | stored, with a warning |\n|---|---|---|---|\n")
	for _, g := range groups {
		acted, idle := map[string][]string{}, map[string][]string{}
		for _, k := range g.kinds {
			into := acted
			if k.idle != "" {
				into = idle
			}
			into[k.idle] = append(into[k.idle], k.resource)
		}
		var warned []string
		for why, names := range idle {
			warned = append(warned, strings.Join(names, ", ")+": "+why)
		}
		slices.Sort(warned)
		name := g.name
		if name == "" {
			name = "core"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, strings.Join(g.versions, ", "), strings.Join(acted[""], ", "), strings.Join(warned, "; "))
	}
	return b.String()
}

// AdmissionList is the list of docs/kubernetes.md.
func AdmissionList() string { return strings.Join(admissionOrder, ", ") + "\n" }
