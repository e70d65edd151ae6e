//go:build linux

package loop_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/enginetest"
	"github.com/alb-appliance/appliance/dataplane/loop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEngine runs the suite that every engine passes.
func TestEngine(t *testing.T) { enginetest.Run(t, newEngine(t)) }

// TestSoak carries tunnels and load over many changes; `make soak` does so for an hour.
func TestSoak(t *testing.T) { enginetest.Soak(t, newEngine(t), enginetest.SoakEnvironment(t)) }

func newEngine(t *testing.T) enginetest.NewEngine {
	return func(o enginetest.Options) enginetest.Engine {
		s, err := loop.New(engine.Options{Clock: o.Clock, Limits: o.Limits, AccessLog: o.AccessLog})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}
