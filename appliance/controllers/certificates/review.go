package certificates

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// ReviewerName is the name of cert-manager's webhook; nothing is refused under it.
const ReviewerName = "webhook.cert-manager.io"

// Review looks at an Ingress that is about to be stored and warns of an issuer that is not here. It is safe for
// concurrent use.
func (c *Controller) Review(ing *networkingv1.Ingress) (warnings []string, refusal error) {
	r, asks := issuerOf(ing)
	if !asks {
		return nil, nil
	}
	if _, ok := c.issuer(r.issuer); !ok {
		warnings = append(warnings, fmt.Sprintf("%s %q: there is no such issuer here, so its Secrets stay as they are; issuers: %s (`appliance serve --acme-directory %s=URL` makes one of that name)",
			annotationOf(r), r.issuer, c.issuerNames(), r.issuer))
	}
	named := slices.ContainsFunc(ing.Spec.TLS, func(t networkingv1.IngressTLS) bool { return t.SecretName != "" && len(t.Hosts) > 0 })
	if !named {
		warnings = append(warnings, "the certificate asked for has no place: no entry of spec.tls has both hosts and secretName")
	}
	return warnings, nil
}

func annotationOf(r request) string {
	if r.kind == "Issuer" {
		return annotationIssuer
	}
	return annotationClusterIssuer
}

// issuer finds an issuer; the empty name is the default one.
func (c *Controller) issuer(name string) (Issue, bool) {
	if name == "" {
		name = c.options.Default
	}
	issue, ok := c.options.Issuers[name]
	return issue, ok
}

func (c *Controller) issuerNames() string {
	return strings.Join(slices.Sorted(maps.Keys(c.options.Issuers)), ", ")
}
