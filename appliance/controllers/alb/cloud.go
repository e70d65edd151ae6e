package alb

import (
	"context"

	"github.com/alb-appliance/appliance/cloudsim"
)

// Cloud is what the controller asks of the cloud. *cloudsim.Cloud is one.
type Cloud interface {
	ListLoadBalancers(context.Context, cloudsim.Filter) ([]cloudsim.LoadBalancer, error)
	CreateLoadBalancer(context.Context, cloudsim.CreateLoadBalancerInput) (string, error)
	GetLoadBalancerAttribute(ctx context.Context, id string) (cloudsim.LoadBalancer, error)
	UpdateLoadBalancerAttribute(ctx context.Context, id, name string) error
	UpdateLoadBalancerEdition(ctx context.Context, id, edition string) error
	DeleteLoadBalancer(ctx context.Context, id string) error
	TagResources(ctx context.Context, id string, tags []cloudsim.Tag) error
	UnTagResources(ctx context.Context, id string, keys []string) error

	ListListeners(ctx context.Context, loadBalancerID string) ([]cloudsim.Listener, error)
	CreateListener(context.Context, cloudsim.CreateListenerInput) (string, error)
	UpdateListenerAttribute(context.Context, cloudsim.UpdateListenerInput) error
	DeleteListener(ctx context.Context, id string) error

	ListRules(ctx context.Context, listenerID string) ([]cloudsim.Rule, error)
	CreateRules(ctx context.Context, listenerID string, rules []cloudsim.RuleInput) ([]string, error)
	UpdateRulesAttribute(context.Context, []cloudsim.RuleUpdate) error
	DeleteRules(ctx context.Context, ids []string) error

	ListServerGroups(context.Context, cloudsim.Filter) ([]cloudsim.ServerGroup, error)
	CreateServerGroup(context.Context, cloudsim.CreateServerGroupInput) (string, error)
	DeleteServerGroup(ctx context.Context, id string) error
	AddServersToServerGroup(ctx context.Context, id string, servers []cloudsim.ServerInput) error
	RemoveServersFromServerGroup(ctx context.Context, id string, servers []cloudsim.ServerInput) error

	ListCertificates(context.Context) ([]cloudsim.Certificate, error)
	UploadUserCertificate(context.Context, cloudsim.UploadCertificateInput) (string, error)

	// Watch gives a channel with one slot that gets a value after every change, until ctx ends.
	Watch(context.Context) <-chan struct{}
}
