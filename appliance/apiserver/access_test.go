package apiserver_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// tokenClient speaks through the socket with a token alone.
func tokenClient(t *testing.T, s *server, token string) kubernetes.Interface {
	t.Helper()
	config := s.remote(false)
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	http, err := restclient.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.CloseIdleConnections)
	return client
}

// eventually asks until the answer is yes: what is watched comes a moment later, and tells nobody.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick, end := time.NewTicker(5*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("it does not come that", what)
		}
	}
}

// TestTokens shows the life of a token that is bound to a pod, and what it may.
func TestTokens(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	s := start(t, store, nil)
	s.account(t, "default")
	admin, ctx := s.client(t), t.Context()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	pod, err := admin.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if mounts := pod.Spec.Containers[0].VolumeMounts; len(mounts) != 1 || mounts[0].MountPath != "/var/run/secrets/kubernetes.io/serviceaccount" {
		t.Errorf("the pod mounts %v", mounts)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To(int64(3607)), BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "web", UID: pod.UID}}}
	issued, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if life := time.Until(issued.Status.ExpirationTimestamp.Time); life < 59*time.Minute || life > 61*time.Minute {
		t.Errorf("it says that it is good for %v", life)
	}
	client := tokenClient(t, s, issued.Status.Token)
	who, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "system:serviceaccount:default:default" || who.Status.UserInfo.Extra["authentication.kubernetes.io/pod-name"][0] != "web" {
		t.Errorf("it is %v, %v", who, err)
	}
	if _, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: %v", err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "view"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:controller:job-controller"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "default", Namespace: "default"}}}
	if _, err := admin.RbacV1().RoleBindings("default").Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role counts", func() bool { // it is watched
		_, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err == nil
	})
	if err := admin.CoreV1().Pods("default").Delete(ctx, "web", metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("after its pod: %v", err)
	}
	if _, err := tokenClient(t, s, "wrong").CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("a wrong token: %v", err)
	}
}

// TestBootstrap starts twice: upstream's roles and classes are there, a changed one stays changed, a deleted one comes back.
func TestBootstrap(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	s := start(t, store, nil)
	client, ctx := s.client(t), t.Context()
	roles, err := client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
	if err != nil || len(roles.Items) < 60 {
		t.Fatalf("%d cluster roles, %v", len(roles.Items), err)
	}
	if _, err := client.SchedulingV1().PriorityClasses().Get(ctx, "system-node-critical", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := client.RbacV1().Roles("kube-system").Get(ctx, "extension-apiserver-authentication-reader", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	edit, err := client.RbacV1().ClusterRoles().Get(ctx, "system:discovery", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	edit.Labels["mine"] = "yes"
	if _, err := client.RbacV1().ClusterRoles().Update(ctx, edit, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.RbacV1().ClusterRoles().Delete(ctx, "view", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.stop()
	client = start(t, store, nil).client(t)
	if again, err := client.RbacV1().ClusterRoles().Get(ctx, "system:discovery", metav1.GetOptions{}); err != nil || again.Labels["mine"] != "yes" || again.UID != edit.UID {
		t.Errorf("%v, %v", again, err)
	}
	if _, err := client.RbacV1().ClusterRoles().Get(ctx, "view", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// TestWebhooks has a user's webhook change and refuse objects.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		switch {
		case r.URL.Path == "/change":
			answer.PatchType, answer.Patch = ptr.To(admissionv1.PatchTypeJSONPatch), []byte(`[{"op":"add","path":"/data","value":{"changed":"yes"}}]`)
		case review.Request.Name == "bad":
			answer.Allowed, answer.Result = false, &metav1.Status{Message: "not this one"}
		}
		review.Response = answer
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(hook.Close)
	s := start(t, openStore(t), nil)
	client, ctx := s.client(t), t.Context()
	rules := []admissionregistrationv1.RuleWithOperations{{Operations: []admissionregistrationv1.OperationType{"CREATE"},
		Rule: admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}}
	to := func(path string) admissionregistrationv1.WebhookClientConfig {
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
		return admissionregistrationv1.WebhookClientConfig{URL: ptr.To(hook.URL + path), CABundle: ca}
	}
	none := ptr.To(admissionregistrationv1.SideEffectClassNone)
	registration, meta := client.AdmissionregistrationV1(), metav1.ObjectMeta{Name: "hook"}
	_, err := registration.ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionregistrationv1.ValidatingWebhook{
		{Name: "refuse.example.com", ClientConfig: to("/refuse"), Rules: rules, SideEffects: none, AdmissionReviewVersions: []string{"v1"}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = registration.MutatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionregistrationv1.MutatingWebhook{
		{Name: "change.example.com", ClientConfig: to("/change"), Rules: rules, SideEffects: none, AdmissionReviewVersions: []string{"v1"}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string) (*corev1.ConfigMap, error) {
		return client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{DryRun: []string{"All"}})
	}
	eventually(t, "the webhooks are called", func() bool { // their configurations are watched
		made, err := create("good")
		if err != nil {
			t.Fatal(err)
		}
		_, refused := create("bad")
		return made.Data["changed"] == "yes" && refused != nil
	})
	_, err = create("bad")
	if err == nil || !strings.Contains(err.Error(), `admission webhook "refuse.example.com" denied the request: not this one`) {
		t.Errorf("it was not refused: %v", err)
	}
}
