package workload

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
	serviceaccountcontroller "k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// accounts gives every namespace its ServiceAccount and the root CA, and roles that are made of others their rules.
func (s *set) accounts(ctx context.Context, start starter) error {
	core := s.factory.Core().V1()
	a, err := serviceaccountcontroller.NewServiceAccountsController(klog.FromContext(ctx), core.ServiceAccounts(), core.Namespaces(), s.client, serviceaccountcontroller.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return fmt.Errorf("make service account controller: %w", err)
	}
	p, err := rootcacertpublisher.NewPublisher(core.ConfigMaps(), core.Namespaces(), s.client, s.options.RootCA)
	if err != nil {
		return fmt.Errorf("make root CA publisher: %w", err)
	}
	r := clusterroleaggregation.NewClusterRoleAggregation(s.factory.Rbac().V1().ClusterRoles(), s.client.RbacV1())
	start(func(ctx context.Context) { a.Run(ctx, 1) })
	start(func(ctx context.Context) { p.Run(ctx, 1) })
	start(func(ctx context.Context) { r.Run(ctx, 1) })
	return s.secretTokens(ctx, start)
}

// secretTokens fills Secrets of type kubernetes.io/service-account-token, the way before TokenRequest.
func (s *set) secretTokens(ctx context.Context, start starter) error {
	tokens := s.tokenSecrets()
	if err := s.whenUsed(ctx, start, tokens.Core().V1().Secrets().Informer(), (*set).tokenController); err != nil {
		return err
	}
	start(func(ctx context.Context) { runFactory(ctx, tokens) })
	return nil
}

// tokenSecrets watches Secrets of tokens only: others may be large (helm's releases).
func (s *set) tokenSecrets() informers.SharedInformerFactory {
	return newFactory(s.client, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeServiceAccountToken)).String()
	}))
}

func (s *set) tokenController(ctx context.Context, start starter) error {
	key, err := keyutil.ParsePrivateKeyPEM(s.options.TokenKey)
	if err != nil {
		return fmt.Errorf("load token key: %w", err)
	}
	generator, err := serviceaccount.JWTTokenGenerator(serviceaccount.LegacyIssuer, key)
	if err != nil {
		return fmt.Errorf("load token key: %w", err)
	}
	tokens := s.tokenSecrets()
	t, err := serviceaccountcontroller.NewTokensController(klog.FromContext(ctx), s.factory.Core().V1().ServiceAccounts(), tokens.Core().V1().Secrets(), s.client,
		serviceaccountcontroller.TokensControllerOptions{TokenGenerator: generator, RootCA: s.options.RootCA})
	if err != nil {
		return fmt.Errorf("make token controller: %w", err)
	}
	start(func(ctx context.Context) { t.Run(ctx, 1) })
	start(func(ctx context.Context) { runFactory(ctx, tokens) })
	return nil
}
