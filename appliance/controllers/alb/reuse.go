package alb

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/alb-appliance/appliance/cloudsim"
)

// ourDescription is how the description of a listener begins that the controller made on a reused instance.
const ourDescription = "ingress-auto-listener"

// reused tells whether an instance was there before its AlbConfig.
func reused(lb cloudsim.LoadBalancer) bool {
	return slices.ContainsFunc(lb.Tags, func(t cloudsim.Tag) bool { return t.Key == tagReused })
}

// adopt takes an existing instance by tagging it (ALB-FACTS 2.1, 3.11); the refusals are the controller's.
func (d *deployer) adopt(ctx context.Context, want LoadBalancer) error {
	lb, err := d.cloud.GetLoadBalancerAttribute(ctx, want.Reuse.ID)
	if err != nil {
		return err
	}
	if lb.Edition == cloudsim.EditionBasic {
		return fmt.Errorf("LoadBalancer Edition: %s can't use for ingress controller", lb.Edition)
	}
	if lb.VPCID != d.vpcID {
		return fmt.Errorf("the vpc %s of reused alb %s is not same with cluster vpc %s", lb.VPCID, lb.LoadBalancerID, d.vpcID)
	}
	tags := map[string]string{}
	for _, t := range lb.Tags {
		tags[t.Key] = t.Value
	}
	if owner := tags[tagCluster]; owner != "" && owner != d.cluster.ID {
		return fmt.Errorf("alb %s belongs to cluster: %s, cant reuse alb to another cluster: %s", lb.LoadBalancerID, owner, d.cluster.ID)
	}
	if owner, ours := tags[tagAlbConfig], tagValue(groupID(d.name)); owner != "" && owner != ours {
		return fmt.Errorf("alb %s belongs to albconfig: %s, cant reuse alb to another albconfig: %s", lb.LoadBalancerID, owner, ours)
	}
	mark := cloudsim.Tag{Key: tagReused, Value: "true"}
	if err := d.cloud.TagResources(ctx, lb.LoadBalancerID, append(slices.Clone(want.Tags), mark)); err != nil {
		return err
	}
	lb.Tags = append(lb.Tags, mark)
	_, err = d.updateLoadBalancer(ctx, &lb, want)
	return err
}

// ours are the listeners that the AlbConfig decides on: all of an instance of its own, and of a reused one those that we
// made, unless it takes over the others as well.
func (d *deployer) ours(list []cloudsim.Listener, lb cloudsim.LoadBalancer, reuse Reuse) []cloudsim.Listener {
	if !reused(lb) || reuse.Listeners {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(l cloudsim.Listener) bool {
		return !strings.HasPrefix(l.Description, ourDescription) && !slices.ContainsFunc(l.Tags, func(t cloudsim.Tag) bool {
			return t.Key == tagAlbConfig && t.Value == tagValue(groupID(d.name))
		})
	})
}

// release lets a reused instance go: it loses the listeners that fall back to one of our groups (what was taken over
// cannot be given back, for nobody knows how it was), then our tags. Tags go last, for they are how it is found.
func (d *deployer) release(ctx context.Context, id string, groups map[GroupKey]cloudsim.ServerGroup) error {
	own := map[string]bool{}
	for _, g := range groups {
		own[g.ServerGroupID] = true
	}
	list, err := d.cloud.ListListeners(ctx, id)
	if err != nil {
		return err
	}
	for _, l := range lastQUIC(list) {
		if !own[l.DefaultServerGroupID] {
			continue
		}
		if err := d.cloud.DeleteListener(ctx, l.ListenerID); err != nil {
			return err
		}
	}
	return d.cloud.UnTagResources(ctx, id, []string{tagCluster, tagAlbConfig, tagResource, tagReused})
}

// lastQUIC puts QUIC listeners behind those that may refer to them.
func lastQUIC(list []cloudsim.Listener) []cloudsim.Listener {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b cloudsim.Listener) int {
		switch quicA, quicB := a.Protocol == cloudsim.ProtocolQUIC, b.Protocol == cloudsim.ProtocolQUIC; {
		case quicA == quicB:
			return 0
		case quicA:
			return 1
		}
		return -1
	})
	return sorted
}
