package appliance

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"

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
