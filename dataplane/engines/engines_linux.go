package engines

import (
	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/loop"
)

// native are the engines that this system has besides std.
var native = []string{Loop}

func newNative(o engine.Options) (Engine, error) { return loop.New(o) }
