package standalone

import (
	"context"
	"fmt"
	"strings"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/std"
)

// engine is what carries the traffic.
type engine interface {
	Apply(context.Context, *dataplane.Snapshot) error
	Program() *dataplane.Program
	Listeners() []dataplane.ListenerStatus
	Shutdown(context.Context) error
}

// engineOptions are what every engine is made from.
type engineOptions = std.Options

// EngineStd is the engine on net/http.
const EngineStd = "std"

// DefaultEngine is the engine that runs when none is named.
const DefaultEngine = EngineStd

// Engines lists the names of the engines.
func Engines() []string { return []string{EngineStd} }

// newEngine makes the engine of a name.
func newEngine(name string, o engineOptions) (engine, error) {
	switch name {
	case EngineStd:
		return std.New(o), nil
	}
	return nil, fmt.Errorf("engine %q is unknown; take one of %s", name, strings.Join(Engines(), ", "))
}
