package alb

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/alb-appliance/appliance/cloudsim"
)

// find looks the instance up by its tags.
func (d *deployer) find(ctx context.Context) (*cloudsim.LoadBalancer, error) {
	list, err := d.cloud.ListLoadBalancers(ctx, cloudsim.Filter{Tags: append(owned(d.cluster.ID, d.name), cloudsim.Tag{Key: tagResource, Value: tagResourceLoadBalancer})})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if len(list) > 1 {
		return nil, fmt.Errorf("find the instance of albconfig %s: %s and %s both carry its tags; delete one", d.name, list[0].LoadBalancerID, list[1].LoadBalancerID)
	}
	return &list[0], nil
}

func (d *deployer) loadBalancer(ctx context.Context, want LoadBalancer) (lb cloudsim.LoadBalancer, changed bool, err error) {
	have, err := d.find(ctx)
	if err != nil {
		return lb, false, err
	}
	switch {
	case have != nil:
		changed, err = d.updateLoadBalancer(ctx, have, want)
	case want.Reuse.ID != "":
		changed, err = true, d.adopt(ctx, want)
	case d.known != "":
		err = fmt.Errorf("ALB loadBalancer : %s has been deleted on the console , please delete related albconfig first", d.known) // the controller's own spelling
	default:
		changed, err = true, d.createLoadBalancer(ctx, want)
	}
	if err != nil {
		return lb, changed, err
	}
	err = d.until(ctx, "the instance of albconfig "+d.name+" is Active", func(ctx context.Context) (bool, error) {
		now, err := d.find(ctx)
		if now != nil {
			lb = *now
		}
		return lb.Status == cloudsim.StatusActive, err
	})
	return lb, changed, err
}

// updateLoadBalancer changes what can change of an instance (ALB-FACTS 2.1); all else is fixed at its creation, and one
// that is reused stays as it is unless the AlbConfig takes over its attributes.
func (d *deployer) updateLoadBalancer(ctx context.Context, have *cloudsim.LoadBalancer, want LoadBalancer) (changed bool, err error) {
	if id := want.Reuse.ID; id != "" && id != have.LoadBalancerID {
		return false, fmt.Errorf("config id %s: albconfig %s has instance %s already, which cannot be exchanged; make another AlbConfig for %s", id, d.name, have.LoadBalancerID, id)
	}
	if reused(*have) && !want.Reuse.Attributes { // also when the id was taken out of the AlbConfig
		return false, nil
	}
	if have.Edition != want.Edition {
		if want.Edition != cloudsim.EditionWAF {
			return false, fmt.Errorf("downgrade not allowed for alb from %s to %s", have.Edition, want.Edition)
		}
		if err := d.cloud.UpdateLoadBalancerEdition(ctx, have.LoadBalancerID, want.Edition); err != nil {
			return true, err
		}
		changed = true
	}
	if have.Name == want.Name {
		return changed, nil
	}
	return true, d.cloud.UpdateLoadBalancerAttribute(ctx, have.LoadBalancerID, want.Name)
}

// withoutEffect says what of the AlbConfig the instance was made without, for good (ALB-FACTS 2.1: creation-only).
func withoutEffect(have cloudsim.LoadBalancer, want LoadBalancer) []string {
	const stays = "which is fixed at creation; another AlbConfig makes another instance"
	var all []string
	if want.AddressType != "" && have.AddressType != want.AddressType {
		all = append(all, fmt.Sprintf("config addressType %s has no effect: instance %s was made with %s, %s", want.AddressType, have.LoadBalancerID, have.AddressType, stays))
	}
	var made []string
	for _, z := range have.ZoneMappings {
		made = append(made, z.VSwitchID)
	}
	if wanted := slices.Clone(want.VSwitchIDs); len(wanted) > 0 {
		slices.Sort(made)
		slices.Sort(wanted)
		if !slices.Equal(made, wanted) {
			all = append(all, fmt.Sprintf("config zoneMappings %s has no effect: instance %s was made with %s, %s", strings.Join(wanted, ","), have.LoadBalancerID, strings.Join(made, ","), stays))
		}
	}
	return all
}

func (d *deployer) createLoadBalancer(ctx context.Context, want LoadBalancer) error {
	in := cloudsim.CreateLoadBalancerInput{
		ClientToken: d.token("load-balancer"),
		Name:        want.Name, AddressType: want.AddressType, Edition: want.Edition, VPCID: d.vpcID, Tags: want.Tags,
	}
	for _, id := range want.VSwitchIDs {
		in.ZoneMappings = append(in.ZoneMappings, cloudsim.ZoneMappingInput{VSwitchID: id})
	}
	_, err := d.cloud.CreateLoadBalancer(ctx, in)
	return err
}

// remove deletes everything that was made for the AlbConfig.
func (d *deployer) remove(ctx context.Context) error {
	lb, err := d.find(ctx)
	if err != nil {
		return err
	}
	existing, err := d.serverGroups(ctx)
	if err != nil {
		return err
	}
	switch {
	case lb == nil:
	case reused(*lb):
		err = d.release(ctx, lb.LoadBalancerID, existing)
	default:
		err = d.cloud.DeleteLoadBalancer(ctx, lb.LoadBalancerID)
	}
	if err != nil {
		return err
	}
	_, err = d.removeGroups(ctx, existing)
	return err
}
