package apiserver

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	namespacestore "k8s.io/kubernetes/pkg/registry/core/namespace/storage"
	clusterrolestore "k8s.io/kubernetes/pkg/registry/rbac/clusterrole/storage"
	clusterrolebindingstore "k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding/storage"
	rolestore "k8s.io/kubernetes/pkg/registry/rbac/role/storage"
	rolebindingstore "k8s.io/kubernetes/pkg/registry/rbac/rolebinding/storage"
	priorityclassstore "k8s.io/kubernetes/pkg/registry/scheduling/priorityclass/storage"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// writers is how many objects are written at a time at the first start: the store puts them into few transactions.
const writers = 32

// bootstrap makes what a new cluster has before anybody asks: namespaces, upstream's roles and bindings, and its two
// priority classes. What is there stays as it is. It writes below the watch cache and before the server runs: upstream's
// own way, over HTTP, one after the other and from a hook that first waits a second, would cost more than the whole start.
func bootstrap(ctx context.Context, o *options, namespaces []string) error {
	var work errgroup.Group
	work.SetLimit(writers)
	for _, b := range bootstraps(namespaces) {
		if err := b.ensure(ctx, uncached{o}, &work); err != nil {
			return err
		}
	}
	return work.Wait()
}

// bootstrapped is a kind and the objects of it that every cluster has.
type bootstrapped struct {
	what    string
	store   func(generic.RESTOptionsGetter) (bootstrapStore, error)
	objects []runtime.Object
}

// bootstrapStore is what bootstrap needs of a registry.
type bootstrapStore interface {
	rest.Creater
	rest.Lister
}

func bootstraps(namespaces []string) []bootstrapped {
	var roles, bindings, here []runtime.Object
	for namespace, all := range bootstrappolicy.NamespaceRoles() {
		roles = append(roles, within(namespace, pointers(all))...)
	}
	for namespace, all := range bootstrappolicy.NamespaceRoleBindings() {
		bindings = append(bindings, within(namespace, pointers(all))...)
	}
	for _, n := range namespaces {
		here = append(here, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n}})
	}
	var classes []runtime.Object
	for _, c := range schedulingv1.SystemPriorityClasses() {
		classes = append(classes, c)
	}
	return []bootstrapped{
		{"namespaces", func(g generic.RESTOptionsGetter) (bootstrapStore, error) {
			store, _, _, err := namespacestore.NewREST(g)
			return store, err
		}, here},
		{"cluster roles", func(g generic.RESTOptionsGetter) (bootstrapStore, error) { return clusterrolestore.NewREST(g) },
			append(pointers(bootstrappolicy.ClusterRoles()), pointers(bootstrappolicy.ControllerRoles())...)},
		{"cluster role bindings", func(g generic.RESTOptionsGetter) (bootstrapStore, error) { return clusterrolebindingstore.NewREST(g) },
			append(pointers(bootstrappolicy.ClusterRoleBindings()), pointers(bootstrappolicy.ControllerRoleBindings())...)},
		{"roles", func(g generic.RESTOptionsGetter) (bootstrapStore, error) { return rolestore.NewREST(g) }, roles},
		{"role bindings", func(g generic.RESTOptionsGetter) (bootstrapStore, error) { return rolebindingstore.NewREST(g) }, bindings},
		{"priority classes", func(g generic.RESTOptionsGetter) (bootstrapStore, error) { return priorityclassstore.NewREST(g) }, classes},
	}
}

// pointers makes objects of values.
func pointers[T any, P interface {
	*T
	runtime.Object
}](values []T) []runtime.Object {
	var all []runtime.Object
	for i := range values {
		all = append(all, P(&values[i]))
	}
	return all
}

// within puts copies of objects into a namespace: the originals are upstream's own, for all of the process.
func within(namespace string, objects []runtime.Object) []runtime.Object {
	var all []runtime.Object
	for _, o := range objects {
		inside := o.DeepCopyObject()
		inside.(metav1.Object).SetNamespace(namespace)
		all = append(all, inside)
	}
	return all
}

// ensure has the objects written that are not there.
func (b bootstrapped) ensure(ctx context.Context, g generic.RESTOptionsGetter, work *errgroup.Group) error {
	store, err := b.store(g)
	if err != nil {
		return fmt.Errorf("make storage of %s: %w", b.what, err)
	}
	list, err := store.List(request.WithNamespace(ctx, metav1.NamespaceAll), &metainternalversion.ListOptions{})
	if err != nil {
		return fmt.Errorf("list %s: %w", b.what, err)
	}
	there := sets.Set[string]{}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		there.Insert(o.(metav1.Object).GetNamespace() + "/" + o.(metav1.Object).GetName())
		return nil
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", b.what, err)
	}
	for _, o := range b.objects {
		namespace, name := o.(metav1.Object).GetNamespace(), o.(metav1.Object).GetName()
		if there.Has(namespace + "/" + name) {
			continue
		}
		work.Go(func() error {
			internal, err := legacyscheme.Scheme.ConvertToVersion(o.DeepCopyObject(), runtime.InternalGroupVersioner)
			if err != nil {
				return fmt.Errorf("convert %s %s: %w", b.what, name, err)
			}
			_, err = store.Create(request.WithNamespace(ctx, namespace), internal, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("create %s %s: %w", b.what, name, err)
			}
			return nil
		})
	}
	return nil
}
