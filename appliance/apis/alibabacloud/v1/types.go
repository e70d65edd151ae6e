// Package v1 is the API group alibabacloud.com/v1: AlbConfig, as the ALB Ingress Controller of ACK defines it
// (ALB-FACTS section 2).
//
// The real definition stores anything (ALB-FACTS 0.2 fact 8), so AlbConfigs travel as unstructured objects and
// Decode turns one into these types when a controller acts on it. Only fields that are acted upon are modelled.
package v1

import (
	_ "embed"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Group, version, resource and kind of AlbConfig. It is cluster-scoped.
var (
	GroupVersion = schema.GroupVersion{Group: "alibabacloud.com", Version: "v1"}
	Resource     = GroupVersion.WithResource("albconfigs")
	Kind         = GroupVersion.WithKind("AlbConfig")
)

// Manifest is the CustomResourceDefinition of AlbConfig, as YAML; `kubectl apply` takes it on a real cluster.
//
//go:embed crd.yaml
var Manifest []byte

// Schema is what an AlbConfig means, field by field, as YAML in the form of a definition's schema. Manifest does not enforce it.
//
//go:embed schema.yaml
var Schema []byte

// AlbConfig describes one ALB instance and its listeners.
type AlbConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AlbConfigSpec   `json:"spec,omitempty"`
	Status AlbConfigStatus `json:"status,omitempty"`
}

// AlbConfigSpec is what the user wants.
type AlbConfigSpec struct {
	Config    LoadBalancerSpec `json:"config,omitempty"`
	Listeners []ListenerSpec   `json:"listeners,omitempty"`
}

// LoadBalancerSpec describes the ALB instance (ALB-FACTS 2.1).
type LoadBalancerSpec struct {
	// ID reuses an existing instance instead of making one. ForceOverride takes over its attributes and all its
	// listeners, ListenerForceOverride the listeners alone; without them both stay as they are.
	ID                    string `json:"id,omitempty"`
	ForceOverride         bool   `json:"forceOverride,omitempty"`
	ListenerForceOverride bool   `json:"listenerForceOverride,omitempty"`
	// Name is 2 to 128 characters and starts with a letter.
	Name string `json:"name,omitempty"`
	// AddressType is Internet (default) or Intranet; fixed at creation.
	AddressType string `json:"addressType,omitempty"`
	// AddressIPVersion is IPv4 (default) or DualStack; fixed at creation.
	AddressIPVersion string `json:"addressIpVersion,omitempty"`
	// Edition is Standard (default) or StandardWithWaf; Basic cannot serve Ingresses.
	Edition      string        `json:"edition,omitempty"`
	ZoneMappings []ZoneMapping `json:"zoneMappings,omitempty"`
	Tags         []Tag         `json:"tags,omitempty"`
}

// ZoneMapping places the instance into one zone.
type ZoneMapping struct {
	VSwitchID    string `json:"vSwitchId,omitempty"`
	ZoneID       string `json:"zoneId,omitempty"`
	AllocationID string `json:"allocationId,omitempty"`
}

// Tag is a label of a cloud resource.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ListenerSpec is one listener (ALB-FACTS 2.2).
type ListenerSpec struct {
	// Port is 1 to 65535, as a number or as text; default 80.
	Port intstr.IntOrString `json:"port,omitempty"`
	// Protocol is HTTP (default), HTTPS or QUIC.
	Protocol    string `json:"protocol,omitempty"`
	Description string `json:"description,omitempty"`
	// IdleTimeout and RequestTimeout are in seconds, 1 to 600; defaults 15 and 60.
	IdleTimeout    *int `json:"idleTimeout,omitempty"`
	RequestTimeout *int `json:"requestTimeout,omitempty"`

	XForwardedForConfig XForwardedForConfig `json:"xForwardedForConfig,omitempty"`

	// Certificates of an HTTPS or QUIC listener; they end discovery there. A list that is there and empty is an error.
	Certificates []Certificate `json:"certificates"`
	// DefaultCertificate outranks IsDefault and goes together with discovery.
	DefaultCertificate *DefaultCertificate `json:"defaultCertificate,omitempty"`
	// CAEnabled asks clients for certificates.
	CAEnabled bool `json:"caEnabled,omitempty"`
	// SecurityPolicyID is the TLS policy of an HTTPS listener; default tls_cipher_policy_1_0.
	SecurityPolicyID string `json:"securityPolicyId,omitempty"`
	// HTTP2Enabled is true by default; HTTPS only.
	HTTP2Enabled *bool      `json:"http2Enabled,omitempty"`
	QUICConfig   QUICConfig `json:"quicConfig,omitempty"`
}

// Certificate names a certificate of the certificate service: a number, "-" and a region.
type Certificate struct {
	CertificateID string `json:"CertificateId,omitempty"`
	IsDefault     bool   `json:"IsDefault,omitempty"`
}

// KindCertIdentifier is the kind of a DefaultCertificate that names one of the certificate service.
const KindCertIdentifier = "CertIdentifier"

// DefaultCertificate is what clients see that name no host.
type DefaultCertificate struct {
	Kind          string `json:"kind,omitempty"`
	CertificateID string `json:"certificateId,omitempty"`
}

// QUICConfig lets an HTTPS listener tell its clients of a QUIC listener.
type QUICConfig struct {
	QUICUpgradeEnabled bool   `json:"quicUpgradeEnabled,omitempty"`
	QUICListenerID     string `json:"quicListenerId,omitempty"`
}

// XForwardedForConfig switches the fields that tell a backend about its client.
type XForwardedForConfig struct {
	Enabled              *bool `json:"XForwardedForEnabled,omitempty"`
	ProtoEnabled         bool  `json:"XForwardedForProtoEnabled,omitempty"`
	SLBIDEnabled         bool  `json:"XForwardedForSLBIdEnabled,omitempty"`
	SLBPortEnabled       bool  `json:"XForwardedForSLBPortEnabled,omitempty"`
	ClientSrcPortEnabled bool  `json:"XForwardedForClientSrcPortEnabled,omitempty"`
	HostEnabled          bool  `json:"XForwardedForHostEnabled,omitempty"`
}

// AlbConfigStatus is what the controller reports (ALB-FACTS 2.3).
type AlbConfigStatus struct {
	LoadBalancer LoadBalancerStatus `json:"loadBalancer,omitempty"`
}

// LoadBalancerStatus names the instance and its listeners.
type LoadBalancerStatus struct {
	ID        string           `json:"id,omitempty"`
	DNSName   string           `json:"dnsname,omitempty"`
	Listeners []ListenerStatus `json:"listeners"`
}

// ListenerStatus is one listener that exists.
type ListenerStatus struct {
	PortAndProtocol string              `json:"portAndProtocol,omitempty"`
	Certificates    []CertificateStatus `json:"certificates,omitempty"`
}

// CertificateStatus is one certificate that a listener shows.
type CertificateStatus struct {
	CertificateID string `json:"certificateId,omitempty"`
	IsDefault     bool   `json:"isDefault"`
}

// Decode reads an AlbConfig. Names of fields are compared without case, as the managed controller does since v2.14.0;
// the error is in the words of its event (ALB-FACTS section 2).
func Decode(u *unstructured.Unstructured) (*AlbConfig, error) {
	raw, err := json.Marshal(u.Object)
	if err != nil {
		return nil, fmt.Errorf("marshalling albconfig error: %w", err)
	}
	c := &AlbConfig{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("unmarshalling albconfig error: %w", err)
	}
	return c, nil
}
