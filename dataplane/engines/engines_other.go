//go:build !linux

package engines

import (
	"errors"

	"github.com/alb-appliance/appliance/dataplane/engine"
)

// native is empty: the event loop has been run on Linux only.
var native []string

func newNative(engine.Options) (Engine, error) { return nil, errors.ErrUnsupported }
