package kubelet

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokenAge is when a token is renewed at the latest, as the kubelet does; else when a fifth of its life is left.
const tokenAge = 24 * time.Hour

// tokens are a pod's ServiceAccount tokens, asked for when a file of one is read and renewed in time. It is safe for
// concurrent use. The API issues them by the machine's clock, so that is what counts here.
type tokens struct {
	mu   sync.Mutex
	have map[string]issued
}

// issued is a token and when to ask for the next.
type issued struct {
	token string
	renew time.Time
}

// token gives the token that a projected volume wants.
func (p *pod) token(ctx context.Context, object *corev1.Pod, source *corev1.ServiceAccountTokenProjection) (string, error) {
	p.tokens.mu.Lock()
	defer p.tokens.mu.Unlock()
	key := fmt.Sprint(source.Audience, source.ExpirationSeconds)
	if have, ok := p.tokens.have[key]; ok && time.Now().Before(have.renew) {
		return have.token, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: object.Name, UID: object.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	asked := time.Now()
	answer, err := p.client.CoreV1().ServiceAccounts(object.Namespace).CreateToken(ctx, object.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to fetch token: %w", err)
	}
	life := answer.Status.ExpirationTimestamp.Sub(asked)
	p.tokens.have[key] = issued{answer.Status.Token, asked.Add(min(life*4/5, tokenAge))}
	return answer.Status.Token, nil
}
