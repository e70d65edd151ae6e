package alb

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alb-appliance/appliance/cloudsim"
)

const (
	bothListeners = `{"spec":{"listeners":[{"port":80,"protocol":"HTTP"},{"port":443,"protocol":"HTTPS"}]}}`
	bothPorts     = `"annotations":{"alb.ingress.kubernetes.io/listen-ports":"[{\"HTTP\":80},{\"HTTPS\":443}]"}`
)

// upload puts a certificate for a host into the service, as a user does, good for some days from the clock's now.
func (c *cluster) upload(t *testing.T, name, host string, days int) {
	t.Helper()
	chain, key := signed(host, c.clock.Now().AddDate(0, 0, days))
	if _, err := c.inner.UploadUserCertificate(t.Context(), cloudsim.UploadCertificateInput{Name: name, Chain: chain, Key: key}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) secret(t *testing.T, name, host string) {
	t.Helper()
	chain, key := signed(host, c.clock.Now().AddDate(1, 0, 0))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": chain, "tls.key": key}}
	if _, err := c.api.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) patchSecret(t *testing.T, name string, data map[string][]byte) {
	t.Helper()
	var parts []string
	for k, v := range data {
		parts = append(parts, fmt.Sprintf("%q:%q", k, strings.TrimSpace(string(v))+"\n"))
	}
	patch := fmt.Sprintf(`{"stringData":{%s}}`, strings.Join(parts, ","))
	if _, err := c.api.CoreV1().Secrets("default").Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// serving makes an Ingress that serves HTTP, with listeners 80 and 443 in the AlbConfig.
func (c *cluster) serving(t *testing.T) {
	t.Helper()
	c.albConfig(t, "alb", 80)
	c.class(t, "alb", "alb")
	c.service(t, "web", "192.168.0.20")
	c.ingress(t, "shop", "alb", "web", nil)
	c.awaitHostname(t, "shop", "alb")
	c.patchConfig(t, "alb", bothListeners)
	c.awaitEvent(t, "AlbConfig/alb Warning FailedApplyModel empty https listener default certs")
}

// TestControllerSecrets follows one Secret: missing, there, renewed, broken, mended.
func TestControllerSecrets(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.serving(t)
	if text := c.eventText(t); strings.Contains(text, "Ingress/shop Warning") {
		t.Errorf("an Ingress that has nothing to do with it was told:\n%s", text)
	}
	const reconciled = "AlbConfig/alb Normal SuccessfullyReconciled Successfully reconciled x1"
	c.ingress(t, "late", "alb", "web", nil)
	c.awaitEvent(t, "Ingress/late Normal SuccessfullyReconciled")
	if text := c.eventText(t); !strings.Contains(text, reconciled) {
		t.Errorf("an AlbConfig whose listener waits was called reconciled:\n%s", text)
	}
	c.patchIngress(t, "shop", `{"metadata":{`+bothPorts+`},"spec":{"tls":[{"hosts":["shop.example.com"],"secretName":"shop-tls"}]}}`)
	c.awaitEvent(t, `Ingress/shop Warning FailedBuildModel secrets "shop-tls" not found`)
	if strings.Contains(c.String(), "HTTPS") || !strings.Contains(c.String(), hostRule("shop")) {
		t.Errorf("what was published did not stay: %s", c)
	}
	c.secret(t, "shop-tls", "shop.example.com")
	c.awaitCloud(t, "listener HTTPS:443 idle 15 default kube-system/alb-listener-443-fake-svc:443 tls_cipher_policy_1_0 true {UpgradeEnabled:false ListenerID:} [default-shop-tls-")
	listener, first := c.listenerID(t, 443, "HTTPS"), c.shown(t)
	c.await(t, "status", func() bool {
		u, err := c.configs.Get(t.Context(), "alb", metav1.GetOptions{})
		want := fmt.Sprintf("[map[portAndProtocol:80/HTTP] map[certificates:[map[certificateId:%s isDefault:true]] portAndProtocol:443/HTTPS]]", certificateID(t, c.world, first))
		return err == nil && strings.Contains(fmt.Sprint(u.Object["status"]), want)
	})

	chain, key := signed("shop.example.com", c.clock.Now().AddDate(2, 0, 0))
	c.patchSecret(t, "shop-tls", map[string][]byte{"tls.crt": chain, "tls.key": key})
	c.await(t, "the renewed one", func() bool { return c.shown(t) != first })
	second := c.shown(t)
	if now := c.listenerID(t, 443, "HTTPS"); now != listener {
		t.Errorf("listener %s became %s", listener, now)
	}

	_, other := signed("other.example.com", c.clock.Now().AddDate(1, 0, 0))
	c.patchSecret(t, "shop-tls", map[string][]byte{"tls.key": other})
	c.awaitEvent(t, "Ingress/shop Warning FailedBuildModel secret default/shop-tls: tls.crt and tls.key do not go together: tls: private key does not match public key")
	c.awaitEvent(t, "AlbConfig/alb Warning FailedBuildModel secret default/shop-tls: tls.crt and tls.key do not go together")
	if now := c.shown(t); now != second {
		t.Errorf("certificate %s became %s", second, now)
	}
	c.patchSecret(t, "shop-tls", map[string][]byte{"tls.key": key})
	c.await(t, "mended", func() bool {
		c.controller.told.mu.Lock()
		defer c.controller.told.mu.Unlock()
		u, err := c.configs.Get(t.Context(), "alb", metav1.GetOptions{})
		return err == nil && c.controller.told.last[toldOf(u)] == ""
	})
	if n := len(c.inner.Inventory().Certificates); n != 2 {
		t.Errorf("%d certificates in the service, want 2", n)
	}
}

// shown is the name of the certificate that the HTTPS listener shows first.
func (c *cluster) shown(t *testing.T) string {
	t.Helper()
	id := c.listenerID(t, 443, "HTTPS")
	for _, l := range c.inner.Inventory().Listeners {
		if l.ListenerID == id {
			return c.certificateName(l.Certificates[0].CertificateID)
		}
	}
	return ""
}

// TestControllerDiscovery finds a certificate that came late, and the renewed one at the next look; one that the
// AlbConfig names stays.
func TestControllerDiscovery(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.serving(t)
	c.patchIngress(t, "shop", `{"spec":{"tls":[{"hosts":["shop.example.com"]}]}}`)
	c.awaitEvent(t, "Ingress/shop Warning FailedBuildModel none certificate found for host: shop.example.com")
	c.upload(t, "first", "shop.example.com", 90)
	if err := c.clock.BlockUntilContext(t.Context(), 3); err != nil { // heartbeat of the queue, resync, the retry
		t.Fatal(err)
	}
	c.clock.Advance(certificateAge)
	c.awaitCloud(t, "{UpgradeEnabled:false ListenerID:} [first]")

	c.upload(t, "renewed", "shop.example.com", 180)
	c.clock.Advance(resyncPeriod)
	c.awaitCloud(t, "[first renewed]")

	c.patchConfig(t, "alb", strings.ReplaceAll(bothListeners, `"HTTPS"}`, `"HTTPS","certificates":[{"CertificateId":"`+certificateID(t, c.world, "first")+`"}]}`))
	c.awaitCloud(t, "[first]")
	if err := c.inner.UpdateLoadBalancerAttribute(t.Context(), c.inner.Inventory().LoadBalancers[0].LoadBalancerID, "by-hand"); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(resyncPeriod)
	c.awaitCloud(t, "load balancer alb ")
	if text := c.String(); !strings.Contains(text, "[first]") {
		t.Errorf("a fixed certificate was exchanged: %s", text)
	}
}

func TestCertificateCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var cache certificateCache
	for _, row := range []struct {
		later time.Duration
		calls int
	}{{0, 1}, {certificateAge - time.Second, 1}, {certificateAge, 2}, {2*certificateAge - time.Second, 2}} {
		if _, err := cache.list(t.Context(), w.watched, w.clock.Now().Add(row.later)); err != nil {
			t.Fatal(err)
		}
		if calls, _ := w.counted(); calls != row.calls {
			t.Errorf("after %s there were %d calls, want %d", row.later, calls, row.calls)
		}
	}
	w.on(func(string) error { return errInjected }, nil)
	if _, err := cache.list(t.Context(), w.watched, w.clock.Now().Add(time.Hour)); err == nil {
		t.Error("the cloud's failure was hidden")
	}
	w.on(nil, nil)
	if _, err := cache.list(t.Context(), w.watched, w.clock.Now().Add(time.Hour)); err != nil {
		t.Errorf("a failure was kept: %v", err)
	}
}

// TestControllerNotes tells what has no effect, once.
func TestControllerNotes(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.serving(t)
	c.patchConfig(t, "alb", `{"spec":{"config":{"addressType":"Intranet"},"listeners":[{"port":80,"protocol":"HTTP"},{"port":443,"protocol":"HTTPS","caEnabled":true,"defaultCertificate":{"kind":"Secret"}}]}}`)
	c.awaitEvent(t, "AlbConfig/alb Warning NoEffect config addressType Intranet has no effect: instance "+c.inner.Inventory().LoadBalancers[0].LoadBalancerID+" was made with Internet, which is fixed at creation; another AlbConfig makes another instance x1")
	c.awaitEvent(t, "AlbConfig/alb Warning NotSimulated listener 443/HTTPS: caEnabled has no effect in this version of the appliance: clients are not asked for certificates x1")
	c.awaitEvent(t, `AlbConfig/alb Warning NotSimulated listener 443/HTTPS: defaultCertificate of kind "Secret" has no effect in this version of the appliance; it takes kind CertIdentifier x1`)
	c.patchIngress(t, "shop", `{"spec":{"tls":[{"hosts":["*.example.com"],"secretName":"wild"}]}}`)
	c.awaitEvent(t, "Ingress/shop Normal MismatchHost mismatchTlsHostsIngress: [shop.example.com]")
	c.secret(t, "wild", "wild.example.com")
	c.awaitCloud(t, "[default-wild-")
	if text := c.eventText(t); strings.Contains(text, "not asked for certificates x2") || !strings.Contains(c.String(), "listener HTTP:80 idle 15 default kube-system/alb-listener-80-fake-svc:80\n  rule 1") {
		t.Errorf("told twice, or the rule is not on HTTP:\n%s%s", text, c)
	}
}

// TestControllerReuse takes an instance and gives it back though the spec can no longer be read.
func TestControllerReuse(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	id := c.existing(t, "console", 8080)
	c.albConfig(t, "alb", 80)
	c.awaitEvent(t, "AlbConfig/alb Normal SuccessfullyReconciled")
	c.patchConfig(t, "alb", `{"spec":{"config":{"id":"`+id+`"}}}`)
	c.awaitEvent(t, "AlbConfig/alb Warning FailedApplyModel config id "+id+": albconfig alb has instance ")
	c.albConfigReusing(t, "second", id)
	c.await(t, "it is taken", func() bool { return sameInts(c.ports(t, id), []int{80, 8080}) })
	c.patchConfig(t, "second", `{"spec":"text"}`)
	if err := c.configs.Delete(t.Context(), "second", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await(t, "it is given back", func() bool { return len(c.instance(t, id).Tags) == 1 })
	if got := c.ports(t, id); !sameInts(got, []int{8080}) {
		t.Errorf("ports %v", got)
	}
}

func (c *cluster) albConfigReusing(t *testing.T, name, id string) {
	t.Helper()
	c.albConfigOf(t, name, map[string]any{"config": map[string]any{"id": id}, "listeners": []any{map[string]any{"port": int64(80), "protocol": "HTTP"}}})
}

// TestReview is the webhook: true and false only, and only for Ingresses of the class.
func TestReview(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.albConfig(t, "alb", 80)
	c.class(t, "alb", "alb")
	c.await(t, "the class is seen", func() bool {
		_, err := c.controller.listers.classes.Get("alb")
		return err == nil
	})
	alb, other := "alb", "other"
	for _, row := range []struct {
		class       *string
		annotations map[string]string
		want        string
	}{
		{&alb, nil, ""},
		{&alb, map[string]string{annotationRedirect: "true"}, ""},
		{&alb, map[string]string{annotationPrefix + "canary": "false"}, ""},
		{&alb, map[string]string{annotationRedirect: "on"}, "the value on is invalid. Please set the value as one of: [true false]"},
		{&alb, map[string]string{annotationPrefix + "enable-cors": "True"}, "the value True is invalid. Please set the value as one of: [true false]"},
		{&alb, map[string]string{annotationPrefix + "cors-allow-credentials": ""}, "the value  is invalid. Please set the value as one of: [true false]"},
		{&alb, map[string]string{annotationNGINXRedirect: "on"}, ""},
		{&other, map[string]string{annotationRedirect: "on"}, ""},
		{nil, map[string]string{annotationRedirect: "on"}, ""},
	} {
		ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "i", Namespace: "default", Annotations: row.annotations}, Spec: networkingv1.IngressSpec{IngressClassName: row.class}}
		_, err := c.controller.Review(ing)
		if got := fmt.Sprint(err); got != row.want && (err != nil || row.want != "") {
			t.Errorf("%v: %v, want %s", row.annotations, err, row.want)
		}
	}
}

// TestTrimSecret keeps of others' Secrets that they are there.
func TestTrimSecret(t *testing.T) {
	t.Parallel()
	for kind, want := range map[corev1.SecretType]int{corev1.SecretTypeTLS: 2, secretTypeIngressTLS: 2, corev1.SecretTypeOpaque: 0} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n", ResourceVersion: "7"}, Type: kind, Data: map[string][]byte{"tls.crt": {1}, "tls.key": {2}, "ca.crt": {3}}}
		got, err := trimSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		trimmed := got.(*corev1.Secret)
		if len(trimmed.Data) != want || key(trimmed) != "n/s" || trimmed.ResourceVersion != "7" || trimmed.Type != kind {
			t.Errorf("%s: %+v", kind, trimmed)
		}
	}
}
