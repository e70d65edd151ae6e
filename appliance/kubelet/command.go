package kubelet

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/alb-appliance/appliance/appliance/kubelet/images"
	"github.com/alb-appliance/appliance/appliance/kubelet/shell"
)

// command runs what a pod says through the small shell, as the program of an image that has none of its own: busybox and
// the like. As process 1 of a container, which no signal ends that it does not handle, it runs until it ends or is killed.
func (t *target) command(args []string, console *console) func(context.Context, *images.Container) error {
	return func(_ context.Context, c *images.Container) error {
		ctx, cut := context.WithCancel(context.Background())
		defer cut()
		go func() {
			select {
			case <-c.Killed:
				cut()
			case <-ctx.Done():
			}
		}()
		files, err := t.files(ctx)
		if err != nil {
			return cannotCreate(err)
		}
		s := t.shell(files)
		if len(t.spec.Command) == 0 && t.run.image.Front != "" && (strings.HasPrefix(args[0], "-") || s.Find(args[0]) != nil) {
			args = append([]string{t.run.image.Front}, args...)
		}
		if err := s.Find(args[0]); err != nil {
			return cannotCreate(err)
		}
		c.Started()
		code, err := s.Run(ctx, args, console.streams(t.spec.TTY))
		if err != nil {
			return cannotCreate(err)
		}
		if code != 0 {
			return &images.ExitError{Code: int32(code)}
		}
		return nil
	}
}

// cannotCreate is how containerd reports a container that runc could not start.
func cannotCreate(err error) error {
	return &images.StartError{Reason: fmt.Sprintf("failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "+
		"unable to start container process: error during container init: %v: unknown", err)}
}

// shell is what commands of the container run in.
func (t *target) shell(files *shell.Files) *shell.Container {
	return &shell.Container{
		Env: maps.Clone(t.run.env), Hostname: t.run.env["HOSTNAME"], Program: t.run.image.Name, Files: files,
		Network: t.reach, Clock: t.pod.options.Clock, Bare: t.run.image.Bare,
	}
}
