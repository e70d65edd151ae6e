package cloudsim_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/state/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a cloud on a database file and a clock that stands still.
type world struct {
	*cloudsim.Cloud
	clock *clockwork.FakeClock
	path  string
	stop  func()
}

func open(t *testing.T, path string, delays cloudsim.Delays) *world {
	t.Helper()
	clock := clockwork.NewFakeClock()
	db, err := sqlite.Open(path, cloudsim.Migrations(), sqlite.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	c, err := cloudsim.Open(t.Context(), db, cloudsim.Options{
		Region: "cn-wulanchabu", Clock: clock, Delays: delays, Addresses: netip.MustParsePrefix("127.77.0.0/24"),
		Reserved: []netip.Addr{netip.MustParseAddr("127.77.0.1")}, Issue: issuer(clock), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	w := &world{Cloud: c, clock: clock, path: path}
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(w.stop)
	return w
}

func newWorld(t *testing.T) *world {
	return open(t, filepath.Join(t.TempDir(), "cloud.db"), cloudsim.DelaysNone)
}

// await waits until the inventory is as wanted; every change is announced.
func (w *world) await(t *testing.T, what string, ok func(*cloudsim.Inventory) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	changed := w.Watch(ctx)
	for !ok(w.Inventory()) {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: %+v", what, w.Inventory())
		}
	}
}

func (w *world) zones(n int) []cloudsim.ZoneMappingInput {
	var zones []cloudsim.ZoneMappingInput
	for _, v := range w.Inventory().VSwitches[:n] {
		zones = append(zones, cloudsim.ZoneMappingInput{VSwitchID: v.VSwitchID})
	}
	return zones
}

func (w *world) loadBalancerInput() cloudsim.CreateLoadBalancerInput {
	return cloudsim.CreateLoadBalancerInput{
		Name: "test", AddressType: cloudsim.AddressInternet, Edition: cloudsim.EditionStandard,
		VPCID: w.Inventory().VPCs[0].VPCID, ZoneMappings: w.zones(2), Tags: []cloudsim.Tag{{Key: "k", Value: "v"}},
	}
}

func (w *world) groupInput(name string) cloudsim.CreateServerGroupInput {
	return cloudsim.CreateServerGroupInput{Name: name, Type: "Instance", Protocol: "HTTP", Scheduler: cloudsim.SchedulerWrr, VPCID: w.Inventory().VPCs[0].VPCID}
}

// must fails the test on an error of a call that should work.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// stack makes an instance with a listener and two groups, all in their final states.
func (w *world) stack(t *testing.T) (lb, listener, placeholder, group string) {
	t.Helper()
	str := must[string](t)
	placeholder = str(w.CreateServerGroup(t.Context(), w.groupInput("placeholder")))
	group = str(w.CreateServerGroup(t.Context(), w.groupInput("group")))
	lb = str(w.CreateLoadBalancer(t.Context(), w.loadBalancerInput()))
	w.await(t, "made", func(i *cloudsim.Inventory) bool {
		return i.LoadBalancers[0].Status == cloudsim.StatusActive && i.ServerGroups[0].Status == cloudsim.StatusAvailable && i.ServerGroups[1].Status == cloudsim.StatusAvailable
	})
	listener = str(w.CreateListener(t.Context(), cloudsim.CreateListenerInput{LoadBalancerID: lb, Port: 80, Protocol: "HTTP", DefaultServerGroupID: placeholder}))
	w.await(t, "listens", func(i *cloudsim.Inventory) bool { return i.Listeners[0].Status == cloudsim.StatusRunning })
	return lb, listener, placeholder, group
}

func forward(group string) []cloudsim.Action {
	return []cloudsim.Action{{Type: cloudsim.ActionForwardGroup, Order: 1, ServerGroups: []cloudsim.ServerGroupTuple{{ServerGroupID: group, Weight: 100}}}}
}

func rule(priority int, group string, paths ...string) cloudsim.RuleInput {
	return cloudsim.RuleInput{Name: "rule", Priority: priority, Conditions: []cloudsim.Condition{{Type: cloudsim.ConditionPath, Values: paths}}, Actions: forward(group)}
}

func TestFirstNetwork(t *testing.T) {
	t.Parallel()
	i := newWorld(t).Inventory()
	if len(i.VPCs) != 1 || len(i.VSwitches) != 3 {
		t.Fatalf("%+v", i)
	}
	for n, zone := range []string{"cn-wulanchabu-a", "cn-wulanchabu-b", "cn-wulanchabu-c"} {
		if v := i.VSwitches[n]; v.ZoneID != zone || v.VPCID != i.VPCs[0].VPCID || !strings.HasPrefix(v.VSwitchID, "vsw-") {
			t.Errorf("vSwitch %+v", v)
		}
	}
}

func TestLoadBalancer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := w.loadBalancerInput()
	in.ClientToken = "token"
	id := must[string](t)(w.CreateLoadBalancer(t.Context(), in))
	if again := must[string](t)(w.CreateLoadBalancer(t.Context(), in)); again != id {
		t.Errorf("the same client token made %s and %s", id, again)
	}
	w.await(t, "active", func(i *cloudsim.Inventory) bool { return i.LoadBalancers[0].Status == cloudsim.StatusActive })
	list, err := w.ListLoadBalancers(t.Context(), cloudsim.Filter{Tags: []cloudsim.Tag{{Key: "k", Value: "v"}}})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	lb := list[0]
	if lb.DNSName != id+".cn-wulanchabu.alb.aliyuncsslb.com" || len(id) != len("alb-")+18 {
		t.Errorf("id %s, DNS name %s", id, lb.DNSName)
	}
	if lb.ZoneMappings[0].Address != "127.77.0.2" || lb.ZoneMappings[1].Address != "127.77.0.3" {
		t.Errorf("addresses %+v: the lowest free ones are .2 and .3", lb.ZoneMappings)
	}
	lb.Tags[0].Value = "changed"
	if w.Inventory().LoadBalancers[0].Tags[0].Value != "v" {
		t.Error("a list gave the cloud's own tags away")
	}
	if err := w.UpdateLoadBalancerAttribute(t.Context(), id, "other"); err != nil || w.Inventory().LoadBalancers[0].Name != "other" {
		t.Error(err)
	}
	if err := w.DeleteLoadBalancer(t.Context(), id); err != nil || len(w.Inventory().LoadBalancers) != 0 {
		t.Error(err)
	}
	in.Name = "successor"
	if next := must[string](t)(w.CreateLoadBalancer(t.Context(), in)); next == id {
		t.Error("a client token outlived what it made")
	}
}

// TestRefusals has a row for each refusal: what is asked, and code and text of the answer.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lb, listener, placeholder, group := w.stack(t)
	ctx := t.Context()
	if _, err := w.CreateRules(ctx, listener, []cloudsim.RuleInput{rule(1, group, "/taken")}); err != nil {
		t.Fatal(err)
	}
	member := cloudsim.ServerInput{ServerID: "eni-1", ServerType: "Eni", ServerIP: "192.168.0.2", Port: 80, Weight: 100}
	if err := w.AddServersToServerGroup(ctx, group, []cloudsim.ServerInput{member}); err != nil {
		t.Fatal(err)
	}
	create := func(change func(*cloudsim.CreateLoadBalancerInput)) func() error {
		return func() error {
			in := w.loadBalancerInput()
			change(&in)
			_, err := w.CreateLoadBalancer(ctx, in)
			return err
		}
	}
	listen := func(change func(*cloudsim.CreateListenerInput)) func() error {
		return func() error {
			in := cloudsim.CreateListenerInput{LoadBalancerID: lb, Port: 8080, Protocol: "HTTP", DefaultServerGroupID: placeholder}
			change(&in)
			_, err := w.CreateListener(ctx, in)
			return err
		}
	}
	rules := func(in ...cloudsim.RuleInput) func() error {
		return func() error {
			_, err := w.CreateRules(ctx, listener, in)
			return err
		}
	}
	add := func(change func(*cloudsim.ServerInput)) func() error {
		return func() error {
			in := member
			change(&in)
			return w.AddServersToServerGroup(ctx, group, []cloudsim.ServerInput{in})
		}
	}
	network := func(cidr string) func() error {
		return func() error {
			_, err := w.CreateVPC(ctx, "other", cidr)
			return err
		}
	}
	vSwitch := func(change func(*cloudsim.CreateVSwitchInput)) func() error {
		return func() error {
			first := w.Inventory().VSwitches[0]
			in := cloudsim.CreateVSwitchInput{VPCID: first.VPCID, ZoneID: first.ZoneID, Name: "other", CIDRBlock: "192.168.128.0/24"}
			change(&in)
			_, err := w.CreateVSwitch(ctx, in)
			return err
		}
	}
	for _, row := range []struct {
		code, text string
		ask        func() error
	}{
		{"IllegalParam.LoadBalancerName", "The param of LoadBalancerName is illegal", create(func(in *cloudsim.CreateLoadBalancerInput) { in.Name = "1" })},
		{"IllegalParam.AddressType", "The param of AddressType is illegal", create(func(in *cloudsim.CreateLoadBalancerInput) { in.AddressType = "Public" })},
		{"IllegalParam.LoadBalancerEdition", "The param of LoadBalancerEdition is illegal", create(func(in *cloudsim.CreateLoadBalancerInput) { in.Edition = "Gold" })},
		{"IllegalParamSize.ZoneMappings", "The param size of ZoneMappings is illegal", create(func(in *cloudsim.CreateLoadBalancerInput) { in.ZoneMappings = w.zones(1) })},
		{"DuplicatedParam.ZoneId", "The param of ZoneMappings.2.ZoneId is duplicated", create(func(in *cloudsim.CreateLoadBalancerInput) { in.ZoneMappings[1] = in.ZoneMappings[0] })},
		{"ResourceNotFound.VSwitch", "The specified resource vsw-x is not found", create(func(in *cloudsim.CreateLoadBalancerInput) { in.ZoneMappings[1].VSwitchID = "vsw-x" })},
		{"ResourceNotFound.VSwitch", "is not found", create(func(in *cloudsim.CreateLoadBalancerInput) { in.VPCID = "vpc-x" })},
		{"ResourceNotFound.LoadBalancer", "The specified resource alb-x is not found", func() error { return w.DeleteLoadBalancer(ctx, "alb-x") }},
		{"ResourceNotFound.LoadBalancer", "alb-x is not found", listen(func(in *cloudsim.CreateListenerInput) { in.LoadBalancerID = "alb-x" })},
		{"IllegalParam.ListenerPort", "The param of ListenerPort is illegal", listen(func(in *cloudsim.CreateListenerInput) { in.Port = 65536 })},
		{"IllegalParam.ListenerProtocol", "The param of ListenerProtocol is illegal", listen(func(in *cloudsim.CreateListenerInput) { in.Protocol = "TCP" })},
		{"ResourceAlreadyExist.Listener", "already exists", listen(func(in *cloudsim.CreateListenerInput) { in.Port, in.Protocol = 80, "HTTPS" })},
		{"IllegalParam.IdleTimeout", "The param of IdleTimeout is illegal", listen(func(in *cloudsim.CreateListenerInput) { in.IdleTimeout = 601 })},
		{"IllegalParam.RequestTimeout", "The param of RequestTimeout is illegal", listen(func(in *cloudsim.CreateListenerInput) { in.RequestTimeout = 601 })},
		{"MissingParam.DefaultActions", "The param of DefaultActions is missing", listen(func(in *cloudsim.CreateListenerInput) { in.DefaultServerGroupID = "" })},
		{"ResourceNotFound.ServerGroup", "sgp-x is not found", listen(func(in *cloudsim.CreateListenerInput) { in.DefaultServerGroupID = "sgp-x" })},
		{"IllegalParamSize.Rules", "The param size of Rules is illegal", rules()},
		{"IllegalParam.Priority", "The param of Rules.1.Priority is illegal", rules(rule(0, group, "/a"))},
		{"DuplicatedParam.Priority", "The param of Rules.1.Priority is duplicated", rules(rule(1, group, "/a"))},
		{"DuplicatedParam.Priority", "The param of Rules.2.Priority is duplicated", rules(rule(2, group, "/a"), rule(2, group, "/b"))},
		{"IllegalParam.1", "The param of Rules.1.RuleConditions.1.PathConfig.Values.1 is illegal", rules(rule(2, group, "/a(b)"))},
		{"IllegalParam.2", "The param of Rules.1.RuleConditions.1.PathConfig.Values.2 is illegal", rules(rule(2, group, "/a", "b"))},
		{"IllegalParam.1", "PathConfig.Values.1 is illegal", rules(rule(2, group, "/"+strings.Repeat("a", 128)))},
		{"IllegalParamSize.Values", "The param size of Rules.1.RuleConditions.1.PathConfig.Values is illegal", rules(rule(2, group, strings.Split(strings.Repeat("/a ", 10)+"/a", " ")...))},
		{"ResourceNotFound.ServerGroup", "sgp-x is not found", rules(rule(2, "sgp-x", "/a"))},
		{"MissingParam.RuleActions", "The param of Rules.1.RuleActions is missing", rules(cloudsim.RuleInput{Name: "rule", Priority: 2, Conditions: []cloudsim.Condition{{Type: "Path", Values: []string{"/a"}}}})},
		{"ResourceNotFound.Rule", "rule-x is not found", func() error { return w.DeleteRules(ctx, []string{"rule-x"}) }},
		{"ResourceNotFound.Rule", "rule-x is not found", func() error { return w.UpdateRulesAttribute(ctx, []cloudsim.RuleUpdate{{RuleID: "rule-x"}}) }},
		{"IllegalParam.ServerGroupName", "The param of ServerGroupName is illegal", func() error {
			_, err := w.CreateServerGroup(ctx, w.groupInput(strings.Repeat("a", 129)))
			return err
		}},
		{"ResourceInUse.ServerGroup", "is in use", func() error { return w.DeleteServerGroup(ctx, group) }},
		{"ResourceInUse.ServerGroup", "is in use", func() error { return w.DeleteServerGroup(ctx, placeholder) }},
		{"ResourceAlreadyExist.BackendServer", "already exists", add(func(*cloudsim.ServerInput) {})},
		{"MissingParam.ServerId", "The param of Servers.1.ServerId is missing", add(func(s *cloudsim.ServerInput) { s.ServerID = "" })},
		{"IllegalParam.ServerType", "The param of Servers.1.ServerType is illegal", add(func(s *cloudsim.ServerInput) { s.ServerType = "Pod" })},
		{"IllegalParam.Port", "The param of Servers.1.Port is illegal", add(func(s *cloudsim.ServerInput) { s.Port = 0 })},
		{"IllegalParam.Weight", "The param of Servers.1.Weight is illegal", add(func(s *cloudsim.ServerInput) { s.Port, s.Weight = 81, 101 })},
		{"IllegalParam.CidrBlock", "The param of CidrBlock is illegal", network("8.8.0.0/16")},
		{"IllegalParam.CidrBlock", "The param of CidrBlock is illegal", network("10.0.0.1/8")},
		{"ResourceNotFound.Vpc", "vpc-x is not found", vSwitch(func(in *cloudsim.CreateVSwitchInput) { in.VPCID = "vpc-x" })},
		{"IllegalParam.ZoneId", "The param of ZoneId is illegal", vSwitch(func(in *cloudsim.CreateVSwitchInput) { in.ZoneID = "cn-nowhere-a" })},
		{"IllegalParam.VSwitchName", "The param of VSwitchName is illegal", vSwitch(func(in *cloudsim.CreateVSwitchInput) { in.Name = "1" })},
		{"IllegalParam.CidrBlock", "The param of CidrBlock is illegal", vSwitch(func(in *cloudsim.CreateVSwitchInput) { in.CIDRBlock = "10.0.0.0/24" })},
		{"IllegalParam.CidrBlock", "The param of CidrBlock is illegal", vSwitch(func(in *cloudsim.CreateVSwitchInput) { in.CIDRBlock = "192.168.128.0/30" })},
		{"DuplicatedParam.CidrBlock", "The param of CidrBlock is duplicated", vSwitch(func(in *cloudsim.CreateVSwitchInput) { in.CIDRBlock = "192.168.0.0/24" })},
		{"ResourceNotFound.BackendServer", "is not found", func() error {
			return w.RemoveServersFromServerGroup(ctx, group, []cloudsim.ServerInput{{ServerID: "eni-9", Port: 80}})
		}},
	} {
		before := w.Inventory()
		err := row.ask()
		if cloudsim.Code(err) != row.code || !strings.Contains(err.Error(), row.text) {
			t.Errorf("want %s %q, got %s %v", row.code, row.text, cloudsim.Code(err), err)
		}
		if after := w.Inventory(); len(after.Rules) != len(before.Rules) || len(after.Listeners) != len(before.Listeners) || len(after.LoadBalancers) != len(before.LoadBalancers) ||
			len(after.VPCs) != len(before.VPCs) || len(after.VSwitches) != len(before.VSwitches) {
			t.Errorf("%s changed the cloud", row.code)
		}
	}
}

func TestQuotaOfRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, listener, _, group := w.stack(t)
	for n := range 10 {
		var batch []cloudsim.RuleInput
		for m := range 10 {
			batch = append(batch, rule(n*10+m+1, group, "/a"))
		}
		if _, err := w.CreateRules(t.Context(), listener, batch); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.CreateRules(t.Context(), listener, []cloudsim.RuleInput{rule(101, group, "/a")})
	if err == nil || !strings.Contains(err.Error(), "The quota of alb_quota_loadbalancer_rules_num_standard_edition is exceeded") || !strings.Contains(err.Error(), "usage 100/100") {
		t.Error(err)
	}
}

func TestListenerNeedsActiveLoadBalancer(t *testing.T) {
	t.Parallel()
	w := open(t, "", cloudsim.DelaysReal)
	group := must[string](t)(w.CreateServerGroup(t.Context(), w.groupInput("placeholder")))
	lb := must[string](t)(w.CreateLoadBalancer(t.Context(), w.loadBalancerInput()))
	in := cloudsim.CreateListenerInput{LoadBalancerID: lb, Port: 80, Protocol: "HTTP", DefaultServerGroupID: group}
	if _, err := w.CreateListener(t.Context(), in); cloudsim.Code(err) != "IncorrectStatus.LoadBalancer" {
		t.Error(err)
	}
	if err := w.AddServersToServerGroup(t.Context(), group, []cloudsim.ServerInput{{ServerID: "e", ServerType: "Eni", Port: 1}}); cloudsim.Code(err) != "IncorrectStatus.ServerGroup" {
		t.Error(err)
	}
}

// TestDelays shows that a job takes its time by the clock, and that a restart begins it anew rather than losing it.
func TestDelays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cloud.db")
	w := open(t, path, cloudsim.DelaysReal)
	must[string](t)(w.CreateLoadBalancer(t.Context(), w.loadBalancerInput()))
	if err := w.clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(14 * time.Second)
	if s := w.Inventory().LoadBalancers[0].Status; s != cloudsim.StatusProvisioning {
		t.Errorf("after 14 s it is %s", s)
	}
	w.stop()

	w = open(t, path, cloudsim.DelaysReal)
	if err := w.clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(15 * time.Second)
	w.await(t, "active", func(i *cloudsim.Inventory) bool { return i.LoadBalancers[0].Status == cloudsim.StatusActive })
}

func TestServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, _, group := w.stack(t)
	member := cloudsim.ServerInput{ServerID: "eni-1", ServerType: "Eni", ServerIP: "192.168.0.2", Port: 80, Weight: 100}
	if err := w.AddServersToServerGroup(t.Context(), group, []cloudsim.ServerInput{member}); err != nil {
		t.Fatal(err)
	}
	w.await(t, "available", func(i *cloudsim.Inventory) bool {
		s := i.ServerGroups[1].Servers
		return len(s) == 1 && s[0].Status == cloudsim.StatusAvailable
	})
	if err := w.RemoveServersFromServerGroup(t.Context(), group, []cloudsim.ServerInput{member}); err != nil {
		t.Fatal(err)
	}
	w.await(t, "gone", func(i *cloudsim.Inventory) bool { return len(i.ServerGroups[1].Servers) == 0 })
}

// TestServerWithTwoPorts wants each port of a server to have a job of its own.
func TestServerWithTwoPorts(t *testing.T) {
	t.Parallel()
	w := open(t, "", cloudsim.DelaysReal)
	group := must[string](t)(w.CreateServerGroup(t.Context(), w.groupInput("group")))
	ring := func(d time.Duration) {
		t.Helper()
		if err := w.clock.BlockUntilContext(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(d)
	}
	ring(2 * time.Second)
	w.await(t, "group", func(i *cloudsim.Inventory) bool { return i.ServerGroups[0].Status == cloudsim.StatusAvailable })
	add := func(port int) {
		t.Helper()
		member := cloudsim.ServerInput{ServerID: "eni-1", ServerType: "Eni", ServerIP: "192.168.0.2", Port: port, Weight: 100}
		if err := w.AddServersToServerGroup(t.Context(), group, []cloudsim.ServerInput{member}); err != nil {
			t.Fatal(err)
		}
	}
	add(80)
	ring(2 * time.Second)
	add(81)
	ring(time.Second)
	w.await(t, "first port", func(i *cloudsim.Inventory) bool {
		return i.ServerGroups[0].Servers[0].Status == cloudsim.StatusAvailable
	})
	if s := w.Inventory().ServerGroups[0].Servers[1].Status; s != cloudsim.StatusAdding {
		t.Errorf("the second port, 1 s after it was added, is %s", s)
	}
}

func TestUpdateRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, listener, _, group := w.stack(t)
	rule := func(n int) cloudsim.RuleInput {
		return cloudsim.RuleInput{
			Name: "rule", Priority: n, Actions: forward(group),
			Conditions: []cloudsim.Condition{{Type: cloudsim.ConditionPath, Values: []string{"/a"}}},
		}
	}
	input := []cloudsim.RuleInput{rule(1), rule(2), rule(3)}
	ids := must[[]string](t)(w.CreateRules(t.Context(), listener, input))
	priorities := func() string {
		var text string
		for _, r := range w.Inventory().RulesOf(listener) {
			text += fmt.Sprint(slices.Index(ids, r.RuleID)+1, " ")
		}
		return text
	}
	to := func(id string, priority int) cloudsim.RuleUpdate {
		r := rule(priority)
		return cloudsim.RuleUpdate{RuleID: id, Name: r.Name, Priority: priority, Conditions: r.Conditions, Actions: r.Actions}
	}
	if err := w.UpdateRulesAttribute(t.Context(), []cloudsim.RuleUpdate{to(ids[0], 2), to(ids[1], 1)}); err != nil || priorities() != "2 1 3 " {
		t.Errorf("change places: %v, order %s", err, priorities())
	}
	err := w.UpdateRulesAttribute(t.Context(), []cloudsim.RuleUpdate{to(ids[0], 9), to(ids[1], 9)})
	if cloudsim.Code(err) != "DuplicatedParam.Priority" {
		t.Errorf("two rules to one priority: %v", err)
	}
	if err := w.UpdateRulesAttribute(t.Context(), []cloudsim.RuleUpdate{to(ids[0], 3)}); cloudsim.Code(err) != "DuplicatedParam.Priority" {
		t.Errorf("a priority that is taken: %v", err)
	}

	// What goes in and what comes out is shared with nobody.
	input[0].Conditions[0].Values[0] = "/changed"
	list := must[[]cloudsim.Rule](t)(w.ListRules(t.Context(), listener))
	list[0].Conditions[0].Values[0], list[0].Actions[0].ServerGroups[0].Weight = "/changed", 1
	for _, r := range w.Inventory().RulesOf(listener) {
		if r.Conditions[0].Values[0] != "/a" || r.Actions[0].ServerGroups[0].Weight != 100 {
			t.Errorf("the cloud's own rule was changed: %+v", r)
		}
	}
}

func TestUpdateEdition(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cloud.db")
	w := open(t, path, cloudsim.DelaysNone)
	lb, _, _, _ := w.stack(t)
	if err := w.UpdateLoadBalancerEdition(t.Context(), lb, cloudsim.EditionWAF); err != nil {
		t.Fatal(err)
	}
	w.await(t, "active", func(i *cloudsim.Inventory) bool { return i.LoadBalancers[0].Status == cloudsim.StatusActive })
	for _, back := range []string{cloudsim.EditionStandard, cloudsim.EditionWAF, "Gold"} {
		if err := w.UpdateLoadBalancerEdition(t.Context(), lb, back); cloudsim.Code(err) != "IllegalParam.LoadBalancerEdition" {
			t.Errorf("to %s: %v", back, err)
		}
	}
	if err := w.UpdateLoadBalancerEdition(t.Context(), "alb-x", cloudsim.EditionWAF); cloudsim.Code(err) != "ResourceNotFound.LoadBalancer" {
		t.Errorf("of nothing: %v", err)
	}
	w.stop()
	if e := open(t, path, cloudsim.DelaysNone).Inventory().LoadBalancers[0].Edition; e != cloudsim.EditionWAF {
		t.Errorf("after a restart it is %s", e)
	}
}

// TestReopen shows that a new process finds what the last one acknowledged, byte for byte.
func TestReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cloud.db")
	w := open(t, path, cloudsim.DelaysNone)
	lb, listener, _, group := w.stack(t)
	ids, err := w.CreateRules(t.Context(), listener, []cloudsim.RuleInput{rule(2, group, "/b"), rule(1, group, "/a", "/a/*")})
	if err != nil {
		t.Fatal(err)
	}
	settled := func(i *cloudsim.Inventory) bool {
		return len(i.Rules) == 2 && i.Rules[0].Status == cloudsim.StatusAvailable && i.Rules[1].Status == cloudsim.StatusAvailable
	}
	w.await(t, "rules", settled)
	before := w.Inventory()
	w.stop()
	w = open(t, path, cloudsim.DelaysNone)
	after := w.Inventory()
	if len(after.Rules) != 2 || after.Rules[0].RuleID != ids[0] || after.Listeners[0].ListenerID != listener || after.LoadBalancers[0].LoadBalancerID != lb {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if after.LoadBalancers[0].ZoneMappings[1] != before.LoadBalancers[0].ZoneMappings[1] || after.Listeners[0].XForwardedFor != before.Listeners[0].XForwardedFor {
		t.Error("nested values differ")
	}
	if first := after.RulesOf(listener)[0]; first.Priority != 1 || first.Conditions[0].Values[1] != "/a/*" {
		t.Errorf("first rule %+v", first)
	}
}

func TestRegionOfDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cloud.db")
	open(t, path, cloudsim.DelaysNone).stop()
	db, err := sqlite.Open(path, cloudsim.Migrations(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	o := cloudsim.Options{Region: "cn-beijing", Clock: clockwork.NewFakeClock(), Addresses: netip.MustParsePrefix("127.77.0.0/24"), Logger: slog.New(slog.DiscardHandler)}
	if _, err := cloudsim.Open(t.Context(), db, o); err == nil || !strings.Contains(err.Error(), "start with --region cn-wulanchabu") {
		t.Error(err)
	}
	o.Region = "mars"
	if _, err := cloudsim.Open(t.Context(), db, o); err == nil || !strings.Contains(err.Error(), "there is no region mars") {
		t.Error(err)
	}
}
