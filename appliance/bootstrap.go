package appliance

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/appliance/controllers/alb"
	"github.com/alb-appliance/appliance/appliance/controllers/nginx"
	"github.com/alb-appliance/appliance/appliance/kubelet"
	"github.com/alb-appliance/appliance/cloudsim"
)

func (a *Appliance) logger(component string) *slog.Logger {
	return a.config.Logger.With("component", component)
}

// listenAPI takes the API's port.
func listenAPI(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve the Kubernetes API: %w; stop what listens there or choose another address with --listen", heldBy(err, address))
	}
	return l, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// nodeCount nodes are placed into as many zones.
const nodeCount = 2

// nodesOf makes the cluster's nodes out of the VPC's first vSwitches: each node has the tenth address of its vSwitch
// and the rest of it for pods, as Terway assigns them.
func nodesOf(i *cloudsim.Inventory) ([]kubelet.Node, error) {
	var nodes []kubelet.Node
	for _, v := range i.VSwitches {
		if len(nodes) == nodeCount {
			break
		}
		prefix, err := netip.ParsePrefix(v.CIDRBlock)
		if err != nil {
			return nil, fmt.Errorf("place a node into vSwitch %s: %w", v.VSwitchID, err)
		}
		address := prefix.Addr()
		for range 10 {
			address = address.Next()
		}
		sum := sha1.Sum([]byte(v.VSwitchID))
		nodes = append(nodes, kubelet.Node{
			Name: i.Region + "." + address.String(), Address: address, Zone: v.ZoneID, Region: i.Region,
			InstanceID: "i-" + hex.EncodeToString(sum[:])[:20], InstanceType: "ecs.g7.xlarge", Pods: prefix,
		})
	}
	if len(nodes) == 0 {
		return nil, errors.New("place nodes: the VPC has no vSwitch")
	}
	return nodes, nil
}

// cluster is what is known of the cluster itself.
type cluster struct{ id, vpcID string }

// Where ACK keeps what a cluster is; whether an add-on was installed is kept there too, so that what the user deleted
// does not come back with a restart.
const (
	profileNamespace = "kube-system"
	profileName      = "ack-cluster-profile"
	profileID        = "clusterid"
	profileVPC       = "vpcid"
	profileALB       = "alb-ingress-controller"
	profileNGINX     = "nginx-ingress-controller"
)

// bootstrap reads the cluster's profile, or makes it and installs what a new cluster has.
func (a *Appliance) bootstrap(ctx context.Context) (cluster, error) {
	client, err := kubernetes.NewForConfig(a.api.Loopback())
	if err != nil {
		return cluster{}, fmt.Errorf("make bootstrap client: %w", err)
	}
	profiles := client.CoreV1().ConfigMaps(profileNamespace)
	profile, err := profiles.Get(ctx, profileName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		profile, err = profiles.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: profileName, Namespace: profileNamespace},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return cluster{}, fmt.Errorf("read the cluster's profile: %w", err)
	}
	before := maps.Clone(profile.Data)
	if profile.Data == nil {
		profile.Data = map[string]string{}
	}
	if profile.Data[profileID] == "" {
		profile.Data[profileID] = cmp.Or(knownClusterID(a.cloud.Inventory()), newClusterID())
	}
	if profile.Data[profileVPC] == "" {
		profile.Data[profileVPC] = a.cloud.Inventory().VPCs[0].VPCID
	}
	if profile.Data[profileALB] == "" {
		if err := a.installALB(ctx, client); err != nil {
			return cluster{}, fmt.Errorf("install alb-ingress-controller: %w", err)
		}
		if err := installNGINX(ctx, client); err != nil {
			return cluster{}, fmt.Errorf("install nginx-ingress-controller: %w", err)
		}
		profile.Data[profileALB], profile.Data[profileNGINX] = string(a.config.ALB), "installed"
	}
	if !maps.Equal(before, profile.Data) {
		if profile, err = profiles.Update(ctx, profile, metav1.UpdateOptions{}); err != nil {
			return cluster{}, fmt.Errorf("write the cluster's profile: %w", err)
		}
	}
	return cluster{id: profile.Data[profileID], vpcID: profile.Data[profileVPC]}, nil
}

// clusterTag is where the ALB controller writes the cluster that an instance belongs to (ALB-FACTS 3.7).
const clusterTag = "ack.aliyun.com"

// knownClusterID is the cluster that the cloud's instances belong to: who deletes the profile keeps them.
func knownClusterID(i *cloudsim.Inventory) string {
	for _, lb := range i.LoadBalancers {
		for _, t := range lb.Tags {
			if t.Key == clusterTag {
				return t.Value
			}
		}
	}
	return ""
}

// newClusterID is "c" and 32 hexadecimal digits, as ACK's.
func newClusterID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return "c" + hex.EncodeToString(b[:])
}

// installALB makes what the console's option makes (seed, step 1): an AlbConfig with an HTTP listener on port 80 in two
// zones, and the IngressClass that leads to it.
func (a *Appliance) installALB(ctx context.Context, client kubernetes.Interface) error {
	if a.config.ALB == ALBNone {
		return nil
	}
	addressType := cloudsim.AddressInternet
	if a.config.ALB == ALBNewIntranet {
		addressType = cloudsim.AddressIntranet
	}
	var zones []any
	for _, v := range a.cloud.Inventory().VSwitches[:2] {
		zones = append(zones, map[string]any{"vSwitchId": v.VSwitchID})
	}
	config := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "alb"},
		"spec": map[string]any{
			"config":    map[string]any{"addressType": addressType, "edition": cloudsim.EditionStandard, "zoneMappings": zones},
			"listeners": []any{map[string]any{"port": int64(80), "protocol": cloudsim.ProtocolHTTP}},
		},
	}}
	config.SetGroupVersionKind(albv1.Kind)
	custom, err := dynamic.NewForConfig(a.api.Loopback())
	if err != nil {
		return err
	}
	if _, err := custom.Resource(albv1.Resource).Create(ctx, config, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	group := albv1.GroupVersion.Group
	class := &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "alb"},
		Spec: networkingv1.IngressClassSpec{
			Controller: alb.ControllerName,
			Parameters: &networkingv1.IngressClassParametersReference{APIGroup: &group, Kind: albv1.Kind.Kind, Name: "alb"},
		},
	}
	if _, err := client.NetworkingV1().IngressClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// installNGINX makes the class of the NGINX Ingress Controller.
func installNGINX(ctx context.Context, client kubernetes.Interface) error {
	class := &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "nginx"},
		Spec:       networkingv1.IngressClassSpec{Controller: nginx.ControllerName},
	}
	if _, err := client.NetworkingV1().IngressClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}
