package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// affinityRefuses checks required affinity to and against other pods, this pod's and theirs.
func (c *cluster) affinityRefuses(p *corev1.Pod, n *nodeState) string {
	if !c.affinityMet(p, n) {
		return "node(s) didn't match pod affinity rules"
	}
	for _, t := range antiAffinity(p) {
		if c.anyInDomain(t, n, func(other *corev1.Pod) bool { return matches(t, p, other) }) {
			return "node(s) didn't match pod anti-affinity rules"
		}
	}
	for _, m := range c.nodes {
		for _, other := range m.pods {
			for _, t := range antiAffinity(other) {
				if sameDomain(t.TopologyKey, m, n) && matches(t, other, p) {
					return "node(s) didn't satisfy existing pods anti-affinity rules"
				}
			}
		}
	}
	return ""
}

// affinityMet says whether each term has a match in the node's domain. The first pod of a group that wants its own
// company is let in.
func (c *cluster) affinityMet(p *corev1.Pod, n *nodeState) bool {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAffinity == nil {
		return true
	}
	for _, t := range p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		match := func(other *corev1.Pod) bool { return matches(t, p, other) }
		if n.node.Labels[t.TopologyKey] == "" {
			return false
		}
		if !c.anyInDomain(t, n, match) && (c.anywhere(match) || !match(p)) {
			return false
		}
	}
	return true
}

func antiAffinity(p *corev1.Pod) []corev1.PodAffinityTerm {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	return p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

func (c *cluster) anyInDomain(t corev1.PodAffinityTerm, n *nodeState, match func(*corev1.Pod) bool) bool {
	return slices.ContainsFunc(c.nodes, func(m *nodeState) bool {
		return sameDomain(t.TopologyKey, m, n) && slices.ContainsFunc(m.pods, match)
	})
}

func (c *cluster) anywhere(match func(*corev1.Pod) bool) bool {
	return slices.ContainsFunc(c.nodes, func(m *nodeState) bool { return slices.ContainsFunc(m.pods, match) })
}

func sameDomain(key string, a, b *nodeState) bool {
	value, ok := a.node.Labels[key]
	return ok && b.node.Labels[key] == value
}

// matches says whether a term of one pod selects another. Namespaces are selected by name; a namespaceSelector is taken
// to select every namespace when it is empty, and none otherwise, for the scheduler does not read namespaces.
func matches(t corev1.PodAffinityTerm, of, other *corev1.Pod) bool {
	inNamespace := slices.Contains(t.Namespaces, other.Namespace)
	switch {
	case t.NamespaceSelector != nil:
		inNamespace = inNamespace || len(t.NamespaceSelector.MatchLabels)+len(t.NamespaceSelector.MatchExpressions) == 0
	case len(t.Namespaces) == 0:
		inNamespace = other.Namespace == of.Namespace
	}
	selector, err := metav1.LabelSelectorAsSelector(t.LabelSelector)
	if err != nil || !inNamespace {
		return false
	}
	for _, key := range t.MatchLabelKeys {
		if of.Labels[key] != other.Labels[key] {
			return false
		}
	}
	return t.LabelSelector != nil && selector.Matches(labels.Set(other.Labels))
}
