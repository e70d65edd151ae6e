package cloudsim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/alb-appliance/appliance/state/sqlite"
)

// Limits of rules (ALB-FACTS 4.9, 4.12).
const (
	maxRulesPerCall = 10
	maxPriority     = 10000
	maxValues       = 10 // of all conditions of a rule together
	maxHostLength   = 128
	maxPathLength   = 128
	maxWeight       = 100
)

// redirectCodes are the status codes that a redirect may have.
var redirectCodes = []int{301, 302, 303, 307, 308}

// illegalInPath are the characters that a path which is no regular expression may not have (ALB-FACTS 1.3).
const illegalInPath = `()[]{}|^$\`

// ListRules gives a listener's rules in the order in which they are tried.
func (c *Cloud) ListRules(_ context.Context, listenerID string) ([]Rule, error) {
	i := c.Inventory()
	if _, err := i.listener(listenerID); err != nil {
		return nil, err
	}
	list := i.RulesOf(listenerID)
	for n := range list {
		list[n] = list[n].copied()
	}
	return list, nil
}

// copied shares nothing with the rule.
func (r Rule) copied() Rule {
	r.Conditions, r.Actions, r.Tags = slices.Clone(r.Conditions), slices.Clone(r.Actions), slices.Clone(r.Tags)
	for n := range r.Conditions {
		r.Conditions[n].Values = slices.Clone(r.Conditions[n].Values)
	}
	for n := range r.Actions {
		r.Actions[n].ServerGroups = slices.Clone(r.Actions[n].ServerGroups)
		if to := r.Actions[n].Redirect; to != nil {
			copied := *to
			r.Actions[n].Redirect = &copied
		}
	}
	return r
}

// RulesOf gives a listener's rules in the order in which they are tried; conditions and actions are shared.
func (i *Inventory) RulesOf(listenerID string) []Rule {
	var list []Rule
	for _, r := range i.Rules {
		if r.ListenerID == listenerID {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	return list
}

// HostsOf gives the values of the host conditions of a load balancer's rules, sorted, each once.
func (i *Inventory) HostsOf(loadBalancerID string) []string {
	var hosts []string
	for _, l := range i.Listeners {
		if l.LoadBalancerID != loadBalancerID {
			continue
		}
		for _, r := range i.Rules {
			if r.ListenerID != l.ListenerID {
				continue
			}
			for _, c := range r.Conditions {
				if c.Type == ConditionHost {
					hosts = append(hosts, c.Values...)
				}
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// CreateRules begins to make up to ten rules of a listener: Provisioning, then Available. All are made or none.
func (c *Cloud) CreateRules(ctx context.Context, listenerID string, in []RuleInput) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.Inventory()
	l, err := i.listener(listenerID)
	if err != nil {
		return nil, err
	}
	if len(in) == 0 || len(in) > maxRulesPerCall {
		return nil, errIllegalSize("Rules")
	}
	if err := checkRuleQuota(i, l, len(in)); err != nil {
		return nil, err
	}
	taken := map[int]bool{}
	for _, r := range i.RulesOf(listenerID) {
		taken[r.Priority] = true
	}
	var ids []string
	var changes []change
	for n, r := range in {
		rule := Rule{
			RuleID: newID("rule-", 18), ListenerID: listenerID, Name: r.Name, Priority: r.Priority, Status: StatusProvisioning,
			Conditions: r.Conditions, Actions: r.Actions, Tags: r.Tags,
		}
		if err := checkRule(i, n+1, rule); err != nil {
			return nil, err
		}
		if taken[r.Priority] {
			return nil, errDuplicated(fmt.Sprintf("Rules.%d.Priority", n+1))
		}
		taken[r.Priority] = true
		ids = append(ids, rule.RuleID)
		changes = append(changes, insertRule(rule.copied()))
	}
	return ids, c.commit(ctx, changes...)
}

// UpdateRulesAttribute replaces up to ten rules: Configuring, then Available. They act meanwhile.
func (c *Cloud) UpdateRulesAttribute(ctx context.Context, in []RuleUpdate) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.Inventory()
	if len(in) == 0 || len(in) > maxRulesPerCall {
		return errIllegalSize("Rules")
	}
	after := slices.Clone(i.Rules)
	var changes []change
	for n, u := range in {
		r := found(after, func(r *Rule) bool { return r.RuleID == u.RuleID })
		if r == nil {
			return errNotFound("Rule", u.RuleID)
		}
		next := *r
		next.Name, next.Priority, next.Conditions, next.Actions = u.Name, u.Priority, u.Conditions, u.Actions
		next.Tags, next.Status = u.Tags, StatusConfiguring
		if err := checkRule(i, n+1, next); err != nil {
			return err
		}
		*r = next
		changes = append(changes, updateRule(next.copied()))
	}
	for n, u := range in { // after all of them: rules may change places
		r := found(after, func(r *Rule) bool { return r.RuleID == u.RuleID })
		if count(after, func(o *Rule) bool { return o.ListenerID == r.ListenerID && o.Priority == r.Priority }) > 1 {
			return errDuplicated(fmt.Sprintf("Rules.%d.Priority", n+1))
		}
	}
	return c.commit(ctx, changes...)
}

// DeleteRules deletes up to ten rules.
func (c *Cloud) DeleteRules(ctx context.Context, ids []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(ids) == 0 || len(ids) > maxRulesPerCall {
		return errIllegalSize("RuleIds")
	}
	var changes []change
	for _, id := range ids {
		if found(c.Inventory().Rules, func(r *Rule) bool { return r.RuleID == id }) == nil {
			return errNotFound("Rule", id)
		}
		changes = append(changes, deleteRule(id))
	}
	return c.commit(ctx, changes...)
}

func checkRuleQuota(i *Inventory, l *Listener, more int) error {
	lb, err := i.loadBalancer(l.LoadBalancerID)
	if err != nil {
		return err
	}
	used := 0
	for _, o := range i.Listeners {
		if o.LoadBalancerID == lb.LoadBalancerID {
			used += count(i.Rules, func(r *Rule) bool { return r.ListenerID == o.ListenerID })
		}
	}
	if limit := quotaRules(lb.Edition); used+more > limit {
		return errQuota(quotaName("alb_quota_loadbalancer_rules_num", lb.Edition), lb.LoadBalancerID, used, limit)
	}
	return nil
}

// checkRule refuses a rule, the n-th of its call, that the real API refuses.
func checkRule(i *Inventory, n int, r Rule) error {
	at := func(format string, args ...any) string {
		return fmt.Sprintf("Rules.%d.", n) + fmt.Sprintf(format, args...)
	}
	if r.Priority < 1 || r.Priority > maxPriority {
		return errIllegal(at("Priority"))
	}
	if !validName(r.Name) {
		return errIllegal(at("RuleName"))
	}
	if len(r.Conditions) == 0 {
		return errMissing(at("RuleConditions"))
	}
	values := 0
	for m, condition := range r.Conditions {
		if condition.Type != ConditionHost && condition.Type != ConditionPath {
			return errIllegal(at("RuleConditions.%d.Type", m+1))
		}
		values += len(condition.Values)
		if len(condition.Values) == 0 || values > maxValues {
			return errIllegalSize(at("RuleConditions.%d.%sConfig.Values", m+1, condition.Type))
		}
		for k, v := range condition.Values {
			if !validValue(condition.Type, v) {
				return errIllegal(at("RuleConditions.%d.%sConfig.Values.%d", m+1, condition.Type, k+1))
			}
		}
	}
	return checkActions(i, at, r.Actions)
}

func validValue(kind, v string) bool {
	if kind == ConditionHost {
		return len(v) > 0 && len(v) <= maxHostLength
	}
	if strings.HasPrefix(v, "~") { // a regular expression
		return len(v) <= maxPathLength
	}
	return strings.HasPrefix(v, "/") && len(v) <= maxPathLength && !strings.ContainsAny(v, illegalInPath)
}

func checkActions(i *Inventory, at func(string, ...any) string, actions []Action) error {
	if len(actions) == 0 {
		return errMissing(at("RuleActions"))
	}
	for m, a := range actions {
		in := func(format string, args ...any) string {
			return at("RuleActions.%d.%s", m+1, fmt.Sprintf(format, args...))
		}
		var err error
		switch a.Type {
		case ActionForwardGroup:
			err = checkForward(i, in, a.ServerGroups)
		case ActionRedirect:
			err = checkRedirect(in, a.Redirect)
		default:
			err = errIllegal(in("Type"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkForward(i *Inventory, in func(string, ...any) string, groups []ServerGroupTuple) error {
	if len(groups) == 0 {
		return errMissing(in("ForwardGroupConfig.ServerGroupTuples"))
	}
	for k, g := range groups {
		if g.Weight < 0 || g.Weight > maxWeight {
			return errIllegal(in("ForwardGroupConfig.ServerGroupTuples.%d.Weight", k+1))
		}
		if _, err := i.serverGroup(g.ServerGroupID); err != nil {
			return err
		}
	}
	return nil
}

// checkRedirect refuses a redirect that would lead back to where the client came from (ALB-FACTS 4.9).
func checkRedirect(in func(string, ...any) string, to *Redirect) error {
	switch {
	case to == nil || *to == (Redirect{HTTPCode: to.HTTPCode}):
		return errMissing(in("RedirectConfig"))
	case to.Protocol != "" && to.Protocol != ProtocolHTTP && to.Protocol != ProtocolHTTPS:
		return errIllegal(in("RedirectConfig.Protocol"))
	case to.Port < 0 || to.Port > 65535:
		return errIllegal(in("RedirectConfig.Port"))
	case !slices.Contains(redirectCodes, to.HTTPCode):
		return errIllegal(in("RedirectConfig.HttpCode"))
	}
	return nil
}

func insertRule(r Rule) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO rules (rule_id, listener_id, name, priority, status, conditions, actions, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				r.RuleID, r.ListenerID, r.Name, r.Priority, r.Status, asJSON(r.Conditions), asJSON(r.Actions), asJSON(r.Tags))
			return err
		},
		apply: func(i *Inventory) { i.Rules = appended(i.Rules, r) },
	}
}

func updateRule(r Rule) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`UPDATE rules SET name = ?, priority = ?, status = ?, conditions = ?, actions = ?, tags = ? WHERE rule_id = ?`,
				r.Name, r.Priority, r.Status, asJSON(r.Conditions), asJSON(r.Actions), asJSON(r.Tags), r.RuleID)
			return err
		},
		apply: func(i *Inventory) { i.Rules = replaced(i.Rules, func(o *Rule) bool { return o.RuleID == r.RuleID }, r) },
	}
}

func deleteRule(id string) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`DELETE FROM rules WHERE rule_id = ?`, id)
			return err
		},
		apply: func(i *Inventory) { i.Rules = without(i.Rules, func(r *Rule) bool { return r.RuleID == id }) },
	}
}
