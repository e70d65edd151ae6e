package alb

import (
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/cloudsim"
)

// minValidity is how long a certificate must still be good to be put on a listener (ALB-FACTS 3.6).
const minValidity = 24 * time.Hour

// messageNoCertificate is the controller's, to the letter.
const messageNoCertificate = "empty https listener default certs"

// certificates gives each HTTPS and QUIC listener its certificates (ALB-FACTS 3.6).
func (b *build) certificates(members []*networkingv1.Ingress) {
	for _, at := range b.order {
		if l := b.listeners[at]; l.secure() {
			users := usersOf(at, members)
			if l.Certificates = b.certificatesOf(at, users); len(l.Certificates) == 0 {
				b.wait(users)
			}
		}
	}
}

// usersOf are the Ingresses that need a listener.
func usersOf(at portAndProtocol, members []*networkingv1.Ingress) []*networkingv1.Ingress {
	var users []*networkingv1.Ingress
	for _, ing := range members {
		if p, err := placementOf(ing); err == nil && slices.Contains(p.listeners, at) {
			users = append(users, ing)
		}
	}
	return users
}

// certificatesOf lists a listener's certificates, the default one first: those of the AlbConfig, else those discovered,
// then those of Secrets. It gives none where the AlbConfig marks more than one as the default.
func (b *build) certificatesOf(at portAndProtocol, users []*networkingv1.Ingress) []CertificateRef {
	spec := b.specs[at]
	first, ok := defaultOf(spec)
	if !ok {
		return nil
	}
	var all []CertificateRef
	add := func(c CertificateRef) {
		if c != (CertificateRef{}) && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	add(CertificateRef{ID: first})
	for _, c := range spec.Certificates {
		add(CertificateRef{ID: c.CertificateID})
	}
	uploads, served := b.uploadsOf(users)
	if len(spec.Certificates) == 0 {
		for _, id := range b.discover(at.protocol, users, served) {
			add(CertificateRef{ID: id})
		}
	}
	for _, name := range uploads {
		add(CertificateRef{Upload: name})
	}
	return all
}

// defaultOf is the certificate that the AlbConfig makes a listener's default: defaultCertificate outranks IsDefault
// (ALB-FACTS 2.2). It is empty where the AlbConfig leaves that open, and not ok where it marks two.
func defaultOf(spec albv1.ListenerSpec) (id string, ok bool) {
	if c := spec.DefaultCertificate; c != nil && c.Kind == albv1.KindCertIdentifier {
		return c.CertificateID, true
	}
	for _, c := range spec.Certificates {
		if c.IsDefault && id != "" {
			return "", false
		}
		if c.IsDefault {
			id = c.CertificateID
		}
	}
	return id, true
}

// wait tells of a listener without certificates. The cloud makes no such listener, but the real controller goes on with
// the others and looks again when something changes; only so does the documented order work, in which the listener
// comes before the Ingress that brings its certificate (seed, "configure HTTPS for an Ingress").
func (b *build) wait(users []*networkingv1.Ingress) {
	at := []string{""} // the AlbConfig
	if len(users) > 0 {
		at = nil
	}
	for _, ing := range users {
		at = append(at, key(ing))
	}
	for _, name := range at {
		p := Problem{Ingress: name, Reason: reasonFailedApplyModel, Message: messageNoCertificate, Alone: true}
		if !slices.Contains(b.model.Waiting, p) {
			b.model.Waiting = append(b.model.Waiting, p)
		}
	}
}

// uploadsOf are the names of the certificates in the Ingresses' Secrets, whatever hosts they cover, and the hosts that
// spec.tls gives them: for those nothing is discovered.
func (b *build) uploadsOf(users []*networkingv1.Ingress) (names, served []string) {
	for _, ing := range users {
		for _, t := range ing.Spec.TLS {
			if t.SecretName == "" {
				continue
			}
			served = append(served, t.Hosts...)
			if name := b.upload(ing, t.SecretName); name != "" {
				names = append(names, name)
			}
		}
	}
	return names, served
}

// discover finds the certificates of the certificate service for the hosts that have none from a Secret: all that cover
// one and can still be put on a listener, in the order of the service, whose ids grow with time. So a renewed one comes
// beside the old one and behind it, and the instance shows it to whoever names the host, for it is good for longer.
func (b *build) discover(protocol string, users []*networkingv1.Ingress, served []string) []string {
	found := map[string]bool{}
	for _, ing := range users {
		for _, host := range hostsToDiscover(protocol, ing) {
			if slices.Contains(served, host) {
				continue
			}
			covering := b.covering(host)
			if len(covering) == 0 {
				b.problem(Problem{Ingress: key(ing), Reason: reasonFailedBuildModel, Message: "none certificate found for host: " + host, Again: true})
			}
			for _, id := range covering {
				found[id] = true
			}
		}
	}
	var ids []string
	for _, c := range b.group.Certificates {
		if found[c.CertificateID] {
			ids = append(ids, c.CertificateID)
		}
	}
	return ids
}

// problem reports something once, whichever listeners it shows on.
func (b *build) problem(p Problem) {
	if !slices.Contains(b.problems, p) {
		b.problems = append(b.problems, p)
	}
}

// hostsToDiscover are the hosts of an Ingress for which a listener needs certificates that no Secret brings: those of
// spec.tls without a Secret, those of rules that spec.tls names, and on HTTPS those of all rules if there is no spec.tls.
func hostsToDiscover(protocol string, ing *networkingv1.Ingress) []string {
	var hosts []string
	for _, t := range ing.Spec.TLS {
		if t.SecretName == "" {
			hosts = append(hosts, t.Hosts...)
		}
	}
	named := tlsHosts(ing)
	for _, rule := range ing.Spec.Rules {
		if slices.Contains(named, rule.Host) || len(ing.Spec.TLS) == 0 && protocol == cloudsim.ProtocolHTTPS {
			hosts = append(hosts, rule.Host)
		}
	}
	return slices.DeleteFunc(hosts, func(h string) bool { return h == "" })
}

func (b *build) covering(host string) []string {
	var covering []string
	for _, c := range b.group.Certificates {
		if c.Covers(host) && !c.NotAfter.Before(b.group.Now.Add(minValidity)) {
			covering = append(covering, c.CertificateID)
		}
	}
	return covering
}
