package cloudsim

// Status is the state of a cloud resource, in the real API's words (ALB-FACTS 4.2).
type Status string

// The states that resources pass through.
const (
	StatusCreating     Status = "Creating"     // server group
	StatusProvisioning Status = "Provisioning" // load balancer, listener, rule
	StatusConfiguring  Status = "Configuring"
	StatusAdding       Status = "Adding"    // server
	StatusRemoving     Status = "Removing"  // server
	StatusActive       Status = "Active"    // load balancer, zone
	StatusRunning      Status = "Running"   // listener
	StatusAvailable    Status = "Available" // rule, server group, server, vSwitch, VPC
)

// Tag is a key and value of a resource.
type Tag struct{ Key, Value string }

// Zone is an availability zone of the region.
type Zone struct {
	ZoneID    string
	LocalName string
}

// VPC is a virtual private cloud.
type VPC struct {
	VPCID     string
	Name      string
	CIDRBlock string
	Status    Status
}

// VSwitch is a subnet of a VPC in one zone.
type VSwitch struct {
	VSwitchID string
	VPCID     string
	ZoneID    string
	Name      string
	CIDRBlock string
	Status    Status
}

// Address types of a load balancer.
const (
	AddressInternet = "Internet"
	AddressIntranet = "Intranet"
)

// Editions of a load balancer.
const (
	EditionBasic    = "Basic"
	EditionStandard = "Standard"
	EditionWAF      = "StandardWithWaf"
)

// LoadBalancer is an ALB instance.
type LoadBalancer struct {
	LoadBalancerID string // "alb-" and 18 characters
	Name           string
	Status         Status
	AddressType    string
	Edition        string
	VPCID          string
	DNSName        string
	ZoneMappings   []ZoneMapping
	Tags           []Tag
	CreateTime     string // RFC 3339
}

// ZoneMapping is a load balancer's presence in one zone.
type ZoneMapping struct {
	ZoneID    string
	VSwitchID string
	Status    Status
	// Address is what clients connect to: out of Options.Addresses, kept as long as the instance lives.
	Address string
}

// Protocols of a listener.
const (
	ProtocolHTTP  = "HTTP"
	ProtocolHTTPS = "HTTPS"
	ProtocolQUIC  = "QUIC"
)

// Listener is a port and protocol of a load balancer.
type Listener struct {
	ListenerID     string // "lsn-…"
	LoadBalancerID string
	Port           int
	Protocol       string
	Description    string
	Status         Status
	// IdleTimeout and RequestTimeout are in seconds, 1 to 600 (ALB-FACTS 4.4).
	IdleTimeout    int
	RequestTimeout int
	XForwardedFor  XForwardedFor
	// DefaultServerGroupID is the only default action there is: forward (ALB-FACTS 4.9).
	DefaultServerGroupID string
	// Certificates are shown to clients of HTTPS and QUIC listeners: exactly one is the default.
	Certificates []ListenerCertificate
	// SecurityPolicyID is one of SecurityPolicies, HTTPS only.
	SecurityPolicyID string
	// HTTP2Enabled offers HTTP/2, HTTPS only (ALB-FACTS 4.8).
	HTTP2Enabled bool
	QUICConfig   QUICConfig
	Tags         []Tag
}

// ListenerCertificate is a certificate of a listener: the default one, or an additional one.
type ListenerCertificate struct {
	CertificateID string
	IsDefault     bool
}

// QUICConfig joins a QUIC listener to an HTTPS one, which then tells its clients of HTTP/3 (ALB-FACTS 4.8).
type QUICConfig struct {
	UpgradeEnabled bool
	ListenerID     string
}

// SecurityPolicies are the TLS policies that every account has; the first is the default (ALB-FACTS 2.2).
var SecurityPolicies = []string{
	"tls_cipher_policy_1_0", "tls_cipher_policy_1_1", "tls_cipher_policy_1_2", "tls_cipher_policy_1_2_strict", "tls_cipher_policy_1_2_strict_with_1_3",
}

// XForwardedFor switches the fields that tell a backend about its client (ALB-FACTS 4.6).
type XForwardedFor struct {
	Enabled              bool
	ProtoEnabled         bool
	SLBIDEnabled         bool
	SLBPortEnabled       bool
	ClientSrcPortEnabled bool
	HostEnabled          bool
}

// Rule is a forwarding rule of a listener. Of the rules that match a request the one with the smallest Priority acts.
type Rule struct {
	RuleID     string // "rule-…"
	ListenerID string
	Name       string
	Priority   int // 1 to 10000, unique in the listener
	Status     Status
	Conditions []Condition
	Actions    []Action
	Tags       []Tag
}

// Types of a condition that are understood.
const (
	ConditionHost = "Host"
	ConditionPath = "Path"
)

// Condition holds when any of its values matches; a rule matches when all its conditions hold.
type Condition struct {
	Type   string
	Values []string
}

// Types of an action that are understood.
const (
	ActionForwardGroup = "ForwardGroup"
	ActionRedirect     = "Redirect"
)

// Action is one step of a rule, in ascending Order; the last is a final one.
type Action struct {
	Type         string
	Order        int
	ServerGroups []ServerGroupTuple // ForwardGroup
	Redirect     *Redirect          // Redirect
}

// Redirect answers with a Location. An empty part keeps what the client asked for; not all may be empty.
type Redirect struct {
	Protocol string // HTTP or HTTPS
	Host     string
	Port     int
	Path     string
	Query    string
	HTTPCode int // 301, 302, 303, 307 or 308
}

// ServerGroupTuple is one target of a forward.
type ServerGroupTuple struct {
	ServerGroupID string
	Weight        int // 0 to 100
}

// Types of a server.
const (
	ServerEcs = "Ecs"
	ServerEni = "Eni"
	ServerEci = "Eci"
	ServerIP  = "Ip"
)

// Schedulers of a server group.
const (
	SchedulerWrr = "Wrr"
	SchedulerWlc = "Wlc"
	SchedulerSch = "Sch"
	SchedulerUch = "Uch"
)

// ServerGroup is a set of servers that answer for one backend.
type ServerGroup struct {
	ServerGroupID string // "sgp-…"
	Name          string // 2 to 128 characters
	Type          string // Instance or Ip
	Protocol      string // HTTP, HTTPS or gRPC; fixed at creation
	Scheduler     string
	VPCID         string
	Status        Status
	Servers       []Server
	Tags          []Tag
}

// Server is one member of a server group, known by ServerID and Port.
type Server struct {
	ServerID    string
	ServerType  string
	ServerIP    string
	Port        int
	Weight      int // 0 to 100
	ZoneID      string
	Description string
	Status      Status
}

// Inventory is all there is at one moment, in the order of creation. It is never changed after it was handed out, and
// whoever gets it must not change it either.
type Inventory struct {
	// Revision grows with every change.
	Revision      int64
	Region        string
	VPCs          []VPC
	VSwitches     []VSwitch
	LoadBalancers []LoadBalancer
	Listeners     []Listener
	Rules         []Rule
	ServerGroups  []ServerGroup
	Certificates  []Certificate
}
