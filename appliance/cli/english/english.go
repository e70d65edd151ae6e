// Package english keeps kubectl's messages in English in a process that is not kubectl: reading translations takes 17 ms
// and 4 MB, and package variables of kubectl would do it at each start. It imports little besides what holds the
// translations, so that Go initializes it before those packages.
package english

import (
	"os"
	"path/filepath"
	"slices"

	"k8s.io/kubectl/pkg/util/i18n"
)

func init() {
	if slices.Contains(os.Args, "kubectl") || filepath.Base(os.Args[0]) == "kubectl" {
		return
	}
	if err := i18n.SetLoadTranslationsFunc(func() error { return nil }); err != nil {
		panic(err) // a package that translates has come before
	}
}
