package edge

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane"
)

// Engine takes snapshots. *std.Server is one.
type Engine interface {
	Apply(context.Context, *dataplane.Snapshot) error
}

// Zone takes names. *dns.Server is one.
type Zone interface {
	Publish([]Name)
}

// Publisher keeps the data plane and the name server up to date with the cloud.
type Publisher struct {
	Cloud     *cloudsim.Cloud
	Engine    Engine
	Zone      Zone
	Addresses *Addresses
	Open      Opener
	Clock     clockwork.Clock
	Logger    *slog.Logger

	lastError string
}

// bindAgain is how long a publisher waits before it tries sockets again that somebody else held.
const bindAgain = 10 * time.Second

// Publish translates the inventory as it is now and returns when the data plane has switched. What cannot be bound is
// logged, once, and shown by the engine; the rest serves. It tells whether everything is bound.
func (p *Publisher) Publish(ctx context.Context) bool {
	i := p.Cloud.Inventory()
	p.Zone.Publish(Names(i))
	err := p.Engine.Apply(ctx, Translate(i, p.Addresses, p.Open))
	if ctx.Err() != nil {
		return true
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != p.lastError {
		p.lastError = text
		if err != nil {
			p.Logger.Error("listeners are missing", "err", strings.ReplaceAll(text, "\n", "; "))
		}
	}
	p.Logger.Debug("published", "revision", i.Revision)
	return err == nil
}

// Run publishes after every change of the cloud until ctx ends. Changes that come while one is published are taken
// together. While a socket is missing it tries again from time to time.
func (p *Publisher) Run(ctx context.Context) error {
	changed := p.Cloud.Watch(ctx)
	for {
		again := p.Clock.NewTimer(bindAgain)
		if p.Publish(ctx) {
			again.Stop()
		}
		select {
		case <-ctx.Done():
			again.Stop()
			return nil
		case <-changed:
			again.Stop()
		case <-again.Chan():
		}
	}
}
