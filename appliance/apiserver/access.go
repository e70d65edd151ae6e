package apiserver

import (
	"context"
	"errors"
	"sync"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	requestunion "k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

// newAuthenticator knows client certificates of the CA (CN is the user, O the groups) and ServiceAccounts' tokens; who
// shows neither is anonymous, who shows a wrong one is refused.
func newAuthenticator(ca dynamiccertificates.CAContentProvider, t *tokens) authenticator.Request {
	known := requestunion.New(
		x509request.NewDynamic(ca.VerifyOptions, x509request.CommonNameUserConversion),
		bearertoken.New(t.check), websocket.NewProtocolAuthenticator(t.check),
	)
	return requestunion.NewFailOnError(group.NewAuthenticatedGroupAdder(known), anonymous.NewAuthenticator(nil))
}

// newAuthorizer allows everything to system:masters, and what upstream's RBAC allows to everybody else.
func newAuthorizer(roles *roles) authorizer.Authorizer {
	return union.New(authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup), roles)
}

// roles is upstream's RBAC. It watches roles and bindings from the first question on: who uses the kubeconfig alone, a
// member of system:masters, never asks one.
type roles struct {
	client kubernetes.Interface

	mu      sync.Mutex
	running context.Context // while the API runs
	factory informers.SharedInformerFactory
	rbac    *rbac.RBACAuthorizer
}

var errNotRunning = errors.New("authorize: the API does not run")

// run allows questions until ctx ends.
func (r *roles) run(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = ctx
}

// stop waits for the watches; the context given to run has ended.
func (r *roles) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.factory != nil {
		r.factory.Shutdown()
	}
}

// loaded gives upstream's authorizer, with all roles and bindings read.
func (r *roles) loaded() (*rbac.RBACAuthorizer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil || r.running.Err() != nil {
		return nil, errNotRunning
	}
	if r.rbac != nil {
		return r.rbac, nil
	}
	if r.factory == nil {
		r.factory = informers.NewSharedInformerFactoryWithOptions(r.client, 0, informers.WithTransform(dropManagedFields))
	}
	all := r.factory.Rbac().V1()
	authorizer := rbac.New(
		&rbac.RoleGetter{Lister: all.Roles().Lister()}, &rbac.RoleBindingLister{Lister: all.RoleBindings().Lister()},
		&rbac.ClusterRoleGetter{Lister: all.ClusterRoles().Lister()}, &rbac.ClusterRoleBindingLister{Lister: all.ClusterRoleBindings().Lister()},
	)
	r.factory.Start(r.running.Done())
	for _, synced := range r.factory.WaitForCacheSync(r.running.Done()) {
		if !synced {
			return nil, errNotRunning
		}
	}
	r.rbac = authorizer
	return authorizer, nil
}

// Authorize implements authorizer.Authorizer.
func (r *roles) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	loaded, err := r.loaded()
	if err != nil {
		return authorizer.DecisionNoOpinion, "", err
	}
	return loaded.Authorize(ctx, a)
}

// RulesFor implements authorizer.RuleResolver.
func (r *roles) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	loaded, err := r.loaded()
	if err != nil {
		return nil, nil, true, err
	}
	return loaded.RulesFor(ctx, u, namespace)
}
