package alb

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alb-appliance/appliance/cloudsim"
)

// listeners makes the listeners and rules of an instance agree with the model and gives those that are there then.
func (d *deployer) listeners(ctx context.Context, lb cloudsim.LoadBalancer, m *Model) (there []cloudsim.Listener, changed bool, err error) {
	list, err := d.cloud.ListListeners(ctx, lb.LoadBalancerID)
	if err != nil {
		return nil, false, err
	}
	surplus := map[portAndProtocol]cloudsim.Listener{}
	for _, l := range d.ours(list, lb, m.LoadBalancer.Reuse) {
		surplus[portAndProtocol{l.Port, l.Protocol}] = l
	}
	made := map[portAndProtocol]cloudsim.Listener{}
	for _, want := range firstQUIC(m.Listeners) {
		at := portAndProtocol{want.Port, want.Protocol}
		have := surplus[at]
		delete(surplus, at)
		l, listenerChanged, err := d.listenerWithRules(ctx, lb.LoadBalancerID, have, want, surplus)
		changed = changed || listenerChanged
		if err != nil {
			return nil, changed, err
		}
		if l.ListenerID != "" {
			made[at] = l
		}
	}
	for _, want := range m.Listeners {
		if l, ok := made[portAndProtocol{want.Port, want.Protocol}]; ok {
			there = append(there, l)
		}
	}
	for _, l := range lastQUIC(list) {
		if _, ok := surplus[portAndProtocol{l.Port, l.Protocol}]; !ok {
			continue
		}
		if err := d.cloud.DeleteListener(ctx, l.ListenerID); err != nil {
			return nil, true, err
		}
		changed = true
	}
	return there, changed, nil
}

// firstQUIC puts QUIC listeners before those that may refer to them.
func firstQUIC(list []Listener) []Listener {
	var first, then []Listener
	for _, l := range list {
		if l.Protocol == cloudsim.ProtocolQUIC {
			first = append(first, l)
		} else {
			then = append(then, l)
		}
	}
	return append(first, then...)
}

// listenerWithRules makes one listener or brings it up to date, then its rules. One that waits for its first certificate
// is not made; one that has lost its last keeps what it has, for without one it could not be.
func (d *deployer) listenerWithRules(ctx context.Context, loadBalancerID string, have cloudsim.Listener, want Listener, surplus map[portAndProtocol]cloudsim.Listener) (now cloudsim.Listener, changed bool, err error) {
	if want.secure() && len(want.Certificates) == 0 && have.ListenerID == "" {
		return now, false, nil
	}
	if have.ListenerID == "" {
		if changed, err = d.freePort(ctx, want, surplus); err != nil {
			return now, changed, err
		}
	}
	now, listenerChanged, err := d.listener(ctx, loadBalancerID, have, want)
	changed = changed || listenerChanged
	if err != nil {
		return now, changed, err
	}
	ruled, err := d.rules(ctx, now.ListenerID, want.Rules)
	return now, changed || ruled, err
}

// freePort deletes the listener of another protocol that a new one takes over the port of: the two cannot be at once, as
// QUIC and HTTPS can.
func (d *deployer) freePort(ctx context.Context, want Listener, surplus map[portAndProtocol]cloudsim.Listener) (changed bool, err error) {
	for at, l := range surplus {
		if at.port == want.Port && (at.protocol == cloudsim.ProtocolQUIC) == (want.Protocol == cloudsim.ProtocolQUIC) {
			delete(surplus, at)
			return true, d.cloud.DeleteListener(ctx, l.ListenerID)
		}
	}
	return false, nil
}

// listener makes one listener or brings it up to date.
func (d *deployer) listener(ctx context.Context, loadBalancerID string, have cloudsim.Listener, want Listener) (now cloudsim.Listener, changed bool, err error) {
	certificates := d.listenerCertificates(want)
	if len(certificates) == 0 {
		certificates = have.Certificates
	}
	now = have
	now.Port, now.Protocol, now.Certificates = want.Port, want.Protocol, certificates
	update := cloudsim.UpdateListenerInput{
		ListenerID: have.ListenerID, Description: want.Description, IdleTimeout: want.IdleTimeout,
		RequestTimeout: want.RequestTimeout, XForwardedFor: want.XForwardedFor, DefaultServerGroupID: d.groupIDs[want.Placeholder],
		Certificates: certificates, SecurityPolicyID: want.SecurityPolicyID, HTTP2Enabled: want.HTTP2Enabled, QUICConfig: want.QUIC,
	}
	current := cloudsim.UpdateListenerInput{
		ListenerID: have.ListenerID, Description: have.Description, IdleTimeout: have.IdleTimeout,
		RequestTimeout: have.RequestTimeout, XForwardedFor: have.XForwardedFor, DefaultServerGroupID: have.DefaultServerGroupID,
		Certificates: have.Certificates, SecurityPolicyID: have.SecurityPolicyID, HTTP2Enabled: have.HTTP2Enabled, QUICConfig: have.QUICConfig,
	}
	switch {
	case have.ListenerID == "":
		if now.ListenerID, err = d.createListener(ctx, loadBalancerID, want, certificates); err != nil {
			return now, true, err
		}
		changed = true
	case !reflect.DeepEqual(update, current):
		return now, true, d.cloud.UpdateListenerAttribute(ctx, update)
	case have.Status != cloudsim.StatusProvisioning:
		return now, false, nil
	}
	return now, changed, d.until(ctx, "listener "+now.ListenerID+" is Running", func(ctx context.Context) (bool, error) {
		list, err := d.cloud.ListListeners(ctx, loadBalancerID)
		return slices.ContainsFunc(list, func(l cloudsim.Listener) bool {
			return l.ListenerID == now.ListenerID && l.Status == cloudsim.StatusRunning
		}), err
	})
}

// listenerCertificates resolves a listener's certificates; the first is the default. One that is named both by its id and
// as an upload counts once.
func (d *deployer) listenerCertificates(want Listener) []cloudsim.ListenerCertificate {
	var all []cloudsim.ListenerCertificate
	for _, c := range want.Certificates {
		id := c.ID
		if c.Upload != "" {
			id = d.certificateIDs[c.Upload]
		}
		if !slices.ContainsFunc(all, func(o cloudsim.ListenerCertificate) bool { return o.CertificateID == id }) {
			all = append(all, cloudsim.ListenerCertificate{CertificateID: id, IsDefault: len(all) == 0})
		}
	}
	return all
}

func (d *deployer) createListener(ctx context.Context, loadBalancerID string, want Listener, certificates []cloudsim.ListenerCertificate) (string, error) {
	id, err := d.cloud.CreateListener(ctx, cloudsim.CreateListenerInput{
		ClientToken:    d.token("listener", loadBalancerID, fmt.Sprint(want.Port), want.Protocol),
		LoadBalancerID: loadBalancerID, Port: want.Port, Protocol: want.Protocol, Description: want.Description,
		IdleTimeout: want.IdleTimeout, RequestTimeout: want.RequestTimeout, XForwardedFor: want.XForwardedFor,
		DefaultServerGroupID: d.groupIDs[want.Placeholder], Tags: owned(d.cluster.ID, d.name),
		Certificates: certificates, SecurityPolicyID: want.SecurityPolicyID, HTTP2Enabled: want.HTTP2Enabled, QUICConfig: want.QUIC,
	})
	if cloudsim.Code(err) == codeListenerThere {
		err = errors.New("listener already in use, please set forceOverride=true and reconcile") // the controller's words (ALB-FACTS 3.10)
	}
	return id, err
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
		case have.Name != in.Name || !reflect.DeepEqual(have.Conditions, in.Conditions) || !reflect.DeepEqual(have.Actions, in.Actions) || !slices.Equal(have.Tags, in.Tags):
			update = append(update, cloudsim.RuleUpdate{RuleID: have.RuleID, Name: in.Name, Priority: in.Priority, Conditions: in.Conditions, Actions: in.Actions, Tags: in.Tags})
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

// sslRedirect is the action of ssl-redirect: host, path and query stay (ALB-FACTS 1.2).
var sslRedirect = cloudsim.Redirect{Protocol: cloudsim.ProtocolHTTPS, Port: secureListener.port, HTTPCode: 308}

// ruleInput is a rule as the cloud takes it. The tags name its Ingress: a redirect has no server group that would.
func (d *deployer) ruleInput(r Rule) cloudsim.RuleInput {
	action := cloudsim.Action{Type: cloudsim.ActionForwardGroup, Order: 1}
	if r.Redirect {
		to := sslRedirect
		action.Type, action.Redirect = cloudsim.ActionRedirect, &to
	} else {
		action.ServerGroups = []cloudsim.ServerGroupTuple{{ServerGroupID: d.groupIDs[r.Backend], Weight: serverWeight}}
	}
	namespace, name, _ := strings.Cut(r.Ingress, "/")
	return cloudsim.RuleInput{
		Name: r.Name, Priority: r.Priority, Conditions: r.Conditions, Actions: []cloudsim.Action{action},
		Tags: []cloudsim.Tag{{Key: tagNamespace, Value: tagValue(namespace)}, {Key: tagIngress, Value: tagValue(name)}},
	}
}
