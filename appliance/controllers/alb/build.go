package alb

import (
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/cloudsim"
)

// Build gives the model of a group. It is pure. With any problem the model is nil: a load balancer is built whole or
// stays as it is (ALB-FACTS 0.2 fact 2).
func Build(g *Group, c Cluster) (*Model, []Problem) {
	b := &build{
		group: g, cluster: c, listeners: map[portAndProtocol]*Listener{}, specs: map[portAndProtocol]albv1.ListenerSpec{},
		groups: map[GroupKey]bool{}, secrets: map[string]secretResult{},
	}
	b.loadBalancer()
	b.buildListeners()
	members, problems := sortedMembers(g.Ingresses)
	b.problems = append(b.problems, problems...)
	for _, ing := range members {
		if err := b.ingress(ing); err != nil {
			b.problems = append(b.problems, *err)
		}
	}
	b.missingListeners(members)
	b.certificates(members)
	if len(b.problems) > 0 {
		return nil, b.problems
	}
	for _, l := range b.order {
		b.model.Listeners = append(b.model.Listeners, *b.listeners[l])
	}
	return &b.model, nil
}

type portAndProtocol struct {
	port     int
	protocol string
}

type build struct {
	group     *Group
	cluster   Cluster
	model     Model
	problems  []Problem
	listeners map[portAndProtocol]*Listener
	specs     map[portAndProtocol]albv1.ListenerSpec
	order     []portAndProtocol
	groups    map[GroupKey]bool
	secrets   map[string]secretResult // by namespace/name
}

func (b *build) fail(format string, args ...any) {
	b.problems = append(b.problems, Problem{Reason: reasonFailedBuildModel, Message: fmt.Sprintf(format, args...)})
}

func (b *build) loadBalancer() {
	spec := b.group.AlbConfig.Spec.Config
	lb := LoadBalancer{
		Name:        cmp.Or(spec.Name, defaultName(b.cluster.ID, b.group.AlbConfig.Name)),
		AddressType: spec.AddressType,
		Edition:     cmp.Or(spec.Edition, cloudsim.EditionStandard),
		Tags:        b.tags(cloudsim.Tag{Key: tagResource, Value: tagResourceLoadBalancer}),
	}
	if spec.ID == "" {
		lb.AddressType = cmp.Or(spec.AddressType, cloudsim.AddressInternet)
	} else {
		lb.Reuse = Reuse{ID: spec.ID, Attributes: spec.ForceOverride, Listeners: spec.ForceOverride || spec.ListenerForceOverride}
	}
	if lb.AddressType != "" && lb.AddressType != cloudsim.AddressInternet && lb.AddressType != cloudsim.AddressIntranet {
		b.fail("invalid load balancer address type: %s", lb.AddressType)
	}
	if lb.Edition == cloudsim.EditionBasic {
		b.fail("LoadBalancer Edition: %s can't use for ingress controller", lb.Edition)
	}
	if spec.AddressIPVersion != "" && spec.AddressIPVersion != "IPv4" {
		b.fail("config addressIpVersion %s: this version of the appliance serves IPv4 only; remove it from the AlbConfig", spec.AddressIPVersion)
	}
	for _, z := range spec.ZoneMappings {
		lb.VSwitchIDs = append(lb.VSwitchIDs, z.VSwitchID)
	}
	for _, t := range spec.Tags {
		lb.Tags = append(lb.Tags, cloudsim.Tag{Key: t.Key, Value: t.Value})
	}
	b.model.LoadBalancer = lb
}

// defaultName is the managed controller's name of an instance whose AlbConfig gives none (ALB-FACTS 2.1).
func defaultName(clusterID, albConfig string) string {
	sum := sha256.Sum256([]byte(clusterID + groupID(albConfig)))
	return fmt.Sprintf("k8s-%s-%s-%s", groupNamespace, albConfig, hex.EncodeToString(sum[:])[:10])
}

// ingress adds one member's rules and groups.
func (b *build) ingress(ing *networkingv1.Ingress) *Problem {
	fail := func(err error) *Problem {
		return &Problem{Ingress: key(ing), Reason: reasonFailedBuildModel, Message: err.Error()}
	}
	scheduler, err := schedulerOf(ing)
	if err != nil {
		return fail(err)
	}
	placement, err := placementOf(ing)
	if err != nil {
		return fail(err)
	}
	for _, rule := range ing.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, path := range rule.HTTP.Paths {
			conditions, err := conditionsOf(rule.Host, path)
			if err != nil {
				return fail(err)
			}
			backend, err := b.backend(ing, path.Backend, scheduler)
			if err != nil {
				return fail(err)
			}
			for _, at := range placement.of(rule.Host) {
				redirect := placement.redirect && at.port != secureListener.port
				b.addRule(at, Rule{Conditions: conditions, Backend: backend, Redirect: redirect, Ingress: key(ing)})
			}
		}
	}
	return nil
}

// addRule appends a rule to a listener; a listener that is not there is told once, by missingListeners.
func (b *build) addRule(at portAndProtocol, r Rule) {
	l, ok := b.listeners[at]
	if !ok {
		return
	}
	r.Priority = len(l.Rules) + 1
	r.Name = fmt.Sprintf("rule-%d-%d", l.Port, r.Priority)
	l.Rules = append(l.Rules, r)
}

// missingListeners reports each port that members need and the AlbConfig lacks, in the managed controller's two
// sentences (seed; ALB-FACTS 3.9).
func (b *build) missingListeners(members []*networkingv1.Ingress) {
	missing := map[portAndProtocol][]string{}
	var order []portAndProtocol
	for _, ing := range members {
		placement, err := placementOf(ing)
		if err != nil {
			continue // told already
		}
		for _, at := range placement.listeners {
			if b.listeners[at] != nil {
				continue
			}
			if missing[at] == nil {
				order = append(order, at)
			}
			missing[at] = append(missing[at], key(ing))
		}
	}
	for _, at := range order {
		for _, ing := range missing[at] {
			b.problems = append(b.problems,
				Problem{Ingress: ing, Reason: reasonFailedBuildModel, Message: fmt.Sprintf("listener is not exist in %s, port: %d, protocol: %s", b.group.AlbConfig.Name, at.port, at.protocol)},
				Problem{Ingress: ing, Reason: reasonFailedBuildModel, Message: fmt.Sprintf("listener not found for (%d/%s), with ingresses %d", at.port, at.protocol, len(missing[at]))})
		}
	}
}

// backend finds the Service port of a path and makes its server group.
func (b *build) backend(ing *networkingv1.Ingress, backend networkingv1.IngressBackend, scheduler string) (GroupKey, error) {
	if backend.Service == nil {
		return GroupKey{}, fmt.Errorf("backend not found: a resource backend (%s %s) cannot be served by an ALB", backend.Resource.Kind, backend.Resource.Name)
	}
	name := ing.Namespace + "/" + backend.Service.Name
	service, ok := b.group.Services[name]
	if !ok {
		return GroupKey{}, fmt.Errorf("backend not found: services %q not found", backend.Service.Name)
	}
	port, err := servicePort(service, backend.Service.Port)
	if err != nil {
		return GroupKey{}, err
	}
	k := GroupKey{ing.Namespace, ing.Name, service.Name, int(port.Port)}
	if !b.groups[k] {
		servers, err := b.servers(service, port)
		if err != nil {
			b.problems = append(b.problems, Problem{Ingress: key(ing), Reason: reasonFailedApplyModel, Message: err.Error()})
		}
		b.addGroup(k, scheduler, servers)
	}
	return k, nil
}

func servicePort(s *corev1.Service, want networkingv1.ServiceBackendPort) (corev1.ServicePort, error) {
	for _, p := range s.Spec.Ports {
		if want.Name != "" && p.Name == want.Name || want.Name == "" && p.Port == want.Number {
			return p, nil
		}
	}
	text := want.Name
	if text == "" {
		text = fmt.Sprint(want.Number)
	}
	return corev1.ServicePort{}, fmt.Errorf("backend not found: unable to find port %s on service %s", text, key(s))
}

// addGroup adds a group once: a QUIC listener and the HTTPS one on its port fall back to the same.
func (b *build) addGroup(k GroupKey, scheduler string, servers []cloudsim.ServerInput) {
	if b.groups[k] {
		return
	}
	b.groups[k] = true
	b.model.ServerGroups = append(b.model.ServerGroups, ServerGroup{
		Key: k, Name: fmt.Sprintf("%s-%s-%d", k.Namespace, k.Service, k.Port),
		Type: serverGroupType, Protocol: cloudsim.ProtocolHTTP, Scheduler: scheduler, Servers: servers,
		Tags: b.tags(k.tags()...),
	})
}

// eniID names the network interface that holds the pods of a node, stably.
func eniID(node string) string {
	sum := sha1.Sum([]byte(node))
	return "eni-" + hex.EncodeToString(sum[:])[:18]
}
