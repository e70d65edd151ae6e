package alb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/cloudsim"
)

// Limits of one call and of waiting (ALB-FACTS 3.2, 3.8).
const (
	ruleBatch   = 9
	serverBatch = 30
	waitLimit   = 20 * time.Second
)

// deployer makes the cloud agree with a model: groups with their servers, the instance, listeners, rules; what is too
// much goes last, rules before listeners before groups, so that nothing is taken away before its successor serves.
type deployer struct {
	cloud   Cloud
	clock   clockwork.Clock
	cluster Cluster
	// name and uid are the AlbConfig's; the uid goes into client tokens, so that a create repeated after a crash
	// finds what the first one made.
	name, uid string
	// known is the instance that the AlbConfig's status names; empty before the first.
	known string
	vpcID string

	groupIDs map[GroupKey]string
}

// deployed is what a deploy made or found.
type deployed struct {
	loadBalancer cloudsim.LoadBalancer
	changed      bool
}

func (d *deployer) deploy(ctx context.Context, m *Model) (deployed, error) {
	var result deployed
	existing, err := d.serverGroups(ctx)
	if err != nil {
		return result, err
	}
	d.groupIDs = map[GroupKey]string{}
	steps := []func() (bool, error){
		func() (bool, error) { return d.groups(ctx, m, existing) },
		func() (changed bool, err error) {
			result.loadBalancer, changed, err = d.loadBalancer(ctx, m.LoadBalancer)
			return changed, err
		},
		func() (bool, error) { return d.listeners(ctx, result.loadBalancer.LoadBalancerID, m) },
		func() (bool, error) { return d.removeGroups(ctx, existing) },
	}
	for _, step := range steps {
		changed, err := step()
		if err != nil {
			return result, err
		}
		result.changed = result.changed || changed
	}
	return result, nil
}

// serverGroups are the groups made for this AlbConfig, by key.
func (d *deployer) serverGroups(ctx context.Context) (map[GroupKey]cloudsim.ServerGroup, error) {
	list, err := d.cloud.ListServerGroups(ctx, cloudsim.Filter{Tags: owned(d.cluster.ID, d.name)})
	if err != nil {
		return nil, err
	}
	groups := map[GroupKey]cloudsim.ServerGroup{}
	for _, g := range list {
		if k, ok := keyOf(g.Tags); ok {
			groups[k] = g
		}
	}
	return groups, nil
}

func (d *deployer) groups(ctx context.Context, m *Model, existing map[GroupKey]cloudsim.ServerGroup) (changed bool, err error) {
	for _, want := range m.ServerGroups {
		have, ok := existing[want.Key]
		if !ok {
			changed = true
			if have.ServerGroupID, err = d.createGroup(ctx, want); err != nil {
				return changed, err
			}
		}
		d.groupIDs[want.Key] = have.ServerGroupID
		if have, err = d.available(ctx, have); err != nil {
			return changed, err
		}
		added, err := d.members(ctx, have, want.Servers)
		if err != nil {
			return changed, err
		}
		changed = changed || added
	}
	return changed, nil
}

func (d *deployer) createGroup(ctx context.Context, want ServerGroup) (string, error) {
	k := want.Key
	return d.cloud.CreateServerGroup(ctx, cloudsim.CreateServerGroupInput{
		ClientToken: d.token("server-group", k.Namespace, k.Ingress, k.Service, fmt.Sprint(k.Port)),
		Name:        want.Name, Type: want.Type, Protocol: want.Protocol, Scheduler: want.Scheduler, VPCID: d.vpcID, Tags: want.Tags,
	})
}

// available waits until a group takes servers, and gives it as it is then.
func (d *deployer) available(ctx context.Context, g cloudsim.ServerGroup) (cloudsim.ServerGroup, error) {
	if g.Status == cloudsim.StatusAvailable {
		return g, nil
	}
	return g, d.untilGroup(ctx, g.ServerGroupID, "is Available", func(now cloudsim.ServerGroup) bool {
		g = now
		return g.Status == cloudsim.StatusAvailable
	})
}

func (d *deployer) untilGroup(ctx context.Context, id, what string, check func(cloudsim.ServerGroup) bool) error {
	return d.until(ctx, "server group "+id+" "+what, func(ctx context.Context) (bool, error) {
		list, err := d.cloud.ListServerGroups(ctx, cloudsim.Filter{IDs: []string{id}})
		return len(list) == 1 && check(list[0]), err
	})
}

// member is what makes a server one of a group.
type member struct {
	id, ip string
	port   int
}

// members adds the servers that are missing, then removes those too many.
func (d *deployer) members(ctx context.Context, have cloudsim.ServerGroup, want []cloudsim.ServerInput) (changed bool, err error) {
	wanted := map[member]bool{}
	for _, s := range want {
		wanted[member{s.ServerID, s.ServerIP, s.Port}] = true
	}
	present, leaving := map[member]bool{}, map[member]bool{}
	var missing, surplus []cloudsim.ServerInput
	for _, s := range have.Servers {
		switch k := (member{s.ServerID, s.ServerIP, s.Port}); {
		case s.Status == cloudsim.StatusRemoving:
			leaving[k] = true
		case wanted[k]:
			present[k] = true
		default:
			surplus = append(surplus, cloudsim.ServerInput{ServerID: s.ServerID, ServerType: s.ServerType, ServerIP: s.ServerIP, Port: s.Port})
		}
	}
	comeBack := false
	for _, s := range want {
		if k := (member{s.ServerID, s.ServerIP, s.Port}); !present[k] {
			missing = append(missing, s)
			comeBack = comeBack || leaving[k]
		}
	}
	if comeBack { // the cloud refuses a server that it is still removing
		if err := d.released(ctx, have.ServerGroupID, wanted); err != nil {
			return false, err
		}
	}
	for batch := range slices.Chunk(missing, serverBatch) {
		if err := d.cloud.AddServersToServerGroup(ctx, have.ServerGroupID, batch); err != nil {
			return true, err
		}
	}
	for batch := range slices.Chunk(surplus, serverBatch) {
		if err := d.cloud.RemoveServersFromServerGroup(ctx, have.ServerGroupID, batch); err != nil {
			return true, err
		}
	}
	return len(missing)+len(surplus) > 0, nil
}

// released waits until none of the wanted servers is being removed.
func (d *deployer) released(ctx context.Context, groupID string, wanted map[member]bool) error {
	return d.untilGroup(ctx, groupID, "has let go of the servers that come back", func(now cloudsim.ServerGroup) bool {
		return !slices.ContainsFunc(now.Servers, func(s cloudsim.Server) bool {
			return s.Status == cloudsim.StatusRemoving && wanted[member{s.ServerID, s.ServerIP, s.Port}]
		})
	})
}

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

// updateLoadBalancer changes what can change of an instance (ALB-FACTS 2.1); all else is fixed at its creation.
func (d *deployer) updateLoadBalancer(ctx context.Context, have *cloudsim.LoadBalancer, want LoadBalancer) (changed bool, err error) {
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

func (d *deployer) listeners(ctx context.Context, loadBalancerID string, m *Model) (changed bool, err error) {
	list, err := d.cloud.ListListeners(ctx, loadBalancerID)
	if err != nil {
		return false, err
	}
	existing := map[portAndProtocol]cloudsim.Listener{}
	for _, l := range list {
		existing[portAndProtocol{l.Port, l.Protocol}] = l
	}
	for _, want := range m.Listeners {
		at := portAndProtocol{want.Port, want.Protocol}
		id, made, err := d.listener(ctx, loadBalancerID, existing[at], want)
		if err != nil {
			return changed, err
		}
		delete(existing, at)
		ruled, err := d.rules(ctx, id, want.Rules)
		if err != nil {
			return changed, err
		}
		changed = changed || made || ruled
	}
	for _, l := range list {
		if _, surplus := existing[portAndProtocol{l.Port, l.Protocol}]; surplus {
			if err := d.cloud.DeleteListener(ctx, l.ListenerID); err != nil {
				return true, err
			}
			changed = true
		}
	}
	return changed, nil
}

// listener makes one listener or brings it up to date.
func (d *deployer) listener(ctx context.Context, loadBalancerID string, have cloudsim.Listener, want Listener) (id string, changed bool, err error) {
	update := cloudsim.UpdateListenerInput{
		ListenerID: have.ListenerID, Description: want.Description, IdleTimeout: want.IdleTimeout,
		RequestTimeout: want.RequestTimeout, XForwardedFor: want.XForwardedFor, DefaultServerGroupID: d.groupIDs[want.Placeholder],
	}
	current := cloudsim.UpdateListenerInput{
		ListenerID: have.ListenerID, Description: have.Description, IdleTimeout: have.IdleTimeout,
		RequestTimeout: have.RequestTimeout, XForwardedFor: have.XForwardedFor, DefaultServerGroupID: have.DefaultServerGroupID,
	}
	switch id = have.ListenerID; {
	case id == "":
		if id, err = d.createListener(ctx, loadBalancerID, want); err != nil {
			return id, true, err
		}
		changed = true
	case !reflect.DeepEqual(update, current):
		return id, true, d.cloud.UpdateListenerAttribute(ctx, update)
	case have.Status != cloudsim.StatusProvisioning:
		return id, false, nil
	}
	return id, changed, d.until(ctx, "listener "+id+" is Running", func(ctx context.Context) (bool, error) {
		list, err := d.cloud.ListListeners(ctx, loadBalancerID)
		return slices.ContainsFunc(list, func(l cloudsim.Listener) bool {
			return l.ListenerID == id && l.Status == cloudsim.StatusRunning
		}), err
	})
}

func (d *deployer) createListener(ctx context.Context, loadBalancerID string, want Listener) (string, error) {
	return d.cloud.CreateListener(ctx, cloudsim.CreateListenerInput{
		ClientToken:    d.token("listener", loadBalancerID, fmt.Sprint(want.Port), want.Protocol),
		LoadBalancerID: loadBalancerID, Port: want.Port, Protocol: want.Protocol, Description: want.Description,
		IdleTimeout: want.IdleTimeout, RequestTimeout: want.RequestTimeout, XForwardedFor: want.XForwardedFor,
		DefaultServerGroupID: d.groupIDs[want.Placeholder], Tags: owned(d.cluster.ID, d.name),
	})
}

// rules creates, updates and deletes, in this order; a rule is known by its priority (ALB-FACTS 3.2).
func (d *deployer) rules(ctx context.Context, listenerID string, want []Rule) (bool, error) {
	list, err := d.cloud.ListRules(ctx, listenerID)
	if err != nil {
		return false, err
	}
	existing := map[int]cloudsim.Rule{}
	for _, r := range list {
		existing[r.Priority] = r
	}
	var create []cloudsim.RuleInput
	var update []cloudsim.RuleUpdate
	for _, r := range want {
		in := d.ruleInput(r)
		have, ok := existing[r.Priority]
		delete(existing, r.Priority)
		switch {
		case !ok:
			create = append(create, in)
		case have.Name != in.Name || !reflect.DeepEqual(have.Conditions, in.Conditions) || !reflect.DeepEqual(have.Actions, in.Actions):
			update = append(update, cloudsim.RuleUpdate{RuleID: have.RuleID, Name: in.Name, Priority: in.Priority, Conditions: in.Conditions, Actions: in.Actions})
		}
	}
	var remove []string
	for _, r := range list {
		if _, surplus := existing[r.Priority]; surplus {
			remove = append(remove, r.RuleID)
		}
	}
	for batch := range slices.Chunk(create, ruleBatch) {
		if _, err := d.cloud.CreateRules(ctx, listenerID, batch); err != nil {
			return true, err
		}
	}
	for batch := range slices.Chunk(update, ruleBatch) {
		if err := d.cloud.UpdateRulesAttribute(ctx, batch); err != nil {
			return true, err
		}
	}
	for batch := range slices.Chunk(remove, ruleBatch) {
		if err := d.cloud.DeleteRules(ctx, batch); err != nil {
			return true, err
		}
	}
	return len(create)+len(update)+len(remove) > 0, nil
}

func (d *deployer) ruleInput(r Rule) cloudsim.RuleInput {
	return cloudsim.RuleInput{
		Name: r.Name, Priority: r.Priority, Conditions: r.Conditions,
		Actions: []cloudsim.Action{{
			Type: cloudsim.ActionForwardGroup, Order: 1,
			ServerGroups: []cloudsim.ServerGroupTuple{{ServerGroupID: d.groupIDs[r.Backend], Weight: serverWeight}},
		}},
	}
}

// removeGroups deletes the groups that no rule uses any more.
func (d *deployer) removeGroups(ctx context.Context, existing map[GroupKey]cloudsim.ServerGroup) (changed bool, err error) {
	for k, g := range existing {
		if _, used := d.groupIDs[k]; used {
			continue
		}
		changed = true
		if err := d.cloud.DeleteServerGroup(ctx, g.ServerGroupID); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// remove deletes everything that was made for the AlbConfig.
func (d *deployer) remove(ctx context.Context) error {
	lb, err := d.find(ctx)
	if err != nil {
		return err
	}
	if lb != nil {
		if err := d.cloud.DeleteLoadBalancer(ctx, lb.LoadBalancerID); err != nil {
			return err
		}
	}
	existing, err := d.serverGroups(ctx)
	if err != nil {
		return err
	}
	_, err = d.removeGroups(ctx, existing)
	return err
}

// token is a client token: the same for the same thing of the same AlbConfig, whichever process asks.
func (d *deployer) token(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{d.cluster.ID, d.uid}, parts...), "\x00")))
	return hex.EncodeToString(sum[:])
}

// until waits for the cloud to say so, at most waitLimit.
func (d *deployer) until(ctx context.Context, what string, check func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := d.cloud.Watch(ctx)
	limit := d.clock.NewTimer(waitLimit)
	defer limit.Stop()
	for {
		if ok, err := check(ctx); ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-limit.Chan():
			if ok, err := check(ctx); ok || err != nil { // both may come at once
				return err
			}
			return fmt.Errorf("wait until %s: it is not after %s", what, waitLimit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
