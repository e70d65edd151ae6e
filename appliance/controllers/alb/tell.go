package alb

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
)

// eventScheme lets the recorder refer to built-in objects; unstructured ones carry their kind themselves.
var eventScheme = scheme.Scheme

// told remembers what each AlbConfig's objects were told last, so that a look that finds nothing new says nothing.
type told struct {
	mu   sync.Mutex
	last map[string]string
}

// news records text under a key and tells whether it differs from what was there.
func (t *told) news(key, text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last[key] == text {
		return false
	}
	t.last[key] = text
	return true
}

// tell writes a group's problems as Events (ALB-FACTS 3.9): a problem of one Ingress on it and on the AlbConfig, any
// other on the AlbConfig and all its Ingresses.
func (c *Controller) tell(name string, object *unstructured.Unstructured, g *Group, problems []Problem) {
	var text strings.Builder
	for _, p := range problems {
		fmt.Fprintln(&text, object.GetGeneration(), p)
	}
	if !c.told.news(name, text.String()) {
		return
	}
	for _, p := range problems {
		for _, o := range affected(g, p) {
			c.events.Event(o, corev1.EventTypeWarning, p.Reason, p.Message)
		}
		c.events.Event(object, corev1.EventTypeWarning, p.Reason, p.Message)
	}
	c.options.Logger.Info("group not applied; what was published goes on", "albconfig", name, "problem", problems[0].String())
}

func affected(g *Group, p Problem) []runtime.Object {
	var objects []runtime.Object
	if g == nil {
		return nil
	}
	for _, ing := range g.Ingresses {
		if p.Ingress == "" || p.Ingress == key(ing) {
			objects = append(objects, ing)
		}
	}
	return objects
}

// tellSuccess writes SuccessfullyReconciled on the AlbConfig and its members, when something changed or a problem ended.
func (c *Controller) tellSuccess(name string, object *unstructured.Unstructured, g *Group, deployed bool) {
	if !c.told.news(name, "") && !deployed {
		return
	}
	c.events.Event(object, corev1.EventTypeNormal, reasonReconciled, messageReconciled)
	for _, ing := range g.Ingresses {
		c.events.Event(ing, corev1.EventTypeNormal, reasonReconciled, messageReconciled)
	}
	c.options.Logger.Info("group applied", "albconfig", name, "ingresses", len(g.Ingresses))
}

// tellBinding tells an Ingress of ours that it was seen, what of it has no effect, and what hinders it from joining a
// group.
func (c *Controller) tellBinding(ing *networkingv1.Ingress, b binding) {
	if b.albConfig == "" && b.problem == "" || ing.DeletionTimestamp != nil {
		return
	}
	if b.problem == "" {
		if o, err := c.listers.albConfig(b.albConfig); err == nil && o == nil {
			b.problem = apierrors.NewNotFound(albv1.Resource.GroupResource(), b.albConfig).Error()
		}
	}
	if !c.told.news("ingress/"+string(ing.UID), fmt.Sprint(ing.Generation, ing.Annotations, b)) {
		return
	}
	c.events.Event(ing, corev1.EventTypeNormal, reasonSync, messageSync)
	for _, a := range unknownAnnotations(ing) {
		c.events.Eventf(ing, corev1.EventTypeWarning, reasonNotSimulated, "annotation %s has no effect in this version of the appliance", a)
	}
	if b.problem != "" {
		c.events.Event(ing, corev1.EventTypeWarning, reasonFailedBuildModel, b.problem)
	}
}

// queueClock lets the work queue's backoff follow the one clock (DESIGN D11).
type queueClock struct{ clockwork.Clock }

func (c queueClock) NewTimer(d time.Duration) clock.Timer   { return queueTimer{c.Clock.NewTimer(d)} }
func (c queueClock) NewTicker(d time.Duration) clock.Ticker { return queueTicker{c.Clock.NewTicker(d)} }

func (c queueClock) Tick(d time.Duration) <-chan time.Time { return c.Clock.NewTicker(d).Chan() }

type queueTimer struct{ clockwork.Timer }

func (t queueTimer) C() <-chan time.Time { return t.Chan() }

type queueTicker struct{ clockwork.Ticker }

func (t queueTicker) C() <-chan time.Time { return t.Chan() }
