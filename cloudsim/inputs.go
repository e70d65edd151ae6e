package cloudsim

// The inputs of calls, named after the real API's actions. ClientToken makes a create idempotent: the same token
// again gives the id that the first call gave.

// CreateLoadBalancerInput is what CreateLoadBalancer takes.
type CreateLoadBalancerInput struct {
	ClientToken  string
	Name         string
	AddressType  string
	Edition      string
	VPCID        string
	ZoneMappings []ZoneMappingInput
	Tags         []Tag
}

// CreateVSwitchInput is what CreateVSwitch takes.
type CreateVSwitchInput struct{ VPCID, ZoneID, Name, CIDRBlock string }

// ZoneMappingInput places a load balancer into a zone. An empty ZoneID is the vSwitch's.
type ZoneMappingInput struct{ VSwitchID, ZoneID string }

// CreateListenerInput is what CreateListener takes. Timeouts of 0 mean the defaults (15 s and 60 s).
type CreateListenerInput struct {
	ClientToken          string
	LoadBalancerID       string
	Port                 int
	Protocol             string
	Description          string
	IdleTimeout          int
	RequestTimeout       int
	XForwardedFor        XForwardedFor
	DefaultServerGroupID string
	// Certificates, SecurityPolicyID ("" is the default), HTTP2Enabled and QUICConfig are of HTTPS and QUIC listeners.
	Certificates     []ListenerCertificate
	SecurityPolicyID string
	HTTP2Enabled     bool
	QUICConfig       QUICConfig
	Tags             []Tag
}

// UpdateListenerInput replaces all that can change of a listener.
type UpdateListenerInput struct {
	ListenerID           string
	Description          string
	IdleTimeout          int
	RequestTimeout       int
	XForwardedFor        XForwardedFor
	DefaultServerGroupID string
	Certificates         []ListenerCertificate
	SecurityPolicyID     string
	HTTP2Enabled         bool
	QUICConfig           QUICConfig
}

// UploadCertificateInput is what UploadUserCertificate takes: chain and key in PEM, the leaf first.
type UploadCertificateInput struct {
	Name  string // unique in the account
	Chain []byte
	Key   []byte
}

// RuleInput is one rule to create.
type RuleInput struct {
	Name       string
	Priority   int
	Conditions []Condition
	Actions    []Action
	Tags       []Tag
}

// RuleUpdate replaces all that can change of a rule.
type RuleUpdate struct {
	RuleID     string
	Name       string
	Priority   int
	Conditions []Condition
	Actions    []Action
	Tags       []Tag
}

// CreateServerGroupInput is what CreateServerGroup takes.
type CreateServerGroupInput struct {
	ClientToken string
	Name        string
	Type        string
	Protocol    string
	Scheduler   string
	VPCID       string
	Tags        []Tag
}

// ServerInput is one server to add to a group or to change in it.
type ServerInput struct {
	ServerID    string
	ServerType  string
	ServerIP    string
	Port        int
	Weight      int
	Description string
}

// Filter selects resources: by ids when there are any, and by all of the tags.
type Filter struct {
	IDs  []string
	Tags []Tag
}
