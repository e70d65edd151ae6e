package cloudsim

import (
	"cmp"
	"context"
	"slices"

	"github.com/alb-appliance/appliance/state/sqlite"
)

// Timeouts of a listener, in seconds (ALB-FACTS 4.4).
const (
	defaultIdleTimeout    = 15
	defaultRequestTimeout = 60
	maxTimeout            = 600
)

// ListListeners gives a load balancer's listeners, oldest first.
func (c *Cloud) ListListeners(_ context.Context, loadBalancerID string) ([]Listener, error) {
	i := c.Inventory()
	if _, err := i.loadBalancer(loadBalancerID); err != nil {
		return nil, err
	}
	var list []Listener
	for _, l := range i.Listeners {
		if l.LoadBalancerID == loadBalancerID {
			l.Tags, l.Certificates = slices.Clone(l.Tags), slices.Clone(l.Certificates)
			list = append(list, l)
		}
	}
	return list, nil
}

// CreateListener begins to make a listener: Provisioning, then Running.
func (c *Cloud) CreateListener(ctx context.Context, in CreateListenerInput) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, err := c.repeated(ctx, in.ClientToken); id != "" || err != nil {
		return id, err
	}
	l := Listener{
		ListenerID: newID("lsn-", 18), LoadBalancerID: in.LoadBalancerID, Port: in.Port, Protocol: in.Protocol, Description: in.Description,
		Status: StatusProvisioning, IdleTimeout: cmp.Or(in.IdleTimeout, defaultIdleTimeout), RequestTimeout: cmp.Or(in.RequestTimeout, defaultRequestTimeout),
		XForwardedFor: in.XForwardedFor, DefaultServerGroupID: in.DefaultServerGroupID, Tags: slices.Clone(in.Tags),
		Certificates: slices.Clone(in.Certificates), SecurityPolicyID: securityPolicy(in.Protocol, in.SecurityPolicyID),
		HTTP2Enabled: in.HTTP2Enabled, QUICConfig: in.QUICConfig,
	}
	if err := c.checkNewListener(c.Inventory(), l); err != nil {
		return "", err
	}
	return l.ListenerID, c.commit(ctx, insertListener(l), insertToken(in.ClientToken, l.ListenerID))
}

func (c *Cloud) checkNewListener(i *Inventory, l Listener) error {
	lb, err := i.loadBalancer(l.LoadBalancerID)
	if err != nil {
		return err
	}
	if lb.Status != StatusActive {
		return errStatus("LoadBalancer", lb.LoadBalancerID)
	}
	if l.Port < 1 || l.Port > 65535 {
		return errIllegal("ListenerPort")
	}
	if l.Protocol != ProtocolHTTP && l.Protocol != ProtocolHTTPS && l.Protocol != ProtocolQUIC {
		return errIllegal("ListenerProtocol")
	}
	// QUIC may share its port with HTTPS; nothing else shares (ALB-FACTS 2.2).
	other := found(i.Listeners, func(o *Listener) bool {
		return o.LoadBalancerID == l.LoadBalancerID && o.Port == l.Port && (o.Protocol == ProtocolQUIC) == (l.Protocol == ProtocolQUIC)
	})
	if other != nil {
		return errExists("Listener", other.ListenerID)
	}
	used := count(i.Listeners, func(o *Listener) bool { return o.LoadBalancerID == l.LoadBalancerID })
	if used >= quotaListeners {
		return errQuota(quotaName("alb_quota_loadbalancer_listeners_num", lb.Edition), lb.LoadBalancerID, used, quotaListeners)
	}
	return c.checkListener(i, l, nil)
}

// securityPolicy is the TLS policy of a listener that names none.
func securityPolicy(protocol, named string) string {
	if protocol == ProtocolHTTPS {
		return cmp.Or(named, SecurityPolicies[0])
	}
	return named
}

// checkListener checks what can also change later; have are the certificates it has already.
func (c *Cloud) checkListener(i *Inventory, l Listener, have []ListenerCertificate) error {
	if l.IdleTimeout < 1 || l.IdleTimeout > maxTimeout {
		return errIllegal("IdleTimeout")
	}
	if l.RequestTimeout < 1 || l.RequestTimeout > maxTimeout {
		return errIllegal("RequestTimeout")
	}
	if l.DefaultServerGroupID == "" {
		return errMissing("DefaultActions")
	}
	if _, err := i.serverGroup(l.DefaultServerGroupID); err != nil {
		return err
	}
	if l.SecurityPolicyID != "" && l.Protocol != ProtocolHTTPS {
		return errIllegal("SecurityPolicyId")
	}
	if l.SecurityPolicyID != "" && !slices.Contains(SecurityPolicies, l.SecurityPolicyID) {
		return errNotFound("SecurityPolicy", l.SecurityPolicyID)
	}
	if err := checkQUIC(i, l); err != nil {
		return err
	}
	return checkListenerCertificates(i, l, have, c.options.Clock.Now())
}

// checkQUIC checks that what an HTTPS listener tells its clients of is a QUIC listener beside it.
func checkQUIC(i *Inventory, l Listener) error {
	if l.QUICConfig == (QUICConfig{}) {
		return nil
	}
	if l.Protocol != ProtocolHTTPS {
		return errIllegal("QuicConfig")
	}
	if l.QUICConfig.ListenerID == "" {
		return errMissing("QuicConfig.QuicListenerId")
	}
	quic, err := i.listener(l.QUICConfig.ListenerID)
	if err != nil {
		return err
	}
	if quic.Protocol != ProtocolQUIC || quic.LoadBalancerID != l.LoadBalancerID {
		return errIllegal("QuicConfig.QuicListenerId")
	}
	return nil
}

// UpdateListenerAttribute replaces what can change of a listener: Configuring, then Running. It serves meanwhile.
func (c *Cloud) UpdateListenerAttribute(ctx context.Context, in UpdateListenerInput) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.Inventory()
	l, err := i.listener(in.ListenerID)
	if err != nil {
		return err
	}
	next := *l
	next.Description, next.XForwardedFor, next.DefaultServerGroupID = in.Description, in.XForwardedFor, in.DefaultServerGroupID
	next.IdleTimeout, next.RequestTimeout = cmp.Or(in.IdleTimeout, defaultIdleTimeout), cmp.Or(in.RequestTimeout, defaultRequestTimeout)
	next.Certificates, next.SecurityPolicyID = slices.Clone(in.Certificates), securityPolicy(l.Protocol, in.SecurityPolicyID)
	next.HTTP2Enabled, next.QUICConfig = in.HTTP2Enabled, in.QUICConfig
	if err := c.checkListener(i, next, l.Certificates); err != nil {
		return err
	}
	next.Status = StatusConfiguring
	return c.commit(ctx, updateListener(next))
}

// DeleteListener deletes a listener and its rules.
func (c *Cloud) DeleteListener(ctx context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.Inventory()
	if _, err := i.listener(id); err != nil {
		return err
	}
	if slices.ContainsFunc(i.Listeners, func(l Listener) bool { return l.QUICConfig.ListenerID == id }) {
		return errInUse("Listener", id)
	}
	return c.commit(ctx, deleteListener(id))
}

func (i *Inventory) listener(id string) (*Listener, error) {
	if l := found(i.Listeners, func(l *Listener) bool { return l.ListenerID == id }); l != nil {
		return l, nil
	}
	return nil, errNotFound("Listener", id)
}

func insertListener(l Listener) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO listeners (listener_id, load_balancer_id, port, protocol, description, status, idle_timeout, request_timeout, x_forwarded_for, default_server_group_id,
					certificates, security_policy_id, http2_enabled, quic_config, tags)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				l.ListenerID, l.LoadBalancerID, l.Port, l.Protocol, l.Description, l.Status, l.IdleTimeout, l.RequestTimeout, asJSON(l.XForwardedFor), l.DefaultServerGroupID,
				asJSON(l.Certificates), l.SecurityPolicyID, l.HTTP2Enabled, asJSON(l.QUICConfig), asJSON(l.Tags))
			return err
		},
		apply: func(i *Inventory) { i.Listeners = appended(i.Listeners, l) },
	}
}

func updateListener(l Listener) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`UPDATE listeners SET description = ?, status = ?, idle_timeout = ?, request_timeout = ?, x_forwarded_for = ?, default_server_group_id = ?,
					certificates = ?, security_policy_id = ?, http2_enabled = ?, quic_config = ? WHERE listener_id = ?`,
				l.Description, l.Status, l.IdleTimeout, l.RequestTimeout, asJSON(l.XForwardedFor), l.DefaultServerGroupID,
				asJSON(l.Certificates), l.SecurityPolicyID, l.HTTP2Enabled, asJSON(l.QUICConfig), l.ListenerID)
			return err
		},
		apply: func(i *Inventory) {
			i.Listeners = replaced(i.Listeners, func(o *Listener) bool { return o.ListenerID == l.ListenerID }, l)
		},
	}
}

func deleteListener(id string) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			if _, err := tx.Exec(`DELETE FROM client_tokens WHERE resource_id = ?`, id); err != nil {
				return err
			}
			_, err := tx.Exec(`DELETE FROM listeners WHERE listener_id = ?`, id)
			return err
		},
		apply: func(i *Inventory) {
			i.Rules = without(i.Rules, func(r *Rule) bool { return r.ListenerID == id })
			i.Listeners = without(i.Listeners, func(l *Listener) bool { return l.ListenerID == id })
		},
	}
}
