package cli

import (
	"fmt"
	"os"
	"runtime"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	_ "github.com/alb-appliance/appliance/appliance/cli/english" // before kubectl's packages
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
	// kubectl tells of errors in any of its goroutines, and expects that call not to return.
	fatal, ended := make(chan int, 1), make(chan struct{})
	cmdutil.BehaviorOnFatal(func(message string, exit int) {
		if message != "" {
			fmt.Fprintln(s.err, message)
		}
		select {
		case fatal <- exit:
		default: // another one was first
		}
		runtime.Goexit()
	})
	defer cmdutil.DefaultBehaviorOnFatal()
	go func() {
		defer close(ended)
		kubectl := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
			PluginHandler: cmd.NewDefaultPluginHandler([]string{"kubectl"}), Arguments: append([]string{"kubectl"}, c.Args...),
			ConfigFlags: flags, IOStreams: genericiooptions.IOStreams{In: os.Stdin, Out: s.out, ErrOut: s.err},
		})
		kubectl.SetArgs(c.Args)
		cmdutil.CheckErr(cli.RunNoErrOutput(kubectl)) // as kubectl's own main does
	}()
	select {
	case code := <-fatal:
		return exitError{code}
	case <-ended:
	}
	select {
	case code := <-fatal: // it ended by it
		return exitError{code}
	default:
		return nil
	}
}

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
