package cli

import (
	"fmt"

	kubeversion "k8s.io/component-base/version"
)

// version is set when the binary is linked.
var version = "devel"

type versionCommand struct{}

// Help is the end of the command's --help.
func (versionCommand) Help() string {
	return `Example:
  appliance version`
}

// Run prints the versions of the program and of the Kubernetes API in it.
func (versionCommand) Run(s *streams) error {
	fmt.Fprintf(s.out, "appliance %s, Kubernetes %s\n", version, kubeversion.Get().GitVersion)
	return nil
}
