package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/appliance/controllers/alb"
	"github.com/alb-appliance/appliance/appliance/controllers/nginx"
	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane"
)

// The add-ons, by the names that the add-ons page shows.
const (
	AddonALB   = "alb-ingress-controller"
	AddonNGINX = "nginx-ingress-controller"
)

// What the profile says of an add-on beside what the user chose at its installation.
const (
	addonInstalled   = "installed"
	addonUninstalled = "uninstalled"
)

// Addon is a controller that can be installed and removed.
type Addon struct {
	Name      string `json:"name"`
	Installed bool   `json:"installed"`
	// Option is what was chosen when it was installed (seed, step 1): new, new-intranet, none or existing=ID.
	Option string `json:"option"`
}

// AddonRequest asks to install or remove an add-on.
type AddonRequest struct {
	Name string `json:"name"`
	// ALB is what the ALB Ingress Controller makes.
	ALB ALBOption `json:"alb"`
}

// addons runs the controllers that are installed.
type addons struct {
	mu      sync.Mutex // held while one is installed or removed
	running map[string]*runningAddon
	failed  chan error
}

// runningAddon is a controller at work.
type runningAddon struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func newAddons() *addons {
	return &addons{running: map[string]*runningAddon{}, failed: make(chan error, 2)}
}

// run waits until ctx ends, then stops them all; one that ends by itself ends everything.
func (s *addons) run(ctx context.Context) error {
	var err error
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.running {
		s.stop(name)
	}
	return err
}

// start runs a controller. The caller holds s.mu.
func (s *addons) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &runningAddon{cancel: cancel, done: make(chan struct{})}
	s.running[name] = r
	go func() {
		defer close(r.done)
		err := run(ctx)
		if ctx.Err() == nil {
			s.failed <- errors.Join(fmt.Errorf("%s: ended by itself", name), err)
		}
	}()
}

// stop ends a controller and waits for it. The caller holds s.mu.
func (s *addons) stop(name string) {
	r := s.running[name]
	r.cancel()
	<-r.done
	delete(s.running, name)
}

// bootAddons installs what a new cluster has, and starts what is installed.
func (a *Appliance) bootAddons(ctx context.Context) error {
	a.addons.mu.Lock()
	defer a.addons.mu.Unlock()
	c, err := a.profile(ctx, func(map[string]string) {})
	if err != nil {
		return err
	}
	if c.addons[AddonNGINX] == "" {
		if err := a.install(ctx, AddonRequest{Name: AddonNGINX}); err != nil {
			return err
		}
	} else if c.addons[AddonNGINX] != addonUninstalled {
		if err := a.startAddon(ctx, AddonNGINX, c); err != nil {
			return err
		}
	}
	// An add-on that was installed without an instance may still be given one that exists.
	late := c.addons[AddonALB] == string(ALBNone) && a.config.ALB.existing() != ""
	if c.addons[AddonALB] == "" || late {
		return a.install(ctx, AddonRequest{Name: AddonALB, ALB: a.config.ALB})
	}
	if c.addons[AddonALB] != addonUninstalled {
		return a.startAddon(ctx, AddonALB, c)
	}
	return nil
}

// listAddons gives every add-on.
func (a *Appliance) listAddons(ctx context.Context) ([]Addon, error) {
	c, err := a.profile(ctx, func(map[string]string) {})
	if err != nil {
		return nil, err
	}
	var all []Addon
	for _, name := range []string{AddonALB, AddonNGINX} {
		option := c.addons[name]
		addon := Addon{Name: name, Installed: option != "" && option != addonUninstalled}
		if addon.Installed && option != addonInstalled {
			addon.Option = option
		}
		all = append(all, addon)
	}
	return all, nil
}

// installAddon installs an add-on that is not.
func (a *Appliance) installAddon(ctx context.Context, ask AddonRequest) error {
	a.addons.mu.Lock()
	defer a.addons.mu.Unlock()
	if err := checkAddon(ask.Name); err != nil {
		return err
	}
	if a.addons.running[ask.Name] != nil {
		return badRequest{fmt.Errorf("install %s: it is installed; uninstall it first", ask.Name)}
	}
	if ask.Name == AddonALB {
		if err := ask.ALB.validate(); err != nil {
			return badRequest{fmt.Errorf("install %s: %w", ask.Name, err)}
		}
	}
	return a.install(ctx, ask)
}

// uninstallAddon removes an add-on. An ALB goes on serving what was published, and its objects stay, as on the real
// cluster; NGINX is its own proxy and goes with its class.
func (a *Appliance) uninstallAddon(ctx context.Context, name string) error {
	a.addons.mu.Lock()
	defer a.addons.mu.Unlock()
	if err := checkAddon(name); err != nil {
		return err
	}
	if a.addons.running[name] == nil {
		return badRequest{fmt.Errorf("uninstall %s: it is not installed", name)}
	}
	if _, err := a.profile(ctx, func(data map[string]string) { data[name] = addonUninstalled }); err != nil {
		return err
	}
	a.addons.stop(name)
	if name != AddonNGINX {
		a.alb.Store(nil)
		return nil
	}
	a.nginx.Store(nil)
	a.publisher.Offer(&dataplane.Snapshot{})
	client, err := kubernetes.NewForConfig(a.api.Loopback())
	if err != nil {
		return err
	}
	err = client.NetworkingV1().IngressClasses().Delete(ctx, nginxClass, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func checkAddon(name string) error {
	if name != AddonALB && name != AddonNGINX {
		return badRequest{fmt.Errorf("there is no add-on %s; there are %s and %s", name, AddonALB, AddonNGINX)}
	}
	return nil
}

// install makes an add-on's objects, notes it in the profile and starts its controller. The caller holds the lock.
func (a *Appliance) install(ctx context.Context, ask AddonRequest) error {
	client, err := kubernetes.NewForConfig(a.api.Loopback())
	if err != nil {
		return err
	}
	chosen := addonInstalled
	if ask.Name == AddonALB {
		chosen = string(ask.ALB)
		err = a.makeALB(ctx, client, ask.ALB)
	} else {
		err = makeNGINX(ctx, client)
	}
	if err != nil {
		return wrapInstall(ask.Name, err)
	}
	c, err := a.profile(ctx, func(data map[string]string) { data[ask.Name] = chosen })
	if err != nil {
		return err
	}
	return a.startAddon(ctx, ask.Name, c)
}

// wrapInstall says what was being done and keeps whose fault it is.
func wrapInstall(name string, err error) error {
	var bad badRequest
	if errors.As(err, &bad) {
		return badRequest{fmt.Errorf("install %s: %w", name, bad.error)}
	}
	return fmt.Errorf("install %s: %w", name, err)
}

// startAddon starts an installed add-on's controller.
func (a *Appliance) startAddon(ctx context.Context, name string, c cluster) error {
	if name == AddonNGINX {
		return a.startNGINX(ctx)
	}
	controller, err := alb.New(alb.Options{
		Client: a.api.Loopback(), Cloud: a.cloud, Clock: a.clock, Logger: a.logger("alb"), VPCID: c.vpcID,
		Cluster: alb.Cluster{ID: c.id, NetworkPlugin: a.config.NetworkPlugin},
	})
	if err != nil {
		return err
	}
	a.addons.start(name, controller.Run)
	a.alb.Store(controller)
	return nil
}

// startNGINX starts the NGINX Ingress Controller and waits until it has offered what the stored Ingresses say.
func (a *Appliance) startNGINX(ctx context.Context) error {
	fake, err := nginx.FakeCertificate(a.clock.Now())
	if err != nil {
		return err
	}
	address := a.addresses.NGINX().String()
	controller, err := nginx.New(nginx.Options{
		Client: a.api.Loopback(), Clock: a.clock, Logger: a.logger("nginx"), Publisher: a.publisher, Address: address,
		Network: nginx.Network{
			Socket: func(port int) string { return a.addresses.Socket(address, port) },
			Open:   a.opener, Fake: fake,
		},
	})
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	a.addons.start(AddonNGINX, func(ctx context.Context) error { return controller.Run(ctx, func() { close(ready) }) })
	select {
	case <-ready:
		a.nginx.Store(controller)
		return nil
	case err := <-a.addons.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// makeALB makes what the console's option makes (seed, step 1): an AlbConfig, for a new instance with an HTTP listener
// on port 80 in two zones, and the IngressClass that leads to it.
func (a *Appliance) makeALB(ctx context.Context, client kubernetes.Interface, option ALBOption) error {
	spec, err := a.albSpec(option)
	if err != nil || spec == nil {
		return err
	}
	config := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": albConfigName}, "spec": spec}}
	config.SetGroupVersionKind(albv1.Kind)
	custom, err := dynamic.NewForConfig(a.api.Loopback())
	if err != nil {
		return err
	}
	_, err = custom.Resource(albv1.Resource).Create(ctx, config, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) && option.existing() != "" {
		return badRequest{fmt.Errorf("AlbConfig %s exists already; delete it, or install with --alb none", albConfigName)}
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	group := albv1.GroupVersion.Group
	return makeClass(ctx, client, albConfigName, networkingv1.IngressClassSpec{
		Controller: alb.ControllerName,
		Parameters: &networkingv1.IngressClassParametersReference{APIGroup: &group, Kind: albv1.Kind.Kind, Name: albConfigName},
	})
}

// Names of what add-ons make.
const (
	albConfigName = "alb" // of the IngressClass too
	nginxClass    = "nginx"
)

// albSpec is the AlbConfig that an option makes; nil for none.
func (a *Appliance) albSpec(option ALBOption) (map[string]any, error) {
	addressType := cloudsim.AddressInternet
	switch {
	case option == ALBNone:
		return nil, nil
	case option.existing() != "":
		if err := a.checkExisting(option.existing()); err != nil {
			return nil, badRequest{err}
		}
		return map[string]any{"config": map[string]any{"id": option.existing(), "forceOverride": false}}, nil
	case option == ALBNewIntranet:
		addressType = cloudsim.AddressIntranet
	}
	var zones []any
	for _, v := range a.cloud.Inventory().VSwitches[:2] {
		zones = append(zones, map[string]any{"vSwitchId": v.VSwitchID})
	}
	return map[string]any{
		"config":    map[string]any{"addressType": addressType, "edition": cloudsim.EditionStandard, "zoneMappings": zones},
		"listeners": []any{map[string]any{"port": int64(80), "protocol": cloudsim.ProtocolHTTP}},
	}, nil
}

// checkExisting holds an instance against the seed's three conditions: edition, VPC, and that no cluster has it.
func (a *Appliance) checkExisting(id string) error {
	i := a.cloud.Inventory()
	at := slices.IndexFunc(i.LoadBalancers, func(lb cloudsim.LoadBalancer) bool { return lb.LoadBalancerID == id })
	if at < 0 {
		return fmt.Errorf("there is no ALB instance %s; `appliance cloud albs` lists them, `appliance cloud albs create` makes one while `appliance serve --alb none` runs", id)
	}
	lb := i.LoadBalancers[at]
	if lb.Edition != cloudsim.EditionStandard && lb.Edition != cloudsim.EditionWAF {
		return fmt.Errorf("ALB instance %s is of edition %s; it must be %s or %s", id, lb.Edition, cloudsim.EditionStandard, cloudsim.EditionWAF)
	}
	if lb.VPCID != i.VPCs[0].VPCID {
		return fmt.Errorf("ALB instance %s is in VPC %s, the cluster in %s; choose one of the cluster's VPC", id, lb.VPCID, i.VPCs[0].VPCID)
	}
	for _, t := range lb.Tags {
		if t.Key == clusterTag {
			return fmt.Errorf("ALB instance %s belongs to cluster %s; choose one that no cluster has", id, t.Value)
		}
	}
	return nil
}

// makeNGINX makes the class of the NGINX Ingress Controller.
func makeNGINX(ctx context.Context, client kubernetes.Interface) error {
	return makeClass(ctx, client, nginxClass, networkingv1.IngressClassSpec{Controller: nginx.ControllerName})
}

// makeClass makes an IngressClass; one that is there stays as it is.
func makeClass(ctx context.Context, client kubernetes.Interface, name string, spec networkingv1.IngressClassSpec) error {
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	_, err := client.NetworkingV1().IngressClasses().Create(ctx, class, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// existing is the instance of the option existing=ID, "" of any other.
func (o ALBOption) existing() string {
	id, ok := strings.CutPrefix(string(o), "existing=")
	if !ok {
		return ""
	}
	return id
}

// validate refuses what is none of the options.
func (o ALBOption) validate() error {
	if o.existing() == "" && !slices.Contains([]ALBOption{ALBNew, ALBNewIntranet, ALBNone}, o) {
		return fmt.Errorf("--alb %s: it must be %s, %s, %s or existing=ID", o, ALBNew, ALBNewIntranet, ALBNone)
	}
	return nil
}
