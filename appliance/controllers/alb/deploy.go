package alb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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

// Codes of refusals that mean more than "no" here (ALB-FACTS 6.3).
const (
	codeNameRepeat    = "NameRepeat"
	codeListenerThere = "ResourceAlreadyExist.Listener"
)

// deployer makes the cloud agree with a model: certificates, groups with their servers, the instance, listeners, rules;
// what is too much goes last, rules before listeners before groups, so that nothing is taken away before its successor
// serves.
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

	groupIDs       map[GroupKey]string
	certificateIDs map[string]string // by the name of the Upload
}

// deployed is what a deploy made or found.
type deployed struct {
	loadBalancer cloudsim.LoadBalancer
	listeners    []cloudsim.Listener // in the model's order, with what shows in the status
	// without says what of the AlbConfig has no effect on the instance.
	without []string
	changed bool
}

func (d *deployer) deploy(ctx context.Context, m *Model) (deployed, error) {
	var result deployed
	existing, err := d.serverGroups(ctx)
	if err != nil {
		return result, err
	}
	d.groupIDs = map[GroupKey]string{}
	steps := []func() (bool, error){
		func() (bool, error) { return d.uploads(ctx, m.Uploads) },
		func() (bool, error) { return d.groups(ctx, m, existing) },
		func() (changed bool, err error) {
			result.loadBalancer, changed, err = d.loadBalancer(ctx, m.LoadBalancer)
			result.without = withoutEffect(result.loadBalancer, m.LoadBalancer)
			return changed, err
		},
		func() (changed bool, err error) {
			result.listeners, changed, err = d.listeners(ctx, result.loadBalancer, m)
			return changed, err
		},
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

// uploads puts the certificates of Secrets into the certificate service, each once. They stay there when no listener has
// them any more, as those of the real controller do (ALB-FACTS 7: discovery finds old ones again).
func (d *deployer) uploads(ctx context.Context, want []Upload) (changed bool, err error) {
	if d.certificateIDs = map[string]string{}; len(want) == 0 {
		return false, nil
	}
	if err := d.knownCertificates(ctx); err != nil {
		return false, err
	}
	for _, u := range want {
		if d.certificateIDs[u.Name] != "" {
			continue
		}
		id, err := d.cloud.UploadUserCertificate(ctx, cloudsim.UploadCertificateInput{Name: u.Name, Chain: u.Chain, Key: u.Key})
		d.certificateIDs[u.Name], changed = id, true
		if cloudsim.Code(err) == codeNameRepeat { // another AlbConfig with the same Secret was faster
			err = d.knownCertificates(ctx)
		}
		if err != nil {
			return true, err
		}
	}
	return changed, nil
}

// knownCertificates learns the ids of the certificates that are there.
func (d *deployer) knownCertificates(ctx context.Context) error {
	list, err := d.cloud.ListCertificates(ctx)
	for _, c := range list {
		d.certificateIDs[c.Name] = c.CertificateID
	}
	return err
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
