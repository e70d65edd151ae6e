package alb

import (
	"fmt"
	"strings"

	"github.com/alb-appliance/appliance/cloudsim"
)

// Model is what should exist in the cloud for one AlbConfig. Server groups are referred to by key, never by id; Deploy
// resolves keys against tags.
type Model struct {
	LoadBalancer LoadBalancer
	Listeners    []Listener // in the AlbConfig's order
	ServerGroups []ServerGroup
}

// LoadBalancer is the instance.
type LoadBalancer struct {
	Name        string
	AddressType string
	Edition     string
	VSwitchIDs  []string
	Tags        []cloudsim.Tag
}

// Listener is one listener with its rules, priorities 1 to n.
type Listener struct {
	Port           int
	Protocol       string
	Description    string
	IdleTimeout    int // seconds
	RequestTimeout int // seconds
	XForwardedFor  cloudsim.XForwardedFor
	// Placeholder is the empty group that unmatched requests go to (ALB-FACTS 3.5).
	Placeholder GroupKey
	Rules       []Rule
}

// Rule is one path of one Ingress on one listener.
type Rule struct {
	Name       string // rule-PORT-PRIORITY
	Priority   int
	Conditions []cloudsim.Condition
	Backend    GroupKey
	Ingress    string // namespace/name
}

// GroupKey is what makes a server group one: a group per Ingress and service port (ALB-FACTS 3.7).
type GroupKey struct {
	Namespace string
	Ingress   string
	Service   string
	Port      int
}

// ServerGroup is one backend.
type ServerGroup struct {
	Key       GroupKey
	Name      string // NAMESPACE-SERVICE-PORT
	Type      string
	Protocol  string
	Scheduler string
	Servers   []cloudsim.ServerInput
	Tags      []cloudsim.Tag
}

func (k GroupKey) String() string {
	return fmt.Sprintf("%s/%s-%s:%d", k.Namespace, k.Ingress, k.Service, k.Port)
}

// String is the model's canonical text form.
func (m *Model) String() string {
	var b strings.Builder
	lb := m.LoadBalancer
	fmt.Fprintf(&b, "load balancer %s %s %s %s\n", lb.Name, lb.AddressType, lb.Edition, strings.Join(lb.VSwitchIDs, ","))
	for _, l := range m.Listeners {
		fmt.Fprintf(&b, "listener %s:%d idle %d request %d forwarded %s default %s\n", l.Protocol, l.Port, l.IdleTimeout, l.RequestTimeout, forwarded(l.XForwardedFor), l.Placeholder)
		for _, r := range l.Rules {
			fmt.Fprintf(&b, "  rule %d %s", r.Priority, r.Name)
			for _, c := range r.Conditions {
				fmt.Fprintf(&b, " %s[%s]", c.Type, strings.Join(c.Values, " "))
			}
			fmt.Fprintf(&b, " -> %s (ingress %s)\n", r.Backend, r.Ingress)
		}
	}
	for _, g := range m.ServerGroups {
		fmt.Fprintf(&b, "server group %s %s %s %s\n", g.Key, g.Name, g.Protocol, g.Scheduler)
		for _, s := range g.Servers {
			fmt.Fprintf(&b, "  %s %s %s:%d weight %d\n", s.ServerType, s.ServerID, s.ServerIP, s.Port, s.Weight)
		}
	}
	return b.String()
}

// forwarded names the fields that tell a backend about its client.
func forwarded(x cloudsim.XForwardedFor) string {
	var names []string
	for _, field := range []struct {
		name string
		on   bool
	}{
		{"for", x.Enabled}, {"proto", x.ProtoEnabled}, {"slb-id", x.SLBIDEnabled}, {"slb-port", x.SLBPortEnabled},
		{"client-port", x.ClientSrcPortEnabled}, {"host", x.HostEnabled},
	} {
		if field.on {
			names = append(names, field.name)
		}
	}
	return "[" + strings.Join(names, " ") + "]"
}

// Problem is why a group cannot be built or deployed: not an error of ours but news for the user, as an Event.
type Problem struct {
	// Ingress is the namespace/name at fault; empty when it is the AlbConfig's.
	Ingress string
	Reason  string
	Message string
}

func (p Problem) String() string {
	at := "albconfig"
	if p.Ingress != "" {
		at = "ingress " + p.Ingress
	}
	return at + " " + p.Reason + " " + p.Message
}
