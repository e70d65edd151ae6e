package scheduler

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func node(name, zone string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone, corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("3")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, f := range change {
		f(n)
	}
	return n
}

func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Labels: map[string]string{"app": "a"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func cpu(q string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(q)}
	}
}

func hostPortOf(port int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: port}} }
}

func app(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{"app": name} }
}

func selects(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} }
}

func affinity(anti bool, app, key string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		terms := []corev1.PodAffinityTerm{{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}}
		if anti {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
		} else {
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
		}
	}
}

func tainted(effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "k", Value: "v", Effect: effect}} }
}

func TestChoose(t *testing.T) {
	t.Parallel()
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	notReady := func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }
	tolerant := func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	byAffinity := func(zone string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}}}},
			}}}
		}
	}
	ended := func(p *corev1.Pod) { p.Spec.Affinity = nil }
	two := []*corev1.Node{node("n1", "a"), node("n2", "b")}
	for _, test := range []struct {
		name  string
		nodes []*corev1.Node
		on    map[string][]*corev1.Pod
		pod   *corev1.Pod
		want  string
		why   string
	}{
		{name: "no nodes", pod: pod("p"), why: "no nodes available to schedule pods"},
		{name: "first by name", nodes: two, pod: pod("p"), want: "n1"},
		{name: "fewer pods", nodes: two, on: map[string][]*corev1.Pod{"n1": {pod("x", app("other"))}}, pod: pod("p"), want: "n2"},
		{name: "spread over zones before pods are counted", nodes: []*corev1.Node{node("n1", "a"), node("n2", "a"), node("n3", "b")},
			on:  map[string][]*corev1.Pod{"n1": {pod("x")}, "n3": {pod("y", app("other")), pod("z", app("other"))}},
			pod: pod("p"), want: "n3"},
		{name: "spread over nodes of a zone", nodes: []*corev1.Node{node("n1", "a"), node("n2", "a")},
			on: map[string][]*corev1.Pod{"n1": {pod("x")}, "n2": {pod("y", app("other")), pod("z", app("other"))}}, pod: pod("p"), want: "n2"},
		{name: "node selector", nodes: two, pod: pod("p", selects(corev1.LabelHostname, "n2")), want: "n2"},
		{name: "node selector fits nowhere", nodes: two, pod: pod("p", selects("x", "y")), why: "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."},
		{name: "node affinity", nodes: two, pod: pod("p", byAffinity("b")), want: "n2"},
		{name: "cordoned and not ready", nodes: []*corev1.Node{node("n1", "a", cordoned), node("n2", "b", notReady)}, pod: pod("p"),
			why: "0/2 nodes are available: 1 node(s) were not ready, 1 node(s) were unschedulable."},
		{name: "taint", nodes: []*corev1.Node{node("n1", "a", tainted(corev1.TaintEffectNoSchedule))}, pod: pod("p"), why: "0/1 nodes are available: 1 node(s) had untolerated taint(s)."},
		{name: "taint that is only preferred", nodes: []*corev1.Node{node("n1", "a", tainted(corev1.TaintEffectPreferNoSchedule))}, pod: pod("p"), want: "n1"},
		{name: "taint tolerated", nodes: []*corev1.Node{node("n1", "a", tainted(corev1.TaintEffectNoExecute), cordoned)}, pod: pod("p", tolerant), want: "n1"},
		{name: "host port taken", nodes: two, on: map[string][]*corev1.Pod{"n1": {pod("x", hostPortOf(80))}, "n2": {pod("y", hostPortOf(80))}}, pod: pod("p", hostPortOf(80)),
			why: "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."},
		{name: "other host port", nodes: two[:1], on: map[string][]*corev1.Pod{"n1": {pod("x", hostPortOf(80))}}, pod: pod("p", hostPortOf(81)), want: "n1"},
		{name: "too many pods", nodes: two[:1], on: map[string][]*corev1.Pod{"n1": {pod("x"), pod("y"), pod("z")}}, pod: pod("p"), why: "0/1 nodes are available: 1 Too many pods."},
		{name: "not enough CPU", nodes: two, on: map[string][]*corev1.Pod{"n1": {pod("x", cpu("3"))}}, pod: pod("p", cpu("1500m")), want: "n2"},
		{name: "too much CPU for all", nodes: two, pod: pod("p", cpu("5")), why: "0/2 nodes are available: 2 Insufficient cpu."},
		{name: "anti-affinity", nodes: two, on: map[string][]*corev1.Pod{"n1": {pod("x")}}, pod: pod("p", affinity(true, "a", corev1.LabelHostname)), want: "n2"},
		{name: "anti-affinity fits nowhere", nodes: two[:1], on: map[string][]*corev1.Pod{"n1": {pod("x")}}, pod: pod("p", affinity(true, "a", corev1.LabelHostname)),
			why: "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."},
		{name: "anti-affinity of another", nodes: two[:1], on: map[string][]*corev1.Pod{"n1": {pod("x", affinity(true, "a", corev1.LabelHostname))}}, pod: pod("p", ended),
			why: "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."},
		{name: "affinity", nodes: two, on: map[string][]*corev1.Pod{"n2": {pod("x", app("db"))}}, pod: pod("p", affinity(false, "db", corev1.LabelTopologyZone)), want: "n2"},
		{name: "affinity fits nowhere", nodes: two, pod: pod("p", affinity(false, "db", corev1.LabelTopologyZone)), why: "0/2 nodes are available: 2 node(s) didn't match pod affinity rules."},
		{name: "affinity to itself", nodes: two, pod: pod("p", affinity(false, "a", corev1.LabelTopologyZone)), want: "n1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(test.nodes)
			for n, pods := range test.on {
				for _, p := range pods {
					c.add(p, n)
				}
			}
			got, why := choose(test.pod, c)
			if got != test.want || why != test.why {
				t.Errorf("got %q, %q; want %q, %q", got, why, test.want, test.why)
			}
		})
	}
}

// TestReplicasSpread puts one ReplicaSet's pods onto two zones in turn.
func TestReplicasSpread(t *testing.T) {
	t.Parallel()
	c := newCluster([]*corev1.Node{node("n1", "a"), node("n2", "b")})
	yes := true
	count := map[string]int{}
	for i := range 4 {
		p := pod(fmt.Sprint("p", i), func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Controller: &yes}}
		})
		n, why := choose(p, c)
		if why != "" {
			t.Fatal(why)
		}
		c.add(p, n)
		count[n]++
	}
	if count["n1"] != 2 || count["n2"] != 2 {
		t.Errorf("spread %v", count)
	}
}

func TestOrderOfPending(t *testing.T) {
	t.Parallel()
	at := func(s int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(time.Unix(s, 0)) }
	}
	high := int32(10)
	pods := []*corev1.Pod{pod("late", at(2)), pod("early", at(1)), pod("high", at(3), func(p *corev1.Pod) { p.Spec.Priority = &high })}
	sortPending(pods)
	if pods[0].Name != "high" || pods[1].Name != "early" || pods[2].Name != "late" {
		t.Errorf("order %s %s %s", pods[0].Name, pods[1].Name, pods[2].Name)
	}
}
