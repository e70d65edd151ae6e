package apiserver

import (
	"strings"

	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
)

// parseable is upstream's version, in a form that clients can read. The linker sets it (Makefile); without that upstream
// says "v0.0.0-master+$Format:%H$", which helm and kubectl refuse.
type parseable struct{ compatibility.EffectiveVersion }

// Info implements compatibility.EffectiveVersion.
func (p parseable) Info() *apimachineryversion.Info {
	info := p.EffectiveVersion.Info()
	if strings.Contains(info.GitVersion, "$") {
		info.GitVersion = "v" + info.Major + "." + info.Minor + ".0"
	}
	if strings.Contains(info.GitCommit, "$") {
		info.GitCommit = ""
	}
	return info
}
