package kubelet

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// object names a ConfigMap or Secret of the pod's namespace.
type object struct{ kind, name string } // kind is configmap or secret, as messages have it

// missingError says that a pod needs something that is not there.
type missingError struct {
	object  object
	version string // of the object when it exists but lacks a key; else empty
	message string
}

func (e *missingError) Error() string { return e.message }

func notFound(o object) error {
	return &missingError{object: o, message: fmt.Sprintf("%s %q not found", o.kind, o.name)}
}

// watch waits for one object.
type watch struct{ cancel context.CancelFunc }

// await has the pod look again when an object appears or changes. It watches that object only, and only until then.
func (p *pod) await(o object, version string) {
	if p.awaited[o] != nil {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	w := &watch{cancel}
	p.awaited[o] = w
	appeared := func(seen any) {
		if a, err := meta.Accessor(seen); err != nil || a.GetName() != o.name || a.GetResourceVersion() == version {
			return
		}
		p.post(func() {
			cancel()
			if p.awaited[o] == w {
				delete(p.awaited, o)
			}
		})
	}
	selected := func(l *metav1.ListOptions) {
		l.FieldSelector = fields.OneTermEqualSelector("metadata.name", o.name).String()
	}
	var informer cache.SharedIndexInformer
	if o.kind == kindSecret {
		informer = coreinformers.NewFilteredSecretInformer(p.client, p.name.Namespace, 0, cache.Indexers{}, selected)
	} else {
		informer = coreinformers.NewFilteredConfigMapInformer(p.client, p.name.Namespace, 0, cache.Indexers{}, selected)
	}
	// A new informer takes any handler.
	informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: appeared, UpdateFunc: func(_, now any) { appeared(now) }})
	p.executions.Go(func() { informer.RunWithContext(ctx) })
}
