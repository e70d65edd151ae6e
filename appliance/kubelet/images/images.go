// Package images is the catalogue of built-in images (DESIGN D7, NGINX-FACTS 8): servers in this process that answer as
// the containers do that manifests of this field use, and images that run commands (busybox), which the kubelet does.
//
// An image is found by the last parts of its repository's name; registry host, tag and digest do not matter, so that
// mirrors and pinned versions work. An image reads the environment and the arguments that its real twin reads.
package images

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/jonboulle/clockwork"
)

// Image is one row of the catalogue.
type Image struct {
	// Name is the repository's name, without a registry: what messages call it.
	Name string
	// Port is where it listens when nothing says otherwise.
	Port uint16
	// Entrypoints are the programs that `command` may name; the image is that program.
	Entrypoints []string
	// Command is what an image runs that has no program of its own: the commands of the small shell, as the pod says, and
	// this where it says nothing. Run is not for such an image.
	Command []string
	// Front is the program that arguments are for that name none (the entrypoint of curlimages/curl).
	Front string
	// Bare says that the twin's image holds its program and no others: no shell, no curl.
	Bare bool
	// Files are what the twin's image has and the built-in one tells truly, by path.
	Files map[string]string
	// takesArgs says that the twin has arguments; Run reads them.
	takesArgs bool
	// run serves until ctx ends and shuts down gracefully; nil is exit code 0.
	run func(ctx context.Context, c *Container) error
}

// Container is what an image is run with. Its functions are safe for concurrent use.
type Container struct {
	// Image is the reference as the pod has it; some twins differ by tag.
	Image string
	// Env is the whole environment.
	Env map[string]string
	// Args are the arguments, after the program.
	Args []string
	// PodIP is where its ports are.
	PodIP netip.Addr
	// Hostname is what the twin's host name would be: the pod's.
	Hostname string
	// Stdout gets what the container prints, whole lines.
	Stdout io.Writer
	// Listen opens a port of the pod.
	Listen func(port uint16) (net.Listener, error)
	// Clock is the time of log lines, heartbeats and delays.
	Clock clockwork.Clock
	// Started is called once, when every port is open.
	Started func()
	// Killed is closed when the grace period is over: what still runs is cut.
	Killed <-chan struct{}
}

// ExitError is the end of a container with an exit code that is not zero.
type ExitError struct{ Code int32 }

// Error implements error.
func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// StartError says that a container cannot be started as the pod describes it.
type StartError struct{ Reason string }

// Error implements error.
func (e *StartError) Error() string { return e.Reason }

// Check refuses a command or arguments that the built-in image would have to ignore, and gives the arguments that are
// left for it.
func (i Image) Check(command, args []string) ([]string, error) {
	if len(i.Command) > 0 {
		if line := slices.Concat(command, args); len(line) > 0 {
			return line, nil
		}
		return i.Command, nil
	}
	if len(command) > 0 {
		program := command[0][strings.LastIndex(command[0], "/")+1:]
		if !slices.Contains(i.Entrypoints, program) {
			return nil, &StartError{fmt.Sprintf("exec: %q: the built-in image %s has no such program; leave command away (built-in images hold no files)", command[0], i.Name)}
		}
		args = slices.Concat(command[1:], args)
	}
	if len(args) > 0 && !i.takesArgs {
		return nil, &StartError{fmt.Sprintf("the built-in image %s takes no arguments, but was given %q; leave args away", i.Name, args)}
	}
	return args, nil
}

// Run runs the image until ctx ends, then shuts it down gracefully: no port is accepted on any more, requests in flight
// are finished until c.Killed is closed. An *ExitError carries the exit code; any other error was a crash and is exit
// code 1.
func (i Image) Run(ctx context.Context, c *Container) error { return i.run(ctx, c) }

// Names lists the images for messages.
func Names() []string {
	var names []string
	for _, e := range catalogue() {
		if !slices.Contains(names, e.image.Name) {
			names = append(names, e.image.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Lookup finds the image that a reference such as registry.example/ns/name:tag@digest means.
func Lookup(ref string) (Image, bool) {
	parts, err := Repository(ref)
	if err != nil {
		return Image{}, false
	}
	var best entry
	for _, e := range catalogue() {
		if len(e.repository) > len(best.repository) && hasSuffix(parts, e.repository) {
			best = e
		}
	}
	return best.image, len(best.repository) > 0
}

func hasSuffix(parts, end []string) bool {
	return len(parts) >= len(end) && slices.Equal(parts[len(parts)-len(end):], end)
}

// entry says which repositories, by their last parts, are an image. The longest match wins.
type entry struct {
	repository []string
	image      Image
}

// catalogue is the table of NGINX-FACTS 8.
func catalogue() []entry {
	var all []entry
	add := func(image Image, repositories ...string) {
		for _, r := range repositories {
			all = append(all, entry{strings.Split(r, "/"), image})
		}
	}
	add(Image{Name: "websocket-echo-server", Port: 1337, Entrypoints: []string{"node"}, run: runWebSocketEcho}, "websocket-echo-server")
	add(Image{Name: "nginxdemos", Port: 80, Entrypoints: []string{"nginx"}, takesArgs: true, run: helloOn(80)}, "nginxdemos", "nginxdemos/hello")
	add(Image{Name: "nginx-hello", Port: 8080, Entrypoints: []string{"nginx"}, takesArgs: true, run: helloOn(8080)}, "nginx-hello", "nginxdemos/nginx-hello")
	add(Image{Name: "nginx", Port: 80, Entrypoints: []string{"nginx"}, takesArgs: true, Files: nginxFiles(80), run: nginxOn(80)}, "nginx")
	add(Image{Name: "nginx-unprivileged", Port: 8080, Entrypoints: []string{"nginx"}, takesArgs: true, Files: nginxFiles(8080), run: nginxOn(8080)}, "nginx-unprivileged", "bitnami/nginx")
	add(Image{Name: "ingressconformance/echoserver", Port: 3000, Entrypoints: []string{"echoserver"}, Bare: true, run: runEchoJSON}, "ingressconformance/echoserver")
	add(Image{Name: "echo-basic", Port: 3000, Entrypoints: []string{"echo-basic"}, Bare: true, run: runEchoJSON}, "echo-basic")
	add(Image{Name: "e2e-test-echo", Port: 80, run: echoTextOn(80)}, "e2e-test-echo")
	add(Image{Name: "echoserver", Port: 8080, run: echoTextOn(8080)}, "echoserver")
	add(Image{Name: "httpbin", Port: 80, Entrypoints: []string{"gunicorn"}, run: runHTTPBin}, "httpbin")
	add(Image{Name: "httpbun", Port: 80, Entrypoints: []string{"httpbun"}, run: runHTTPBun}, "httpbun", "e2e-test-httpbun")
	add(Image{Name: "go-httpbin", Port: 8080, Entrypoints: []string{"go-httpbin"}, takesArgs: true, Bare: true, run: runGoHTTPBin}, "go-httpbin")
	add(Image{Name: "http-echo", Port: 5678, Entrypoints: []string{"http-echo"}, takesArgs: true, Bare: true, run: runHTTPEcho}, "http-echo")
	add(Image{Name: "whoami", Port: 80, Entrypoints: []string{"whoami"}, takesArgs: true, Bare: true, run: runWhoami}, "whoami")
	add(Image{Name: "busybox", Command: []string{"sh"}}, "busybox")
	add(Image{Name: "alpine", Command: []string{"/bin/sh"}}, "alpine")
	add(Image{Name: "curl", Command: []string{"curl"}, Front: "curl"}, "curlimages/curl", "curl")
	add(Image{Name: "alb-sample/cafe", Port: 8080, Entrypoints: []string{"cafe"}, run: runCafe}, "cafe")
	return all
}
