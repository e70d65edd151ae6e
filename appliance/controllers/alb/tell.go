package alb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
)

// told remembers what was said of each object last, so that a look that finds nothing new says nothing.
type told struct {
	mu   sync.Mutex
	last map[string]string
}

// news records text under a key and tells whether it differs from what was there; no text is as good as no record.
func (t *told) news(key, text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last[key] == text {
		return false
	}
	if t.last[key] = text; text == "" {
		delete(t.last, key)
	}
	return true
}

// Keys of told: an AlbConfig has its problems and notes; an Ingress has how it is bound, and whether its AlbConfig is missing.
func toldOf(o metav1.Object) string      { return string(o.GetUID()) }
func toldMissing(o metav1.Object) string { return string(o.GetUID()) + " missing" }
func toldNotes(o metav1.Object) string   { return string(o.GetUID()) + " notes" }

// forget drops what was said of an object that is gone.
func (c *Controller) forget(o any) {
	if object, err := meta.Accessor(o); err == nil {
		c.told.news(toldOf(object), "")
		c.told.news(toldMissing(object), "")
		c.told.news(toldNotes(object), "")
	}
}

// tell writes a group's problems as Events (ALB-FACTS 3.9): one of building on the Ingress at fault and the AlbConfig,
// any other on the AlbConfig and all members.
func (c *Controller) tell(object *unstructured.Unstructured, members []*networkingv1.Ingress, problems []Problem) {
	var text strings.Builder
	for _, p := range problems {
		stable, _, _ := strings.Cut(p.String(), " request id: ") // the cloud gives each refusal another one
		fmt.Fprintln(&text, object.GetGeneration(), stable)
		for _, ing := range affected(members, p) {
			fmt.Fprintln(&text, ing.UID, ing.Generation, ing.Annotations)
		}
	}
	if !c.told.news(toldOf(object), text.String()) {
		return
	}
	for _, p := range problems {
		for _, ing := range affected(members, p) {
			c.events.Event(ing, corev1.EventTypeWarning, p.Reason, p.Message)
		}
		c.events.Event(object, corev1.EventTypeWarning, p.Reason, p.Message)
	}
	if alone(problems) {
		c.options.Logger.Info("group applied, but for this", "albconfig", object.GetName(), "problem", problems[0].String())
		return
	}
	c.options.Logger.Info("group not applied; what was published goes on", "albconfig", object.GetName(), "problem", problems[0].String())
}

// alone tells whether the problems leave the rest of the group alone.
func alone(problems []Problem) bool {
	return !slices.ContainsFunc(problems, func(p Problem) bool { return !p.Alone })
}

func affected(members []*networkingv1.Ingress, p Problem) []*networkingv1.Ingress {
	if !p.Alone && (p.Ingress == "" || p.Reason == reasonFailedApplyModel) {
		return members
	}
	return slices.DeleteFunc(slices.Clone(members), func(ing *networkingv1.Ingress) bool { return key(ing) != p.Ingress })
}

// tellApplied writes SuccessfullyReconciled on the AlbConfig and its members, when something changed or a problem ended;
// those that still wait for something are told that instead.
func (c *Controller) tellApplied(object *unstructured.Unstructured, members []*networkingv1.Ingress, waiting []Problem, deployed bool) {
	ended := false
	if len(waiting) > 0 {
		c.tell(object, members, waiting)
		members = slices.DeleteFunc(slices.Clone(members), func(ing *networkingv1.Ingress) bool {
			return slices.ContainsFunc(waiting, func(p Problem) bool { return p.Ingress == key(ing) })
		})
	} else {
		ended = c.told.news(toldOf(object), "")
	}
	for _, ing := range members {
		ended = c.told.news(toldMissing(ing), "") || ended
	}
	if !ended && !deployed {
		return
	}
	if len(waiting) == 0 {
		c.events.Event(object, corev1.EventTypeNormal, reasonReconciled, messageReconciled)
	}
	for _, ing := range members {
		c.events.Event(ing, corev1.EventTypeNormal, reasonReconciled, messageReconciled)
	}
	if len(waiting) == 0 {
		c.options.Logger.Info("group applied", "albconfig", object.GetName(), "ingresses", len(members))
	}
}

// tellMissing tells the Ingresses of an AlbConfig that there is none (ALB-FACTS 3.1). It asks the API itself: one
// that was made just now may reach us after its Ingresses.
func (c *Controller) tellMissing(ctx context.Context, albConfig string) error {
	members, err := c.members(albConfig)
	if err != nil || len(members) == 0 {
		return err
	}
	if _, err := c.dynamic.Resource(albv1.Resource).Get(ctx, albConfig, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return err
	}
	message := apierrors.NewNotFound(albv1.Resource.GroupResource(), albConfig).Error()
	for _, ing := range members {
		if c.told.news(toldMissing(ing), fmt.Sprint(ing.Generation, ing.Annotations, message)) {
			c.events.Event(ing, corev1.EventTypeWarning, reasonFailedBuildModel, message)
		}
	}
	return nil
}

// tellBindings tells every Ingress: a class has changed.
func (c *Controller) tellBindings(any) {
	c.eachIngress(func(ing *networkingv1.Ingress) { c.tellBinding(ing) })
}

// tellBinding tells an Ingress of ours that it was seen, what of it has no effect, and whether its class leads nowhere.
func (c *Controller) tellBinding(o any) {
	ing := o.(*networkingv1.Ingress)
	b := c.listers.binding(ing)
	if b == (binding{}) || ing.DeletionTimestamp != nil {
		return
	}
	if !c.told.news(toldOf(ing), fmt.Sprint(ing.Generation, ing.Annotations, b)) {
		return
	}
	c.events.Event(ing, corev1.EventTypeNormal, reasonSync, messageSync)
	for _, a := range unknownAnnotations(ing) {
		c.events.Eventf(ing, corev1.EventTypeWarning, reasonNotSimulated, "annotation %s has no effect in this version of the appliance", a)
	}
	if hosts := mismatchedHosts(ing); len(hosts) > 0 {
		c.events.Eventf(ing, corev1.EventTypeNormal, reasonMismatchHost, "mismatchTlsHostsIngress: %v", hosts)
	}
	if b.problem != "" {
		c.events.Event(ing, corev1.EventTypeWarning, reasonFailedBuildModel, b.problem)
	}
}
