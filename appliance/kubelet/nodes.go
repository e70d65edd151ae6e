package kubelet

import (
	"context"
	"fmt"
	goruntime "runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// A node's heartbeat is a Lease. Upstream renews one of 40 s every 10 s; nothing here watches it, and each renewal is a
// write to disk, so that it is longer and rarer, in the same proportion.
const (
	leaseDuration = 20 * time.Minute
	leaseRenewal  = leaseDuration / 4
)

// registerNodes writes the nodes and keeps their leases until ctx ends.
func (r *runtime) registerNodes(ctx context.Context) error {
	for _, n := range r.options.Nodes {
		if err := r.registerNode(ctx, n); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("register node %s: %w", n.Name, err)
		}
		r.running.Go(func() { r.keepLease(ctx, n) })
	}
	return nil
}

func (r *runtime) registerNode(ctx context.Context, n Node) error {
	want, api := r.node(n), r.client.CoreV1().Nodes()
	created, err := api.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		r.tellNode(n, created, "Starting", "Starting kubelet.")
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		have, err := api.Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		r.tellNode(n, have, "Starting", "Starting kubelet.")
		return r.updateNode(ctx, have, want)
	})
}

// updateNode writes what differs. Labels and taints that users have set stay.
func (r *runtime) updateNode(ctx context.Context, have, want *corev1.Node) error {
	api := r.client.CoreV1().Nodes()
	next := have.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	for k, v := range want.Labels {
		next.Labels[k] = v
	}
	if next.Spec.ProviderID == "" {
		next.Spec.ProviderID = want.Spec.ProviderID
	}
	var err error
	if !equality.Semantic.DeepEqual(have, next) {
		if have, err = api.Update(ctx, next, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	next = have.DeepCopy()
	next.Status = *want.Status.DeepCopy()
	keepTransitions(have.Status.Conditions, next.Status.Conditions)
	if equality.Semantic.DeepEqual(have.Status, next.Status) {
		return nil
	}
	_, err = api.UpdateStatus(ctx, next, metav1.UpdateOptions{})
	return err
}

// keepTransitions leaves the times of conditions that did not change.
func keepTransitions(before, now []corev1.NodeCondition) {
	for i := range now {
		for _, b := range before {
			if b.Type == now[i].Type && b.Status == now[i].Status {
				now[i].LastTransitionTime, now[i].LastHeartbeatTime = b.LastTransitionTime, b.LastHeartbeatTime
			}
		}
	}
}

func (r *runtime) tellNode(n Node, o *corev1.Node, reason, message string) {
	r.events.tell(corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: n.Name, UID: o.UID}, n.Name, corev1.EventTypeNormal, reason, message)
}

// capacity is every node's: what the scheduler may fill. Built-in images use far less than pods ask for.
func capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewQuantity(4, resource.DecimalSI), corev1.ResourceMemory: *resource.NewQuantity(8<<30, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(40<<30, resource.BinarySI), corev1.ResourcePods: *resource.NewQuantity(110, resource.DecimalSI),
	}
}

// node is the Node object: it says of itself what it is.
func (r *runtime) node(n Node) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
			corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: goruntime.GOARCH,
			"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": goruntime.GOARCH,
			corev1.LabelTopologyRegion: n.Region, corev1.LabelTopologyZone: n.Zone, corev1.LabelInstanceTypeStable: n.InstanceType,
		}},
		Spec: corev1.NodeSpec{ProviderID: n.Region + "." + n.InstanceID},
		Status: corev1.NodeStatus{
			Capacity: capacity(), Allocatable: capacity(),
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: n.Address.String()}, {Type: corev1.NodeHostName, Address: n.Name},
			},
			Conditions: r.nodeConditions(),
			NodeInfo: corev1.NodeSystemInfo{
				MachineID: n.InstanceID, SystemUUID: n.InstanceID, BootID: n.InstanceID,
				KernelVersion: "none", OSImage: "appliance (simulated node, runs built-in images)",
				ContainerRuntimeVersion: "builtin://1", KubeletVersion: r.options.Version,
				OperatingSystem: "linux", Architecture: goruntime.GOARCH,
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
		},
	}
}

func (r *runtime) nodeConditions() []corev1.NodeCondition {
	now := metav1.NewTime(r.options.Clock.Now()).Rfc3339Copy()
	condition := func(t corev1.NodeConditionType, s corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: t, Status: s, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return []corev1.NodeCondition{
		condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
	}
}

// keepLease renews a node's lease. A renewal that fails is tried at the next turn.
func (r *runtime) keepLease(ctx context.Context, n Node) {
	timer := r.options.Clock.NewTimer(leaseRenewal)
	defer timer.Stop()
	var lease *coordinationv1.Lease
	for {
		next, err := r.renewLease(ctx, n, lease)
		if err != nil && ctx.Err() == nil {
			r.options.Logger.Debug("lease not renewed", "node", n.Name, "err", err)
		}
		lease = next
		select {
		case <-ctx.Done():
			return
		case <-timer.Chan():
			timer.Reset(leaseRenewal)
		}
	}
}

// renewLease takes one round trip when it knows the lease; on an error it forgets it.
func (r *runtime) renewLease(ctx context.Context, n Node, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	api := r.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now, seconds := metav1.NewMicroTime(r.options.Clock.Now()), int32(leaseDuration/time.Second)
	if lease == nil {
		var err error
		fresh := &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: n.Name, Namespace: corev1.NamespaceNodeLease},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &n.Name, LeaseDurationSeconds: &seconds, RenewTime: &now},
		}
		if lease, err = api.Create(ctx, fresh, metav1.CreateOptions{}); err == nil || !apierrors.IsAlreadyExists(err) {
			return lease, err
		}
		if lease, err = api.Get(ctx, n.Name, metav1.GetOptions{}); err != nil {
			return nil, err
		}
	}
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &n.Name, &seconds, &now
	renewed, err := api.Update(ctx, lease, metav1.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	return renewed, nil
}
