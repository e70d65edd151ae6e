package cli

import (
	"fmt"
	"os"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

type kubectlCommand struct {
	Args []string `arg:"" optional:"" help:"What kubectl takes."`
}

// Help is the end of the command's --help.
func (kubectlCommand) Help() string {
	return `Example:
  appliance kubectl get ingress -A`
}

// Run is kubectl with the appliance's kubeconfig, unless --kubeconfig names another.
func (c *kubectlCommand) Run(s *streams, g *grammar) error {
	path, err := g.kubeconfigPath()
	if err != nil {
		return err
	}
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50)
	flags.KubeConfig = &path
	if err := os.Setenv("KUBECONFIG", path); err != nil { // for `kubectl config` and for plugins, which ask no flag
		return fmt.Errorf("set KUBECONFIG: %w", err)
	}
	code := 0
	cmdutil.BehaviorOnFatal(func(message string, exit int) {
		if message != "" {
			fmt.Fprintln(s.err, message)
		}
		code = exit
		panic(fatal{})
	})
	defer cmdutil.DefaultBehaviorOnFatal()
	func() {
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(fatal); !ok {
					panic(p)
				}
			}
		}()
		kubectl := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
			PluginHandler: cmd.NewDefaultPluginHandler([]string{"kubectl"}), Arguments: append([]string{"kubectl"}, c.Args...),
			ConfigFlags: flags, IOStreams: genericiooptions.IOStreams{In: os.Stdin, Out: s.out, ErrOut: s.err},
		})
		kubectl.SetArgs(c.Args)
		cmdutil.CheckErr(cli.RunNoErrOutput(kubectl)) // as kubectl's own main does
	}()
	if code != 0 {
		return exitError{code}
	}
	return nil
}

// fatal unwinds a kubectl command that has told its error.
type fatal struct{}

// exitError is an exit code that another program chose; its error has been told.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

type kubeconfigCommand struct{}

// Help is the end of the command's --help.
func (kubeconfigCommand) Help() string {
	return `Example:
  export KUBECONFIG=$(appliance kubeconfig)`
}

// Run prints the path.
func (kubeconfigCommand) Run(s *streams, g *grammar) error {
	path, err := g.kubeconfigPath()
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, path)
	return nil
}
