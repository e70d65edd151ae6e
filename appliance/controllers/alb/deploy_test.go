package alb

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/cloudsim"
)

// backend is a rule to be: the path it matches, the Ingress and Service behind it, and the last bytes of its servers.
type backend struct {
	path, ingress, service string
	servers                []int
}

// model is an instance with one listener for each port, all with the same rules.
func (w *world) model(ports []int, backends ...backend) *Model {
	b := &build{cluster: Cluster{ID: "c1"}, groups: map[GroupKey]bool{}, group: &Group{AlbConfig: &albv1.AlbConfig{ObjectMeta: metav1.ObjectMeta{Name: "alb"}}}}
	b.model.LoadBalancer = LoadBalancer{
		Name: "first", AddressType: cloudsim.AddressInternet, Edition: cloudsim.EditionStandard, VSwitchIDs: w.vSwitches(),
		Tags: b.tags(cloudsim.Tag{Key: tagResource, Value: tagResourceLoadBalancer}),
	}
	for _, port := range ports {
		l := Listener{Port: port, Protocol: "HTTP", Description: "d", IdleTimeout: 15, RequestTimeout: 60}
		l.Placeholder = GroupKey{groupNamespace, fmt.Sprintf("alb-listener-%d", port), placeholderService, port}
		b.addGroup(l.Placeholder, cloudsim.SchedulerWrr, nil)
		for n, back := range backends {
			k := GroupKey{"default", back.ingress, back.service, 80}
			if !b.groups[k] {
				b.addGroup(k, cloudsim.SchedulerWrr, serversAt(back.servers))
			}
			l.Rules = append(l.Rules, Rule{
				Name: fmt.Sprintf("rule-%d-%d", port, n+1), Priority: n + 1, Backend: k, Ingress: k.Namespace + "/" + k.Ingress,
				Conditions: []cloudsim.Condition{{Type: cloudsim.ConditionPath, Values: []string{back.path}}},
			})
		}
		b.model.Listeners = append(b.model.Listeners, l)
	}
	return &b.model
}

func serversAt(last []int) []cloudsim.ServerInput {
	var servers []cloudsim.ServerInput
	for _, n := range last {
		servers = append(servers, cloudsim.ServerInput{ServerID: "eni-1", ServerType: cloudsim.ServerEni, ServerIP: fmt.Sprintf("192.168.0.%d", n), Port: 80, Weight: 100})
	}
	return servers
}

func (w *world) deployer() *deployer {
	return &deployer{cloud: w.watched, clock: w.clock, cluster: Cluster{ID: "c1"}, name: "alb", uid: "u1", vpcID: w.vpcID}
}

// deploy wants a model in the cloud, and then nothing more to do.
func (w *world) deploy(t *testing.T, what string, m *Model) {
	t.Helper()
	if _, err := w.deployer().deploy(t.Context(), m); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if diff := cmp.Diff(w.textOf(m), w.String()); diff != "" {
		t.Fatalf("%s: %s", what, diff)
	}
	w.on(nil, nil)
	result, err := w.deployer().deploy(t.Context(), m)
	if err != nil {
		t.Fatalf("%s, again: %v", what, err)
	}
	if _, writes := w.counted(); writes > 0 || result.changed {
		t.Errorf("%s, again: %d writes, changed %v", what, writes, result.changed)
	}
}

func many(n int) []backend {
	var all []backend
	for i := range n {
		all = append(all, backend{fmt.Sprintf("/%d", i), "many", "web", []int{2}})
	}
	return all
}

// TestDeploy takes one cloud through one model after the other.
func TestDeploy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := backend{"/a", "ing", "a", []int{2, 3}}
	b := backend{"/b", "ing", "b", []int{4}}
	c := backend{"/c", "other", "a", []int{2, 3}}
	steps := []struct {
		what  string
		model *Model
	}{
		{"first", w.model([]int{80}, a, b)},
		{"rule added", w.model([]int{80}, a, b, c)},
		{"rules reordered", w.model([]int{80}, c, b, a)},
		{"rule removed in the middle", w.model([]int{80}, c, a)},
		{"servers changed", w.model([]int{80}, c, backend{"/a", "ing", "a", []int{3, 5, 6}})},
		{"servers gone", w.model([]int{80}, c, backend{"/a", "ing", "a", nil})},
		{"listener added", w.model([]int{80, 8080}, c, a)},
		{"listener removed", w.model([]int{8080}, c, a)},
		{"Ingress removed: its groups go after its rules", w.model([]int{8080}, a)},
		{"more rules and servers than one call takes", w.model([]int{8080}, append(many(25), backend{"/s", "s", "s", counted(70)})...)},
		{"fewer again", w.model([]int{8080}, many(2)...)},
		{"no rule", w.model([]int{80})},
		{"no listener", w.model(nil)},
	}
	for _, s := range steps {
		w.deploy(t, s.what, s.model)
	}
	for _, ingress := range []string{"ing", "other"} {
		m := w.model([]int{80}, backend{"/a", ingress, "a", nil})
		m.Listeners[0].Rules[0].Redirect = true
		w.deploy(t, "the same redirect, of Ingress "+ingress, m)
	}
	last := w.model([]int{80}, a)
	last.LoadBalancer.Name, last.LoadBalancer.Edition = "renamed", cloudsim.EditionWAF
	last.Listeners[0].IdleTimeout = 30
	w.deploy(t, "renamed, other edition and timeout", last)

	if err := w.deployer().remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := w.String(); left != "" {
		t.Errorf("left after removal: %s", left)
	}
	if err := w.deployer().remove(t.Context()); err != nil {
		t.Errorf("remove nothing: %v", err)
	}
}

func counted(n int) []int {
	var all []int
	for i := range n {
		all = append(all, i+2)
	}
	return all
}

// TestDeployGroupsThatReadAlike wants two groups where Ingress and Service joined by a dash give the same text.
func TestDeployGroupsThatReadAlike(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(t, "alike", w.model([]int{80}, backend{"/1", "a-b", "c", []int{2}}, backend{"/2", "a", "b-c", []int{3}}))
}

var errInjected = errors.New("injected")

// TestDeployAfterFailure fails each call in turn, once before the cloud does it and once after, as a crash between two
// calls would; the next attempt has to end with what is wanted, once.
func TestDeployAfterFailure(t *testing.T) {
	t.Parallel()
	a, b, c := backend{"/a", "ing", "a", []int{2, 3}}, backend{"/b", "ing", "b", []int{4}}, backend{"/c", "other", "c", []int{5}}
	for _, transition := range []struct {
		name string
		from func(*world) *Model
		to   func(*world) *Model
	}{
		{"first", nil, func(w *world) *Model { return w.model([]int{80, 81}, a, b) }},
		{
			"change", func(w *world) *Model { return w.model([]int{80, 81}, a, b) },
			func(w *world) *Model {
				m := w.model([]int{80, 82}, c, backend{"/a", "ing", "a", []int{3, 6}})
				m.LoadBalancer.Name, m.LoadBalancer.Edition, m.Listeners[0].IdleTimeout = "second", cloudsim.EditionWAF, 20
				return m
			},
		},
		{"removal", func(w *world) *Model { return w.model([]int{80, 81}, a, b) }, nil},
		{
			"to HTTPS on the same port", func(w *world) *Model { return w.model([]int{80, 443}, a) },
			func(w *world) *Model { return secured(w.model([]int{80, 443}, a), 443, "HTTPS", "demo", "shop") },
		},
		{
			"other certificates and redirects", func(w *world) *Model {
				return secured(w.model([]int{80, 443}, a), 443, "HTTPS", "demo")
			},
			func(w *world) *Model {
				m := secured(w.model([]int{80, 443}, a), 443, "HTTPS", "shop", "demo")
				m.Listeners[0].Rules[0].Redirect = true
				return m
			},
		},
	} {
		for _, when := range []string{"before", "after"} {
			t.Run(transition.name+" "+when, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					w := newWorld(t)
					if transition.from != nil {
						w.deploy(t, "start", transition.from(w))
					}
					if reached := failOnce(t, w, n, when, transition.to); !reached {
						if n < 5 {
							t.Fatalf("only %d calls", n-1)
						}
						return
					}
				}
			})
		}
	}
}

// failOnce goes to a model, or to nothing, with the n-th call failing, then again without; it tells whether there were
// n calls.
func failOnce(t *testing.T, w *world, n int, when string, to func(*world) *Model) bool {
	t.Helper()
	goTo := func() error {
		if to == nil {
			return w.deployer().remove(t.Context())
		}
		_, err := w.deployer().deploy(t.Context(), to(w))
		return err
	}
	failed := ""
	fail := func(call string) error {
		if calls, _ := w.counted(); calls == n && failed == "" {
			failed = call
			return errInjected
		}
		return nil
	}
	if when == "before" {
		w.on(fail, nil)
	} else {
		w.on(nil, fail)
	}
	err := goTo()
	if failed == "" {
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	if !errors.Is(err, errInjected) {
		t.Errorf("%s call %d (%s) failed, and the error is %v", when, n, failed, err)
	}
	w.on(nil, nil)
	if err := goTo(); err != nil {
		t.Fatalf("%s call %d (%s) failed; then: %v", when, n, failed, err)
	}
	want := ""
	if to != nil {
		want = w.textOf(to(w))
	}
	if diff := cmp.Diff(want, w.String()); diff != "" {
		t.Errorf("%s call %d (%s) failed; then: %s", when, n, failed, diff)
	}
	return true
}

// TestDeployGivesUpByTheClock has a cloud that finishes no job, and moves the clock with each look at it.
func TestDeployGivesUpByTheClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pause()
	w.on(func(call string) error {
		if call == "ListServerGroups" {
			w.clock.Advance(waitLimit)
		}
		return nil
	}, nil)
	_, err := w.deployer().deploy(t.Context(), w.model([]int{80}))
	if err == nil || !strings.Contains(err.Error(), "is Available: it is not after 20s") {
		t.Errorf("got %v", err)
	}
}

// TestDeployWaitsForTheCloud begins where a crash or a quick change left transitional states.
func TestDeployWaitsForTheCloud(t *testing.T) {
	t.Parallel()
	one := backend{"/a", "ing", "a", []int{2, 3}}
	for _, row := range []struct {
		name    string
		prepare func(*testing.T, *world) error
	}{
		{"a group that is Creating", func(t *testing.T, w *world) error {
			m := w.model([]int{80}, one)
			_, err := w.deployer().createGroup(t.Context(), m.ServerGroups[1])
			return err
		}},
		{"a server that is Removing", func(t *testing.T, w *world) error {
			w.resume(t)
			if _, err := w.deployer().deploy(t.Context(), w.model([]int{80}, one)); err != nil {
				return err
			}
			w.pause()
			_, err := w.deployer().deploy(t.Context(), w.model([]int{80}, backend{"/a", "ing", "a", []int{3}}))
			return err
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.pause()
			if err := row.prepare(t, w); err != nil {
				t.Fatal(err)
			}
			waits := make(chan struct{}, 1)
			lists := 0
			w.on(func(call string) error {
				if call == "ListServerGroups" {
					if lists++; lists == 2 { // the first is for all groups, the second waits for one
						waits <- struct{}{}
					}
				}
				return nil
			}, nil)
			done := make(chan error, 1)
			go func() {
				_, err := w.deployer().deploy(t.Context(), w.model([]int{80}, one))
				done <- err
			}()
			select {
			case <-waits:
				w.resume(t)
			case err := <-done:
				t.Fatalf("it did not wait: %v", err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w.textOf(w.model([]int{80}, one)), w.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDeployRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.model([]int{80})
	m.LoadBalancer.Edition = cloudsim.EditionWAF
	w.deploy(t, "first", m)
	_, err := w.deployer().deploy(t.Context(), w.model([]int{80}))
	if err == nil || err.Error() != "downgrade not allowed for alb from StandardWithWaf to Standard" {
		t.Errorf("downgrade: %v", err)
	}

	id := w.inner.Inventory().LoadBalancers[0].LoadBalancerID
	if err := w.inner.DeleteLoadBalancer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	d := w.deployer()
	d.known = id
	_, err = d.deploy(t.Context(), m)
	if want := "ALB loadBalancer : " + id + " has been deleted on the console , please delete related albconfig first"; err == nil || err.Error() != want {
		t.Errorf("deleted behind our back: %v", err)
	}
	if err := w.deployer().remove(t.Context()); err != nil || w.String() != "" {
		t.Errorf("remove what is left: %v, %s", err, w)
	}

	for _, name := range []string{"one", "two"} {
		m.LoadBalancer.Name = name
		if err := w.deployer().createLoadBalancer(t.Context(), m.LoadBalancer); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.inner.Inventory().LoadBalancers); n != 1 {
		t.Errorf("one client token made %d instances", n)
	}
	other := w.deployer()
	other.uid = "u2"
	if err := other.createLoadBalancer(t.Context(), m.LoadBalancer); err != nil {
		t.Fatal(err)
	}
	if _, err := w.deployer().deploy(t.Context(), m); err == nil || !strings.Contains(err.Error(), "both carry its tags; delete one") {
		t.Errorf("two instances: %v", err)
	}
}
