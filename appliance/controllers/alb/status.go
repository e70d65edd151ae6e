package alb

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/cloudsim"
)

// finalizer keeps an AlbConfig until its instance is deleted (ALB-FACTS 3.11).
const finalizer = "ingress.k8s.alibaba/resources"

func (c *Controller) addFinalizer(ctx context.Context, object *unstructured.Unstructured) error {
	if slices.Contains(object.GetFinalizers(), finalizer) {
		return nil
	}
	err := c.patchFinalizers(ctx, object, append(slices.Clone(object.GetFinalizers()), finalizer))
	if err != nil {
		c.events.Event(object, "Warning", reasonFailedAddFinalizer, err.Error())
		return fmt.Errorf("add finalizer to albconfig %s: %w", object.GetName(), err)
	}
	return nil
}

// finalize deletes the instance, then lets the AlbConfig go.
func (c *Controller) finalize(ctx context.Context, object *unstructured.Unstructured, d *deployer) error {
	if !slices.Contains(object.GetFinalizers(), finalizer) {
		return nil
	}
	if err := d.remove(ctx); err != nil {
		c.events.Event(object, "Warning", reasonFailedApplyModel, message(err))
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(object.GetFinalizers()), func(f string) bool { return f == finalizer })
	if err := c.patchFinalizers(ctx, object, rest); err != nil && !apierrors.IsNotFound(err) {
		c.events.Event(object, "Warning", reasonFailedRemove, err.Error())
		return fmt.Errorf("remove finalizer of albconfig %s: %w", object.GetName(), err)
	}
	return nil
}

func (c *Controller) patchFinalizers(ctx context.Context, object *unstructured.Unstructured, finalizers []string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"finalizers": finalizers, "resourceVersion": object.GetResourceVersion(),
	}})
	if err != nil {
		return err
	}
	_, err = c.dynamic.Resource(albv1.Resource).Patch(ctx, object.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// writeStatus shows the instance on the AlbConfig.
func (c *Controller) writeStatus(ctx context.Context, object *unstructured.Unstructured, lb cloudsim.LoadBalancer, m *Model) error {
	want := albv1.AlbConfigStatus{LoadBalancer: albv1.LoadBalancerStatus{ID: lb.LoadBalancerID, DNSName: lb.DNSName}}
	for _, l := range m.Listeners {
		want.LoadBalancer.Listeners = append(want.LoadBalancer.Listeners, albv1.ListenerStatus{PortAndProtocol: fmt.Sprintf("%d/%s", l.Port, l.Protocol)})
	}
	raw, err := json.Marshal(map[string]any{"status": want})
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	have, err := json.Marshal(map[string]any{"status": object.Object["status"]})
	if err == nil && sameJSON(have, raw) {
		return nil
	}
	_, err = c.dynamic.Resource(albv1.Resource).Patch(ctx, object.GetName(), types.MergePatchType, raw, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) {
		c.events.Event(object, "Warning", reasonFailedStatus, err.Error())
		return fmt.Errorf("write status of albconfig %s: %w", object.GetName(), err)
	}
	return nil
}

func sameJSON(a, b []byte) bool {
	var x, y albv1.AlbConfig
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	left, errA := json.Marshal(x.Status)
	right, errB := json.Marshal(y.Status)
	return errA == nil && errB == nil && string(left) == string(right)
}

// writeIngressStatus shows the DNS name on each member.
func (c *Controller) writeIngressStatus(ctx context.Context, g *Group, hostname string) error {
	want := []networkingv1.IngressLoadBalancerIngress{{Hostname: hostname}}
	for _, ing := range g.Ingresses {
		have := ing.Status.LoadBalancer.Ingress
		if len(have) == 1 && have[0].Hostname == hostname && have[0].IP == "" && len(have[0].Ports) == 0 {
			continue
		}
		patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": want}}})
		if err != nil {
			return fmt.Errorf("encode ingress status: %w", err)
		}
		_, err = c.client.NetworkingV1().Ingresses(ing.Namespace).Patch(ctx, ing.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil && !apierrors.IsNotFound(err) {
			c.events.Event(ing, "Warning", reasonFailedStatus, err.Error())
			return fmt.Errorf("write status of ingress %s: %w", key(ing), err)
		}
	}
	return nil
}
