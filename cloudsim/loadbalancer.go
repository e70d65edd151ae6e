package cloudsim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/alb-appliance/appliance/state/sqlite"
)

// Zones of an instance (ALB-FACTS 2.1).
const (
	minZones = 2
	maxZones = 10
)

// ListLoadBalancers gives the selected instances, oldest first.
func (c *Cloud) ListLoadBalancers(_ context.Context, f Filter) ([]LoadBalancer, error) {
	var list []LoadBalancer
	for _, lb := range c.Inventory().LoadBalancers {
		if f.matches(lb.LoadBalancerID, lb.Tags) {
			lb.ZoneMappings, lb.Tags = slices.Clone(lb.ZoneMappings), slices.Clone(lb.Tags)
			list = append(list, lb)
		}
	}
	return list, nil
}

// GetLoadBalancerAttribute gives one instance.
func (c *Cloud) GetLoadBalancerAttribute(_ context.Context, id string) (LoadBalancer, error) {
	lb, err := c.Inventory().loadBalancer(id)
	if err != nil {
		return LoadBalancer{}, err
	}
	copied := *lb
	copied.ZoneMappings, copied.Tags = slices.Clone(lb.ZoneMappings), slices.Clone(lb.Tags)
	return copied, nil
}

// CreateLoadBalancer begins to make an instance: Provisioning, then Active.
func (c *Cloud) CreateLoadBalancer(ctx context.Context, in CreateLoadBalancerInput) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, err := c.repeated(ctx, in.ClientToken); id != "" || err != nil {
		return id, err
	}
	i := c.Inventory()
	zones, err := c.checkLoadBalancer(i, in)
	if err != nil {
		return "", err
	}
	id := newID("alb-", 18)
	lb := LoadBalancer{
		LoadBalancerID: id, Name: in.Name, Status: StatusProvisioning, AddressType: in.AddressType, Edition: in.Edition,
		VPCID: in.VPCID, DNSName: id + dnsSuffix(i.Region), ZoneMappings: zones, Tags: slices.Clone(in.Tags),
		CreateTime: c.options.Clock.Now().UTC().Format(time.RFC3339),
	}
	return id, c.commit(ctx, insertLoadBalancer(lb), insertToken(in.ClientToken, id))
}

func (c *Cloud) checkLoadBalancer(i *Inventory, in CreateLoadBalancerInput) ([]ZoneMapping, error) {
	if !validName(in.Name) {
		return nil, errIllegal("LoadBalancerName")
	}
	if in.AddressType != AddressInternet && in.AddressType != AddressIntranet {
		return nil, errIllegal("AddressType")
	}
	if in.Edition != EditionBasic && in.Edition != EditionStandard && in.Edition != EditionWAF {
		return nil, errIllegal("LoadBalancerEdition")
	}
	if len(in.ZoneMappings) < minZones || len(in.ZoneMappings) > maxZones {
		return nil, errIllegalSize("ZoneMappings")
	}
	if used := len(i.LoadBalancers); used >= quotaLoadBalancers {
		return nil, errQuota("alb_quota_loadbalancers_num", i.Region, used, quotaLoadBalancers)
	}
	return c.mapZones(i, in)
}

// mapZones finds the zone of each vSwitch and gives it an address.
func (c *Cloud) mapZones(i *Inventory, in CreateLoadBalancerInput) ([]ZoneMapping, error) {
	var zones []ZoneMapping
	for n, m := range in.ZoneMappings {
		v := found(i.VSwitches, func(v *VSwitch) bool { return v.VSwitchID == m.VSwitchID })
		if v == nil || v.VPCID != in.VPCID {
			return nil, errNotFound("VSwitch", m.VSwitchID)
		}
		if m.ZoneID != "" && m.ZoneID != v.ZoneID {
			return nil, errIllegal(fmt.Sprintf("ZoneMappings.%d.ZoneId", n+1))
		}
		if slices.ContainsFunc(zones, func(z ZoneMapping) bool { return z.ZoneID == v.ZoneID }) {
			return nil, errDuplicated(fmt.Sprintf("ZoneMappings.%d.ZoneId", n+1))
		}
		zones = append(zones, ZoneMapping{ZoneID: v.ZoneID, VSwitchID: v.VSwitchID, Status: StatusActive})
	}
	for n := range zones {
		address, err := c.freeAddress(i, zones[:n])
		if err != nil {
			return nil, err
		}
		zones[n].Address = address
	}
	return zones, nil
}

// freeAddress is the lowest address of the pool that nobody has.
func (c *Cloud) freeAddress(i *Inventory, also []ZoneMapping) (string, error) {
	taken := map[string]bool{}
	for _, a := range c.options.Reserved {
		taken[a.String()] = true
	}
	for _, lb := range i.LoadBalancers {
		for _, z := range lb.ZoneMappings {
			taken[z.Address] = true
		}
	}
	for _, z := range also {
		taken[z.Address] = true
	}
	pool := c.options.Addresses.Masked()
	for a := pool.Addr().Next(); pool.Contains(a.Next()); a = a.Next() { // neither the first nor the last
		if !taken[a.String()] {
			return a.String(), nil
		}
	}
	return "", errQuota("addresses", pool.String(), len(taken), len(taken))
}

// UpdateLoadBalancerAttribute renames an instance.
func (c *Cloud) UpdateLoadBalancerAttribute(ctx context.Context, id, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	lb, err := c.Inventory().loadBalancer(id)
	if err != nil {
		return err
	}
	if !validName(name) {
		return errIllegal("LoadBalancerName")
	}
	next := *lb
	next.Name = name
	return c.commit(ctx, updateLoadBalancer(next))
}

// TagResources sets tags of an instance; those of the same keys give way.
func (c *Cloud) TagResources(ctx context.Context, id string, tags []Tag) error {
	return c.retag(ctx, id, tags, nil)
}

// UnTagResources takes tags away from an instance.
func (c *Cloud) UnTagResources(ctx context.Context, id string, keys []string) error {
	return c.retag(ctx, id, nil, keys)
}

func (c *Cloud) retag(ctx context.Context, id string, set []Tag, drop []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	lb, err := c.Inventory().loadBalancer(id)
	if err != nil {
		return err
	}
	next := *lb
	next.Tags = without(lb.Tags, func(t *Tag) bool {
		return slices.Contains(drop, t.Key) || slices.ContainsFunc(set, func(s Tag) bool { return s.Key == t.Key })
	})
	next.Tags = append(next.Tags, set...)
	return c.commit(ctx, updateLoadBalancer(next))
}

// UpdateLoadBalancerEdition changes an instance to an edition that can do more: Configuring, then Active. It serves
// meanwhile. There is no way back.
func (c *Cloud) UpdateLoadBalancerEdition(ctx context.Context, id, edition string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	lb, err := c.Inventory().loadBalancer(id)
	if err != nil {
		return err
	}
	editions := []string{EditionBasic, EditionStandard, EditionWAF}
	if slices.Index(editions, edition) <= slices.Index(editions, lb.Edition) {
		return errIllegal("LoadBalancerEdition")
	}
	next := *lb
	next.Edition, next.Status = edition, StatusConfiguring
	return c.commit(ctx, updateLoadBalancer(next))
}

// DeleteLoadBalancer deletes an instance with its listeners and their rules.
func (c *Cloud) DeleteLoadBalancer(ctx context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.Inventory().loadBalancer(id); err != nil {
		return err
	}
	return c.commit(ctx, deleteLoadBalancer(id))
}

func (i *Inventory) loadBalancer(id string) (*LoadBalancer, error) {
	if lb := found(i.LoadBalancers, func(lb *LoadBalancer) bool { return lb.LoadBalancerID == id }); lb != nil {
		return lb, nil
	}
	return nil, errNotFound("LoadBalancer", id)
}

// validName tells whether a name has 2 to 128 characters and starts with a letter (ALB-FACTS 2.1).
func validName(s string) bool {
	if n := len([]rune(s)); n < 2 || n > 128 {
		return false
	}
	first := s[0] | 0x20
	return first >= 'a' && first <= 'z' || s[0] >= 0x80
}

func insertLoadBalancer(lb LoadBalancer) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO load_balancers (load_balancer_id, name, status, address_type, edition, vpc_id, dns_name, zone_mappings, tags, create_time)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				lb.LoadBalancerID, lb.Name, lb.Status, lb.AddressType, lb.Edition, lb.VPCID, lb.DNSName, asJSON(lb.ZoneMappings), asJSON(lb.Tags), lb.CreateTime)
			return err
		},
		apply: func(i *Inventory) { i.LoadBalancers = appended(i.LoadBalancers, lb) },
	}
}

func updateLoadBalancer(lb LoadBalancer) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`UPDATE load_balancers SET name = ?, status = ?, edition = ?, zone_mappings = ?, tags = ? WHERE load_balancer_id = ?`,
				lb.Name, lb.Status, lb.Edition, asJSON(lb.ZoneMappings), asJSON(lb.Tags), lb.LoadBalancerID)
			return err
		},
		apply: func(i *Inventory) {
			i.LoadBalancers = replaced(i.LoadBalancers, func(o *LoadBalancer) bool { return o.LoadBalancerID == lb.LoadBalancerID }, lb)
		},
	}
}

func deleteLoadBalancer(id string) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			if _, err := tx.Exec(`DELETE FROM client_tokens WHERE resource_id IN (SELECT ? UNION SELECT listener_id FROM listeners WHERE load_balancer_id = ?)`, id, id); err != nil {
				return err
			}
			_, err := tx.Exec(`DELETE FROM load_balancers WHERE load_balancer_id = ?`, id)
			return err
		},
		apply: func(i *Inventory) {
			for _, l := range i.Listeners {
				if l.LoadBalancerID == id {
					i.Rules = without(i.Rules, func(r *Rule) bool { return r.ListenerID == l.ListenerID })
				}
			}
			i.Listeners = without(i.Listeners, func(l *Listener) bool { return l.LoadBalancerID == id })
			i.LoadBalancers = without(i.LoadBalancers, func(lb *LoadBalancer) bool { return lb.LoadBalancerID == id })
		},
	}
}
