package kubelet

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// issueTokens has the API issue tokens that are good for a while from now on, and gives their count.
func issueTokens(w *world, life time.Duration) *atomic.Int32 {
	w.tokenLife.Store(int64(life))
	return &w.tokens
}

// issueToken is the API's answer to a request for a token.
func (w *world) issueToken(a clienttesting.Action) (bool, apiruntime.Object, error) {
	request := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenRequest).DeepCopy()
	request.Status.Token = fmt.Sprintf("token %d of %s", w.tokens.Add(1), request.Spec.BoundObjectRef.Name)
	request.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(time.Duration(w.tokenLife.Load())))
	return true, request, nil
}

// TestTokenIsRenewed reads a token whose life is over at once: each reader gets a new one.
func TestTokenIsRenewed(t *testing.T) {
	t.Parallel()
	w := begin(t)
	issueTokens(w, -time.Second)
	w.create(podOf("web", "nginx", func(p *corev1.Pod) {
		p.Spec.ServiceAccountName = "web"
		p.Spec.Volumes = []corev1.Volume{{Name: "p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "vault"}}}}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "p", MountPath: "/var/run/secrets/tokens"}}
	}))
	w.until("web", isReady)
	server := w.serve()
	for i := range 2 {
		out, _, err := w.exec(t.Context(), server, "web", "", "cat", "/var/run/secrets/tokens/token")
		if want := fmt.Sprintf("token %d of web", i+1); err != nil || out != want {
			t.Errorf("%q, %v; want %q", out, err, want)
		}
	}
}
