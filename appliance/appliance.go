// Package appliance assembles the parts: read New for what there is, Run for what runs on top of what.
//
// A change goes one way: Kubernetes API → controllers → cloud → edge → data plane. Only status and Events go back, and
// only to the API.
package appliance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/alb-appliance/appliance/appliance/accesslog"
	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/appliance/apiserver"
	"github.com/alb-appliance/appliance/appliance/controllers/alb"
	"github.com/alb-appliance/appliance/appliance/controllers/certificates"
	"github.com/alb-appliance/appliance/appliance/controllers/nginx"
	"github.com/alb-appliance/appliance/appliance/controllers/scheduler"
	"github.com/alb-appliance/appliance/appliance/controllers/workload"
	"github.com/alb-appliance/appliance/appliance/dns"
	"github.com/alb-appliance/appliance/appliance/edge"
	"github.com/alb-appliance/appliance/appliance/kubelet"
	"github.com/alb-appliance/appliance/appliance/podnet"
	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane"
	"github.com/alb-appliance/appliance/dataplane/engine"
	"github.com/alb-appliance/appliance/dataplane/engines"
	"github.com/alb-appliance/appliance/state"
	"github.com/alb-appliance/appliance/state/kv"
	"github.com/alb-appliance/appliance/state/sqlite"
)

// Files of the data directory.
const (
	fileObjects    = "appliance.db"
	fileCloud      = "cloud.db"
	fileCA         = "ca.crt"
	fileCAKey      = "ca.key"
	fileTokenKey   = "sa.key"
	fileKubeconfig = "kubeconfig"
	fileAccessLog  = "access.log"
)

// serviceRange is where cluster IPs come from, as on a new ACK cluster.
var serviceRange = netip.MustParsePrefix("172.21.0.0/20")

// namespaces are there from the start.
var namespaces = []string{"default", "kube-system", "kube-public", "kube-node-lease"}

// Appliance is the whole product, wired. One process may hold several, on different data directories and ranges.
type Appliance struct {
	config       Config
	clock        *cloudsim.Clock
	dir          *state.Dir
	authority    *authority
	tokenKey     []byte
	store        *kv.Store // nil with EtcdServers
	cloud        *cloudsim.Cloud
	cloudDB      *sqlite.DB
	network      *podnet.Network
	nodes        []kubelet.Node
	kubelet      *kubelet.Kubelet
	addresses    *edge.Addresses
	metrics      *prometheus.Registry
	engine       engines.Engine
	names        *dns.Server
	publisher    *edge.Publisher
	listener     net.Listener
	api          *apiserver.Server
	addons       *addons
	recent       recent
	nginx        atomic.Pointer[nginx.Controller]        // nil while it does not run
	alb          atomic.Pointer[alb.Controller]          // the same
	certificates atomic.Pointer[certificates.Controller] // the same

	closers []func() error // in the order of opening
}

// New opens the files and sockets of an appliance and wires its parts; nothing serves yet. Its errors say what to do.
func New(ctx context.Context, c Config) (*Appliance, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	a := &Appliance{config: c, clock: cloudsim.NewClock(), network: podnet.New(), addons: newAddons(), metrics: prometheus.NewRegistry()}
	for _, open := range []func(context.Context) error{a.openFiles, a.openCloud, a.openNodes, a.openTraffic, a.openAPI} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	return a, nil
}

// openFiles takes the data directory, the CA and the object store.
func (a *Appliance) openFiles(context.Context) (err error) {
	if a.dir, err = state.OpenDir(a.config.DataDir); err != nil {
		return err
	}
	a.onClose(a.dir.Close)
	if err := checkRestored(a.dir); err != nil {
		return err
	}
	if a.authority, err = openAuthority(a.dir.Path(fileCA), a.dir.Path(fileCAKey), a.clock.Now()); err != nil {
		return err
	}
	if a.tokenKey, err = openTokenKey(a.dir.Path(fileTokenKey)); err != nil {
		return err
	}
	if len(a.config.EtcdServers) > 0 {
		return nil
	}
	if a.store, err = kv.Open(a.file(fileObjects), kv.Options{Clock: a.clock, Logger: a.logger("kv")}); err != nil {
		return err
	}
	a.onClose(a.store.Close)
	return nil
}

// file is a store's path: none for an ephemeral appliance.
func (a *Appliance) file(name string) string {
	if a.config.Ephemeral {
		return ""
	}
	return a.dir.Path(name)
}

// openCloud reads the simulated cloud and learns which sockets its addresses become.
func (a *Appliance) openCloud(ctx context.Context) (err error) {
	if a.addresses, err = edge.NewAddresses(a.config.VIPRange, a.config.AddressMode); err != nil {
		return err
	}
	if err := a.checkPair(); err != nil {
		return err
	}
	db, err := sqlite.Open(a.file(fileCloud), cloudsim.Migrations(), sqlite.Options{Clock: a.clock})
	if err != nil {
		return err
	}
	a.onClose(db.Close)
	a.cloudDB = db
	a.cloud, err = cloudsim.Open(ctx, db, cloudsim.Options{
		Region: a.config.Region, Clock: a.clock, Delays: a.config.CloudDelays, Addresses: a.config.VIPRange,
		Reserved: []netip.Addr{a.addresses.Pool().Addr().Next(), a.addresses.DNS(), a.addresses.NGINX()}, Issue: a.issue, Logger: a.logger("cloud"),
	})
	return err
}

// issue is the authority of the simulated certificate service: the internal CA.
func (a *Appliance) issue(_ context.Context, names []string) (chain, key []byte, err error) {
	made, err := a.authority.leaf(a.clock.Now(), names)
	if err != nil {
		return nil, nil, err
	}
	return made.certificate, made.key, nil
}

// openNodes places two nodes into two zones of the cloud's VPC.
func (a *Appliance) openNodes(context.Context) (err error) {
	if a.nodes, err = nodesOf(a.cloud.Inventory()); err != nil {
		return err
	}
	a.kubelet = kubelet.New(kubelet.Options{Network: a.network, Clock: a.clock, Logger: a.logger("kubelet"), Nodes: a.nodes, ClusterDNS: clusterDNS, Outside: outside{a}})
	return nil
}

// openTraffic makes the data plane, the name server, and the publisher that feeds them.
func (a *Appliance) openTraffic(context.Context) (err error) {
	options := engine.Options{Clock: a.clock, Logger: a.logger("dataplane"), Metrics: dataplane.NewMetrics(a.metrics), AccessLog: a.recent.note}
	if a.config.AccessLog && !a.config.Ephemeral {
		log := accesslog.New(a.dir.Path(fileAccessLog), a.clock, a.logger("accesslog"))
		a.onClose(log.Close)
		options.AccessLog = func(r *dataplane.AccessRecord) {
			a.recent.note(r)
			log.Write(r)
		}
	}
	if a.engine, err = engines.New(a.config.Engine, options); err != nil {
		return err
	}
	if a.names, err = dns.Listen(a.addresses.Socket(a.addresses.DNS().String(), 53), a.logger("dns")); err != nil {
		return fmt.Errorf("%w; take another --vip-range, or --address-mode ports", err)
	}
	a.onClose(a.names.Close)
	a.publisher = edge.NewPublisher(edge.PublisherOptions{
		Cloud: a.cloud, Engine: a.engine, Zone: a.names, Addresses: a.addresses, Open: a.opener, Clock: a.clock, Logger: a.logger("edge"),
	})
	return nil
}

// opener connects to an address of the cluster's network.
func (a *Appliance) opener(address string) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return -1, err
		}
		socket, err := a.network.Resolve(at)
		if err != nil {
			return -1, err
		}
		return dataplane.OpenTCP(socket)(ctx)
	}
}

// openAPI takes the API's port and makes the API with what must be in it before anybody asks.
func (a *Appliance) openAPI(ctx context.Context) (err error) {
	if a.listener, err = listenAPI(a.config.Listen); err != nil {
		return err
	}
	a.onClose(func() error { return ignoreClosed(a.listener.Close()) })
	host, _, err := net.SplitHostPort(a.listener.Addr().String())
	if err != nil {
		return err
	}
	serving, err := a.authority.serving(time.Now(), []net.IP{net.ParseIP(host), net.IPv4(127, 0, 0, 1), serviceRange.Addr().Next().AsSlice()},
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"})
	if err != nil {
		return err
	}
	a.api, err = apiserver.New(ctx, apiserver.Options{
		Backend: apiserver.Backend{Store: a.store, EtcdServers: a.config.EtcdServers}, Listener: a.listener,
		Certificate: serving.certificate, Key: serving.key, ClientCA: a.authority.pem, TokenKey: a.tokenKey,
		ServiceRange: &net.IPNet{IP: serviceRange.Addr().AsSlice(), Mask: net.CIDRMask(serviceRange.Bits(), 32)},
		Definitions:  [][]byte{albv1.Manifest}, Schemas: map[string][]byte{albv1.Resource.GroupResource().String(): albv1.Schema}, Namespaces: namespaces,
		Reviews: []apiserver.IngressReview{
			{Webhook: nginx.ReviewerName, Review: a.reviewNGINX}, {Webhook: alb.ReviewerName, Review: a.reviewALB},
			{Webhook: certificates.ReviewerName, Review: a.reviewCertificates},
		},
		Kubelet: a.kubelet.Handler(), Dial: a.network.DialContext, Handlers: map[string]http.Handler{managementPrefix: a.management()},
		ShutdownTimeout: 2 * time.Second, // HTTP/2 clients get one second to see the GOAWAY
	})
	return err
}

// Run serves until ctx ends; ready is called once when the API and its definitions answer and stored listeners serve.
func (a *Appliance) Run(ctx context.Context, ready func(Ready)) error {
	l := newLifecycle()
	err := a.start(ctx, l)
	if err == nil && ctx.Err() == nil {
		err = a.announce(ready)
	}
	if err == nil {
		err = l.wait(ctx)
	}
	return errors.Join(err, l.stop(a.config.ShutdownGrace+2*time.Second), a.withdraw(), a.close())
}

// start starts the parts, each on top of those it needs.
func (a *Appliance) start(ctx context.Context, l *lifecycle) error {
	if a.store != nil {
		l.start("object store", a.store.Run)
	}
	l.start("cloud", a.cloud.Run)
	l.start("name server", a.names.Run)
	if err := l.startReady(ctx, "API", a.api.Run); err != nil || ctx.Err() != nil {
		return err
	}
	client := a.api.Loopback()
	if err := a.bootKubernetes(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	err := l.startReady(ctx, "kubelet", func(ctx context.Context, ready func()) error { return a.kubelet.Run(ctx, client, ready) })
	if err != nil || ctx.Err() != nil {
		return err
	}
	l.start("data plane", a.runEngine)
	l.start("add-ons", a.addons.run)
	if err := a.bootDNS(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if err := a.bootAddons(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	a.publisher.Publish(ctx) // stored listeners serve before anything else is looked at
	l.start("publisher", a.publisher.Run)
	issuing, err := a.newCertificates()
	if err != nil {
		return err
	}
	a.certificates.Store(issuing)
	l.start("certificates controller", issuing.Run)
	l.start("scheduler", func(ctx context.Context) error {
		return scheduler.Run(ctx, scheduler.Options{Client: client, Clock: a.clock, Logger: a.logger("scheduler")})
	})
	l.start("workload controllers", func(ctx context.Context) error {
		return workload.Run(ctx, workload.Options{Client: client, RootCA: a.authority.pem, TokenKey: a.tokenKey, Logger: a.logger("workload")})
	})
	return nil
}

// reviewNGINX is the controller's webhook; before the controller runs nothing is reviewed.
func (a *Appliance) reviewNGINX(ing *networkingv1.Ingress) ([]string, error) {
	if c := a.nginx.Load(); c != nil {
		return c.Review(ing)
	}
	return nil, nil
}

// reviewALB is the webhook of the ALB Ingress Controller, while that is installed.
func (a *Appliance) reviewALB(ing *networkingv1.Ingress) ([]string, error) {
	if c := a.alb.Load(); c != nil {
		return c.Review(ing)
	}
	return nil, nil
}

// runEngine runs the data plane and drains it at the end.
func (a *Appliance) runEngine(ctx context.Context) error {
	err := a.engine.Run(ctx)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.config.ShutdownGrace)
	defer cancel()
	if shutdownErr := a.engine.Shutdown(drain); shutdownErr != nil && !errors.Is(shutdownErr, context.DeadlineExceeded) {
		err = errors.Join(err, shutdownErr)
	}
	return err
}

// Ready is what there is to say once everything serves.
type Ready struct {
	API         string // URL
	Kubeconfig  string
	Nameserver  string
	AddressMode edge.Mode
	VIPRange    netip.Prefix
}

// announce writes the kubeconfig, then calls ready.
func (a *Appliance) announce(ready func(Ready)) error {
	client, err := a.authority.client(time.Now(), "kubernetes-admin", "system:masters")
	if err != nil {
		return err
	}
	url := "https://" + reachable(a.listener.Addr().String())
	raw, err := kubeconfigFor(url, a.authority.pem, client)
	if err != nil {
		return err
	}
	if err := writeFile(a.dir.Path(fileKubeconfig), raw, 0o600); err != nil {
		return err
	}
	ready(Ready{
		API: url, Kubeconfig: a.dir.Path(fileKubeconfig), Nameserver: a.names.Address(),
		AddressMode: a.addresses.Mode(), VIPRange: a.addresses.Pool(),
	})
	return nil
}

// reachable is what this machine connects to for an address that listens: "any" is no destination everywhere.
func reachable(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsUnspecified() {
		return address
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port()).String()
}

// withdraw removes the kubeconfig of an ephemeral appliance: nobody answers it again.
func (a *Appliance) withdraw() error {
	if !a.config.Ephemeral {
		return nil
	}
	return ignoreMissing(os.Remove(a.dir.Path(fileKubeconfig)))
}

func (a *Appliance) onClose(f func() error) { a.closers = append(a.closers, f) }

// close gives back what New opened, last first.
func (a *Appliance) close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}
