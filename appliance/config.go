package appliance

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/alb-appliance/appliance/appliance/controllers/alb"
	"github.com/alb-appliance/appliance/appliance/controllers/certificates"
	"github.com/alb-appliance/appliance/appliance/edge"
	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane/engines"
)

// Config is everything that is static about an Appliance. What is dynamic is a Kubernetes object or a cloud resource.
type Config struct {
	// DataDir holds everything that is written.
	DataDir string
	// Ephemeral keeps objects and cloud in memory; of the data directory only the lock, the CA and the kubeconfig remain.
	Ephemeral bool
	// Listen is the Kubernetes API's address, HTTPS; port 0 picks one.
	Listen string
	// VIPRange is the loopback pool of load balancers and the name server.
	VIPRange netip.Prefix
	// AddressMode is how addresses of the pool become sockets.
	AddressMode edge.Mode
	// Engine is the name of the data plane's engine (engines.Names); empty for the default.
	Engine string
	// Region is the simulated region.
	Region string
	// NetworkPlugin is terway or flannel.
	NetworkPlugin string
	// ALB is what the ALB Ingress Controller add-on makes when it is first installed.
	ALB ALBOption
	// CloudDelays is how long cloud jobs take.
	CloudDelays cloudsim.Delays
	// EtcdServers store the objects instead of the embedded store, when given.
	EtcdServers []string
	// ACMEDirectories are issuers of certificates beside the internal CA.
	ACMEDirectories []ACMEDirectory
	// ACMERoots is a file of CAs, PEM, to trust as ACME directories; empty for the system's.
	ACMERoots string
	// ACMEChallenges are the ways in which control of a host may be proved.
	ACMEChallenges []string
	// Version is the program's, to be noted in backups.
	Version string
	// ShutdownGrace bounds how long requests and pods in flight may take at the end.
	ShutdownGrace time.Duration
	// AccessLog writes a line of JSON for each request into the data directory, unless the appliance is ephemeral.
	AccessLog bool
	Logger    *slog.Logger
}

// ACMEDirectory is an ACME server and the issuer's name under which Ingresses ask for it.
type ACMEDirectory struct{ Name, URL string }

// ALBOption is the choice that the console offers when the add-on is installed (seed, step 1).
type ALBOption string

// The choices; the fourth is existing=ID, an instance to take over.
const (
	ALBNew         ALBOption = "new"
	ALBNewIntranet ALBOption = "new-intranet"
	ALBNone        ALBOption = "none"
)

// DefaultConfig is the configuration of `appliance serve` without flags, but for the data directory.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:6443", VIPRange: netip.MustParsePrefix("127.77.0.0/16"), AddressMode: edge.ModeAuto,
		Region: "cn-wulanchabu", NetworkPlugin: alb.Terway, ALB: ALBNew, CloudDelays: cloudsim.DelaysNone,
		ACMEChallenges: []string{certificates.ChallengeHTTP, certificates.ChallengeTLS, certificates.ChallengeDNS},
		ShutdownGrace:  5 * time.Second, AccessLog: true, Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate refuses what cannot work.
func (c *Config) Validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w; give HOST:PORT", c.Listen, err)
	}
	if ip := net.ParseIP(host); ip == nil {
		return fmt.Errorf("--listen %s: %q is not an IP address; give one such as 127.0.0.1:6443", c.Listen, host)
	}
	if !c.VIPRange.IsValid() || !c.VIPRange.Addr().Is4() || !c.VIPRange.Addr().IsLoopback() || c.VIPRange.Bits() > 24 {
		return fmt.Errorf("--vip-range %s: it must be a loopback range of at least 256 addresses, such as 127.77.0.0/16", c.VIPRange)
	}
	if _, ok := cloudsim.Regions[c.Region]; !ok {
		return fmt.Errorf("--region %s: there is no such region; cn-wulanchabu is one", c.Region)
	}
	if c.Ephemeral && len(c.EtcdServers) > 0 {
		return fmt.Errorf("--ephemeral and --etcd-servers exclude each other; leave one away")
	}
	if err := c.validateACME(); err != nil {
		return err
	}
	if err := c.ALB.validate(); err != nil {
		return err
	}
	for _, choice := range []struct {
		flag, value string
		allowed     []string
	}{
		{"--network-plugin", c.NetworkPlugin, []string{alb.Terway, alb.Flannel}},
		{"--cloud-delays", string(c.CloudDelays), []string{string(cloudsim.DelaysNone), string(cloudsim.DelaysReal)}},
		{"--engine", cmp.Or(c.Engine, engines.Default()), engines.Names()},
		{"--address-mode", string(c.AddressMode), []string{string(edge.ModeAuto), string(edge.ModeNative), string(edge.ModePorts)}},
	} {
		if !slices.Contains(choice.allowed, choice.value) {
			return fmt.Errorf("%s %s: it must be one of %v", choice.flag, choice.value, choice.allowed)
		}
	}
	return nil
}

// validateACME refuses directories that cannot be asked and names that are taken.
func (c *Config) validateACME() error {
	seen := map[string]bool{issuerInternal: true}
	for _, d := range c.ACMEDirectories {
		if u, err := url.Parse(d.URL); err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("--acme-directory %s: %q is not a URL of https; give one such as https://acme-v02.api.letsencrypt.org/directory", d.Name, d.URL)
		}
		if seen[d.Name] {
			return fmt.Errorf("--acme-directory: there are two issuers of the name %s; give each its own as NAME=URL", d.Name)
		}
		seen[d.Name] = true
	}
	for _, kind := range c.ACMEChallenges {
		if !slices.Contains([]string{certificates.ChallengeHTTP, certificates.ChallengeTLS, certificates.ChallengeDNS}, kind) {
			return fmt.Errorf("--acme-challenge %s: it must be one of http-01, tls-alpn-01, dns-01", kind)
		}
	}
	return nil
}
