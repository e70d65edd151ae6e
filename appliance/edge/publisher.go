package edge

import (
	"context"
	"log/slog"
	"strings"

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
	Logger    *slog.Logger

	lastError string
}

// Publish translates the inventory as it is now and returns when the data plane has switched. What cannot be bound is
// logged, once, and shown by the engine; the rest serves.
func (p *Publisher) Publish(ctx context.Context) {
	i := p.Cloud.Inventory()
	p.Zone.Publish(Names(i))
	err := p.Engine.Apply(ctx, Translate(i, p.Addresses, p.Open))
	if ctx.Err() != nil {
		return
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
}

// Run publishes after every change of the cloud until ctx ends. Changes that come while one is published are taken
// together.
func (p *Publisher) Run(ctx context.Context) error {
	changed := p.Cloud.Watch(ctx)
	p.Publish(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			p.Publish(ctx)
		}
	}
}
