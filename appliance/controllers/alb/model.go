package alb

import (
	"cmp"
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
	// Uploads are the certificates that the certificate service must have first.
	Uploads []Upload
	// Waiting says which listeners lack something. They are not made, or keep what they have; all else is deployed.
	Waiting []Problem
}

// LoadBalancer is the instance.
type LoadBalancer struct {
	Name        string
	AddressType string
	Edition     string
	VSwitchIDs  []string
	Tags        []cloudsim.Tag
	Reuse       Reuse
}

// Reuse is an existing instance that an AlbConfig takes instead of having one made (ALB-FACTS 2.1, 3.11).
type Reuse struct {
	ID string // empty: the instance is the AlbConfig's own
	// Attributes and Listeners say what of it becomes as the AlbConfig says; without them only what we made on it does.
	Attributes bool
	Listeners  bool
}

// Listener is one listener with its rules, priorities 1 to n.
type Listener struct {
	Port           int
	Protocol       string
	Description    string
	IdleTimeout    int // seconds
	RequestTimeout int // seconds
	XForwardedFor  cloudsim.XForwardedFor
	// Certificates of an HTTPS or QUIC listener, the default one first; none means that it waits for one.
	Certificates     []CertificateRef
	SecurityPolicyID string
	HTTP2Enabled     bool
	QUIC             cloudsim.QUICConfig
	// Placeholder is the empty group that unmatched requests go to (ALB-FACTS 3.5).
	Placeholder GroupKey
	Rules       []Rule
}

// secure tells whether clients speak TLS to it.
func (l *Listener) secure() bool {
	return l.Protocol == cloudsim.ProtocolHTTPS || l.Protocol == cloudsim.ProtocolQUIC
}

// CertificateRef refers to a certificate: to one of the certificate service by its ID, or to an Upload by its name.
type CertificateRef struct{ ID, Upload string }

// Upload is the certificate of a Secret. Its name stands for its content.
type Upload struct {
	Name        string // NAMESPACE-SECRET-DIGEST
	Chain       []byte
	Key         cloudsim.PrivateKey
	Fingerprint string // of the leaf: SHA-256, hexadecimal
}

// Rule is one path of one Ingress on one listener: it forwards to a group, or redirects to HTTPS.
type Rule struct {
	Name       string // rule-PORT-PRIORITY
	Priority   int
	Conditions []cloudsim.Condition
	Backend    GroupKey
	Redirect   bool
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
	fmt.Fprintf(&b, "load balancer %s %s %s %s%s\n", lb.Name, lb.AddressType, lb.Edition, strings.Join(lb.VSwitchIDs, ","), lb.Reuse)
	for _, l := range m.Listeners {
		fmt.Fprintf(&b, "listener %s:%d idle %d request %d forwarded %s%s default %s\n", l.Protocol, l.Port, l.IdleTimeout, l.RequestTimeout, forwarded(l.XForwardedFor), l.tlsText(), l.Placeholder)
		for _, r := range l.Rules {
			fmt.Fprintf(&b, "  rule %d %s", r.Priority, r.Name)
			for _, c := range r.Conditions {
				fmt.Fprintf(&b, " %s[%s]", c.Type, strings.Join(c.Values, " "))
			}
			fmt.Fprintf(&b, " -> %s (ingress %s)\n", r.target(), r.Ingress)
		}
	}
	for _, g := range m.ServerGroups {
		fmt.Fprintf(&b, "server group %s %s %s %s\n", g.Key, g.Name, g.Protocol, g.Scheduler)
		for _, s := range g.Servers {
			fmt.Fprintf(&b, "  %s %s %s:%d weight %d\n", s.ServerType, s.ServerID, s.ServerIP, s.Port, s.Weight)
		}
	}
	for _, u := range m.Uploads {
		fmt.Fprintf(&b, "upload %s sha256:%s %v\n", u.Name, u.Fingerprint, u.Key)
	}
	for _, p := range m.Waiting {
		fmt.Fprintf(&b, "waiting %s\n", p)
	}
	return b.String()
}

func (r Reuse) String() string {
	text := ""
	if r.ID != "" {
		text = " reuses " + r.ID
	}
	if r.Attributes {
		text += " with attributes"
	}
	if r.Listeners {
		text += " with listeners"
	}
	return text
}

// tlsText says how a listener speaks TLS.
func (l *Listener) tlsText() string {
	if !l.secure() {
		return ""
	}
	var text strings.Builder
	if l.SecurityPolicyID != "" {
		fmt.Fprintf(&text, " policy %s", l.SecurityPolicyID)
	}
	if l.HTTP2Enabled {
		text.WriteString(" http2")
	}
	if l.QUIC != (cloudsim.QUICConfig{}) {
		fmt.Fprintf(&text, " quic %v %s", l.QUIC.UpgradeEnabled, l.QUIC.ListenerID)
	}
	var names []string
	for _, c := range l.Certificates {
		names = append(names, cmp.Or(c.ID, c.Upload))
	}
	fmt.Fprintf(&text, " certificates [%s]", strings.Join(names, " "))
	return text.String()
}

func (r Rule) target() string {
	if r.Redirect {
		return "redirect to HTTPS"
	}
	return r.Backend.String()
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
	// Alone means that nobody else is concerned: all but this goes on.
	Alone bool
	// Again means that it can end without a change of an object: we have to look again.
	Again bool
}

func (p Problem) String() string {
	at := "albconfig"
	if p.Ingress != "" {
		at = "ingress " + p.Ingress
	}
	return at + " " + p.Reason + " " + p.Message
}
