// Package engines knows the engines of the data plane by name.
package engines

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/std"
)

// Engine carries traffic. *std.Server and *loop.Server are engines; their methods may be called from any goroutine.
type Engine interface {
	// Apply makes a snapshot the one in force; see engine.Server.Apply.
	Apply(context.Context, *dataplane.Snapshot) error
	// Program is the program in force, nil before the first Apply.
	Program() *dataplane.Program
	// Listeners tells where the listeners of the snapshot in force can be reached.
	Listeners() []dataplane.ListenerStatus
	// Problems tells what of the snapshot in force cannot be served as written.
	Problems() []dataplane.Problem
	// State holds turns and health.
	State() *dataplane.State
	// Run waits until ctx is done and shuts down.
	Run(ctx context.Context) error
	// Shutdown ends everything, gracefully while ctx lasts.
	Shutdown(ctx context.Context) error
}

// The names of engines.
const (
	// Std is the engine on net/http, which runs everywhere.
	Std = "std"
	// Loop is the event loop, on Linux.
	Loop = "loop"
)

// Names lists the engines that this system has, the default one first.
func Names() []string { return append(slices.Clone(native), Std) }

// Default is the name of the engine that runs when none is named.
func Default() string { return Names()[0] }

// New makes the engine of a name, or the default one for "".
func New(name string, o engine.Options) (Engine, error) {
	switch {
	case name == "":
		name = Default()
	case !slices.Contains(Names(), name):
		return nil, fmt.Errorf("engine %q: this system has no such engine; take one of %s", name, strings.Join(Names(), ", "))
	}
	if name == Std {
		return std.New(o), nil
	}
	return newNative(o)
}
