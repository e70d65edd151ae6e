package apiserver

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// issuer is who signs ServiceAccounts' tokens and, as upstream has it by default, the audience they are for.
const issuer = "https://kubernetes.default.svc"

// extendedLife is how long tokens that pods mount are good beyond the hour they ask for, so that clients that never read
// them again go on, as upstream has it.
const extendedLife = serviceaccount.ExpirationExtensionSeconds * time.Second

// tokens issues and checks ServiceAccounts' tokens.
type tokens struct {
	generator serviceaccount.TokenGenerator
	check     authenticator.Token
	audiences authenticator.Audiences
}

// newTokens takes the signing key, PEM, or makes one.
func newTokens(key []byte, client kubernetes.Interface) (*tokens, error) {
	if len(key) == 0 {
		made, err := keyutil.MakeEllipticPrivateKeyPEM()
		if err != nil {
			return nil, fmt.Errorf("make token key: %w", err)
		}
		key = made
	}
	private, err := keyutil.ParsePrivateKeyPEM(key)
	if err != nil {
		return nil, fmt.Errorf("load token key: %w", err)
	}
	t := &tokens{audiences: authenticator.Audiences{issuer}}
	if t.generator, err = serviceaccount.JWTTokenGenerator(issuer, private); err != nil {
		return nil, fmt.Errorf("load token key: %w", err)
	}
	keys, err := serviceaccount.StaticPublicKeysGetter([]any{private})
	if err != nil {
		return nil, fmt.Errorf("load token key: %w", err)
	}
	getter := tokenObjects{client}
	legacy, err := serviceaccount.NewLegacyValidator(true, getter, client.CoreV1())
	if err != nil {
		return nil, fmt.Errorf("make check of tokens in Secrets: %w", err)
	}
	t.check = tokenunion.New(
		serviceaccount.JWTTokenAuthenticator([]string{serviceaccount.LegacyIssuer}, keys, t.audiences, legacy),
		serviceaccount.JWTTokenAuthenticator([]string{issuer}, keys, t.audiences, serviceaccount.NewValidator(getter)),
	)
	return t, nil
}

// tokenObjects reads what a token is bound to, each time: a token ends with its pod or account
// (serviceaccount.ServiceAccountTokenGetter).
type tokenObjects struct{ client kubernetes.Interface }

// GetServiceAccount implements serviceaccount.ServiceAccountTokenGetter.
func (t tokenObjects) GetServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return t.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
}

// GetPod implements serviceaccount.ServiceAccountTokenGetter.
func (t tokenObjects) GetPod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return t.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

// GetSecret implements serviceaccount.ServiceAccountTokenGetter.
func (t tokenObjects) GetSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return t.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

// GetNode implements serviceaccount.ServiceAccountTokenGetter.
func (t tokenObjects) GetNode(ctx context.Context, name string) (*corev1.Node, error) {
	return t.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
}
