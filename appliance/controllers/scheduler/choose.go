package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	podresources "k8s.io/component-helpers/resource"
	corehelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// bindRetry is how long the scheduler waits when the API refused a binding.
const bindRetry = time.Second

// cluster is what the nodes hold. Nothing here reads a clock or the network.
type cluster struct {
	nodes  []*nodeState // by name
	byName map[string]*nodeState
}

// nodeState is a node and its pods.
type nodeState struct {
	node *corev1.Node
	pods []*corev1.Pod
	used corev1.ResourceList // requested
}

func newCluster(nodes []*corev1.Node) *cluster {
	c := &cluster{byName: map[string]*nodeState{}}
	for _, n := range slices.SortedFunc(slices.Values(nodes), func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) }) {
		s := &nodeState{node: n, used: corev1.ResourceList{}}
		c.nodes = append(c.nodes, s)
		c.byName[n.Name] = s
	}
	return c
}

// add puts a pod onto a node; a node that is not known is left out.
func (c *cluster) add(p *corev1.Pod, node string) {
	n := c.byName[node]
	if n == nil {
		return
	}
	n.pods = append(n.pods, p)
	for name, q := range requests(p) {
		sum := n.used[name]
		sum.Add(q)
		n.used[name] = sum
	}
}

func requests(p *corev1.Pod) corev1.ResourceList {
	return podresources.PodRequests(p, podresources.PodResourcesOptions{})
}

// sortPending orders by priority, then by age.
func sortPending(pods []*corev1.Pod) {
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(
			cmp.Compare(corehelpers.PodPriority(b), corehelpers.PodPriority(a)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
		)
	})
}

// choose gives the node for a pod, or why there is none. It is pure.
func choose(p *corev1.Pod, c *cluster) (node, failure string) {
	if len(c.nodes) == 0 {
		return "", "no nodes available to schedule pods"
	}
	reasons := map[string]int{}
	var fitting []*nodeState
	for _, n := range c.nodes {
		why := n.refuses(p, c)
		for _, w := range why {
			reasons[w]++
		}
		if len(why) == 0 {
			fitting = append(fitting, n)
		}
	}
	if len(fitting) == 0 {
		return "", fitError(len(c.nodes), reasons)
	}
	best := slices.MinFunc(fitting, c.preference(p))
	return best.node.Name, ""
}

// fitError is upstream's sentence.
func fitError(nodes int, reasons map[string]int) string {
	var parts []string
	for why, count := range reasons {
		parts = append(parts, fmt.Sprintf("%d %s", count, why))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", nodes, strings.Join(parts, ", "))
}

// refuses lists why a pod cannot go to the node; the first kind of reason that applies is told, as upstream does.
func (n *nodeState) refuses(p *corev1.Pod, c *cluster) []string {
	one := func(why string) []string { return []string{why} }
	if n.node.Spec.Unschedulable && !tolerates(p, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		return one("node(s) were unschedulable")
	}
	if !isReady(n.node) {
		return one("node(s) were not ready")
	}
	for _, t := range n.node.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(p, t) {
			return one("node(s) had untolerated taint(s)")
		}
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(n.node); err != nil || !ok {
		return one("node(s) didn't match Pod's node affinity/selector")
	}
	if n.portTaken(p) {
		return one("node(s) didn't have free ports for the requested pod ports")
	}
	if why := n.lacks(p); len(why) > 0 {
		return why
	}
	if why := c.affinityRefuses(p, n); why != "" {
		return one(why)
	}
	return nil
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func tolerates(p *corev1.Pod, t corev1.Taint) bool {
	return corehelpers.TolerationsTolerateTaint(klog.Logger{}, p.Spec.Tolerations, &t, false)
}

// hostPort is a port of a node itself.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

func hostPorts(p *corev1.Pod) []hostPort {
	var all []hostPort
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				all = append(all, hostPort{cmp.Or(port.HostIP, "0.0.0.0"), cmp.Or(port.Protocol, corev1.ProtocolTCP), port.HostPort})
			}
		}
	}
	return all
}

func (h hostPort) conflicts(o hostPort) bool {
	return h.port == o.port && h.protocol == o.protocol && (h.ip == o.ip || h.ip == "0.0.0.0" || o.ip == "0.0.0.0")
}

func (n *nodeState) portTaken(p *corev1.Pod) bool {
	for _, want := range hostPorts(p) {
		for _, other := range n.pods {
			if slices.ContainsFunc(hostPorts(other), want.conflicts) {
				return true
			}
		}
	}
	return false
}

// lacks lists what the node has too little of.
func (n *nodeState) lacks(p *corev1.Pod) []string {
	var why []string
	if max := n.node.Status.Allocatable.Pods(); int64(len(n.pods))+1 > max.Value() {
		why = append(why, "Too many pods")
	}
	need := requests(p)
	for _, name := range slices.Sorted(maps.Keys(need)) {
		left := n.node.Status.Allocatable[name].DeepCopy()
		left.Sub(n.used[name])
		if q := need[name]; q.Cmp(resource.Quantity{}) > 0 && q.Cmp(left) > 0 {
			why = append(why, "Insufficient "+string(name))
		}
	}
	return why
}

// preference orders nodes for a pod: where fewer of its kind are in the zone, then on the node, then fewer pods at all.
func (c *cluster) preference(p *corev1.Pod) func(a, b *nodeState) int {
	kin, inZone, onNode := kinOf(p), map[string]int{}, map[string]int{}
	for _, n := range c.nodes {
		for _, other := range n.pods {
			if other.Namespace == p.Namespace && kinOf(other) == kin {
				inZone[n.node.Labels[corev1.LabelTopologyZone]]++
				onNode[n.node.Name]++
			}
		}
	}
	return func(a, b *nodeState) int {
		return cmp.Or(
			cmp.Compare(inZone[a.node.Labels[corev1.LabelTopologyZone]], inZone[b.node.Labels[corev1.LabelTopologyZone]]),
			cmp.Compare(onNode[a.node.Name], onNode[b.node.Name]),
			cmp.Compare(len(a.pods), len(b.pods)),
			cmp.Compare(a.node.Name, b.node.Name),
		)
	}
}

// kinOf names what a pod is one of: its controller's pods, else those with its labels.
func kinOf(p *corev1.Pod) types.UID {
	if owner := metav1.GetControllerOf(p); owner != nil {
		return owner.UID
	}
	return types.UID(metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: p.Labels}))
}

// sameNode says whether two versions of a node are the same to a scheduler.
func sameNode(a, b *corev1.Node) bool {
	return isReady(a) == isReady(b) && maps.Equal(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Spec, b.Spec) &&
		equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable)
}
