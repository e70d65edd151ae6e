package alb

import (
	"cmp"
	"fmt"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/cloudsim"
)

// Defaults of a listener (ALB-FACTS 2.2).
const (
	defaultPort           = 80
	defaultIdleTimeout    = 15
	defaultRequestTimeout = 60
)

// buildListeners makes the AlbConfig's listeners, without rules and certificates.
func (b *build) buildListeners() {
	for _, spec := range b.group.AlbConfig.Spec.Listeners {
		l, err := newListener(spec)
		if err != nil {
			b.fail("%s", err)
			continue
		}
		at := portAndProtocol{l.Port, l.Protocol}
		if b.portTaken(at) {
			b.fail("Listener is not fulfilled yet: %d-%s", l.Port, l.Protocol)
			continue
		}
		if l.secure() && spec.Certificates != nil && len(spec.Certificates) == 0 {
			b.problems = append(b.problems, Problem{Reason: reasonFailedApplyModel, Message: "ListenerID is mandatory for this action"}) // the SDK's words (ALB-FACTS 2.2)
		}
		l.Placeholder = GroupKey{groupNamespace, fmt.Sprintf("%s-listener-%d", b.group.AlbConfig.Name, l.Port), placeholderService, l.Port}
		b.addGroup(l.Placeholder, cloudsim.SchedulerWrr, nil)
		b.listeners[at], b.specs[at] = l, spec
		b.order = append(b.order, at)
	}
}

// portTaken tells whether the port is in use: QUIC may share one with HTTPS, nothing else may (ALB-FACTS 2.2).
func (b *build) portTaken(at portAndProtocol) bool {
	for other := range b.listeners {
		if other.port == at.port && (other.protocol == cloudsim.ProtocolQUIC) == (at.protocol == cloudsim.ProtocolQUIC) {
			return true
		}
	}
	return false
}

func newListener(spec albv1.ListenerSpec) (*Listener, error) {
	port := defaultPort
	if spec.Port.String() != "0" {
		if port = spec.Port.IntValue(); port < 1 || port > 65535 {
			return nil, fmt.Errorf("listen port must be within [1, 65535]: %s", spec.Port.String())
		}
	}
	l := &Listener{
		Port: port, Protocol: cmp.Or(spec.Protocol, cloudsim.ProtocolHTTP),
		Description: cmp.Or(spec.Description, fmt.Sprintf("ingress-auto-listener-%d", port)),
		IdleTimeout: defaultIdleTimeout, RequestTimeout: defaultRequestTimeout,
		XForwardedFor: cloudsim.XForwardedFor{
			// The instance appends X-Forwarded-For unless told otherwise (ALB-FACTS 4.6).
			Enabled:              spec.XForwardedForConfig.Enabled == nil || *spec.XForwardedForConfig.Enabled,
			ProtoEnabled:         spec.XForwardedForConfig.ProtoEnabled,
			SLBIDEnabled:         spec.XForwardedForConfig.SLBIDEnabled,
			SLBPortEnabled:       spec.XForwardedForConfig.SLBPortEnabled,
			ClientSrcPortEnabled: spec.XForwardedForConfig.ClientSrcPortEnabled,
			HostEnabled:          spec.XForwardedForConfig.HostEnabled,
		},
	}
	switch l.Protocol {
	case cloudsim.ProtocolHTTP, cloudsim.ProtocolHTTPS, cloudsim.ProtocolQUIC:
	default:
		return nil, fmt.Errorf("listen protocol must be within [HTTP, HTTPS, QUIC]: %s", l.Protocol)
	}
	if l.Protocol == cloudsim.ProtocolHTTPS {
		l.SecurityPolicyID = cmp.Or(spec.SecurityPolicyID, cloudsim.SecurityPolicies[0])
		l.HTTP2Enabled = spec.HTTP2Enabled == nil || *spec.HTTP2Enabled
		l.QUIC = cloudsim.QUICConfig{UpgradeEnabled: spec.QUICConfig.QUICUpgradeEnabled, ListenerID: spec.QUICConfig.QUICListenerID}
	}
	if spec.IdleTimeout != nil && *spec.IdleTimeout != 0 { // the API takes 0 for the default
		l.IdleTimeout = *spec.IdleTimeout
	}
	if spec.RequestTimeout != nil && *spec.RequestTimeout != 0 {
		l.RequestTimeout = *spec.RequestTimeout
	}
	return l, nil
}
