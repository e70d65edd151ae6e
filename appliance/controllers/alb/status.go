package alb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/cloudsim"
)

// finalizer keeps an AlbConfig until its instance is deleted (ALB-FACTS 3.11).
const finalizer = "ingress.k8s.alibaba/resources"

func (c *Controller) addFinalizer(ctx context.Context, object *unstructured.Unstructured) error {
	if slices.Contains(object.GetFinalizers(), finalizer) {
		return nil
	}
	err := c.changeFinalizers(ctx, object, func(f []string) []string {
		if slices.Contains(f, finalizer) {
			return f
		}
		return append(f, finalizer)
	})
	if err != nil {
		c.complain(object, reasonFailedAddFinalizer, err)
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
		if ctx.Err() == nil {
			c.tell(object, nil, []Problem{{Reason: reasonFailedApplyModel, Message: message(err)}})
		}
		return err
	}
	err := c.changeFinalizers(ctx, object, func(f []string) []string {
		return slices.DeleteFunc(f, func(one string) bool { return one == finalizer })
	})
	if err != nil && !apierrors.IsNotFound(err) {
		c.complain(object, reasonFailedRemove, err)
		return fmt.Errorf("remove finalizer of albconfig %s: %w", object.GetName(), err)
	}
	return nil
}

// changeFinalizers writes the finalizers as change makes them out of those that are there now.
func (c *Controller) changeFinalizers(ctx context.Context, object *unstructured.Unstructured, change func([]string) []string) error {
	configs := c.dynamic.Resource(albv1.Resource)
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		now, err := configs.Get(ctx, object.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": object.GetUID(), "resourceVersion": now.GetResourceVersion(), "finalizers": change(now.GetFinalizers()),
		}})
		if err != nil {
			return err
		}
		_, err = configs.Patch(ctx, object.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

// complain writes an error of the API as an Event; that we stop is none.
func (c *Controller) complain(o runtime.Object, reason string, err error) {
	if !errors.Is(err, context.Canceled) {
		c.events.Event(o, corev1.EventTypeWarning, reason, err.Error())
	}
}

// writeStatus shows the instance on the AlbConfig; that one is gone is an error, too.
func (c *Controller) writeStatus(ctx context.Context, object *unstructured.Unstructured, have albv1.AlbConfigStatus, result deployed) error {
	want := albv1.AlbConfigStatus{LoadBalancer: albv1.LoadBalancerStatus{
		ID: result.loadBalancer.LoadBalancerID, DNSName: result.loadBalancer.DNSName,
		Listeners: []albv1.ListenerStatus{}, // not nil: a merge patch must take the last one away, too
	}}
	for _, l := range result.listeners {
		want.LoadBalancer.Listeners = append(want.LoadBalancer.Listeners, listenerStatus(l))
	}
	if equality.Semantic.DeepEqual(have, want) {
		return nil
	}
	raw, err := json.Marshal(map[string]any{"status": want})
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	_, err = c.dynamic.Resource(albv1.Resource).Patch(ctx, object.GetName(), types.MergePatchType, raw, metav1.PatchOptions{}, "status")
	if err != nil {
		if !apierrors.IsNotFound(err) {
			c.complain(object, reasonFailedStatus, err)
		}
		return fmt.Errorf("write status of albconfig %s: %w", object.GetName(), err)
	}
	return nil
}

func listenerStatus(l cloudsim.Listener) albv1.ListenerStatus {
	status := albv1.ListenerStatus{PortAndProtocol: fmt.Sprintf("%d/%s", l.Port, l.Protocol)}
	for _, c := range l.Certificates {
		status.Certificates = append(status.Certificates, albv1.CertificateStatus{CertificateID: c.CertificateID, IsDefault: c.IsDefault})
	}
	return status
}

// writeIngressStatus shows the DNS name on each member.
func (c *Controller) writeIngressStatus(ctx context.Context, albConfig string, members []*networkingv1.Ingress, hostname string) error {
	want := networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{Hostname: hostname}}}
	for _, ing := range members {
		if equality.Semantic.DeepEqual(ing.Status.LoadBalancer, want) {
			continue
		}
		err := c.patchIngressStatus(ctx, albConfig, ing, want)
		if err != nil && !apierrors.IsNotFound(err) {
			c.complain(ing, reasonFailedStatus, err)
			return fmt.Errorf("write status of ingress %s: %w", key(ing), err)
		}
	}
	return nil
}

// patchIngressStatus writes the status of an Ingress that nobody has changed meanwhile, or that is still a member: one
// that has moved must keep the name of its new group.
func (c *Controller) patchIngressStatus(ctx context.Context, albConfig string, ing *networkingv1.Ingress, want networkingv1.IngressLoadBalancerStatus) error {
	ingresses := c.client.NetworkingV1().Ingresses(ing.Namespace)
	version := ing.ResourceVersion
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": ing.UID, "resourceVersion": version},
			"status":   map[string]any{"loadBalancer": want},
		})
		if err != nil {
			return err
		}
		_, err = ingresses.Patch(ctx, ing.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		if !apierrors.IsConflict(err) {
			return err
		}
		now, getErr := ingresses.Get(ctx, ing.Name, metav1.GetOptions{})
		if getErr != nil || now.UID != ing.UID || c.listers.binding(now).albConfig != albConfig {
			return getErr
		}
		version = now.ResourceVersion
		return err
	})
}
