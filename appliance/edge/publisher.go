package edge

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane"
)

// Engine takes snapshots. engines.Engine is one.
type Engine interface {
	Apply(context.Context, *dataplane.Snapshot) error
}

// Zone takes names. *dns.Server is one.
type Zone interface {
	Publish([]Name)
}

// PublisherOptions is what a Publisher needs. All fields are required.
type PublisherOptions struct {
	Cloud     *cloudsim.Cloud
	Engine    Engine
	Zone      Zone
	Addresses *Addresses
	Open      Opener
	Clock     clockwork.Clock
	Logger    *slog.Logger
}

// Publisher keeps the data plane and the name server up to date with the cloud and with what controllers offer that are
// proxies themselves.
type Publisher struct {
	PublisherOptions

	offered atomic.Pointer[dataplane.Snapshot]
	offers  chan struct{} // one slot: look again

	mu     sync.Mutex
	proofs proofs

	lastError string
}

// bindAgain is how long a publisher waits before it tries sockets again that somebody else held.
const bindAgain = 10 * time.Second

// NewPublisher makes a publisher; Run works.
func NewPublisher(o PublisherOptions) *Publisher {
	p := &Publisher{PublisherOptions: o, offers: make(chan struct{}, 1)}
	p.offered.Store(&dataplane.Snapshot{})
	return p
}

// Offer replaces the part that does not come from the cloud: the NGINX Ingress Controller's. The snapshot must not be
// changed afterwards.
func (p *Publisher) Offer(part *dataplane.Snapshot) {
	p.offered.Store(part)
	p.look()
}

// look makes Run publish again.
func (p *Publisher) look() {
	select {
	case p.offers <- struct{}{}:
	default:
	}
}

// Names gives every name there is: the cloud's, then those of offered hosts that the cloud's load balancers do not have.
func (p *Publisher) Names() []Name {
	return withOffered(Names(p.Cloud.Inventory()), p.offered.Load(), p.Addresses.NGINX().String())
}

// Publish joins what there is now and returns when the data plane has switched. What cannot be bound is logged, once, and
// shown by the engine; the rest serves. It tells whether everything is bound.
func (p *Publisher) Publish(ctx context.Context) bool {
	i := p.Cloud.Inventory()
	due, waiting := p.due()
	p.Zone.Publish(append(p.Names(), textRecords(due)...))
	err := p.Engine.Apply(ctx, withProofs(join(Translate(i, p.Addresses, p.Open), p.offered.Load()), due))
	for _, done := range waiting {
		close(done)
	}
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

// join puts two parts into one snapshot; their ids differ.
func join(a, b *dataplane.Snapshot) *dataplane.Snapshot {
	return &dataplane.Snapshot{
		Listeners:    append(append([]dataplane.Listener{}, a.Listeners...), b.Listeners...),
		Upstreams:    append(append([]dataplane.Upstream{}, a.Upstreams...), b.Upstreams...),
		Certificates: append(append([]dataplane.Certificate{}, a.Certificates...), b.Certificates...),
	}
}

// Run publishes after every change until ctx ends. Changes that come while one is published are taken together. While a
// socket is missing it tries again from time to time.
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
		case <-p.offers:
			again.Stop()
		case <-again.Chan():
		}
	}
}
