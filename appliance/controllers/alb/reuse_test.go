package alb

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/cloudsim"
)

// existing makes an instance and a listener on port 80 as a user of the console does; what it gives is active.
func (w *world) existing(t *testing.T, name string, port int) string {
	t.Helper()
	in := cloudsim.CreateLoadBalancerInput{Name: name, AddressType: cloudsim.AddressIntranet, Edition: cloudsim.EditionStandard, VPCID: w.vpcID, Tags: []cloudsim.Tag{{Key: "team", Value: "web"}}}
	for _, v := range w.vSwitches() {
		in.ZoneMappings = append(in.ZoneMappings, cloudsim.ZoneMappingInput{VSwitchID: v})
	}
	id, err := w.inner.CreateLoadBalancer(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.deployer().until(t.Context(), "active", func(ctx context.Context) (bool, error) {
		lb, err := w.inner.GetLoadBalancerAttribute(ctx, id)
		return lb.Status == cloudsim.StatusActive, err
	}); err != nil {
		t.Fatal(err)
	}
	group, err := w.inner.CreateServerGroup(t.Context(), cloudsim.CreateServerGroupInput{Name: "console", Type: serverGroupType, Protocol: "HTTP", Scheduler: cloudsim.SchedulerWrr, VPCID: w.vpcID})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.inner.CreateListener(t.Context(), cloudsim.CreateListenerInput{LoadBalancerID: id, Port: port, Protocol: "HTTP", Description: "console", DefaultServerGroupID: group})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// reusing is a model that takes an instance.
func (w *world) reusing(id string, ports ...int) *Model {
	m := w.model(ports, backend{"/a", "ing", "a", []int{2}})
	m.LoadBalancer.Name, m.LoadBalancer.AddressType, m.LoadBalancer.VSwitchIDs = "ours", "", nil
	m.LoadBalancer.Reuse.ID = id
	for n := range m.Listeners {
		m.Listeners[n].Description = "ingress-auto-listener"
	}
	return m
}

func (w *world) instance(t *testing.T, id string) cloudsim.LoadBalancer {
	t.Helper()
	lb, err := w.inner.GetLoadBalancerAttribute(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return lb
}

// ports are those of an instance's listeners.
func (w *world) ports(t *testing.T, id string) []int {
	t.Helper()
	list, err := w.inner.ListListeners(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var ports []int
	for _, l := range list {
		ports = append(ports, l.Port)
	}
	slices.Sort(ports)
	return ports
}

// TestReuse takes an instance without forcing anything: what is of others stays, at the removal too.
func TestReuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.existing(t, "console", 8080)
	for _, ports := range [][]int{{80, 443}, {80}, {81}} {
		m := w.reusing(id, ports...)
		if ports[0] == 81 {
			m.LoadBalancer.Reuse.ID = "" // taken out of the AlbConfig
		}
		w.deployOnce(t, m)
		if w.deployOnce(t, m).changed {
			t.Error("there was something left to do")
		}
		if got, want := w.ports(t, id), append(slices.Clone(ports), 8080); !sameInts(got, want) {
			t.Errorf("ports %v, want %v", got, want)
		}
	}
	lb := w.instance(t, id)
	if lb.Name != "console" || lb.AddressType != cloudsim.AddressIntranet {
		t.Errorf("its attributes changed: %+v", lb)
	}
	if len(lb.Tags) != 5 {
		t.Errorf("tags %v", lb.Tags)
	}
	if err := w.deployer().remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.ports(t, id); !slices.Equal(got, []int{8080}) {
		t.Errorf("after the removal it has ports %v", got)
	}
	if tags := w.instance(t, id).Tags; !slices.Equal(tags, []cloudsim.Tag{{Key: "team", Value: "web"}}) {
		t.Errorf("after the removal it has tags %v", tags)
	}
	if groups := w.inner.Inventory().ServerGroups; len(groups) != 1 || groups[0].Name != "console" {
		t.Errorf("after the removal there are groups %+v", groups)
	}
}

// TestReuseRemovalAfterFailure fails each call of the removal in turn, before the cloud does it and after.
func TestReuseRemovalAfterFailure(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before", "after"} {
		for n := 1; ; n++ {
			w := newWorld(t)
			id := w.existing(t, "console", 8080)
			w.deployOnce(t, secured(w.reusing(id, 443), 443, "QUIC", "one"))
			m := secured(w.reusing(id, 443, 444), 443, "QUIC", "one")
			m = secured(m, 444, "HTTPS", "one")
			m.Listeners[1].QUIC = cloudsim.QUICConfig{UpgradeEnabled: true, ListenerID: w.listenerID(t, 443, "QUIC")}
			w.deployOnce(t, m)
			fail := func(string) error {
				if calls, _ := w.counted(); calls == n {
					return errInjected
				}
				return nil
			}
			if when == "before" {
				w.on(fail, nil)
			} else {
				w.on(nil, fail)
			}
			if err := w.deployer().remove(t.Context()); err == nil {
				if n < 6 {
					t.Fatalf("only %d calls", n-1)
				}
				break
			}
			w.on(nil, nil)
			if err := w.deployer().remove(t.Context()); err != nil {
				t.Fatalf("call %d failed %s; then: %v", n, when, err)
			}
			if ports, tags, groups := w.ports(t, id), w.instance(t, id).Tags, w.inner.Inventory().ServerGroups; !slices.Equal(ports, []int{8080}) || len(tags) != 1 || len(groups) != 1 {
				t.Errorf("call %d failed %s; then: ports %v, tags %v, groups %v", n, when, ports, tags, groups)
			}
		}
	}
}

func sameInts(a, b []int) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func TestReuseForced(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		reuse Reuse
		ports []int
		lb    string
	}{
		{"listeners", Reuse{Listeners: true}, []int{80, 81}, "console"},
		{"all", Reuse{Listeners: true, Attributes: true}, []int{80, 81}, "ours"},
		{"one of the console's goes", Reuse{Listeners: true}, []int{81}, "console"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id := w.existing(t, "console", 80)
			m := w.reusing(id, row.ports...)
			row.reuse.ID = id
			m.LoadBalancer.Reuse = row.reuse
			w.deployOnce(t, m)
			if got := w.ports(t, id); !slices.Equal(got, row.ports) {
				t.Errorf("ports %v, want %v", got, row.ports)
			}
			if lb := w.instance(t, id); lb.Name != row.lb {
				t.Errorf("name %s, want %s", lb.Name, row.lb)
			}
			if err := w.deployer().remove(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := w.ports(t, id); len(got) > 0 {
				t.Errorf("listeners that were taken over stayed: %v", got)
			}
			w.instance(t, id) // it is there
		})
	}
}

// TestReuseRefusals are the controller's, to the letter where the facts give it.
func TestReuseRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	basic, err := w.inner.CreateLoadBalancer(t.Context(), cloudsim.CreateLoadBalancerInput{
		Name: "basic", AddressType: cloudsim.AddressInternet, Edition: cloudsim.EditionBasic, VPCID: w.vpcID,
		ZoneMappings: []cloudsim.ZoneMappingInput{{VSwitchID: w.vSwitches()[0]}, {VSwitchID: w.vSwitches()[1]}},
	})
	if err != nil {
		t.Fatal(err)
	}
	id := w.existing(t, "console", 80)
	tagged := func(key, value string) string {
		other := w.existing(t, "other", 80)
		if err := w.inner.TagResources(t.Context(), other, []cloudsim.Tag{{Key: key, Value: value}}); err != nil {
			t.Fatal(err)
		}
		return other
	}
	cluster, config := tagged(tagCluster, "c2"), tagged(tagAlbConfig, "kube-system/other")
	for _, row := range []struct {
		name, id, want string
		change         func(*deployer)
	}{
		{"not there", "alb-x", "The specified resource alb-x is not found", nil},
		{"basic", basic, "LoadBalancer Edition: Basic can't use for ingress controller", nil},
		{"another VPC", id, "the vpc " + w.vpcID + " of reused alb " + id + " is not same with cluster vpc vpc-else", func(d *deployer) { d.vpcID = "vpc-else" }},
		{"another cluster's", cluster, "alb " + cluster + " belongs to cluster: c2, cant reuse alb to another cluster: c1", nil},
		{"another AlbConfig's", config, "alb " + config + " belongs to albconfig: kube-system/other, cant reuse alb to another albconfig: kube-system/alb", nil},
		{"a listener of the console", id, "listener already in use, please set forceOverride=true and reconcile", nil},
	} {
		d := w.deployer()
		if row.change != nil {
			row.change(d)
		}
		_, _, err := d.loadBalancer(t.Context(), w.reusing(row.id, 80).LoadBalancer)
		if row.name == "a listener of the console" {
			_, err = d.deploy(t.Context(), w.reusing(row.id, 80))
		}
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}

	// Now that it has one, the AlbConfig cannot have another.
	_, err = w.deployer().deploy(t.Context(), w.reusing(config, 80))
	if err == nil || !strings.Contains(err.Error(), "albconfig alb has instance "+id+" already") {
		t.Errorf("exchanged: %v", err)
	}
}

// TestWithoutEffect changes what is fixed at creation.
func TestWithoutEffect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.deployOnce(t, w.model([]int{80})).without; len(got) > 0 {
		t.Errorf("new: %v", got)
	}
	m := w.model([]int{80})
	slices.Reverse(m.LoadBalancer.VSwitchIDs)
	if got := w.deployOnce(t, m).without; len(got) > 0 {
		t.Errorf("zones in another order: %v", got)
	}
	m.LoadBalancer.AddressType, m.LoadBalancer.VSwitchIDs = cloudsim.AddressIntranet, append(w.vSwitches()[:1], "vsw-other")
	got := w.deployOnce(t, m).without
	if len(got) != 2 || !strings.HasPrefix(got[0], "config addressType Intranet has no effect: instance ") || !strings.HasPrefix(got[1], "config zoneMappings ") || !strings.Contains(got[1], "vsw-other") {
		t.Errorf("changed: %v", got)
	}
}
