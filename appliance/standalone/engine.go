package standalone

import (
	"context"
	"fmt"
	"strings"

	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/std"
)

// Engine is what carries the traffic.
type Engine interface {
	Apply(context.Context, *dataplane.Snapshot) error
	Program() *dataplane.Program
	Listeners() []dataplane.ListenerStatus
	Shutdown(context.Context) error
}

// EngineOptions are what every engine is made from.
type EngineOptions = std.Options

// EngineStd is the engine on net/http.
const EngineStd = "std"

// DefaultEngine is the engine that runs when none is named.
const DefaultEngine = EngineStd

// Engines lists the names of the engines.
func Engines() []string { return []string{EngineStd} }

// NewEngine makes the engine of a name.
func NewEngine(name string, o EngineOptions) (Engine, error) {
	switch name {
	case EngineStd:
		return std.New(o), nil
	}
	return nil, fmt.Errorf("engine %q is unknown; take one of %s", name, strings.Join(Engines(), ", "))
}
