package cloudsim

import (
	"context"
	"fmt"
	"slices"

	"github.com/alb-appliance/appliance/state/sqlite"
)

// maxServersPerCall is what one call takes (ALB-FACTS 4.10).
const maxServersPerCall = 200

// ListServerGroups gives the selected groups with their servers, oldest first.
func (c *Cloud) ListServerGroups(_ context.Context, f Filter) ([]ServerGroup, error) {
	var list []ServerGroup
	for _, g := range c.Inventory().ServerGroups {
		if f.matches(g.ServerGroupID, g.Tags) {
			g.Servers, g.Tags = slices.Clone(g.Servers), slices.Clone(g.Tags)
			list = append(list, g)
		}
	}
	return list, nil
}

// CreateServerGroup begins to make a group without servers: Creating, then Available.
func (c *Cloud) CreateServerGroup(ctx context.Context, in CreateServerGroupInput) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, err := c.repeated(ctx, in.ClientToken); id != "" || err != nil {
		return id, err
	}
	i := c.Inventory()
	if n := len(in.Name); n < 2 || n > 128 {
		return "", errIllegal("ServerGroupName")
	}
	if in.Protocol != ProtocolHTTP && in.Protocol != ProtocolHTTPS && in.Protocol != "gRPC" {
		return "", errIllegal("Protocol")
	}
	if !slices.Contains([]string{SchedulerWrr, SchedulerWlc, SchedulerSch, SchedulerUch}, in.Scheduler) {
		return "", errIllegal("Scheduler")
	}
	if found(i.VPCs, func(v *VPC) bool { return v.VPCID == in.VPCID }) == nil {
		return "", errNotFound("Vpc", in.VPCID)
	}
	if used := len(i.ServerGroups); used >= quotaServerGroups {
		return "", errQuota("alb_quota_servergroups_num", i.Region, used, quotaServerGroups)
	}
	g := ServerGroup{
		ServerGroupID: newID("sgp-", 18), Name: in.Name, Type: in.Type, Protocol: in.Protocol, Scheduler: in.Scheduler,
		VPCID: in.VPCID, Status: StatusCreating, Tags: slices.Clone(in.Tags),
	}
	return g.ServerGroupID, c.commit(ctx, insertServerGroup(g), insertToken(in.ClientToken, g.ServerGroupID))
}

// DeleteServerGroup deletes a group that no listener and no rule uses.
func (c *Cloud) DeleteServerGroup(ctx context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.Inventory()
	if _, err := i.serverGroup(id); err != nil {
		return err
	}
	used := found(i.Listeners, func(l *Listener) bool { return l.DefaultServerGroupID == id }) != nil ||
		found(i.Rules, func(r *Rule) bool { return r.uses(id) }) != nil
	if used {
		return errInUse("ServerGroup", id)
	}
	return c.commit(ctx, deleteServerGroup(id))
}

func (r *Rule) uses(serverGroupID string) bool {
	for _, a := range r.Actions {
		if slices.ContainsFunc(a.ServerGroups, func(g ServerGroupTuple) bool { return g.ServerGroupID == serverGroupID }) {
			return true
		}
	}
	return false
}

// AddServersToServerGroup begins to add servers: Adding, then Available.
func (c *Cloud) AddServersToServerGroup(ctx context.Context, id string, in []ServerInput) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, err := c.changeableGroup(id, in)
	if err != nil {
		return err
	}
	next := *g
	next.Servers = slices.Clone(g.Servers)
	for n, s := range in {
		if err := checkServer(n+1, s); err != nil {
			return err
		}
		if found(next.Servers, s.is) != nil {
			return errExists("BackendServer", fmt.Sprintf("%s:%d", s.ServerID, s.Port))
		}
		next.Servers = append(next.Servers, Server{
			ServerID: s.ServerID, ServerType: s.ServerType, ServerIP: s.ServerIP, Port: s.Port, Weight: s.Weight,
			Description: s.Description, Status: StatusAdding,
		})
	}
	if len(next.Servers) > quotaServers {
		return errQuota("alb_quota_servergroup_servers_num", id, len(g.Servers), quotaServers)
	}
	return c.commit(ctx, updateServerGroup(next))
}

// RemoveServersFromServerGroup begins to remove servers: Removing, then gone.
func (c *Cloud) RemoveServersFromServerGroup(ctx context.Context, id string, in []ServerInput) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, err := c.changeableGroup(id, in)
	if err != nil {
		return err
	}
	next := *g
	next.Servers = slices.Clone(g.Servers)
	for _, s := range in {
		have := found(next.Servers, s.is)
		if have == nil {
			return errNotFound("BackendServer", fmt.Sprintf("%s:%d", s.ServerID, s.Port))
		}
		have.Status = StatusRemoving
	}
	return c.commit(ctx, updateServerGroup(next))
}

func (c *Cloud) changeableGroup(id string, in []ServerInput) (*ServerGroup, error) {
	g, err := c.Inventory().serverGroup(id)
	if err != nil {
		return nil, err
	}
	if len(in) == 0 || len(in) > maxServersPerCall {
		return nil, errIllegalSize("Servers")
	}
	if g.Status == StatusCreating {
		return nil, errStatus("ServerGroup", id)
	}
	return g, nil
}

func checkServer(n int, s ServerInput) error {
	at := func(field string) string { return fmt.Sprintf("Servers.%d.%s", n, field) }
	switch {
	case s.ServerID == "":
		return errMissing(at("ServerId"))
	case !slices.Contains([]string{ServerEcs, ServerEni, ServerEci, ServerIP}, s.ServerType):
		return errIllegal(at("ServerType"))
	case s.Port < 1 || s.Port > 65535:
		return errIllegal(at("Port"))
	case s.Weight < 0 || s.Weight > maxWeight:
		return errIllegal(at("Weight"))
	}
	return nil
}

// is tells whether a member is the one meant: by server, address and port.
func (s ServerInput) is(m *Server) bool {
	return m.ServerID == s.ServerID && m.ServerIP == s.ServerIP && m.Port == s.Port
}

func (i *Inventory) serverGroup(id string) (*ServerGroup, error) {
	if g := found(i.ServerGroups, func(g *ServerGroup) bool { return g.ServerGroupID == id }); g != nil {
		return g, nil
	}
	return nil, errNotFound("ServerGroup", id)
}

func insertServerGroup(g ServerGroup) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO server_groups (server_group_id, name, type, protocol, scheduler, vpc_id, status, servers, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				g.ServerGroupID, g.Name, g.Type, g.Protocol, g.Scheduler, g.VPCID, g.Status, asJSON(g.Servers), asJSON(g.Tags))
			return err
		},
		apply: func(i *Inventory) { i.ServerGroups = appended(i.ServerGroups, g) },
	}
}

func updateServerGroup(g ServerGroup) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`UPDATE server_groups SET status = ?, servers = ? WHERE server_group_id = ?`, g.Status, asJSON(g.Servers), g.ServerGroupID)
			return err
		},
		apply: func(i *Inventory) {
			i.ServerGroups = replaced(i.ServerGroups, func(o *ServerGroup) bool { return o.ServerGroupID == g.ServerGroupID }, g)
		},
	}
}

func deleteServerGroup(id string) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			if _, err := tx.Exec(`DELETE FROM client_tokens WHERE resource_id = ?`, id); err != nil {
				return err
			}
			_, err := tx.Exec(`DELETE FROM server_groups WHERE server_group_id = ?`, id)
			return err
		},
		apply: func(i *Inventory) {
			i.ServerGroups = without(i.ServerGroups, func(g *ServerGroup) bool { return g.ServerGroupID == id })
		},
	}
}
